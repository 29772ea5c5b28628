"""Golden case `halo_metrics_mise`: HALO's shape metrics, its occupancy test and its multiresolution iso-surface search.

The fields of the search are formulas in x = 1.1 (index / resolution - 0.5), described with the golden data: `smooth` and `hard`
are two overlapping balls, `small_extra` has a third one that is too small for the first grid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int

from im2hands.evaluation.metrics import SampledSurface, intersection_over_union, surface_distances
from im2hands.geometry.inside import inside_mesh
from im2hands.geometry.isosurface import BOX, mesh_of_octree
from im2hands.geometry.octree import refine
from im2hands.io.errors import DataError
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder

BALLS = (((-0.14, 0.03, 0.02), 0.21), ((0.22, -0.05, -0.06), 0.17))
SMALL_BALL = ((0.3, 0.33, 0.345), 0.02)

DISTANCES = {
    "pc_completeness": "completeness",
    "pc_accuracy": "accuracy",
    "pc_completeness2": "completeness2",
    "pc_accuracy2": "accuracy2",
    "pc_chamfer_L1": "chamfer_l1",
    "pc_chamfer_L2": "chamfer_l2",
    "pc_normals_completeness": "normals_completeness",
    "pc_normals_accuracy": "normals_accuracy",
    "pc_normals": "normals",
}
CONTAINS = (
    ("contains_torus", "torus", "contains_torus_points"),
    ("contains_box", "box", "contains_box_points"),
    ("contains_box_lattice", "box", "contains_box_lattice_points"),
)


def field_of(name: str, resolution: int) -> Callable[[np.ndarray, np.ndarray], Float[np.ndarray, " points"]]:
    """A field of the golden search over grid indices. Raises DataError for a name that has no formula."""
    if name not in ("smooth", "hard", "small_extra"):
        raise DataError(f"the golden file names the field {name!r}; only smooth, hard and small_extra have a formula.")
    balls = (*BALLS, SMALL_BALL) if name == "small_extra" else BALLS

    def field(items: Int[np.ndarray, " points"], index: Int[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
        points = BOX * (index / resolution - 0.5)
        distance = np.min([np.linalg.norm(points - centre, axis=1) - radius for centre, radius in balls], axis=0)
        return (distance < 0).astype(np.float64) if name == "hard" else 1 / (1 + np.exp(40 * distance))

    return field


def run(golden: Golden, folder: GoldenFolder) -> Iterator[Comparison]:
    yield from _overlap(golden)
    yield from _distances(golden)
    for field, mesh, points in CONTAINS:
        vertices, faces = golden[f"contains_{mesh}_verts"], golden[f"contains_{mesh}_faces"]
        yield golden.compare(field, inside_mesh(golden[points], vertices, faces, rule="parity"))
    searches = sorted({match[0] for name in golden if (match := re.match(r"mise\d+", name))})
    for search in searches:
        yield from _search(golden, search)


def _overlap(golden: Golden) -> Iterator[Comparison]:
    first, second = golden["iou_occ1"], golden["iou_occ2"]
    yield golden.compare("iou", intersection_over_union(first, second))
    yield golden.compare("iou_1d", intersection_over_union(first[0], second[0]))
    yield golden.compare("iou_3d", intersection_over_union(first, second))


def _distances(golden: Golden) -> Iterator[Comparison]:
    predicted, true = ((golden[f"pc_{name}"], golden[f"pc_{name}_normals"]) for name in ("pred", "gt"))
    found = surface_distances(*predicted, *true)
    for field, name in DISTANCES.items():
        yield golden.compare(field, getattr(found, name))
    distances, cosines = SampledSurface(*predicted).nearest(SampledSurface(*true))
    yield golden.compare("p2p_dist", distances)
    yield golden.compare("p2p_normal_dot", cosines)


def _search(golden: Golden, name: str) -> Iterator[Comparison]:
    start, depth = int(golden[f"{name}_resolution0"]), int(golden[f"{name}_depth"])
    field = field_of(str(golden[f"{name}_field"]), start << depth)
    octree = refine(field, 1, start, depth, float(golden[f"{name}_threshold"]))
    mesh = mesh_of_octree(octree, 0)
    yield golden.compare(f"{name}_round_counts", np.array([counts[0] for counts in octree.round_counts]))
    yield golden.compare(f"{name}_evaluated_points", octree.known(0)[0])
    yield golden.compare(f"{name}_dense", octree.dense(0), "dense")
    yield golden.compare(f"{name}_mesh_vertices", mesh.vertices, "mesh_vertices")
    yield golden.compare(f"{name}_mesh_faces", mesh.faces)


CASE = Case("halo_metrics_mise", frozenset({"mise0_dense", "iou_occ1", "contains_torus_verts"}), run)
