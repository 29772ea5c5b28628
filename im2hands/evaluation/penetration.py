"""How far two closed surfaces penetrate each other: shared volume and largest depth.

Both surfaces are in the same frame (world, metres) and are closed, with outward faces. Neither measure exists in the
published protocol: hands are evaluated one by one there, so their relative placement is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from im2hands.geometry.inside import InsideTest
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.self_overlap import overlaps_itself
from im2hands.geometry.surface_distance import largest_distance_to_surface
from im2hands.io.errors import ConfigError

Method = Literal["grid", "boolean"]
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
    Raises ConfigError if it is requested and missing.
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
            "evaluate.penetration: boolean needs the package manifold3d; install im2hands[penetration], or use grid."
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


def _shared_box(first: Mesh | InsideTest, second: Mesh | InsideTest) -> tuple[np.ndarray, np.ndarray]:
    low = np.maximum(first.vertices.min(axis=0), second.vertices.min(axis=0))
    high = np.minimum(first.vertices.max(axis=0), second.vertices.max(axis=0))
    return low, high
