"""Proportions in which people's hands differ and the morph targets do not: palms and single fingers. Millimetres.

Morph targets lengthen all fingers together and scale the palm as a whole: in their persons, palm width over palm length is
the same to 0.3 %. In people it differs by some 5 %, and single fingers by some 3 % of their length. Each change here is a
displacement of every point, linear in its amount, so it becomes part of the shape directions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tools.build_hand_model.knuckles import FIRST_JOINT

MIDDLE = "middle"


@dataclass(frozen=True)
class Proportions:
    """Relative changes: 0.05 is 5 % wider or longer. Fingers change about their own base."""

    palm_width: float = 0.0
    palm_length: float = 0.0
    palm_thickness: float = 0.0
    index: float = 0.0
    middle: float = 0.0
    ring: float = 0.0
    little: float = 0.0
    thumb: float = 0.0

    @classmethod
    def random(cls, rng: np.random.Generator) -> Proportions:
        return cls(
            **{name: float(np.clip(rng.normal(0, deviation), -0.15, 0.15)) for name, deviation in SPREAD.items()}
        )


SPREAD = {
    "palm_width": 0.045,
    "palm_length": 0.04,
    "palm_thickness": 0.05,
    "index": 0.03,
    "middle": 0.03,
    "ring": 0.03,
    "little": 0.04,
    "thumb": 0.04,
}
"""Standard deviation of each change over people."""


def displacements(points: np.ndarray, follows: np.ndarray, joints: np.ndarray, changes: Proportions) -> np.ndarray:
    """Displacement (n, 3) of points by these changes.

    follows: skinning weights (n, 16) of the points.  joints: (16, 3) of the hand that the points are of.
    """
    palm = _palm(points, joints, changes)
    moved = follows[:, :1] * palm
    for finger, first in FIRST_JOINT.items():
        base = joints[first]
        axis = joints[first + 2] - base
        axis = axis / np.linalg.norm(axis)
        longer = getattr(changes, finger) * ((points - base) @ axis)[:, None] * axis
        carried = _palm(base[None], joints, changes) + longer
        moved += follows[:, first : first + 3].sum(1, keepdims=True) * carried
    return moved


def _palm(points: np.ndarray, joints: np.ndarray, changes: Proportions) -> np.ndarray:
    """Displacement of points of the palm: none at the wrist, all of it at the knuckles."""
    knuckle = joints[FIRST_JOINT[MIDDLE]]
    reach = joints[0, 0] - knuckle[0]
    way = np.clip((joints[0, 0] - points[:, :1]) / reach, 0, 1)
    about = joints[0] + way * (knuckle - joints[0])
    wider, thicker = (points[:, axis : axis + 1] - about[:, axis : axis + 1] for axis in (2, 1))
    longer = -changes.palm_length * way * reach
    return np.concatenate([longer, changes.palm_thickness * way * thicker, changes.palm_width * way * wider], 1)


assert {change.name for change in fields(Proportions)} == set(SPREAD)
