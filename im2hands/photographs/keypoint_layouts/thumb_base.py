"""The base of the thumb, for layouts that do not have it: it moves with the palm, so the palm says where it is."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float

from im2hands.hands.joints import PALM, THUMB_BASE
from im2hands.hands.model import SHAPES
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side

TRUST = 1e-3
"""Metres: how exactly a palm is taken as given when the likeliest shape is looked for; shapes are standard normal."""
ROUNDS = 3


def with_thumb_base(hand: Float[np.ndarray, "21 3"], side: Side) -> Float[np.ndarray, "21 3"]:
    """The hand (any unit, STANDARD order) with the base of the thumb of the likeliest built-in hand that has this palm.

    In turns, the palm of the hand model is laid on the given one by a turn, a move and a scale, with the smallest squared
    distance (Umeyama, PAMI 1991), and the shape is fitted to what is left, regularised by how shapes are distributed.
    """
    palm = list(PALM)
    if not np.isfinite(hand[palm]).all():
        return hand
    mean, directions = _hands_of_shapes(side)
    across = directions[palm].reshape(-1, SHAPES)
    shape, given = np.zeros(SHAPES), hand[palm]
    about = given.mean(axis=0)
    for _ in range(ROUNDS):
        model = mean + directions @ shape
        middle = model[palm].mean(axis=0)
        left, sizes, right = np.linalg.svd((given - about).T @ (model[palm] - middle))
        signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
        scale = (sizes * signs).sum() / ((model[palm] - middle) ** 2).sum()
        turn = left * signs @ right
        wanted = (given - about) @ turn / scale + middle - mean[palm]
        shape = np.linalg.solve(across.T @ across + TRUST**2 * np.eye(SHAPES), across.T @ wanted.ravel())
    found = hand.copy()
    found[THUMB_BASE] = about + scale * turn @ (model[THUMB_BASE] - middle)
    return found


@cache
def _hands_of_shapes(side: Side) -> tuple[Float[np.ndarray, "21 3"], Float[np.ndarray, "21 3 shapes"]]:
    """Keypoints of the mean hand, and what each shape adds to them (m)."""
    model = builtin_hand_models()[side]
    shapes = np.concatenate([np.zeros((1, SHAPES)), np.eye(SHAPES)])
    points = model.pose(np.zeros((len(shapes), 48)), shapes).keypoints.numpy()
    return points[0], np.moveaxis(points[1:] - points[0], 0, -1)
