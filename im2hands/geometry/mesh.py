"""A triangle mesh as two arrays, with the basic checks: is it finite, non-empty, closed?"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from im2hands.io.errors import DataError


def _no_vertices() -> np.ndarray:
    return np.zeros((0, 3))


def _no_faces() -> np.ndarray:
    return np.zeros((0, 3), np.int64)


@dataclass(frozen=True)
class Mesh:
    """Triangles over vertices; faces wind counter-clockwise seen from outside. Without arguments: the empty mesh.

    The unit and the frame are the caller's.
    """

    vertices: Float[np.ndarray, "vertices 3"] = field(default_factory=_no_vertices)
    faces: Int[np.ndarray, "faces 3"] = field(default_factory=_no_faces)

    @property
    def is_empty(self) -> bool:
        return len(self.faces) == 0

    @property
    def volume(self) -> float:
        """Signed volume: positive for a closed mesh whose faces look outwards."""
        a, b, c = (self.vertices[self.faces[:, corner]].astype(np.float64) for corner in range(3))
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def checked_mesh(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], name: str = "the mesh"
) -> tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "faces 3"]]:
    """The arrays as contiguous float64 and int64, if they are a non-empty mesh with finite vertices.

    name: what to call the mesh in the message.  Raises DataError for wrong shapes, no faces, NaN or infinite vertices,
    and faces that point at vertices which are not there.
    """
    vertices = np.ascontiguousarray(vertices, np.float64)
    faces = np.ascontiguousarray(faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise DataError(f"{name}: vertices {vertices.shape} and faces {faces.shape} must both have three columns.")
    if not len(faces) or not len(vertices):
        raise DataError(f"{name}: the mesh has {len(vertices)} vertices and {len(faces)} faces; it must not be empty.")
    if faces.dtype.kind not in "iu":
        raise DataError(f"{name}: faces are {faces.dtype}, expected whole numbers.")
    finite = np.isfinite(vertices).all(axis=1)
    if not finite.all():
        raise DataError(f"{name}: {np.count_nonzero(~finite)} of {len(vertices)} vertices are NaN or infinite.")
    faces = faces.astype(np.int64, copy=False)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise DataError(
            f"{name}: faces refer to vertices {faces.min()} to {faces.max()}, but there are {len(vertices)}."
        )
    return vertices, faces


def open_edges(faces: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, "edges 2"]:
    """Directed edges that are not matched by exactly as many in the other direction; none for a closed, oriented mesh."""
    start, end = faces.astype(np.int64).T.ravel(), faces[:, [1, 2, 0]].astype(np.int64).T.ravel()
    if not len(start):
        return np.zeros((0, 2), np.int64)
    low, high, vertices = np.minimum(start, end), np.maximum(start, end), int(max(start.max(), end.max())) + 1
    keys = np.sort((low * vertices + high) << 1 | (start < end))  # one number per directed edge
    first = np.flatnonzero(np.diff(keys >> 1, prepend=-1))
    balance = np.add.reduceat(2 * (keys & 1) - 1, first)
    return np.stack(np.divmod(keys[first[balance != 0]] >> 1, vertices), axis=1)


def is_watertight(faces: Int[np.ndarray, "faces 3"]) -> bool:
    """Whether every edge is used equally often in both directions: closed and consistently wound (shells may overlap).

    This is what a winding number needs to be a whole number everywhere off the surface. False for no faces.
    """
    return len(faces) > 0 and len(open_edges(faces)) == 0
