"""Iso-surfaces at 256: evaluations, bookkeeping and marching cubes, without the time of the field.

The field is a hand of capsules, softened over 0.8 mm as a trained occupancy is, read from a table so that it costs little.
All meshes compared here are identical.
"""

from __future__ import annotations

from benchmarks.harness import Benchmark  # first: it sets the number of threads

# isort: split
import mcubes
import numpy as np

from im2hands.geometry.isosurface import BOX, grid_points, mesh_of_octree
from im2hands.geometry.octree import Octrees, refine
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from tests.naive.octree import naive_search

RESOLUTION, LEVEL, SOFTNESS = 256, 0.5, 0.002
FINGER, PALM = 0.022, 0.035
"""Radii of capsules, palm units."""


def capsule_hand(resolution: int) -> np.ndarray:
    """Occupancy of a hand of capsules along the built-in hand's bones at all grid points, float32."""
    model = builtin_hand_models()[Side.RIGHT]
    joints = model.pose(np.zeros((1, 48)), np.zeros((1, 10)), np.zeros((1, 3))).keypoints[0].double().numpy()
    joints = (joints - joints[0]) / 0.4
    axis = np.arange(resolution + 1)
    values = np.empty((resolution + 1,) * 3, np.float32)
    for x in axis:
        index = np.stack(np.meshgrid([x], axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        points = grid_points(index, resolution)
        distance = np.full(len(points), np.inf)
        for finger in range(5):
            for level in range(4):
                start = joints[0] if level == 0 else joints[4 * finger + level]
                span, radius = joints[4 * finger + level + 1] - start, PALM if level == 0 else FINGER
                along = np.clip((points - start) @ span / (span @ span), 0, 1)
                distance = np.minimum(distance, np.linalg.norm(points - start - along[:, None] * span, axis=1) - radius)
        values[x] = (1 / (1 + np.exp(np.clip(distance / SOFTNESS, -60, 60)))).reshape(values[x].shape)
    return values


def search(values: np.ndarray, start: int, hands: int = 1) -> Octrees:
    resolution = len(values) - 1
    depth = (resolution // start).bit_length() - 1
    return refine(lambda items, index: values[tuple(index.T)], hands, start, depth, LEVEL)


def main() -> None:
    benchmark = Benchmark("extraction", ("numpy", "pymcubes"))
    values = capsule_hand(RESOLUTION)
    octree, published = search(values, 16), search(values, 32)
    whole = np.pad(octree.dense(0), 1, constant_values=-1e6)

    def marching_cubes_of_the_whole_grid() -> tuple[np.ndarray, np.ndarray]:
        vertices, faces = mcubes.marching_cubes(whole, LEVEL)
        return BOX * ((vertices - 1) / RESOLUTION - 0.5), faces

    mesh, (vertices, faces) = mesh_of_octree(octree, 0), marching_cubes_of_the_whole_grid()
    other = mesh_of_octree(published, 0)
    assert np.array_equal(mesh.faces, faces)
    assert np.abs(mesh.vertices - vertices).max() < 1e-12
    assert np.array_equal(mesh.vertices, other.vertices)
    assert np.array_equal(mesh.faces, other.faces)

    benchmark.compare(
        "crop, fill and marching cubes of one hand",
        lambda: mesh_of_octree(octree, 0),
        {"PyMCubes on the whole padded 259^3 grid": marching_cubes_of_the_whole_grid},
        {"PyMCubes on the whole padded 259^3 grid": 10},
        repeats=7,
        faces=len(faces),
        largest_vertex_difference=float(np.abs(mesh.vertices - vertices).max()),
    )
    benchmark.compare(
        "octree bookkeeping per hand, first grid 16",
        lambda: search(values, 16),
        {"first grid 32 (the published evaluated set)": lambda: search(values, 32)},
        repeats=7,
        evaluations=int(octree.evaluations[0]),
        evaluations_of_the_published_set=int(published.evaluations[0]),
        evaluations_of_the_dense_grid=int((RESOLUTION + 1) ** 3),
        rounds=len(octree.round_counts),
    )
    benchmark.compare("the same, 8 hands in lockstep", lambda: search(values, 16, 8), {}, repeats=3, per=8)
    small = capsule_hand(32)
    benchmark.compare(
        "octree bookkeeping at resolution 32",
        lambda: search(small, 4),
        {"plain loops": lambda: naive_search(lambda index: small[tuple(index.T)], 4, 3, LEVEL)},
        repeats=7,
    )
    benchmark.save()


if __name__ == "__main__":
    main()
