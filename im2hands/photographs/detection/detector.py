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
from im2hands.photographs.detection.crops import Picture, Sampler
from im2hands.photographs.detection.hands import FoundHand, as_joints, look
from im2hands.photographs.detection.looks import around, closer, palms_in, whole
from im2hands.photographs.detection.networks import HandNetworks
from im2hands.photographs.detection.pairing import OVERLAP, PairOfHands, apart, pair_of, score
from im2hands.photographs.detection.palms import HAND_SHARE, Palms

LEAST, LEAST_AGAIN = 0.3, 0.7
"""Scores below which a result is no hand: at first, and of the many further tries for a second hand."""
SURE = 0.9
"""Score of both hands, apart from each other, at which the first look is enough."""
CROPS = ((HAND_SHARE, 0.0),)
"""Share and tilt of the squares that the landmark network sees of a palm."""
FURTHER_CROPS = ((2.0, 0.0), (3.2, 0.0), (HAND_SHARE, 0.5), (HAND_SHARE, -0.5))


FEW = 256
"""Rows or columns of a picture that are enough for its median colour."""


class HandDetector:
    """Finds at most one left and one right hand. networks: see `networks.LiteRtNetworks`."""

    def __init__(self, networks: HandNetworks) -> None:
        self.networks = networks

    def __call__(self, picture: Picture) -> PairOfHands:
        """The hands of a picture: RGB, 8 bit."""
        sampler = Sampler(picture)
        palms = palms_in(sampler, whole(picture.shape), self.networks)
        hands = self._hands(sampler, palms)
        pair = pair_of(hands)
        if _is_sure(pair):
            return pair
        if not hands:
            palms = palms_in(sampler, closer(picture.shape), self.networks)
            hands = self._hands(sampler, palms)
        if not hands:
            return pair
        surest = max(hands, key=score)
        nearby = palms_in(sampler, around(surest.points), self.networks)
        hands += self._hands(sampler, nearby)
        pair = pair_of(hands)
        if len(pair.hands) < len(SIDES):
            hands += self._further(sampler, [palms, nearby], surest)
            pair = pair_of(hands)
        return pair

    def _further(self, sampler: Sampler, seen: Sequence[Palms], surest: FoundHand) -> list[FoundHand]:
        """More results for the palms that were seen, and for those that appear when the surest hand is painted over."""
        covered = Sampler(painted_over(sampler.picture, surest.points))
        behind = palms_in(covered, around(surest.points), self.networks)
        found = self._hands(covered, behind, (*CROPS, *FURTHER_CROPS), LEAST_AGAIN)
        for palms in seen:
            found += self._hands(sampler, palms, FURTHER_CROPS, LEAST_AGAIN)
        return found

    def _hands(
        self, sampler: Sampler, palms: Palms, crops: Sequence[tuple[float, float]] = CROPS, least: float = LEAST
    ) -> list[FoundHand]:
        squares = [palms.hand_square(row, *crop) for row in range(len(palms)) for crop in crops]
        return [as_joints(hand) for hand in look(sampler, squares, self.networks) if score(hand) >= least]


def painted_over(picture: Picture, points: Float[np.ndarray, "21 2"]) -> Picture:
    """The picture with its median colour in place of the hand with these pixels."""
    covered, step = picture.copy(), 1 + min(picture.shape[:2]) // FEW
    outline = cv2.convexHull(np.round(points).astype(np.int32))
    cv2.fillConvexPoly(covered, outline, [int(level) for level in np.median(picture[::step, ::step], axis=(0, 1))])
    return covered


def _is_sure(pair: PairOfHands) -> bool:
    return (
        len(pair.hands) == len(SIDES)
        and not pair.others
        and all(score(hand) > SURE for hand in pair.hands.values())
        and apart(*pair.hands.values()) > 2 * OVERLAP
    )
