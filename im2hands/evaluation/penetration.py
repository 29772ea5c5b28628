"""How far two closed surfaces stand in one another: shared volume and largest depth.

Both surfaces stand in the same frame (world, metres) and are closed, with outward faces. Neither measure exists in the
published protocol: hands are evaluated one by one there, so their relative placement is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from im2hands.geometry.inside import InsideTest
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.self_overlap import overlaps_itself
from im2hands.io.errors import ConfigError, DataError

Method = Literal["grid", "boolean"]
QUERIES_AT_ONCE = 512
"""Points whose candidate triangles are held in memory together."""
CANDIDATES_AT_ONCE = 32
"""Points that are compared together with every triangle that can be the nearest, when only the largest distance counts."""
MOST_CELLS = 4_000_000
"""Cells of the grid; two real hands share a box of some 300,000 cells of 2 mm, the meshes of an untrained network many more."""


@dataclass(frozen=True)
class Penetration:
    """volume_cm3: volume that lies in both solids.  depth_mm: the deepest vertex of either in the other.

    volume_method: how the volume was found; `grid` also where the boolean operation would be wrong or refused the meshes.
    """

    volume_cm3: float
    depth_mm: float
    volume_method: Method


def penetration(first: Mesh, second: Mesh, method: Method = "grid", cell: float = 0.002) -> Penetration:
    """Shared volume and depth of two closed meshes (world, metres).

    method: `grid` counts the cells of side `cell` (m) whose centre lies in both; `boolean` is exact for the triangles of
    surfaces that do not run through themselves (others are measured with cells) and needs the package manifold3d.
    Raises ConfigError if it is asked for and missing.
    """
    volume = shared_volume_boolean(first, second) if method == "boolean" else None
    used: Method = "grid" if volume is None else "boolean"
    if not (np.subtract(*_shared_box(first, second)[::-1]) > 0).all():
        return Penetration(volume_cm3=0.0, depth_mm=0.0, volume_method=used)
    solids = [InsideTest(mesh.vertices, mesh.faces) for mesh in (first, second)]
    if volume is None:
        volume = shared_volume_grid(*solids, cell)
    depth = max(depth_of_vertices(first, solids[1]), depth_of_vertices(second, solids[0]))
    return Penetration(volume_cm3=volume * 1e6, depth_mm=depth * 1e3, volume_method=used)


def shared_volume_grid(first: InsideTest, second: InsideTest, cell: float) -> float:
    """Volume (in the cube of the meshes' unit) of the cells whose centre lies in both solids.

    cell: side of a cell; in a box of more than MOST_CELLS cells, larger ones are taken.
    The grid is centred on the box that both bounding boxes share, so that mirrored meshes have the same volume.
    """
    low, high = _shared_box(first, second)
    if not (high > low).all():
        return 0.0
    cell = max(cell, float(np.cbrt(np.prod(high - low) / MOST_CELLS)))
    counts = np.maximum(np.ceil((high - low) / cell).astype(int), 1)
    axes = [
        (np.arange(count) - 0.5 * (count - 1)) * cell + centre
        for count, centre in zip(counts, 0.5 * (low + high), strict=True)
    ]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    centres = centres[first.contains(centres)]
    return float(np.count_nonzero(second.contains(centres)) * cell**3)


def shared_volume_boolean(first: Mesh, second: Mesh) -> float | None:
    """Exact volume of the intersection of the triangle meshes, or None if one is not a manifold or runs through itself.

    Raises ConfigError if manifold3d is not installed.
    """
    try:
        import manifold3d
    except ImportError:
        raise ConfigError(
            "evaluate.penetration: boolean needs the package manifold3d; install im2hands[penetration], or choose grid."
        ) from None
    solids = [
        manifold3d.Manifold(
            manifold3d.Mesh64(
                vert_properties=np.ascontiguousarray(mesh.vertices, np.float64),
                tri_verts=np.ascontiguousarray(mesh.faces, np.uint64),
            )
        )
        for mesh in (first, second)
    ]
    if any(solid.status() != manifold3d.Error.NoError for solid in solids):
        return None
    if any(overlaps_itself(mesh) for mesh in (first, second)):
        return None  # manifold3d would count what is covered twice twice
    return float((solids[0] ^ solids[1]).volume())


def depth_of_vertices(first: Mesh, second: InsideTest) -> float:
    """Largest distance of a vertex of `first` that lies inside `second` to the surface of `second`; 0 if none does."""
    low, high = _shared_box(first, second)
    candidates = first.vertices[((first.vertices >= low) & (first.vertices <= high)).all(axis=1)]
    inside = candidates[second.contains(candidates)]
    return largest_distance_to_surface(inside, second.vertices, second.faces)


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
    """Triangles with a search tree of their centroids. Raises DataError if there is none."""

    def __init__(self, vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]) -> None:
        if not len(faces):
            raise DataError("the distance to a surface without faces does not exist; was the mesh empty?")
        self._triangles = np.asarray(vertices, np.float64)[faces]
        centroids = self._triangles.mean(axis=1)
        self._reach = np.linalg.norm(self._triangles - centroids[:, None], axis=-1).max()
        self._tree = cKDTree(centroids)

    def bound(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
        """Not less than the distance: that to the triangles of the nearest centroids."""
        near = self._tree.query(points, k=min(4, len(self._triangles)))[1].reshape(len(points), -1)
        return point_triangle_distance(np.asarray(points, np.float64)[:, None], self._triangles[near]).min(axis=1)

    def distance(
        self, points: Float[np.ndarray, "points 3"], bound: Float[np.ndarray, " points"]
    ) -> Float[np.ndarray, " points"]:
        """The distance: a triangle can only be the nearest if its centroid is not farther than the bound and the largest reach
        of a triangle about its centroid.
        """
        candidates = self._tree.query_ball_point(points, (bound + self._reach) * (1 + 1e-9))
        sizes = np.array([len(candidate) for candidate in candidates])
        owners = np.repeat(np.asarray(points, np.float64), sizes, axis=0)
        exact = point_triangle_distance(owners, self._triangles[np.concatenate(candidates).astype(np.int64)])
        return np.minimum.reduceat(exact, np.cumsum(sizes) - sizes)


def point_triangle_distance(
    points: Float[np.ndarray, "*#batch 3"], triangles: Float[np.ndarray, "*#batch 3 3"]
) -> Float[np.ndarray, "*batch"]:
    """Distance from a point to a triangle: to its plane where the foot lies inside, else to the nearest edge.

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


def _shared_box(first: Mesh | InsideTest, second: Mesh | InsideTest) -> tuple[np.ndarray, np.ndarray]:
    low = np.maximum(first.vertices.min(axis=0), second.vertices.min(axis=0))
    high = np.minimum(first.vertices.max(axis=0), second.vertices.max(axis=0))
    return low, high
