"""Which detection of every picture is the left and which the right hand of one person.

Detections that continue each other from picture to picture become tracks, whatever their labels say. A track's side is what
most of its labels say; if two hands that are seen together would get the same side, the pair of sides that agrees with more
labels wins. Of several people the one whose hands are seen longest and largest is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from im2hands.films.detections import Detection
from im2hands.hands.sides import SIDES, Side

LONGEST_GAP = 0.5
"""Seconds for which a hand may be away and still be the same, and is bridged."""
FARTHEST = 0.6
"""Mean distance of joints from where they are expected, in extents of the hand, within which a detection continues a track."""
DUPLICATE, SAME_PLACE = 0.15, 0.06
"""Mean distance of joints, in extents, within which two detections of one side, and of different sides, are the same hand."""
OTHER_LABEL = 0.25
"""Share of labels that a hand needs to get the other side than most of its labels say."""
NEAR, FASTEST = 1.5, 4.0
"""Extents, and extents per second, within which a hand comes back after it was away."""
FORGOTTEN = 0.4
"""Size of a hand relative to another, from where it may be the same person's at another time."""


@dataclass(eq=False)
class Track:
    """A hand through some pictures. places: picture -> index of its detection there."""

    places: dict[int, int] = field(default_factory=dict)
    votes: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    weight: float = 0.0
    persons: dict[int, int] = field(default_factory=dict)

    def add(self, picture: int, index: int, one: Detection) -> None:
        self.places[picture] = index
        self.votes[one.side] += 1
        self.weight += one.extent
        if one.person is not None:
            self.persons[picture] = one.person

    @property
    def first(self) -> int:
        return next(iter(self.places))

    @property
    def last(self) -> int:
        return next(reversed(self.places))

    @property
    def side(self) -> Side:
        return max(SIDES, key=self.votes.__getitem__)

    @property
    def mean_extent(self) -> float:
        return self.weight / len(self.places)


@dataclass(frozen=True, eq=False)
class Followed:
    """chosen: the detection of every picture that is the left and the right hand, -1 where there is none.

    exchanged: pictures in which a label was overruled.  ignored: detections of other people, and second ones of one hand.
    """

    chosen: Int[np.ndarray, "pictures 2"]
    exchanged: int
    ignored: int


def follow(
    found: Sequence[Sequence[Detection]], times: Float[np.ndarray, " pictures"], cuts: Bool[np.ndarray, " pictures"]
) -> Followed:
    """found: of every picture.  cuts: pictures with which a new scene begins."""
    chosen = np.full((len(found), len(SIDES)), -1)
    starts = [0, *(int(cut) for cut in np.flatnonzero(cuts) if cut), len(found)]
    for first, end in pairwise(starts):
        tracks = _tracks(found, times, first, end)
        for side, kept in _person(tracks, found, times).items():
            for track in kept:
                for picture, index in track.places.items():
                    chosen[picture, side.index] = index
    labels = [
        found[picture][index].side is not side
        for side in SIDES
        for picture, index in enumerate(chosen[:, side.index])
        if index >= 0
    ]
    exchanged = {
        picture
        for side in SIDES
        for picture, index in enumerate(chosen[:, side.index])
        if index >= 0 and found[picture][index].side is not side
    }
    return Followed(chosen, len(exchanged), sum(map(len, found)) - len(labels))


def apart(a: Float[np.ndarray, "21 2"], b: Float[np.ndarray, "21 2"]) -> float:
    """Mean distance of the joints that both have (px); infinite if there are none."""
    distances = np.linalg.norm(a - b, axis=1)
    return float(np.nanmean(distances)) if np.isfinite(distances).any() else np.inf


def _tracks(
    found: Sequence[Sequence[Detection]], times: Float[np.ndarray, " pictures"], first: int, end: int
) -> list[Track]:
    done: list[Track] = []
    active: list[Track] = []
    for picture in range(first, end):
        late = [track for track in active if times[picture] - times[track.last] > LONGEST_GAP]
        done += late
        active = [track for track in active if track not in late]
        here = _without_duplicates(found[picture])
        costs = np.array([[_distance(track, found, times, picture, index) for index in here] for track in active])
        taken: set[int] = set()
        if costs.size:
            bounded = np.minimum(costs, 10 * FARTHEST)
            for row, column in zip(*linear_sum_assignment(bounded), strict=True):
                if costs[row, column] < FARTHEST:
                    active[row].add(picture, here[column], found[picture][here[column]])
                    taken.add(here[column])
        for index in here:
            if index not in taken:
                active.append(Track())
                active[-1].add(picture, index, found[picture][index])
    return done + active


def _distance(
    track: Track, found: Sequence[Sequence[Detection]], times: Float[np.ndarray, " pictures"], picture: int, index: int
) -> float:
    """How far a detection is from where a track leads or was last, in extents of the hand; labels tip the balance."""
    one = found[picture][index]
    last, *before = islice(reversed(track.places), 2)
    seen = found[last][track.places[last]]
    distance = apart(seen.pixels, one.pixels)
    if before:
        earlier = found[before[0]][track.places[before[0]]].pixels
        speed = (np.nanmean(seen.pixels, axis=0) - np.nanmean(earlier, axis=0)) / (times[last] - times[before[0]])
        distance = min(distance, apart(seen.pixels + speed * (times[picture] - times[last]), one.pixels))
    return distance / max(seen.extent, one.extent) + (0.02 if track.side is not one.side else 0.0)


def _without_duplicates(found: Sequence[Detection]) -> list[int]:
    """Indices of the detections of a picture that are not second ones of a hand; detectors list the better one first."""
    kept: list[int] = []
    for index, one in enumerate(found):
        nearest = {
            side: min((apart(one.pixels, found[k].pixels) for k in kept if found[k].side is side), default=np.inf)
            for side in SIDES
        }
        if nearest[one.side] > DUPLICATE * one.extent and nearest[one.side.other] > SAME_PLACE * one.extent:
            kept.append(index)
    return kept


def _person(
    tracks: list[Track], found: Sequence[Sequence[Detection]], times: Float[np.ndarray, " pictures"]
) -> dict[Side, list[Track]]:
    """The tracks of each hand of the person who is seen longest and largest."""
    ranked = sorted(tracks, key=lambda track: -track.weight)
    if not ranked:
        return {side: [] for side in SIDES}
    main = ranked[0]
    others = [track for track in ranked[1:] if _may_be_partner(main, track)]
    partner = max(others, key=lambda track: _partnership(main, track, found), default=None)
    sides = {main: main.side}
    if partner is not None:
        straight = main.votes[main.side] + partner.votes[main.side.other]
        turned = main.votes[main.side.other] + partner.votes[main.side]
        sides = {main: main.side if straight >= turned else main.side.other}
        sides[partner] = sides[main].other
    kept: dict[Side, list[Track]] = {side: [track for track, own in sides.items() if own is side] for side in SIDES}
    for track in ranked:
        if track not in sides and _continues(track, kept, found, times):
            kept[track.side].append(track)
    return kept


def _may_be_partner(main: Track, track: Track) -> bool:
    """Whether two tracks can be the two hands of a person."""
    together = main.places.keys() & track.places.keys()
    known = [main.persons[k] == track.persons[k] for k in together if k in main.persons and k in track.persons]
    if known and np.mean(known) < 0.5:
        return False
    if track.side is not main.side:
        return True
    total = [max(sum(one.votes.values()), 1) for one in (main, track)]
    share = max(one.votes[main.side.other] / count for one, count in zip((main, track), total, strict=True))
    return bool(together) and share >= OTHER_LABEL


def _partnership(main: Track, track: Track, found: Sequence[Sequence[Detection]]) -> float:
    """Seen long, large and near the other hand."""
    together = list(main.places.keys() & track.places.keys())
    if not together:
        return 0.25 * track.weight
    distance = np.mean(
        [
            np.linalg.norm(
                np.nanmean(found[k][main.places[k]].pixels, axis=0)
                - np.nanmean(found[k][track.places[k]].pixels, axis=0)
            )
            / max(found[k][main.places[k]].extent, found[k][track.places[k]].extent)
            for k in together
        ]
    )
    return track.weight * float(np.exp(-distance / 5))


def _continues(
    track: Track,
    kept: dict[Side, list[Track]],
    found: Sequence[Sequence[Detection]],
    times: Float[np.ndarray, " pictures"],
) -> bool:
    """Whether a track is a hand of the person at another time: at a plausible place and of a plausible size."""
    own = kept[track.side]
    if any(track.places.keys() & other.places.keys() for other in own):
        return False
    if not own:
        return False
    extent = float(np.mean([other.mean_extent for other in own]))
    if not FORGOTTEN < track.mean_extent / extent < 1 / FORGOTTEN:
        return False
    for other in own:
        for earlier, later in ((other, track), (track, other)):
            if earlier.last < later.first:
                a = found[earlier.last][earlier.places[earlier.last]].pixels
                b = found[later.first][later.places[later.first]].pixels
                reach = (NEAR + FASTEST * (times[later.first] - times[earlier.last])) * extent
                if np.linalg.norm(np.nanmean(a, axis=0) - np.nanmean(b, axis=0)) > reach:
                    return False
    return True
