"""Points drawn uniformly over the area of a mesh, with the normals of their faces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from im2hands.geometry.mesh import checked_mesh
from im2hands.io.errors import DataError


class SurfaceSamples(NamedTuple):
    """Points on a surface, in its unit and frame; unit normals of their faces; the faces themselves."""

    points: Float[np.ndarray, "samples 3"]
    normals: Float[np.ndarray, "samples 3"]
    faces: Int[np.ndarray, " samples"]


def sample_surface(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    count: int,
    rng: np.random.Generator,
) -> SurfaceSamples:
    """`count` points, independent and uniform over the area; the same generator state gives the same points.

    A face is drawn with the probability of its area, the place in it by the square-root rule of barycentric coordinates.
    Raises DataError if the mesh is empty, not finite, or has no area.
    """
    vertices, faces = checked_mesh(vertices, faces)
    origin = vertices[faces[:, 0]]
    first, second = vertices[faces[:, 1]] - origin, vertices[faces[:, 2]] - origin
    crossed = np.cross(first, second)
    doubled_area = np.sqrt(np.einsum("ij,ij->i", crossed, crossed))
    cumulative = np.cumsum(doubled_area)
    if not cumulative[-1] > 0:
        raise DataError(f"none of the {len(faces)} faces of the mesh has an area; nothing can be sampled on it.")
    draws = rng.random((3, count))
    chosen = np.searchsorted(cumulative, draws[0] * cumulative[-1], side="right")
    chosen = np.minimum(chosen, np.flatnonzero(doubled_area)[-1])
    root = np.sqrt(draws[1])
    along_first, along_second = (1 - draws[2]) * root, draws[2] * root
    points = origin[chosen] + along_first[:, None] * first[chosen] + along_second[:, None] * second[chosen]
    return SurfaceSamples(points, crossed[chosen] / doubled_area[chosen, None], chosen)
