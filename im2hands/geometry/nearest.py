"""For each point of one cloud, the nearest point of another: exact, near by and from afar. Any one unit and frame.

The compiled form (nearest_numba.py) sorts both clouds into grids and queries neighbouring points one after the other, so that
every search begins with a good bound. Where a cloud does not fit a grid, because an outlier makes its box large and its
cells full, and where numba is missing, a search tree gives the same answer more slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from im2hands.io.errors import DataError

try:
    from im2hands.geometry.nearest_numba import nearest_in_grid, sorted_into_grid
except ImportError:  # the tree does the same without numba, more slowly
    nearest_in_grid = None

CELLS_PER_POINT = 0.5
"""Cells of a grid: for points on a surface, that leaves some ten in each cell that contains any."""
MOST_CELLS_PER_AXIS = 512
MOST_NEIGHBOURS = 200.0
"""With more points than this in the cell of a point, on average, a tree is quicker."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A cloud sorted into cells: arguments of `nearest_numba.nearest_in_grid`. order: index in the cloud of each point."""

    order: Int[np.ndarray, " points"]
    points: Float[np.ndarray, "points 3"]
    starts: Int[np.ndarray, " cells_and_one"]
    low: Float[np.ndarray, "3"]
    cell: float
    shape: Int[np.ndarray, "3"]

    @classmethod
    def of(cls, points: Float[np.ndarray, "points 3"]) -> Grid:
        low = points.min(axis=0)
        extent = points.max(axis=0) - low
        longest = extent.max() or 1.0
        thick = np.maximum(extent, longest / MOST_CELLS_PER_AXIS)
        cell = float(max(np.cbrt(thick.prod() / (CELLS_PER_POINT * len(points))), longest / MOST_CELLS_PER_AXIS))
        shape = np.floor(extent / cell).astype(np.int64) + 1
        order, starts = sorted_into_grid(points, low, cell, shape)
        return cls(order, points[order], starts, low, cell, shape)

    @property
    def neighbours(self) -> float:
        """How many points share the cell of a point, on average over the points."""
        counts = np.diff(self.starts).astype(np.float64)
        return float(np.square(counts).sum() / len(self.points))


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points to search and to query. Raises DataError if there are none or one is not finite."""

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

        compiled: use the compiled form where numba is installed and the points fit a grid; both give the same distances.
        """
        if not (compiled and nearest_in_grid is not None and other._fits_a_grid):
            return other._tree.query(self.points, workers=1)
        own, grid = self._grid, other._grid
        found, nearest = nearest_in_grid(own.points, grid.points, grid.starts, grid.low, grid.cell, grid.shape)
        distances, indices = np.empty(len(found)), np.empty(len(found), np.int64)
        distances[own.order], indices[own.order] = found, grid.order[nearest]
        return distances, indices

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points)

    @cached_property
    def _grid(self) -> Grid:
        return Grid.of(self.points)

    @cached_property
    def _fits_a_grid(self) -> bool:
        return self._grid.neighbours <= MOST_NEIGHBOURS
