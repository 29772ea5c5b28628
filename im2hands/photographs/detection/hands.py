"""The landmark network on squares of a picture: hands with pixels, relative points, a side and a score.

The network's points are not quite the joints of hand models and annotations: `to_joints` moves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from im2hands.hands.joints import FINGER_BASES, WRIST
from im2hands.hands.sides import Side
from im2hands.photographs.detection.crops import Sampler, Square, extent, upright_square
from im2hands.photographs.detection.networks import LANDMARK_SIZE, HandNetworks

SHARE = 1.55
"""Side of a hand's square in sides of the upright box around it."""
LOOKS = 2
"""At every hand: from where it is thought to be, then from where its points were."""
LEAST_PRESENCE = 0.3
TIPS = (4, 8, 12, 16, 20)
WRIST_SHARE, TIP_SHARE = 0.08, 0.25
"""How far joints lie beyond the network's points: the wrist in lengths of the palm, tips in lengths of the last bone."""


@dataclass(frozen=True, eq=False)
class FoundHand:
    """A hand as the network sees it.

    points: pixels, STANDARD order.  relative: metres, axes of the picture (x right, y down, z along the view), any origin.
    presence: 0 to 1, of the last look.  moved: mean way of the points between the last two looks, share of the hand's extent.
    right: 0 to 1, how sure it is a right hand.  seen: looks that found it.
    """

    points: Float[np.ndarray, "21 2"]
    relative: Float[np.ndarray, "21 3"]
    presence: float
    moved: float
    right: float
    seen: int = 1

    def of(self, side: Side) -> float:
        """How sure it is that the hand is of a side, 0 to 1."""
        return self.right if side is Side.RIGHT else 1 - self.right


def look(
    sampler: Sampler, squares: Sequence[Square], networks: HandNetworks, least: float = LEAST_PRESENCE
) -> list[FoundHand]:
    """The hands in squares that are thought to contain one, in order; a square without a hand gives none."""
    found: list[FoundHand] = []
    for square in squares:
        before = None
        for number in range(LOOKS):
            crop = sampler.draw(square, LANDMARK_SIZE, repeat_border=True)
            seen = networks.hands(crop[None])
            points = square.to_picture(seen.points[0, :, :2].astype(np.float64))
            if seen.presence[0] < least or not extent(points) > 0:
                break
            if number == LOOKS - 1:
                relative = square.turned_back(seen.world[0].astype(np.float64))
                moved = float(np.linalg.norm(points - before, axis=1).mean() / extent(points))
                found.append(FoundHand(points, relative, float(seen.presence[0]), moved, float(seen.right[0])))
            before, square = points, upright_square(points, SHARE)
    return found


def to_joints(points: Float[np.ndarray, "21 axes"]) -> Float[np.ndarray, "21 axes"]:
    """The network's 21 points (flat or in space) as joints of hand models.

    Its wrist lies nearer to the fingers, its tips within the flesh. The shares were found on drawn hands of other persons; by
    the same fit, its knuckles are those of the built-in hand to a twentieth of a bone.
    """
    bases, tips = list(FINGER_BASES), list(TIPS)
    joints = points.copy()
    joints[WRIST] += WRIST_SHARE * (points[WRIST] - points[bases].mean(axis=0))
    joints[tips] += TIP_SHARE * (points[tips] - points[[tip - 1 for tip in tips]])
    return joints


def as_joints(hand: FoundHand) -> FoundHand:
    """The same hand with joints in place of the network's points."""
    return replace(hand, points=to_joints(hand.points), relative=to_joints(hand.relative))
