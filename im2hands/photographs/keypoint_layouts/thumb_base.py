"""The base of the thumb, for layouts that do not have it: it moves with the palm, so the palm says where it is."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float

from im2hands.hands.joints import FINGER_BASES, WRIST
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side

THUMB_BASE = 1
PALM = [WRIST, *FINGER_BASES]


def with_thumb_base(hand: Float[np.ndarray, "21 3"], side: Side) -> Float[np.ndarray, "21 3"]:
    """The hand (any unit, STANDARD order) with the mean hand's base of the thumb, brought there by the palm.

    The palm's joints of the mean hand are laid on those given by a turn, a move and a scale, with the smallest squared
    distance (Umeyama, PAMI 1991).
    """
    if not np.isfinite(hand[PALM]).all():
        return hand
    mean = _mean_hand(side)
    given, model = hand[PALM], mean[PALM]
    about, middle = given.mean(axis=0), model.mean(axis=0)
    left, sizes, right = np.linalg.svd((given - about).T @ (model - middle))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    scale = (sizes * signs).sum() / ((model - middle) ** 2).sum()
    found = hand.copy()
    found[THUMB_BASE] = about + scale * (mean[THUMB_BASE] - middle) @ (left * signs @ right).T
    return found


@cache
def _mean_hand(side: Side) -> Float[np.ndarray, "21 3"]:
    model = builtin_hand_models()[side]
    zeros = model.mean_pose.new_zeros
    return model.pose(zeros(1, 48), zeros(1, 10)).keypoints[0].numpy()
