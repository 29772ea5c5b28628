"""Tests whether a closed surface intersects itself. If so, it covers a part of space twice, and boolean operations count that
part twice.

Two tests decide together: no two triangles without a common vertex cross, and next to every connected piece of the surface the
winding number is 0 outside and 1 inside. So pieces within pieces and surfaces turned inside out are found as well.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from im2hands.geometry.inside import InsideTest
from im2hands.geometry.mesh import Mesh

PAIRS_AT_ONCE = 2_000_000
BESIDE = 1e-3
"""Distance from a triangle at which the winding number is taken, in square roots of its area."""

Triangles = Float[np.ndarray, "pairs 3 3"]


def overlaps_itself(mesh: Mesh) -> bool:
    """Whether a closed mesh covers some place other than once, or has a piece turned inside out. Any unit."""
    return _crosses_itself(mesh) or _winds_otherwise(mesh)


def _crosses_itself(mesh: Mesh) -> bool:
    triangles = np.asarray(mesh.vertices, np.float64)[mesh.faces]
    low, high = triangles.min(axis=1), triangles.max(axis=1)
    order = np.argsort(low[:, 0], kind="stable")
    triangles, faces, low, high = triangles[order], mesh.faces[order], low[order], high[order]
    ends = np.searchsorted(low[:, 0], high[:, 0], side="right")  # those behind a triangle that begin before it ends
    counts = np.maximum(ends - np.arange(len(faces)) - 1, 0)
    starts = np.concatenate([[0], np.cumsum(counts)])
    first = 0
    while first < len(faces):
        last = max(int(np.searchsorted(starts, starts[first] + PAIRS_AT_ONCE, side="right")) - 1, first + 1)
        one = np.repeat(np.arange(first, last), counts[first:last])
        other = one + 1 + np.arange(len(one)) - np.repeat(starts[first:last] - starts[first], counts[first:last])
        near = ((low[one, 1:] <= high[other, 1:]) & (low[other, 1:] <= high[one, 1:])).all(axis=1)
        one, other = one[near], other[near]
        apart = (faces[one][:, :, None] != faces[other][:, None, :]).all(axis=(1, 2))
        one, other = one[apart], other[apart]
        for a, b in ((one, other), (other, one)):
            if any(_pierces(triangles[a][:, [k, (k + 1) % 3]], triangles[b]).any() for k in range(3)):
                return True
        first = last
    return False


def _pierces(edges: Float[np.ndarray, "pairs 2 3"], triangles: Triangles) -> Bool[np.ndarray, " pairs"]:
    """Whether an edge goes through the inside of a triangle; to touch it is not to go through."""
    a, b, c = (triangles[:, k] for k in range(3))
    start, end = edges[:, 0], edges[:, 1]
    normal = np.cross(b - a, c - a)
    before, behind = (np.einsum("pi,pi->p", normal, point - a) for point in (start, end))
    ray = end - start
    sides = [np.einsum("pi,pi->p", ray, np.cross(p - start, q - start)) for p, q in ((a, b), (b, c), (c, a))]
    within = np.logical_and.reduce([side > 0 for side in sides]) | np.logical_and.reduce([side < 0 for side in sides])
    return (before * behind < 0) & within


def _winds_otherwise(mesh: Mesh) -> bool:
    """Next to the largest triangle of every connected piece; if nothing crosses the piece, any other place gives the same."""
    vertices, faces = np.asarray(mesh.vertices, np.float64), mesh.faces
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    doubled = np.linalg.norm(normals, axis=1)
    largest = _largest_of_pieces(faces, doubled, len(vertices))
    largest = largest[doubled[largest] > 0]
    centres = corners[largest].mean(axis=1)
    steps = normals[largest] / doubled[largest, None] * (BESIDE * np.sqrt(doubled[largest] / 2))[:, None]
    solid = InsideTest(vertices, faces)
    return bool((solid.winding(centres + steps) != 0).any() or (solid.winding(centres - steps) != 1).any())


def _largest_of_pieces(
    faces: Int[np.ndarray, "faces 3"], sizes: Float[np.ndarray, " faces"], vertices: int
) -> Int[np.ndarray, " pieces"]:
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(vertices, vertices))
    piece = connected_components(graph, directed=False)[1][faces[:, 0]]
    order = np.lexsort((-sizes, piece))
    return order[np.unique(piece[order], return_index=True)[1]]
