"""Evaluation of a pair of hands: Chamfer distances, exact distance to a surface, shared volume, against naive and public forms.

Meshes: two overlapping built-in hands, sealed (1 554 faces each) and as extracted at 256³ (about 38 000 faces each).
"""

from __future__ import annotations

from benchmarks.harness import Benchmark  # first: it sets the number of threads

# isort: split
import tempfile
from pathlib import Path

import igl
import numpy as np
import trimesh

from im2hands.evaluation.metrics import SampledSurface, surface_distances
from im2hands.evaluation.penetration import shared_volume_boolean, shared_volume_grid
from im2hands.evaluation.protocols import sampled
from im2hands.geometry.inside import InsideTest
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.nearest import PointCloud
from im2hands.geometry.surface_distance import distance_to_surface
from im2hands.hands.model_files import builtin_hand_models
from im2hands.io.errors import ConfigError
from im2hands.reconstruction.inputs import bone_inputs
from im2hands.reconstruction.surfaces import Extraction, reconstruct_hands
from tests.evaluation.small_data import TrueFields, make_small_data
from tests.naive import metrics as naive

SAMPLES, FEW = 100_000, 3000


def pairs() -> dict[str, list[Mesh]]:
    """The two hands of a pair, world, metres: sealed, and extracted from their occupancy."""
    with tempfile.TemporaryDirectory() as folder:
        data = make_small_data(Path(folder), 1)
        table, models = data.hand_table, builtin_hand_models()
        sealed = [
            Mesh(models[side].seal(table.array("vertices")[row].astype(np.float64)), models[side].sealed_faces)
            for row, side in enumerate(table.sides)
        ]
        hands = bone_inputs(table, data.evaluation)(("5_0", ()))
        made = reconstruct_hands(TrueFields(str(data.hands)), hands, Extraction())
    return {"sealed": sealed, "extracted": [one.mesh for one in made]}


def kd_tree_peer(first: SampledSurface, second: SampledSurface):
    """Both directions with pykdtree (LGPL, not a dependency), if it is installed."""
    try:
        from pykdtree.kdtree import KDTree
    except ImportError:
        return {}
    return {"pykdtree": lambda: [KDTree(a.points).query(b.points) for a, b in ((first, second), (second, first))]}


def exact_volume(first: Mesh, second: Mesh) -> float | None:
    """By manifold3d, if it is installed."""
    try:
        return shared_volume_boolean(first, second)
    except ConfigError:
        return None


def main() -> None:
    meshes = pairs()
    benchmark = Benchmark("evaluation", ("numpy", "scipy", "trimesh", "libigl", "manifold3d", "numba"))
    samples = [sampled(mesh, SAMPLES, [i]) for i, mesh in enumerate([meshes["sealed"][0], meshes["extracted"][0]])]
    arrays = [array for one in samples for array in (one.points, one.normals)]
    few = [array[:FEW] for array in arrays]
    benchmark.compare(
        f"Chamfer and normals, {SAMPLES} against {SAMPLES} points, trees included",
        lambda: surface_distances(*arrays),
        kd_tree_peer(*samples),
        target={"pykdtree": 0.4},
        repeats=3,
    )
    far = [PointCloud(samples[0].points), PointCloud(np.add(samples[1].points, [0.06, 0, 0]))]
    far[0].nearest_in(far[1])  # builds the trees and the cells of both
    benchmark.compare(
        f"nearest of {SAMPLES} points 60 mm away",
        lambda: far[0].nearest_in(far[1]),
        {"scipy's tree": lambda: far[1]._tree.query(far[0].points)},
        target={"scipy's tree": 4},
        repeats=3,
    )
    benchmark.compare(
        f"Chamfer and normals, {FEW} against {FEW} points",
        lambda: surface_distances(*few),
        {"naive: all pairs": lambda: naive.surface_distances(*few)},
        repeats=3,
    )
    for name, (first, second) in meshes.items():
        points = np.asarray(first.vertices)[:: max(1, len(first.vertices) // 2000)][:2000]
        vertices, faces = np.asarray(second.vertices), np.asarray(second.faces)
        peer = trimesh.Trimesh(vertices, faces, process=False)
        benchmark.compare(
            f"exact distance of {len(points)} vertices to the other hand, {name}, {len(faces)} faces",
            lambda points=points, vertices=vertices, faces=faces: distance_to_surface(points, vertices, faces),
            {
                "trimesh": lambda points=points, peer=peer: trimesh.proximity.closest_point(peer, points),
                "libigl": lambda points=points, vertices=vertices, faces=faces: igl.point_mesh_squared_distance(
                    points, vertices, faces
                ),
            },
            repeats=3,
        )
        exact = exact_volume(first, second)
        for cell in (0.002, 0.001):
            found = shared_volume_grid(InsideTest(vertices, faces), InsideTest(first.vertices, first.faces), cell)
            benchmark.compare(
                f"shared volume, cells of {cell * 1e3:g} mm, {name}",
                lambda a=first, b=second, cell=cell: shared_volume_grid(
                    *(InsideTest(mesh.vertices, mesh.faces) for mesh in (a, b)), cell
                ),
                {} if exact is None else {"manifold3d": lambda a=first, b=second: shared_volume_boolean(a, b)},
                repeats=3,
                deviation_percent=None if exact is None else round(100 * abs(found / exact - 1), 3),
            )
    benchmark.save()


if __name__ == "__main__":
    main()
