"""Finds from 21 points their order, their unit, and whether they are a left or a right hand.

Order: the lengths of the 20 bones are compared with those of the mean hand. Unit: by the size of the box around the points.
Side: fingers and thumb bend towards the palm, and seen with the palm down the index finger is on one side.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float

from im2hands.datasets.external_keypoints import METRES, SMALLEST_HAND
from im2hands.datasets.keypoints import LARGEST_HAND
from im2hands.hands.joints import PARENTS, WRIST, JointOrder, reorder
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side

Hands = Float[np.ndarray, "hands 21 3"]

BASES, TIPS, THUMB = (5, 9, 13, 17), (8, 12, 16, 20), (2, 3, 4)
ODD_BONES = 0.25
"""Spread of the logarithms of bone lengths relative to the mean hand's: hands have less, hands in a wrong order more."""
CLEARLY = 1.5
"""The spread of the second best order in that of the best from where on the order is recognised."""
OTHER_SIDE = 0.25
"""Bend towards the back of the hand, in sizes of the palm, that no hand has: the points belong to the other side."""


def joint_order(hands: Hands) -> JointOrder | None:
    """The order in which most of the hands (any unit) have the bones of a hand; None where that is not clear."""
    spreads = {order: float(np.median(_odd_bones(reorder(hands, order, JointOrder.STANDARD)))) for order in JointOrder}
    best, second = sorted(spreads, key=spreads.__getitem__)[:2]
    clear = spreads[best] < ODD_BONES and spreads[second] > CLEARLY * spreads[best]
    return best if clear else None


def bone_spread(hands: Hands) -> float:
    """Spread of the logarithms of the hands' bone lengths (STANDARD order, any unit) relative to the mean hand's; median."""
    return float(np.median(_odd_bones(hands)))


def units(hands: Hands) -> set[str]:
    """The units in which every hand is as large as a hand: `m`, `mm` or none of them, never both. Any joint order."""
    sizes = np.ptp(hands, axis=1).max(axis=1)
    return {
        unit
        for unit, metres in METRES.items()
        if ((sizes * metres > SMALLEST_HAND) & (sizes * metres < LARGEST_HAND)).all()
    }


def bend_to_the_back(hands: Hands, side: Side) -> Float[np.ndarray, " hands"]:
    """How far thumb and fingers bend out of the back of hands (STANDARD order, any unit) labelled as `side`.

    In sizes of the palm: below 0 for hands of this side (-0.4 or less on those of the synthetic set), above 0 for the other.
    NaN for hands without a palm.
    """
    hands = side.mirror_points(hands)
    bases, wrist = hands[:, BASES], hands[:, WRIST, None]
    back = np.cross((bases - wrist).mean(axis=1), bases[:, 0] - bases[:, 3])
    with np.errstate(invalid="ignore", divide="ignore"):
        back /= np.linalg.norm(back, axis=1, keepdims=True)
        palm = np.linalg.norm(bases - wrist, axis=2).mean(axis=1)
        fingers, thumb = hands[:, TIPS] - bases, hands[:, THUMB] - wrist
        return sum(np.einsum("hjc,hc->hj", part, back).mean(axis=1) for part in (fingers, thumb)) / palm


def _odd_bones(hands: Hands) -> Float[np.ndarray, " hands"]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.nan_to_num(np.log(_bones(hands) / mean_bones()).std(axis=1), nan=np.inf)


def _bones(hands: Hands) -> Float[np.ndarray, "hands 20"]:
    return np.linalg.norm(hands[:, 1:] - hands[:, PARENTS[1:]], axis=2)


@cache
def mean_bones() -> Float[np.ndarray, "1 20"]:
    """Lengths of the 20 bones of the built-in mean hand, m; bone k ends in STANDARD joint k + 1."""
    model = builtin_hand_models()[Side.RIGHT]
    zeros = model.mean_pose.new_zeros
    return _bones(model.pose(zeros(1, 48), zeros(1, 10)).keypoints.numpy())
