"""Compiled distances from points to the nearest of some triangles: the arithmetic of surface_distance.py, pair after pair."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numba import njit


@njit(cache=True, nogil=True)
def nearest_candidates(
    points: Float[np.ndarray, "points 3"],
    triangles: Float[np.ndarray, "triangles 3 3"],
    candidates: Int[np.ndarray, " pairs"],
    starts: Int[np.ndarray, " points_and_one"],
) -> Float[np.ndarray, " points"]:
    """Distance from each point to the nearest of its candidates, which are candidates[starts[i] : starts[i + 1]]."""
    distances = np.empty(len(points))
    for point in range(len(points)):
        nearest = np.inf
        for place in range(starts[point], starts[point + 1]):
            nearest = min(nearest, _distance(points[point], triangles[candidates[place]]))
        distances[point] = nearest
    return distances


@njit(cache=True, nogil=True)
def _distance(point: Float[np.ndarray, "3"], corners: Float[np.ndarray, "3 3"]) -> float:
    """To the triangle's plane where the foot lies inside, otherwise to the nearest edge."""
    ux, uy, uz = corners[1, 0] - corners[0, 0], corners[1, 1] - corners[0, 1], corners[1, 2] - corners[0, 2]
    vx, vy, vz = corners[2, 0] - corners[0, 0], corners[2, 1] - corners[0, 1], corners[2, 2] - corners[0, 2]
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    within, nearest = length > 0, np.inf
    for corner in range(3):
        end = (corner + 1) % 3
        ex, ey, ez = (
            corners[end, 0] - corners[corner, 0],
            corners[end, 1] - corners[corner, 1],
            corners[end, 2] - corners[corner, 2],
        )
        px, py, pz = point[0] - corners[corner, 0], point[1] - corners[corner, 1], point[2] - corners[corner, 2]
        squared = ex * ex + ey * ey + ez * ez
        share = (px * ex + py * ey + pz * ez) / (squared if squared > 0 else 1.0)
        share = min(max(share, 0.0), 1.0)
        dx, dy, dz = px - share * ex, py - share * ey, pz - share * ez
        nearest = min(nearest, np.sqrt(dx * dx + dy * dy + dz * dz))
        side = (ny * ez - nz * ey) * px + (nz * ex - nx * ez) * py + (nx * ey - ny * ex) * pz
        within = within and side >= 0
    if within:
        px, py, pz = point[0] - corners[0, 0], point[1] - corners[0, 1], point[2] - corners[0, 2]
        nearest = min(nearest, abs(px * nx + py * ny + pz * nz) / length)
    return nearest
