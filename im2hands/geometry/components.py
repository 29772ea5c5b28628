"""The connected parts of a mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from im2hands.geometry.mesh import Mesh


@dataclass(frozen=True)
class Removed:
    """What was left out of a mesh: how many connected parts, and their vertices."""

    parts: int = 0
    vertices: int = 0


def largest_component(mesh: Mesh) -> tuple[Mesh, Removed]:
    """The part of a mesh with the most vertices that hang together by triangles, and what was left out.

    Vertices without a triangle count as removed, not as parts. A mesh of one part is returned as it is.
    """
    if mesh.is_empty:
        return mesh, Removed()
    count, ends = len(mesh.vertices), mesh.faces
    starts = np.concatenate([ends[:, 0], ends[:, 1]])
    edges = coo_matrix((np.ones(len(starts)), (starts, np.concatenate([ends[:, 1], ends[:, 2]]))), (count, count))
    part_of = connected_components(edges, directed=False)[1]
    parts = np.unique(part_of[mesh.faces[:, 0]])
    sizes = np.bincount(part_of)
    kept = part_of == parts[sizes[parts].argmax()]
    if kept.all():
        return mesh, Removed()
    place = np.cumsum(kept) - 1
    faces = place[mesh.faces[kept[mesh.faces[:, 0]]]]
    return Mesh(mesh.vertices[kept], faces), Removed(len(parts) - 1, int((~kept).sum()))
