"""Occupancy fields to meshes: octree search, then marching cubes on the part of the grid that the surface crosses.

Grid index i of 0..resolution lies at box * (i / resolution - 0.5) on every axis; the published box is 1.1 palm units. The
mesh is the one that marching cubes gives on the whole grid padded with -1e6 by one layer (HALO mesh generation), at a
fraction of the cost. Values above the level are inside; faces look outwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import mcubes
import numpy as np
from jaxtyping import Float, Int, Int8

from im2hands.geometry.mesh import Mesh
from im2hands.geometry.octree import Octrees, refine
from im2hands.io.errors import DataError

BOX = 1.1
OUTSIDE = -1e6
"""Value of the layer around the grid: closes a surface that leaves it."""

EMPTY, FULL = "empty", "the field is nowhere below the threshold"
"""Failures of a field that has no surface: it is nowhere above the level, or nowhere below it."""
NOT_FINITE = "the field is NaN or infinite"
OVERGROWN = "the field crosses the threshold all over the box"
MOST_EVALUATIONS = 24
"""Times resolution²: most points at which the field of one item is asked; a hand takes 1 to 2."""

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(item of each point (M,) int64, points (M, 3) float32 in the frame of the box) -> values (M,)."""


@dataclass(frozen=True)
class Surface(Mesh):
    """The mesh of one item and what it cost.

    evaluations: points at which the field was asked.  failure: why there is no surface, or None: one of EMPTY (the mesh is
    empty), FULL (the mesh is the box), NOT_FINITE and OVERGROWN (no mesh).
    """

    evaluations: int = 0
    failure: str | None = None


@dataclass(frozen=True, eq=False)
class Extracted:
    """Surfaces, and what the search for them learnt about the fields; both in the order of the fields."""

    surfaces: list[Surface]
    octrees: Octrees
    box: float

    def sides(self, item: int, points: Float[np.ndarray, "points 3"]) -> Int8[np.ndarray, " points"]:
        """1 where the search knows that the field of `item` is above the level, -1 below, 0 where it does not know."""
        return self.octrees.sides(item, (np.asarray(points, np.float64) / self.box + 0.5) * self.octrees.resolution)


FIRST_CELLS = 16
BOX_CORNERS = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
BOX_FACES = np.array(
    [
        *((0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5)),  # x
        *((0, 4, 5), (0, 5, 1), (2, 3, 7), (2, 7, 6)),  # y
        *((0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)),  # z
    ]
)
"""The box as a mesh, sides of length 1: what marching cubes make of a field nowhere below the level, in 12 triangles."""


def subdivision(resolution: int, grid: Literal["published", "default"] = "default") -> tuple[int, int]:
    """(cells per side of the first grid, doublings) for a final resolution.

    published: three doublings, the reference's evaluated set (256 = 32 and 3).  default: from 16 cells, which are as large as a
    finger tip for the box of a hand, however coarse the result (256 = 16 and 4): a quarter fewer evaluations and the same mesh
    unless a part is too small for the first grid.
    Raises DataError if the resolution does not allow it.
    """
    if grid == "published":
        start, depth = resolution >> 3, 3
    else:
        start, depth = FIRST_CELLS, max(resolution // FIRST_CELLS, 1).bit_length() - 1
    if start < 1 or start << depth != resolution:
        raise DataError(
            f"a grid of {resolution} cells cannot be reached by doublings; use {FIRST_CELLS} times a power of two."
        )
    return start, depth


def extract_surfaces(
    field: Field, count: int, *, start: int = 16, depth: int = 4, level: float = 0.5, box: float = BOX
) -> list[Surface]:
    """The iso-surfaces of `count` fields, searched in lockstep: `field` is called once per round for all of them.

    field: given the item (M,) and the position (M, 3) float32 of points, the values (M,); it may split large calls.
    start, depth: see `subdivision`.  box: side of the cube around the origin that is searched.
    A field without values above the level, or with NaN or infinite values, gives an empty mesh with its failure named; so does
    one whose surface passes through so much of the box that the search would not end soon (MOST_EVALUATIONS).
    """
    return search_surfaces(field, count, start=start, depth=depth, level=level, box=box).surfaces


def search_surfaces(
    field: Field, count: int, *, start: int = 16, depth: int = 4, level: float = 0.5, box: float = BOX
) -> Extracted:
    """As `extract_surfaces`, with what the search learnt about the fields."""
    resolution = start << depth

    def evaluate(items: Int[np.ndarray, " points"], index: Int[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
        return field(items, grid_points(index, resolution, box))

    most = MOST_EVALUATIONS * resolution**2 + (start + 1) ** 3
    octrees = refine(evaluate, count, start, depth, level, most)
    return Extracted([_surface(octrees, item, box) for item in range(count)], octrees, box)


def grid_points(index: Int[np.ndarray, "points 3"], resolution: int, box: float = BOX) -> Float[np.ndarray, "points 3"]:
    """Positions of grid indices, float32 (computed in float32, as the reference does)."""
    return np.float32(box) * (index.astype(np.float32) / np.float32(resolution) - np.float32(0.5))


def mesh_of_octree(octrees: Octrees, item: int, box: float = BOX) -> Mesh:
    """The mesh of a finished octree; empty if no value is above the level."""
    values, corner = octrees.near_surface(item)
    if not values.size:
        return Mesh()
    at_low, at_high = corner == 0, corner + values.shape == octrees.resolution + 1
    values = np.pad(values, list(zip(at_low.astype(int), at_high.astype(int), strict=True)), constant_values=OUTSIDE)
    vertices, faces = mcubes.marching_cubes(values, octrees.level)
    vertices += corner - at_low
    return Mesh(box * (vertices / octrees.resolution - 0.5), faces.astype(np.int64))


def _surface(octrees: Octrees, item: int, box: float) -> Surface:
    evaluations = int(octrees.evaluations[item])
    if octrees.failed[item]:
        return Surface(evaluations=evaluations, failure=NOT_FINITE)
    if octrees.overgrown[item]:
        return Surface(evaluations=evaluations, failure=OVERGROWN)
    above = octrees.known(item)[1] > octrees.level
    if above.all():
        return Surface(BOX_CORNERS * box, BOX_FACES, evaluations, FULL)
    if not above.any():  # as marching cubes finds, after it has looked at the whole grid
        return Surface(evaluations=evaluations, failure=EMPTY)
    mesh = mesh_of_octree(octrees, item, box)
    return Surface(mesh.vertices, mesh.faces, evaluations, EMPTY if mesh.is_empty else None)
