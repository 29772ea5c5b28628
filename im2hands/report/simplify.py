"""Simplifies meshes for viewing: reconstructed surfaces have about fifty thousand triangles, a picture needs a fifth of
them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from im2hands.geometry.mesh import Mesh


def simplify(mesh: Mesh, most_faces: int) -> tuple[Mesh, Int[np.ndarray, " kept"]]:
    """A mesh with at most `most_faces` triangles, and which vertices it kept; the same mesh if it has no more.

    Vertices in one cell of a grid become one, the one nearest to their mean; the cells grow until the mesh is small enough.
    For looking at: closed meshes may come out with pinched places.
    """
    if len(mesh.faces) <= most_faces:
        return mesh, np.arange(len(mesh.vertices))
    vertices = np.asarray(mesh.vertices, np.float64)
    extent = np.ptp(vertices, axis=0).max()
    cell = extent / 2 / np.sqrt(most_faces)
    while True:
        kept, faces = _clustered(vertices, mesh.faces, cell)
        if len(faces) <= most_faces:
            return Mesh(mesh.vertices[kept], faces), kept
        cell *= 1.15


def _clustered(vertices: np.ndarray, faces: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    cells = np.floor((vertices - vertices.min(0)) / cell).astype(np.int64)
    keys = np.ravel_multi_index(cells.T, cells.max(0) + 1)
    _, owner, counts = np.unique(keys, return_inverse=True, return_counts=True)
    owner = owner.reshape(-1)
    means = np.stack([np.bincount(owner, vertices[:, i]) for i in range(3)], -1) / counts[:, None]
    order = np.lexsort((((vertices - means[owner]) ** 2).sum(1), owner))
    kept = order[np.concatenate([[0], np.cumsum(counts)[:-1]])]
    faces = owner[faces]
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces = faces[whole]
    corners = np.sort(faces, axis=1)
    _, first = np.unique(np.ravel_multi_index(corners.T, (len(kept),) * 3), return_index=True)
    return kept, faces[np.sort(first)]


def unfolded(mesh: Mesh, normals: Float[np.ndarray, "vertices 3"]) -> Int[np.ndarray, "faces 3"]:
    """The faces with every triangle that looks against its corners' normals turned round."""
    a, b, c = np.asarray(mesh.vertices, np.float64)[mesh.faces].transpose(1, 0, 2)
    against = (np.cross(b - a, c - a) * normals[mesh.faces].sum(1)).sum(-1) < 0
    return np.where(against[:, None], mesh.faces[:, ::-1], mesh.faces)
