"""Winding numbers in plain numpy: the portable form of the inside test.

Triangles are binned by the bounding box of their projection to the xy plane into columns of a square grid. A query point
walks the triangles of its column and adds +1 or -1 for each one that lies above it: +1 if the face looks up. For a closed mesh
the sum is the winding number.

Whether a projection contains the point is decided edge by edge. An edge is crossed if one end lies at or below the point's y
and the other above (half-open), and it is always evaluated from its lower to its higher vertex index. So two faces that
share an edge get the same rounding of the same expression: no point slips between them, none is counted twice, and points
exactly below vertices and edges need no special case.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

WIDENING = 1e-14
"""Bounding boxes grow by this share of the largest coordinate, so that rounding in the edge test cannot leave them."""

PAIRS_PER_CHUNK = 1 << 20
"""Most (point, triangle) pairs handled at once; bounds the memory to about 200 MB."""


def cells_per_side(faces: int) -> int:
    """Columns per side of the grid over a mesh's bounding box."""
    return int(np.clip(3 * np.sqrt(faces), 16, 512))


class NumpyColumns:
    """Index of a checked mesh (mesh.checked_mesh); `winding` answers for any number of points."""

    def __init__(self, vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]) -> None:
        corners = vertices[faces]
        self._low, self._high = vertices.min(axis=0), vertices.max(axis=0)
        self._side = cells_per_side(len(faces))
        self._scale = self._side / np.maximum(self._high - self._low, np.finfo(np.float64).tiny)[:2]
        slack = WIDENING * np.abs([self._low, self._high]).max() * np.array([1.0, 0.0])
        self._lowest, self._highest = corners.min(axis=1), corners.max(axis=1)
        first = self._cells(self._lowest[:, :2] - slack)
        last = self._cells(self._highest[:, :2] + slack)
        size = last - first + 1
        face, offset = runs(size[:, 0] * size[:, 1])
        column = first[face, 0] + offset // size[face, 1]
        cell = column * self._side + first[face, 1] + offset % size[face, 1]
        order = np.argsort(cell, kind="stable")
        self._entries = face[order]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=self._side**2))])
        ends = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).transpose(1, 0, 2)  # (corner, face, end)
        self._direction = np.where(ends[..., 0] < ends[..., 1], 1, -1)
        start, end = vertices[ends.min(axis=-1)], vertices[ends.max(axis=-1)]
        self._edges = start[..., 0], start[..., 1], (end - start)[..., 0], (end - start)[..., 1], end[..., 1]
        self._origin = corners[:, 0]
        self._normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])

    def winding(self, points: Float[np.ndarray, "points 3"]) -> Int[np.ndarray, " points"]:
        winding = np.zeros(len(points), np.int32)
        near = np.flatnonzero(((points >= self._low) & (points <= self._high)).all(axis=1))
        cells = self._cells(points[near, :2])
        cell = cells[:, 0] * self._side + cells[:, 1]
        counts = self._starts[cell + 1] - self._starts[cell]
        groups = np.cumsum(counts) // PAIRS_PER_CHUNK
        for start, stop in group_bounds(groups):
            part = slice(start, stop)
            row, offset = runs(counts[part])
            triangle = self._entries[self._starts[cell[part]][row] + offset]
            winding[near[part]] = self._crossings(points[near[part]], row, triangle)
        return winding

    def _cells(self, xy: np.ndarray) -> np.ndarray:
        return np.clip(((xy - self._low[:2]) * self._scale).astype(np.int64), 0, self._side - 1)

    def _crossings(self, points: np.ndarray, row: np.ndarray, triangle: np.ndarray) -> np.ndarray:
        """Signed crossings above each point, from (point, triangle) pairs."""
        y, z = points[row, 1], points[row, 2]
        level = (self._lowest[triangle, 1] <= y) & (y < self._highest[triangle, 1]) & (z < self._highest[triangle, 2])
        row, triangle = row[level], triangle[level]
        x, y = points[row, 0], points[row, 1]
        turns = np.zeros(len(row), np.int64)
        for corner in range(3):
            start_x, start_y, step_x, step_y, end_y = (values[corner][triangle] for values in self._edges)
            below = start_y <= y
            crossed = below != (end_y <= y)
            across, along = step_x * (y - start_y), (x - start_x) * step_y
            beyond = np.where(below, across > along, across < along) & crossed
            turns += np.where(beyond, np.where(below, 1, -1) * self._direction[corner][triangle], 0)
        hit = turns != 0
        row, triangle, turns = row[hit], triangle[hit], turns[hit]
        offset = points[row] - self._origin[triangle]
        normal = self._normal[triangle]
        height = normal[:, 0] * offset[:, 0] + normal[:, 1] * offset[:, 1] + normal[:, 2] * offset[:, 2]
        above = (self._lowest[triangle, 2] > points[row, 2]) | (turns * height < 0)
        return np.bincount(row[above], turns[above], len(points)).astype(np.int32)


def runs(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For counts (2, 0, 3): the owners (0, 0, 2, 2, 2) and the places within each run (0, 1, 0, 1, 2)."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def group_bounds(groups: np.ndarray) -> list[tuple[int, int]]:
    if not len(groups):
        return []
    cuts = np.flatnonzero(np.diff(groups)) + 1
    bounds = [0, *cuts.tolist(), len(groups)]
    return list(pairwise(bounds))
