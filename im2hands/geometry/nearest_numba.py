"""Compiled nearest neighbours between two clouds, one of them sorted into a grid; see nearest.py."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numba import njit

ROUNDING = 1e-12
"""Slack of the bounds relative to the largest coordinate, far above their rounding errors."""


@njit(cache=True, nogil=True)
def sorted_into_grid(
    points: Float[np.ndarray, "points 3"], low: Float[np.ndarray, "3"], cell: float, shape: Int[np.ndarray, "3"]
) -> tuple[Int[np.ndarray, " points"], Int[np.ndarray, " cells_and_one"]]:
    """Indices of the points in the order of their grid cells (x, then y, then z), and where the points of each cell begin.

    low: corner of the grid.  cell: side of its cells.  shape: their numbers; every point lies in one of them.
    """
    place = np.empty(len(points), np.int64)
    starts = np.zeros(shape[0] * shape[1] * shape[2] + 1, np.int64)
    for point in range(len(points)):
        index = 0
        for axis in range(3):
            index = index * shape[axis] + _cell_of(points[point, axis], low[axis], cell, shape[axis])
        place[point] = index
        starts[place[point] + 1] += 1
    for index in range(1, len(starts)):
        starts[index] += starts[index - 1]
    order, filled = np.empty(len(points), np.int64), starts[:-1].copy()
    for point in range(len(points)):
        order[filled[place[point]]] = point
        filled[place[point]] += 1
    return order, starts


@njit(cache=True, nogil=True)
def nearest_in_grid(
    queries: Float[np.ndarray, "queries 3"],
    points: Float[np.ndarray, "points 3"],
    starts: Int[np.ndarray, " cells_and_one"],
    low: Float[np.ndarray, "3"],
    cell: float,
    shape: Int[np.ndarray, "3"],
) -> tuple[Float[np.ndarray, " queries"], Int[np.ndarray, " queries"]]:
    """Distance from each query to the nearest of `points`, and its index.

    points: in the order of `sorted_into_grid`, whose grid the last four arguments describe.
    Queries that follow each other should be neighbours: the nearest point of the one before bounds the search, which then looks
    into the rows of cells along z that the ball of that radius meets. The ball shrinks with every nearer point.
    """
    distances, nearest = np.empty(len(queries)), np.empty(len(queries), np.int64)
    slack = ROUNDING * max(np.abs(points).max(), np.abs(queries).max())
    last = 0
    for query in range(len(queries)):
        best, best_point = _squared_distance(queries, query, points, last), last
        reach = np.sqrt(best) + slack
        x, y, z = queries[query, 0], queries[query, 1], queries[query, 2]
        first_row = _cell_of(x - reach, low[0], cell, shape[0])
        last_row = _cell_of(x + reach, low[0], cell, shape[0])
        for row in range(first_row, last_row + 1):
            beside = _gap(x, low[0] + row * cell, cell)
            if beside > reach:
                continue
            across = np.sqrt(reach * reach - beside * beside) + slack
            for column in range(
                _cell_of(y - across, low[1], cell, shape[1]), _cell_of(y + across, low[1], cell, shape[1]) + 1
            ):
                apart = _gap(y, low[1] + column * cell, cell)
                rest = reach * reach - beside * beside - apart * apart
                if rest < 0:
                    continue
                along = np.sqrt(rest) + slack
                base = (row * shape[1] + column) * shape[2]
                begin = starts[base + _cell_of(z - along, low[2], cell, shape[2])]
                end = starts[base + _cell_of(z + along, low[2], cell, shape[2]) + 1]
                for point in range(begin, end):
                    squared = _squared_distance(queries, query, points, point)
                    if squared < best:
                        best, best_point = squared, point
                        reach = np.sqrt(best) + slack
        distances[query], nearest[query], last = np.sqrt(best), best_point, best_point
    return distances, nearest


@njit(cache=True, nogil=True, inline="always")
def _cell_of(value: float, low: float, cell: float, count: int) -> int:
    place = (value - low) * (1.0 / cell)
    return 0 if place <= 0.0 else int(place) if place < count else count - 1


@njit(cache=True, nogil=True, inline="always")
def _gap(value: float, begin: float, cell: float) -> float:
    """Distance from a coordinate to a cell's interval; 0 within. (Rounding may put a point a little beyond its cell.)"""
    return max(begin - value, value - begin - cell, 0.0)


@njit(cache=True, nogil=True, inline="always")
def _squared_distance(
    first: Float[np.ndarray, "n 3"], row: int, second: Float[np.ndarray, "m 3"], other_row: int
) -> float:
    x = first[row, 0] - second[other_row, 0]
    y = first[row, 1] - second[other_row, 1]
    z = first[row, 2] - second[other_row, 2]
    return x * x + y * y + z * z
