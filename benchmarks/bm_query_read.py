"""Reading 4 096 labelled points of one hand out of 100 000: block of a memory-mapped shard against a file per hand.

The file per hand is what HALO preparation writes: an npz with float16 points, packed labels and the hand's meta data. Its
reader casts all points, adds noise to all, unpacks all labels, and then keeps a random part. Files lie in the page cache.
"""

from __future__ import annotations

from benchmarks.harness import Benchmark  # first: it sets the number of threads

# isort: split
import tempfile
from pathlib import Path

import numpy as np

from im2hands.datasets.queries import QuerySet
from im2hands.datasets.query_sampling import PalmMesh, Sampling, write_query_shard
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance

HANDS, POINTS_PER_READ = 24, 4096
COUNTS = {"near_surface": 50_000, "uniform_cube": 50_000, "uniform_hand": 0}
READ = {"near_surface": POINTS_PER_READ // 2, "uniform_cube": POINTS_PER_READ // 2}


def write_hands(folder: Path) -> tuple[QuerySet, list[Path]]:
    """The same hands and points in both forms."""
    model = builtin_hand_models()[Side.RIGHT]
    rng = np.random.default_rng(0)
    pose, shape = rng.normal(0, 0.2, (HANDS, 48)), rng.normal(0, 1, (HANDS, 10))
    pose[:, :3] = 0
    posed = model.pose(pose, shape, np.zeros((HANDS, 3)))
    vertices = (model.seal(posed.vertices.double().numpy()) - posed.keypoints[:, :1].double().numpy()) / 0.4
    meshes = [PalmMesh(f"0_{hand}_right", Side.RIGHT, vertices[hand], model.sealed_faces) for hand in range(HANDS)]
    shard = folder / "queries" / "0-of-1.arrow"
    write_query_shard(shard, meshes, COUNTS, Sampling.of_params(4, 8, "consistent", 0), Provenance())
    write_manifest(shard.parent / "manifest.json", [shard])
    queries = QuerySet.read(shard.parent / "manifest.json")
    return queries, [write_npz(folder / f"{hand}.npz", queries, hand) for hand in range(HANDS)]


def write_npz(path: Path, queries: QuerySet, hand: int) -> Path:
    """One hand as HALO preparation stores it; the meta data have its shapes."""
    near, cube = queries.points(hand, "near_surface"), queries.points(hand, "uniform_cube")
    np.savez(
        path,
        points=np.concatenate([cube.points, near.points]).astype(np.float16),
        occupancies=np.packbits(np.concatenate([cube.labels, near.labels])),
        loc=np.zeros(3),
        scale=np.ones(()),
        shape=np.zeros(10),
        joints_trans=np.tile(np.eye(4), (16, 1, 1)),
        verts=np.zeros((2000, 3), np.float32),
        vert_labels=np.zeros(2000, np.int32),
        bone_lengths=np.ones(16),
        hand_joints=np.zeros((21, 3)),
    )
    return path


def read_npz(path: Path, count: int, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """The file-per-hand reader's sequence: cast all, noise on all, unpack all, then choose with repeats."""
    content = np.load(path)
    points = content["points"].astype(np.float32)
    points += 1e-4 * rng.randn(*points.shape)
    occupancies = np.unpackbits(content["occupancies"])[: len(points)].astype(np.float32)
    for name in ("loc", "scale", "joints_trans", "verts", "vert_labels", "bone_lengths", "hand_joints"):
        content[name]
    chosen = rng.randint(len(points), size=count)
    return points[chosen], occupancies[chosen]


def main() -> None:
    benchmark = Benchmark("query_read", ("numpy", "pyarrow"))
    with tempfile.TemporaryDirectory() as folder:
        queries, files = write_hands(Path(folder))
        ours_rng, naive_rng = np.random.default_rng(0), np.random.RandomState(0)
        assert abs(queries.block(0, ours_rng, READ).labels.mean() - read_npz(files[0], 4096, naive_rng)[1].mean()) < 0.1
        benchmark.compare(
            "4 096 of 100 000 points of a hand",
            lambda: [queries.block(hand, ours_rng, READ) for hand in range(HANDS)],
            {"npz per hand": lambda: [read_npz(path, POINTS_PER_READ, naive_rng) for path in files]},
            repeats=9,
            per=HANDS,
            KiB_per_hand_shard=round((Path(folder) / "queries/0-of-1.arrow").stat().st_size / 1024 / HANDS),
            KiB_per_hand_npz=round(files[0].stat().st_size / 1024),
        )
    benchmark.save()


if __name__ == "__main__":
    main()
