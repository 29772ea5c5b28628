"""Finger bases where a hand has its knuckles. Millimetres, right-hand frame of `persons`.

The rig's finger bases lie at the webs between the fingers: its first phalanges are hardly longer than the second ones, and a
fist is flat. In hands, the first phalanx is some 1.7 times the second (Buryanov and Kotiuk, Proportions of hand segments,
Int. J. Morphol. 2010); landmark networks and annotators of photographs mark 1.5 to 1.9. So the bases of the long fingers move
towards the wrist, and skinning weights with them.
"""

from __future__ import annotations

import numpy as np

FINGER_NUMBERS = {"index": 2, "middle": 3, "little": 5, "ring": 4, "thumb": 1}
"""The rig counts fingers from the thumb; order as in the hand model's 16 joints."""
BEHIND = {"index": 12.0, "middle": 11.0, "ring": 11.0, "little": 10.0}
"""How far the knuckles of the mean hand lie behind the rig's finger bases."""
BLEND = 13.0
"""Skin from this far behind a knuckle to this far before it follows the finger more and more."""
BESIDE = 5.0
"""Between two fingers, skin follows both: standard deviation of the distance from a finger's line."""
SMALLEST_WEIGHT = 0.02
FIRST_JOINT = {finger: 1 + 3 * place for place, finger in enumerate(FINGER_NUMBERS)}


def move_knuckles(joints: np.ndarray) -> np.ndarray:
    """Joints (..., 16, 3) with the bases of the long fingers at the knuckles.

    They move half along the first phalanx, half towards the wrist, by a share of the hand's size.
    """
    moved = joints.copy()
    for finger, distance in BEHIND.items():
        base, next_joint = (joints[..., FIRST_JOINT[finger] + k, :] for k in (0, 1))
        back = _unit(_unit(base - next_joint) + _unit(joints[..., 0, :] - base))
        size = np.linalg.norm(base - joints[..., 0, :], axis=-1, keepdims=True) / 100.0
        moved[..., FIRST_JOINT[finger], :] = base + distance * size * back
    return moved


def weights_behind_knuckles(weights: np.ndarray, vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Skinning weights (V, 16) in which the skin before the knuckles follows the fingers.

    weights: of the rig.  joints: (16, 3), already moved. Only what followed the wrist is given to fingers.
    """
    lines, along = [], []
    for finger in BEHIND:
        base, next_joint = joints[FIRST_JOINT[finger]], joints[FIRST_JOINT[finger] + 1]
        axis = _unit(next_joint - base)
        ahead = (vertices - base) @ axis
        lines.append(np.linalg.norm(vertices - base - ahead[:, None] * axis, axis=1))
        along.append(_smooth_step((ahead + BLEND) / (2 * BLEND)))
    nearness = -0.5 * (np.array(lines) / BESIDE) ** 2
    shares = np.exp(nearness - nearness.max(0))
    given = (shares / shares.sum(0)) * np.array(along)
    moved = weights.copy()
    moved[:, 0] = weights[:, 0] * np.maximum(1 - given.sum(0), 0)
    for share, finger in zip(given, BEHIND, strict=True):
        moved[:, FIRST_JOINT[finger]] += weights[:, 0] * share
    return without_small_weights(moved)


def without_small_weights(weights: np.ndarray) -> np.ndarray:
    """Skinning weights without the small ones; rows sum to 1."""
    kept = np.where(weights < SMALLEST_WEIGHT, 0, weights)
    return kept / kept.sum(1, keepdims=True)


def _smooth_step(way: np.ndarray) -> np.ndarray:
    way = np.clip(way, 0, 1)
    return way * way * (3 - 2 * way)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
