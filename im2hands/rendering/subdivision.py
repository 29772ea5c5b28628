"""Rounder triangles for pictures: every triangle is cut into four, and new vertices bulge out according to the normals.

Phong tessellation (Boubekeur and Alexa, SIGGRAPH Asia 2008): the old vertices stay where they are, so masks, depths and
annotations made from the coarse mesh stay right to a fraction of a pixel, while outlines lose their corners.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

ROUNDNESS = 0.5
"""Half of the offset of the tangent planes, which is exact on circular arcs."""


class Subdivision:
    """The finer triangles of a mesh. faces: old vertices first, then one new vertex per edge."""

    def __init__(self, faces: Int[np.ndarray, "faces 3"], vertices: int) -> None:
        corners = np.stack([faces, np.roll(faces, -1, axis=1)], axis=2).reshape(-1, 2)
        self.edges, place = np.unique(np.sort(corners, axis=1), axis=0, return_inverse=True)
        ab, bc, ca = (vertices + place.reshape(-1, 3)).T
        a, b, c = np.asarray(faces).T
        parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        self.faces = np.stack([np.stack(part, axis=1) for part in parts], axis=1).reshape(-1, 3)

    def attributes(self, values: Float[np.ndarray, "vertices channels"]) -> Float[np.ndarray, "finer channels"]:
        """Values at the finer vertices, linear along edges."""
        return np.concatenate([values, (values[self.edges[:, 0]] + values[self.edges[:, 1]]) / 2])

    def vertices(
        self, vertices: Float[np.ndarray, "vertices 3"], normals: Float[np.ndarray, "vertices 3"]
    ) -> Float[np.ndarray, "finer 3"]:
        """The finer vertices. normals: unit, of the old vertices."""
        (start, end), (at_start, at_end) = (values[self.edges.T] for values in (vertices, normals))
        middle = (start + end) / 2
        bulge = _above(start - middle, at_start) + _above(end - middle, at_end)
        return np.concatenate([vertices, middle + ROUNDNESS * (bulge / 2)])


def _above(offset: Float[np.ndarray, "n 3"], normal: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """The part of each offset along the unit normal."""
    along = offset * normal
    return (along[:, 0] + along[:, 1] + along[:, 2])[:, None] * normal
