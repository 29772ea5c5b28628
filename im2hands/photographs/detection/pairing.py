"""Which of the hands that were found are the left and the right hand of one person, and what is to be said about it.

A hand is found many times; what lies in the same place is one hand. Of different hands at most one left and one right are
kept: the two whose scores, sides and places go together best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np
from jaxtyping import Float

from im2hands.hands.sides import SIDES, Side
from im2hands.photographs.detection.crops import extent
from im2hands.photographs.detection.hands import FoundHand
from im2hands.photographs.detection.palms import groups

SAME_HAND = 0.25
"""Mean distance of the points of two results, in extents, below which they are one hand."""
OVERLAP = 0.45
"""The same distance, below which two hands lie over each other; of drawn pairs one in ten does."""
SIZES = 2.0
"""Ratio of the extents of one person's hands in a picture, above which a pair is less likely."""
UNSURE_SIDE = 0.125
"""Chance that the network's side is wrong however sure it is; so a second hand may get the side that is left."""
PAIR_OVER_SINGLE = 0.05
"""By so much a pair must be better than its better hand alone."""
CLEAR_SIDE = 0.75
SCORE = (-2.95, 0.29, -1.5)
"""Of `score`: constant, weight of the presence's log odds, weight of the logarithm of `moved`."""


@dataclass(frozen=True, eq=False)
class PairOfHands:
    """hands: what was chosen, at most one of each side.  others: further hands in the picture.  notes: sentences for users."""

    hands: Mapping[Side, FoundHand] = field(default_factory=dict)
    others: Sequence[FoundHand] = ()
    notes: tuple[str, ...] = ()

    @property
    def overlap(self) -> bool:
        """Whether the two hands lie over each other in the picture, as interlocked ones do.

        The networks see one hand at a time, so there they guess; a network that sees both hands at once belongs here.
        """
        return len(self.hands) == len(SIDES) and apart(self.hands[Side.LEFT], self.hands[Side.RIGHT]) < OVERLAP


def score(hand: FoundHand) -> float:
    """Chance that the hand's points are right (within 20 % of its extent on average), 0 to 1.

    Logistic regression on 486 results for drawn pictures of touching hands of training subjects, 85 % of them right: a hand is
    right if the network is sure, and above all if a second look, from the points of the first, gives the same points again.
    """
    constant, of_presence, of_moved = SCORE
    odds = np.log(hand.presence + 1e-6) - np.log(1 - hand.presence + 1e-4)
    return float(1 / (1 + np.exp(-(constant + of_presence * odds + of_moved * np.log(hand.moved + 0.005)))))


def apart(one: FoundHand, other: FoundHand) -> float:
    """Mean distance of the points of two hands, in extents of the larger one."""
    distance = np.linalg.norm(one.points - other.points, axis=1).mean()
    return float(distance / max(extent(one.points), extent(other.points)))


def different(hands: Sequence[FoundHand]) -> list[FoundHand]:
    """One for every group of results that are the same hand, the best; best groups first.

    `seen` counts the group; `right` is the mean of the group, weighted by score.
    """
    ordered = sorted(hands, key=score, reverse=True)
    if not ordered:
        return []
    points = np.stack([hand.points for hand in ordered])
    size = extent(points)
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1).mean(axis=-1)
    group = groups(distance < SAME_HAND * np.maximum(size[:, None], size[None]))
    scores, right = np.array([score(hand) for hand in ordered]), np.array([hand.right for hand in ordered])
    found = []
    for best in np.unique(group):
        rows = group == best
        mean = float(np.average(right[rows], weights=scores[rows]))
        seen = sum(hand.seen for hand, row in zip(ordered, rows, strict=True) if row)
        found.append(replace(ordered[best], right=mean, seen=seen))
    return found


def pair_of(hands: Sequence[FoundHand]) -> PairOfHands:
    """The likeliest left and right hand among results for one picture, in which a hand may occur many times."""
    found = different(hands)
    if not found:
        return PairOfHands(notes=("no hand was found",))
    best, chosen = score(found[0]) * max(_side_chance(found[0], side) for side in SIDES) + PAIR_OVER_SINGLE, None
    for left, right in permutations(range(len(found)), 2):
        value = _pair_value(found[left], found[right])
        if value > best:
            best, chosen = value, {Side.LEFT: left, Side.RIGHT: right}
    if chosen is None:
        chosen = {max(SIDES, key=found[0].of): 0}
    others = [hand for place, hand in enumerate(found) if place not in chosen.values()]
    pair = PairOfHands({side: found[place] for side, place in chosen.items()}, others)
    return replace(pair, notes=tuple(_notes(pair)))


def _side_chance(hand: FoundHand, side: Side) -> float:
    return UNSURE_SIDE + (1 - 2 * UNSURE_SIDE) * hand.of(side)


def _pair_value(left: FoundHand, right: FoundHand) -> float:
    """Expected number of right points with right sides, less what speaks against the pair."""
    value = score(left) * _side_chance(left, Side.LEFT) + score(right) * _side_chance(right, Side.RIGHT)
    sizes: Float[np.ndarray, " 2"] = extent(np.stack([left.points, right.points]))
    ratio = float(np.log(sizes.max() / sizes.min()) - np.log(SIZES))
    return value - max(0.0, 1 - apart(left, right) / OVERLAP) - max(0.0, ratio)


def _notes(pair: PairOfHands) -> list[str]:
    found = []
    for side, hand in pair.hands.items():
        if hand.of(side) < 1 - CLEAR_SIDE:
            found.append(f"the {side.value} hand looks like a {side.other.value} one, but the other hand does more so")
        elif hand.of(side) < CLEAR_SIDE:
            found.append(f"the side of the {side.value} hand is not sure ({hand.of(side):.2f})")
    if len(pair.hands) == 1:
        (side,) = pair.hands
        found.append(f"only the {side.value} hand was found")
    if pair.overlap:
        found.append("the hands lie over each other: what is hidden is a guess")
    if pair.others:
        count = len(pair.hands) + len(pair.others)
        found.append(f"{count} hands were found and the likeliest kept: is there more than one person?")
    return found
