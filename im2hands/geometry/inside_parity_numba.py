"""The published parity rule, compiled: the arithmetic of inside_parity.py, one point after the other."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from numba import njit

from im2hands.geometry.inside_parity import SIDE, columns, stretched


def compiled_parity_inside(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    points: Float[np.ndarray, "points 3"],
) -> Bool[np.ndarray, " points"]:
    """Labels by the published rule, for a checked mesh (mesh.checked_mesh) and finite points."""
    side = int(np.clip(2 * np.sqrt(len(faces)), 16, 128))
    vertices, points = stretched(vertices, vertices), stretched(vertices, points)
    corners = np.ascontiguousarray(vertices[faces].reshape(-1, 9))
    starts, entries = columns(corners.reshape(-1, 3, 3), side)
    inside = np.zeros(len(points), bool)
    _label(points, corners, starts, entries, side, inside)
    return inside


@njit(cache=True, nogil=True)
def _label(points, corners, starts, entries, side, inside):
    for point in range(len(points)):
        x, y, z = points[point, 0], points[point, 1], points[point, 2]
        if not (0 <= x <= SIDE and 0 <= y <= SIDE and 0 <= z <= SIDE):
            continue
        cell = min(int(x * (side / SIDE)), side - 1) * side + min(int(y * (side / SIDE)), side - 1)
        above = below = 0
        for entry in range(starts[cell], starts[cell + 1]):
            row = corners[entries[entry]]
            ux, uy, vx, vy = row[0] - row[6], row[1] - row[7], row[3] - row[6], row[4] - row[7]
            wx, wy = x - row[6], y - row[7]
            area = ux * vy - uy * vx
            size, sign = abs(area), 1.0 if area > 0 else -1.0
            first = (wx * vy - wy * vx) * sign
            if not 0 < first < size:
                continue
            second = (ux * wy - uy * wx) * sign
            if not (0 < second < size and first + second < size):
                continue
            uz, vz, wz = row[2] - row[8], row[5] - row[8], z - row[8]
            height = (uy * vz - uz * vy) * wx + (uz * vx - ux * vz) * wy + area * wz
            if height * sign <= 0:
                above += 1
            else:
                below += 1
        inside[point] = above % 2 == 1 and below % 2 == 1
