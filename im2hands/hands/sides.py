"""Left and right. A left hand is a mirrored right hand, and this type is the only one that knows how to mirror.

The mirror plane is x = 0. Whatever belongs to one hand (palm frame, bone frames, occupancy decoders) lives in right-hand
space; `side.mirror_*` takes a hand's data there and back: it is its own inverse for LEFT and the identity for RIGHT.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

import numpy as np

Array = TypeVar("Array")


class Side(Enum):
    RIGHT = "right"
    LEFT = "left"

    @property
    def other(self) -> Side:
        return Side.LEFT if self is Side.RIGHT else Side.RIGHT

    @property
    def index(self) -> int:
        """Index in arrays of both hands: 0 left, 1 right (alphabetical)."""
        return 0 if self is Side.LEFT else 1

    def mirror_points(self, points: Array) -> Array:
        """Points or vectors (..., 3): x negated."""
        return self._scale(points, (-1, 1, 1))

    def mirror_axis_angles(self, axis_angles: Array) -> Array:
        """Rotation vectors (..., 3), radians: a mirrored rotation turns the other way about the mirrored axis."""
        return self._scale(axis_angles, (1, -1, -1))

    def mirror_rotations(self, rotations: Array) -> Array:
        """Rotation matrices (..., 3, 3) conjugated by the mirror."""
        return self._scale(rotations, ((1, -1, -1), (-1, 1, 1), (-1, 1, 1)))

    def mirror_faces(self, faces: Array) -> Array:
        """Triangles (F, 3) in reversed order of vertices, so that mirrored meshes keep their outside."""
        if self is Side.RIGHT:
            return faces
        return faces[:, ::-1] if isinstance(faces, np.ndarray) else faces.flip(-1)

    def _scale(self, values: Array, signs: tuple) -> Array:
        if self is Side.RIGHT:
            return values
        signs = np.asarray(signs, values.dtype) if isinstance(values, np.ndarray) else values.new_tensor(signs)
        return values * signs


SIDES = (Side.LEFT, Side.RIGHT)
"""The order of both hands in arrays, that of `Side.index`."""
