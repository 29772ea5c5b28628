"""Compiled winding numbers: columns of triangles over a grid in x and y, cut into slabs.

The signed crossing count of inside_numpy.py, which explains the edge rule, with most of the work moved into the index. In
each column the triangles, cut to the column, leave gaps in z where there is no surface. Between two gaps lies a slab of
triangles. Of a closed mesh the winding number is the same all over a gap, so a point in a gap needs no triangle at all, and
a point in a slab needs only the triangles of that slab. A mesh with open edges has one slab per column, open downwards: then
every triangle of the column is tried, as in the numpy form.

float64 throughout, no fused or reordered arithmetic: both forms decide alike.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numba import njit

SLACK = 1e-12
"""Columns and slabs are widened by this share of the largest coordinate, far more than rounding can move a point."""

SLENDER = 1e-3
"""Triangles whose projection fills less of its bounding box count with their whole range of z: their slope is too uncertain."""

# Columns of the triangle table. Three edges, each from its lower to its higher vertex index:
# start x, start y, end x - start x, end y - start y, end y, direction in the face (+1 or -1).
EDGES, LOWEST, HIGHEST, ORIGIN, NORMAL, WIDTH = 0, 18, 21, 24, 27, 30


class CompiledColumns:
    """Index of a checked mesh (mesh.checked_mesh); `winding` answers for any number of points, without holding the GIL."""

    def __init__(self, vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]) -> None:
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        side = int(np.clip(2 * np.sqrt(len(faces)), 16, 128))
        slack = SLACK * float(np.abs([low, high]).max())
        size = np.maximum(high - low, np.finfo(np.float64).tiny)[:2] / side
        triangles = _triangle_table(vertices, faces)
        starts, entries, lows, highs = _columns(triangles, low, size, side, slack)
        slabs = _slabs(triangles, starts, entries, lows, highs, low, size, side, _is_closed(faces, len(vertices)))
        self._index = (triangles, entries, *slabs, low, high, size, side)

    def winding(self, points: Float[np.ndarray, "points 3"]) -> Int[np.ndarray, " points"]:
        winding = np.zeros(len(points), np.int32)
        _count(points, *self._index, winding)
        return winding


@njit(cache=True, nogil=True)
def _triangle_table(vertices, faces):
    table = np.empty((len(faces), WIDTH))
    for face in range(len(faces)):
        row = table[face]
        for corner in range(3):
            a, b = faces[face, corner], faces[face, (corner + 1) % 3]
            direction = 1.0
            if a > b:
                a, b, direction = b, a, -1.0
            place = EDGES + 6 * corner
            row[place], row[place + 1] = vertices[a, 0], vertices[a, 1]
            row[place + 2] = vertices[b, 0] - vertices[a, 0]
            row[place + 3] = vertices[b, 1] - vertices[a, 1]
            row[place + 4], row[place + 5] = vertices[b, 1], direction
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        for axis in range(3):
            row[LOWEST + axis] = min(vertices[a, axis], vertices[b, axis], vertices[c, axis])
            row[HIGHEST + axis] = max(vertices[a, axis], vertices[b, axis], vertices[c, axis])
            row[ORIGIN + axis] = vertices[a, axis]
            u, v = (axis + 1) % 3, (axis + 2) % 3
            row[NORMAL + axis] = (vertices[b, u] - vertices[a, u]) * (vertices[c, v] - vertices[a, v]) - (
                vertices[b, v] - vertices[a, v]
            ) * (vertices[c, u] - vertices[a, u])
    return table


@njit(cache=True, nogil=True)
def _is_closed(faces, count):
    """Whether every edge is used equally often in both directions."""
    keys = np.empty(3 * len(faces), np.int64)
    for face in range(len(faces)):
        for corner in range(3):
            a, b = faces[face, corner], faces[face, (corner + 1) % 3]
            keys[3 * face + corner] = 2 * (a * count + b) if a < b else 2 * (b * count + a) + 1
    keys.sort()
    balance = 0
    for place in range(len(keys)):
        balance += 1 if keys[place] & 1 else -1
        if (place + 1 == len(keys) or keys[place] >> 1 != keys[place + 1] >> 1) and balance != 0:
            return False
    return True


@njit(cache=True, nogil=True, inline="always")
def _cell(value, low, size, side):
    return min(max(int((value - low) / size), 0), side - 1)


@njit(cache=True, nogil=True, inline="always")
def _turns(row, x, y):
    """+1 or -1 if the triangle's projection contains (x, y), counter-clockwise or clockwise; otherwise 0."""
    turns = 0.0
    for edge in range(EDGES, EDGES + 18, 6):
        below = row[edge + 1] <= y
        if below != (row[edge + 4] <= y):
            across = row[edge + 2] * (y - row[edge + 1])
            along = (x - row[edge]) * row[edge + 3]
            if below:
                if across > along:
                    turns += row[edge + 5]
            elif across < along:
                turns -= row[edge + 5]
    return turns


@njit(cache=True, nogil=True, inline="always")
def _misses(row, x, y, half_x, half_y, slack):
    """Whether a column's rectangle (centre, half sides) lies wholly beyond one edge of the triangle's projection."""
    up = row[NORMAL + 2]
    for edge in range(EDGES, EDGES + 18, 6):
        step_x, step_y = row[edge + 2] * row[edge + 5], row[edge + 3] * row[edge + 5]
        if up < 0:
            step_x, step_y = -step_x, -step_y
        reach = abs(step_x) * (half_y + slack) + abs(step_y) * (half_x + slack)
        if step_x * (y - row[edge + 1]) - step_y * (x - row[edge]) + reach < 0:
            return True
    return False


@njit(cache=True, nogil=True)
def _columns(table, low, size, side, slack):
    """The triangles of each column, and the range of z that each covers there."""
    half_x, half_y = size[0] / 2, size[1] / 2
    starts = np.zeros(side * side + 1, np.int64)
    capacity = 8 * len(table) + side * side
    owners, faces = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    ranges = np.empty((capacity, 2))
    found = 0
    for face in range(len(table)):
        row = table[face]
        up = row[NORMAL + 2]
        lowest, highest = row[LOWEST + 2], row[HIGHEST + 2]
        tilt = np.inf
        if abs(up) > SLENDER * (row[HIGHEST] - row[LOWEST]) * (row[HIGHEST + 1] - row[LOWEST + 1]):
            tilt = (abs(row[NORMAL]) * (half_x + slack) + abs(row[NORMAL + 1]) * (half_y + slack)) / abs(up)
        i0 = _cell(row[LOWEST] - slack, low[0], size[0], side)
        i1 = _cell(row[HIGHEST] + slack, low[0], size[0], side)
        j0 = _cell(row[LOWEST + 1] - slack, low[1], size[1], side)
        j1 = _cell(row[HIGHEST + 1] + slack, low[1], size[1], side)
        for i in range(i0, i1 + 1):
            x = low[0] + (i + 0.5) * size[0]
            for j in range(j0, j1 + 1):
                y = low[1] + (j + 0.5) * size[1]
                if up != 0 and _misses(row, x, y, half_x, half_y, slack):
                    continue
                if found == capacity:
                    owners, faces = np.concatenate((owners, owners)), np.concatenate((faces, faces))
                    ranges = np.concatenate((ranges, ranges))
                    capacity *= 2
                owners[found], faces[found] = i * side + j, face
                starts[i * side + j + 1] += 1
                ranges[found, 0], ranges[found, 1] = lowest - slack, highest + slack
                if tilt < highest - lowest:
                    middle = (
                        row[ORIGIN + 2]
                        - (row[NORMAL] * (x - row[ORIGIN]) + row[NORMAL + 1] * (y - row[ORIGIN + 1])) / up
                    )
                    ranges[found, 0] = max(lowest, middle - tilt) - slack
                    ranges[found, 1] = min(highest, middle + tilt) + slack
                found += 1
    for cell in range(side * side):
        starts[cell + 1] += starts[cell]
    place = starts[:-1].copy()
    entries, lows, highs = np.empty(found, np.int32), np.empty(found), np.empty(found)
    for entry in range(found):
        to = place[owners[entry]]
        place[owners[entry]] += 1
        entries[to], lows[to], highs[to] = faces[entry], ranges[entry, 0], ranges[entry, 1]
    return starts, entries, lows, highs


@njit(cache=True, nogil=True)
def _slabs(table, starts, entries, lows, highs, low, size, side, closed):
    """Cuts each column into slabs, from the top down; sorts its entries accordingly.

    Returns the slabs' first entries, the columns' first slabs, and per slab: bottom, top, winding number across it.
    """
    slab_starts, column_starts = np.empty(len(entries) + 1, np.int64), np.empty(side * side + 1, np.int64)
    slabs = np.empty((len(entries), 3))
    count = 0
    for cell in range(side * side):
        column_starts[cell] = count
        first, stop = starts[cell], starts[cell + 1]
        for entry in range(first + 1, stop):
            face, bottom, top = entries[entry], lows[entry], highs[entry]
            place = entry
            while place > first and highs[place - 1] < top:
                entries[place], lows[place], highs[place] = entries[place - 1], lows[place - 1], highs[place - 1]
                place -= 1
            entries[place], lows[place], highs[place] = face, bottom, top
        x, y = low[0] + (cell // side + 0.5) * size[0], low[1] + (cell % side + 0.5) * size[1]
        for entry in range(first, stop):
            if entry == first or (closed and highs[entry] < slabs[count - 1, 0]):
                slab_starts[count] = entry
                slabs[count, 0], slabs[count, 1], slabs[count, 2] = lows[entry], highs[entry], 0.0
                count += 1
            slabs[count - 1, 0] = min(slabs[count - 1, 0], lows[entry]) if closed else -np.inf
            slabs[count - 1, 2] += _turns(table[entries[entry]], x, y)
    slab_starts[count], column_starts[side * side] = len(entries), count
    return slab_starts[: count + 1], column_starts, slabs[:count]


@njit(cache=True, nogil=True)
def _count(points, table, entries, slab_starts, column_starts, slabs, low, high, size, side, winding):
    for point in range(len(points)):
        x, y, z = points[point, 0], points[point, 1], points[point, 2]
        if not (low[0] <= x <= high[0] and low[1] <= y <= high[1] and low[2] <= z <= high[2]):
            continue
        cell = _cell(x, low[0], size[0], side) * side + _cell(y, low[1], size[1], side)
        total = 0.0
        for slab in range(column_starts[cell], column_starts[cell + 1]):
            if z >= slabs[slab, 1]:
                break
            if z < slabs[slab, 0]:
                total += slabs[slab, 2]
                continue
            for entry in range(slab_starts[slab], slab_starts[slab + 1]):
                row = table[entries[entry]]
                if z >= row[HIGHEST + 2] or y < row[LOWEST + 1] or y >= row[HIGHEST + 1]:
                    continue
                turns = _turns(row, x, y)
                if turns != 0.0:
                    height = (
                        row[NORMAL] * (x - row[ORIGIN])
                        + row[NORMAL + 1] * (y - row[ORIGIN + 1])
                        + row[NORMAL + 2] * (z - row[ORIGIN + 2])
                    )
                    if z < row[LOWEST + 2] or turns * height < 0:
                        total += turns
            break
        winding[point] = int(total)
