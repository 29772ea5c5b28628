"""Finds both hands of a picture: looks at all of it, then around the surest hand, then behind it.

MediaPipe's own pipeline keeps one result where hands touch and looks once. Here every palm that may be one is looked at by the
landmark network, and the choice is made last, among hands (`pairing`).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float

from im2hands.hands.sides import SIDES
from im2hands.photographs.detection.crops import Picture, Sampler, Square
from im2hands.photographs.detection.hands import FoundHand, as_joints, look
from im2hands.photographs.detection.looks import around, closer, palms_in, whole
from im2hands.photographs.detection.networks import HandNetworks
from im2hands.photographs.detection.pairing import OVERLAP, PairOfHands, apart, pair_of, score

LEAST = 0.3
"""Score below which a result is no hand."""
LEAST_BEHIND = 0.7
"""The same, for a hand that is seen only with the other one painted over."""
SURE = 0.9
"""Score of both hands, apart from each other, at which the first look is enough."""


class HandDetector:
    """Finds at most one left and one right hand. networks: see `networks.LiteRtNetworks`."""

    def __init__(self, networks: HandNetworks) -> None:
        self.networks = networks

    def __call__(self, picture: Picture) -> PairOfHands:
        """The hands of a picture: RGB, 8 bit."""
        sampler = Sampler(picture)
        hands = self._hands(sampler, whole(picture.shape))
        pair = pair_of(hands)
        if _is_sure(pair):
            return pair
        if not hands:
            hands = self._hands(sampler, closer(picture.shape))
        if not hands:
            return pair
        surest = max(hands, key=score)
        hands += self._hands(sampler, around(surest.points))
        pair = pair_of(hands)
        if len(pair.hands) < len(SIDES):
            covered = Sampler(painted_over(picture, surest.points))
            hands += self._hands(covered, around(surest.points), LEAST_BEHIND)
            pair = pair_of(hands)
        return pair

    def _hands(self, sampler: Sampler, squares: Sequence[Square], least: float = LEAST) -> list[FoundHand]:
        palms = palms_in(sampler, squares, self.networks)
        hands = look(sampler, [palms.hand_square(row) for row in range(len(palms))], self.networks)
        return [as_joints(hand) for hand in hands if score(hand) >= least]


def painted_over(picture: Picture, points: Float[np.ndarray, "21 2"]) -> Picture:
    """The picture with its median colour in place of the hand with these pixels."""
    covered = picture.copy()
    outline = cv2.convexHull(np.round(points).astype(np.int32))
    cv2.fillConvexPoly(covered, outline, [int(level) for level in np.median(picture, axis=(0, 1))])
    return covered


def _is_sure(pair: PairOfHands) -> bool:
    return (
        len(pair.hands) == len(SIDES)
        and not pair.others
        and all(score(hand) > SURE for hand in pair.hands.values())
        and apart(*pair.hands.values()) > 2 * OVERLAP
    )
