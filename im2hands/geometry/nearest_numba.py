"""Compiled nearest neighbours between two clouds that are cut into small cells; see nearest.py."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numba import njit

ROUNDING = 1e-12
"""Slack of the bounds relative to the largest coordinate, far above their rounding errors."""


@njit(cache=True, nogil=True)
def nearest_in_cells(
    cell_points: int,
    queries: Float[np.ndarray, "queries 3"],
    query_centres: Float[np.ndarray, "groups 3"],
    query_radii: Float[np.ndarray, " groups"],
    points: Float[np.ndarray, "points 3"],
    centres: Float[np.ndarray, "cells 3"],
    radii: Float[np.ndarray, " cells"],
) -> tuple[Float[np.ndarray, " queries"], Int[np.ndarray, " queries"]]:
    """Distance from each query to the nearest of `points`, and its index.

    Both clouds stand in runs of `cell_points` neighbours (the last may be shorter), each in a ball about its centre. A cell is
    left out for a whole group of queries if the farthest point of another cell is nearer than its nearest can be, and for one
    query if its ball begins beyond the nearest point found so far; cells are searched in the order of their distance.
    """
    distances, nearest = np.empty(len(queries)), np.empty(len(queries), np.int64)
    slack = ROUNDING * max(np.abs(points).max(), np.abs(queries).max())
    begin = np.empty(len(centres))
    for group in range(len(query_centres)):
        enough = np.inf
        for cell in range(len(centres)):
            apart = np.sqrt(_squared_distance(query_centres, group, centres, cell))
            begin[cell] = apart - radii[cell] - query_radii[group]
            enough = min(enough, apart + radii[cell] + query_radii[group])
        cells = np.flatnonzero(begin <= enough + slack)
        cells = cells[np.argsort(begin[cells])]
        for query in range(group * cell_points, min((group + 1) * cell_points, len(queries))):
            best, best_point, reach = np.inf, -1, np.inf
            for cell in cells:
                if begin[cell] > reach:
                    break
                if _squared_distance(queries, query, centres, cell) > (reach + radii[cell]) ** 2:
                    continue
                for point in range(cell * cell_points, min((cell + 1) * cell_points, len(points))):
                    squared = _squared_distance(queries, query, points, point)
                    if squared < best:
                        best, best_point = squared, point
                reach = np.sqrt(best) + slack
            distances[query], nearest[query] = np.sqrt(best), best_point
    return distances, nearest


@njit(cache=True, nogil=True, inline="always")
def _squared_distance(
    first: Float[np.ndarray, "n 3"], row: int, second: Float[np.ndarray, "m 3"], other_row: int
) -> float:
    x = first[row, 0] - second[other_row, 0]
    y = first[row, 1] - second[other_row, 1]
    z = first[row, 2] - second[other_row, 2]
    return x * x + y * y + z * z
