"""For each point of one cloud, the nearest point of another: exact, also where the clouds lie far apart.

A search tree is quick where the two clouds nearly coincide. From afar, thousands of points are almost equally near, and a tree
looks at most of them for every query anew. The compiled form (nearest_numba.py) goes by groups of neighbouring queries, and
for each point of a group looks only into the cells that can hold its nearest one. Any one unit and frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from im2hands.io.errors import DataError

try:
    from im2hands.geometry.nearest_numba import nearest_in_cells
except ImportError:  # the tree alone does the same without numba, more slowly
    nearest_in_cells = None

CELL_POINTS = 32
PROBES = 128
"""Points by which it is judged whether two clouds lie far apart."""


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points that are searched and asked for. Raises DataError if there is none or one is not finite."""

    points: Float[np.ndarray, "points 3"]

    def __post_init__(self) -> None:
        points = np.ascontiguousarray(self.points, np.float64)
        if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
            raise DataError(f"a point cloud needs finite points of shape (n, 3) with n > 0; these have {points.shape}.")
        object.__setattr__(self, "points", points)

    def nearest_in(
        self, other: PointCloud, compiled: bool = True
    ) -> tuple[Float[np.ndarray, " points"], Int[np.ndarray, " points"]]:
        """Distance from each of these points to the nearest of `other`, and its index (of several as near, any).

        compiled: use the compiled form where numba is installed and the clouds lie farther apart than the size of a cell; both
        give the same distances.
        """
        if compiled and nearest_in_cells is not None and self._is_far_from(other):
            found, nearest = nearest_in_cells(CELL_POINTS, *self._cells, *other._cells)
            nearest = other._order[nearest]
        else:
            found, nearest = other._tree.query(self.points[self._order], workers=1)
        distances, indices = np.empty(len(found)), np.empty(len(found), np.int64)
        distances[self._order], indices[self._order] = found, nearest
        return distances, indices

    def _is_far_from(self, other: PointCloud) -> bool:
        probes = self.points[self._order[:: -(-len(self.points) // PROBES)]]
        radii = other._cells[2]
        return bool(np.median(other._tree.query(probes)[0]) > np.median(radii))

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points)

    @property
    def _order(self) -> Int[np.ndarray, " points"]:
        """Indices of the points, neighbours after each other."""
        return self._tree.indices

    @cached_property
    def _cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The points in that order, and centre and radius of every CELL_POINTS of them."""
        points = self.points[self._order]
        starts = np.arange(0, len(points), CELL_POINTS)
        counts = np.diff(np.append(starts, len(points)))
        centres = np.add.reduceat(points, starts) / counts[:, None]
        offsets = np.linalg.norm(points - np.repeat(centres, counts, axis=0), axis=1)
        return points, centres, np.maximum.reduceat(offsets, starts)
