"""The published occupancy rule: parity of ray crossings above and below, which loses points under edges.

Kept to label data exactly as HALO preparation did. The mesh's bounding box is stretched per axis to [0.5, 511.5]; points
outside [0, 512]³ are outside. A triangle counts only if the point lies strictly inside its projection to the xy plane
(projections without area are skipped). Crossings at or above the point and below it are counted; inside means that both
counts are odd.

So a point exactly under an edge or a vertex may be lost, and a region covered twice (a finger inside the palm) is labelled
outside. For points in general position and meshes that do not overlap themselves it equals winding != 0.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from im2hands.geometry.inside_numpy import PAIRS_PER_CHUNK, cells_per_side, group_bounds, runs

SIDE = 512
"""Side of the stretched box."""


def parity_inside(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    points: Float[np.ndarray, "points 3"],
) -> Bool[np.ndarray, " points"]:
    """Labels by the published rule, for a checked mesh (mesh.checked_mesh) and finite points."""
    corners, points = stretched(vertices, vertices)[faces], stretched(vertices, points)
    inside = np.zeros(len(points), bool)
    near = np.flatnonzero(((points >= 0) & (points <= SIDE)).all(axis=1))
    side = cells_per_side(len(faces))
    starts, entries = columns(corners, side)
    cells = _cells(points[near], side)
    cell = cells[:, 0] * side + cells[:, 1]
    counts = starts[cell + 1] - starts[cell]
    for start, stop in group_bounds(np.cumsum(counts) // PAIRS_PER_CHUNK):
        part = slice(start, stop)
        row, offset = runs(counts[part])
        triangle = entries[starts[cell[part]][row] + offset]
        inside[near[part]] = _odd_both_ways(points[near[part]], row, corners, triangle)
    return inside


def stretched(
    vertices: Float[np.ndarray, "vertices 3"], points: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points 3"]:
    """Points after the affine map that takes the box of `vertices` to [0.5, 511.5] on every axis."""
    low = vertices.min(axis=0)
    size = np.maximum(vertices.max(axis=0) - low, np.finfo(np.float64).tiny)
    return (points - low) / size * (SIDE - 1) + 0.5


def _cells(stretched: np.ndarray, side: int) -> np.ndarray:
    return np.clip((stretched[..., :2] * (side / SIDE)).astype(np.int64), 0, side - 1)


def columns(
    corners: Float[np.ndarray, "faces 3 3"], side: int
) -> tuple[Int[np.ndarray, " columns+1"], Int[np.ndarray, " entries"]]:
    """Triangles (stretched) of every one of side² columns that their bounding box touches: first entry of each, entries."""
    first, last = _cells(corners.min(axis=1), side), _cells(corners.max(axis=1), side)
    size = last - first + 1
    face, offset = runs(size[:, 0] * size[:, 1])
    cell = (first[face, 0] + offset // size[face, 1]) * side + first[face, 1] + offset % size[face, 1]
    order = np.argsort(cell, kind="stable")
    return np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=side**2))]), face[order]


def _odd_both_ways(points: np.ndarray, row: np.ndarray, corners: np.ndarray, triangle: np.ndarray) -> np.ndarray:
    a, b, c = (corners[triangle, corner] for corner in range(3))
    point = points[row]
    u, v, w = a - c, b - c, point - c
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    sign, size = np.sign(area), np.abs(area)
    first = (w[:, 0] * v[:, 1] - w[:, 1] * v[:, 0]) * sign
    second = (u[:, 0] * w[:, 1] - u[:, 1] * w[:, 0]) * sign
    hit = (size > 0) & (first > 0) & (first < size) & (second > 0) & (second < size) & (first + second < size)
    row, u, v, w = row[hit], u[hit], v[hit], w[hit]
    normal = np.cross(u, v)
    above = np.einsum("ij,ij->i", normal, w) * np.sign(normal[:, 2]) <= 0
    odd = [np.bincount(row[side], minlength=len(points)) % 2 == 1 for side in (above, ~above)]
    return odd[0] & odd[1]
