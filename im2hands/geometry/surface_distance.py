"""Exact distances from points to the triangles of a mesh. Points and vertices share any one unit and frame, in float64."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from im2hands.io.errors import DataError

try:
    from im2hands.geometry.surface_distance_numba import nearest_candidates
except ImportError:  # the numpy form below does the same without numba, more slowly
    nearest_candidates = None

QUERIES_AT_ONCE = 512
"""Points whose candidate triangles are held in memory together."""
CANDIDATES_AT_ONCE = 32
"""Points that are compared together with every triangle that can be the nearest, when only the largest distance counts."""


def largest_distance_to_surface(
    points: Float[np.ndarray, "points 3"], vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> float:
    """The largest of `distance_to_surface`, 0 without points; exact only for the points that can have it."""
    surface = _Surface(vertices, faces)
    chunks = range(0, len(points), QUERIES_AT_ONCE)
    bounds = np.concatenate([np.zeros(0), *(surface.bound(points[i : i + QUERIES_AT_ONCE]) for i in chunks)])
    order = np.argsort(-bounds)
    largest = 0.0
    for start in range(0, len(points), CANDIDATES_AT_ONCE):
        few = order[start : start + CANDIDATES_AT_ONCE]
        if bounds[few[0]] <= largest:
            break
        largest = max(largest, float(surface.distance(points[few], bounds[few]).max()))
    return largest


def distance_to_surface(
    points: Float[np.ndarray, "points 3"], vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, " points"]:
    """Exact distance from each point to the nearest point of any triangle, in float64.

    Raises DataError for a mesh without faces.
    """
    surface = _Surface(vertices, faces)
    distances = np.empty(len(points))
    for start in range(0, len(points), QUERIES_AT_ONCE):
        chunk = points[start : start + QUERIES_AT_ONCE]
        distances[start : start + len(chunk)] = surface.distance(chunk, surface.bound(chunk))
    return distances


class _Surface:
    """Triangles with a search tree of their centroids. Raises DataError if there are no triangles."""

    def __init__(self, vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]) -> None:
        if not len(faces):
            raise DataError("the distance to a surface without faces is not defined; was the mesh empty?")
        self._triangles = np.asarray(vertices, np.float64)[faces]
        centroids = self._triangles.mean(axis=1)
        self._reach = np.linalg.norm(self._triangles - centroids[:, None], axis=-1).max()
        self._tree = cKDTree(centroids)

    def bound(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
        """Not less than the distance: that to the triangles of the nearest centroids."""
        near = self._tree.query(points, k=min(4, len(self._triangles)))[1].reshape(len(points), -1)
        return self._nearest(points, near.ravel(), np.full(len(points), near.shape[1]))

    def distance(
        self, points: Float[np.ndarray, "points 3"], bound: Float[np.ndarray, " points"]
    ) -> Float[np.ndarray, " points"]:
        """The distance: a triangle can only be the nearest if its centroid is not farther than the bound and the largest reach
        of a triangle about its centroid.
        """
        candidates = self._tree.query_ball_point(points, (bound + self._reach) * (1 + 1e-9))
        sizes = np.array([len(candidate) for candidate in candidates], np.int64)
        return self._nearest(points, np.concatenate([*candidates, ()]).astype(np.int64), sizes)

    def _nearest(
        self,
        points: Float[np.ndarray, "points 3"],
        candidates: Int[np.ndarray, " pairs"],
        sizes: Int[np.ndarray, " points"],
    ) -> Float[np.ndarray, " points"]:
        """From each point to the nearest of its `sizes` candidates, which follow one another."""
        points, ends = np.ascontiguousarray(points, np.float64), np.cumsum(sizes)
        if nearest_candidates is not None:
            return nearest_candidates(points, self._triangles, candidates, np.append(0, ends))
        exact = point_triangle_distance(np.repeat(points, sizes, axis=0), self._triangles[candidates])
        return np.minimum.reduceat(exact, ends - sizes)


def point_triangle_distance(
    points: Float[np.ndarray, "*#batch 3"], triangles: Float[np.ndarray, "*#batch 3 3"]
) -> Float[np.ndarray, "*batch"]:
    """Distance from a point to a triangle: to its plane where the foot lies inside, otherwise to the nearest edge.

    Degenerate triangles count as their edges.
    """
    corners = [triangles[..., i, :] for i in range(3)]
    distance = np.minimum.reduce([_point_segment_distance(points, corners[i], corners[(i + 1) % 3]) for i in range(3)])
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    length = np.linalg.norm(normal, axis=-1)
    within = length > 0
    for i in range(3):
        edge = corners[(i + 1) % 3] - corners[i]
        within = within & ((np.cross(normal, edge) * (points - corners[i])).sum(-1) >= 0)
    height = np.abs(((points - corners[0]) * normal).sum(-1)) / np.where(length > 0, length, 1.0)
    return np.where(within, np.minimum(height, distance), distance)


def _point_segment_distance(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    along, offset = end - start, points - start
    squared = (along * along).sum(-1)
    share = np.clip((offset * along).sum(-1) / np.where(squared > 0, squared, 1.0), 0.0, 1.0)
    return np.linalg.norm(offset - share[..., None] * along, axis=-1)
