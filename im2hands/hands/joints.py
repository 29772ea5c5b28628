"""The 21 keypoints of a hand: their names, their orders in files, and the 16 bones.

Inside the package there is one order, STANDARD: wrist, then thumb, index, middle, ring and little finger, each from base to
tip. The other orders exist only at the borders and inside the canonical-frame computation.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

import numpy as np

Array = TypeVar("Array")

FINGERS = ("thumb", "index", "middle", "ring", "little")
JOINT_NAMES = ("wrist", *(f"{finger}{level}" for finger in FINGERS for level in (1, 2, 3, 4)))
PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)

WRIST, THUMB_BASE, INDEX_BASE, MIDDLE_BASE, RING_BASE, LITTLE_BASE = 0, 1, 5, 9, 13, 17
FINGER_BASES = (INDEX_BASE, MIDDLE_BASE, RING_BASE, LITTLE_BASE)
PALM = (WRIST, *FINGER_BASES)
"""Joints that keep their places to each other when fingers move."""
TIP_VERTICES = (745, 317, 444, 556, 673)
"""Mesh vertices used as the tips of thumb, index, middle, ring and little finger."""

MANO_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
"""Kinematic tree of the 16 joints of the hand model: wrist, index, middle, little, ring, thumb."""

BONE_NAMES = ("palm", *(f"{finger}{k}" for finger in ("index", "middle", "little", "ring", "thumb") for k in (1, 2, 3)))
BONE_STARTS = (0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3)
BONE_ENDS = (9, 6, 7, 8, 10, 11, 12, 18, 19, 20, 14, 15, 16, 2, 3, 4)
"""The 16 bones of the occupancy decoders as pairs of STANDARD joints; bone 0, the palm, runs from wrist to middle base."""


class JointOrder(Enum):
    """An order of 21 joints; the value lists the STANDARD joint at every position."""

    STANDARD = tuple(range(21))
    MANO = (0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20)
    """Kinematic order of the hand model (16 joints), then the tips of thumb, index, middle, ring, little finger."""
    INTERHAND = (4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 0)
    """InterHand2.6M annotation files: every finger from tip to base, the wrist last."""
    BIOMECH = (0, 1, 5, 9, 13, 17, 2, 6, 10, 14, 18, 3, 7, 11, 15, 19, 4, 8, 12, 16, 20)
    """All finger bases, then all second joints, third joints and tips."""

    def table_from(self, source: JointOrder) -> tuple[int, ...]:
        """Indices that gather joints given in `source` order into this one."""
        place_in_source = {joint: place for place, joint in enumerate(source.value)}
        return tuple(place_in_source[joint] for joint in self.value)


def reorder(joints: Array, source: JointOrder, target: JointOrder, axis: int = -2) -> Array:
    """Joints (numpy or torch, 21 along `axis`) given in `source` order, in `target` order."""
    if joints.shape[axis] != len(JOINT_NAMES):
        raise ValueError(f"expected 21 joints along axis {axis}, got shape {tuple(joints.shape)}")
    table = list(target.table_from(source))
    if isinstance(joints, np.ndarray):
        return np.take(joints, table, axis=axis)
    return joints.index_select(axis % joints.ndim, joints.new_tensor(table).long())
