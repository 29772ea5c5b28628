"""A photograph to two meshes at 256^3 with networks of published size, on two threads, wall time, after start-up.

Fast: `Reconstructor.reconstruct`. Naive: the published way, the same photograph in plain forms: image and anchor encoders run
again in every round of the search, its first grid is 32, marching cubes read the whole padded grid. The networks are not
trained; what they compute is replaced by a table of two posed hands, so that both forms search the same surfaces.

Batch: `Reconstructor.reconstruct_many` with one and with two worker processes. Wall time includes the waiting of
this process for others on the machine.
"""

from __future__ import annotations

from benchmarks.harness import Benchmark  # first: it sets the number of threads

# isort: split
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import mcubes
import numpy as np
import torch
from torch import Tensor

from benchmarks.peak_memory import peak_of_all_processes
from im2hands.geometry.cameras import Camera
from im2hands.geometry.inside import InsideTest
from im2hands.geometry.isosurface import BOX, grid_points
from im2hands.geometry.octree import refine
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.networks.image_encoder import normalise
from im2hands.networks.refined_occupancy import OPTIONS, RefinedOccupancyNetwork
from im2hands.networks.two_hands import CameraBatch, HandBatch
from im2hands.photographs.reconstructor import Reconstructor, hand_inputs, photograph_crop
from im2hands.reconstruction.anchors import AnchoredHand, AnchorSettings, anchor_seed, anchors_of
from im2hands.reconstruction.image_fields import hand_batch
from im2hands.reconstruction.surfaces import Extraction
from tests.naive.initial_occupancy import naive_occupancy
from tests.naive.refined_occupancy import naive_refined

RESOLUTION, LEVEL, DEPTH = 256, 0.45, 3
"""Cells along a side, threshold of refined occupancy, doublings of the published search."""
ANCHORS = AnchorSettings()
BATCH, THREADS = 32, 2
PHOTOGRAPH_TARGET = 5.0


class Scene:
    """A photograph of noise with two built-in hands 12 cm apart, 0.8 m away, and their occupancies at all grid points."""

    def __init__(self, resolution: int = RESOLUTION) -> None:
        self.resolution = resolution
        rng, models = np.random.default_rng(0), builtin_hand_models()
        self.keypoints = np.zeros((2, 21, 3))
        vertices = {}
        for side, x in ((Side.LEFT, 0.06), (Side.RIGHT, -0.06)):
            pose, shape = rng.normal(0, 0.2, (1, 48)), rng.normal(0, 1, (1, 10))
            posed = models[side].pose(pose, shape, np.array([[x, 0.0, 0.0]]))
            self.keypoints[side.index] = posed.keypoints[0]
            vertices[side] = models[side].seal(np.asarray(posed.vertices))[0]
        self.image = rng.integers(0, 256, (512, 512, 3)).astype(np.uint8)
        intrinsics = np.array([[1000.0, 0, 256], [0, 1000, 256], [0, 0, 1]])
        self.camera = Camera(intrinsics, np.eye(3), np.array([0, 0, 0.8]))
        self.hands = hand_inputs(self.keypoints)
        self.tables = {}
        for hand in self.hands:
            side = hand.frame.side
            test = InsideTest(hand.frame.to_palm(vertices[side]), models[side].sealed_faces)
            inside = partial(self._inside, test)
            self.tables[side] = refine(inside, 1, resolution >> DEPTH, DEPTH, LEVEL).dense(0) >= LEVEL

    def _inside(self, test: InsideTest, items: np.ndarray, index: np.ndarray) -> np.ndarray:
        return test.contains(grid_points(index, self.resolution)).astype(np.float64)

    def values(self, hand: HandBatch) -> Tensor:
        """Of the table at a hand's query points, which are grid points (1, n, 3)."""
        index = ((hand.points[0].numpy() / BOX + 0.5) * self.resolution).round().astype(int)
        return torch.from_numpy(self.tables[hand.side][tuple(index.T)][None].astype(np.float32))


def network(scene: Scene) -> RefinedOccupancyNetwork:
    """Published sizes; what it computes is computed, then replaced by the table."""
    torch.manual_seed(0)
    made = RefinedOccupancyNetwork(**dict.fromkeys(OPTIONS, "published")).eval().requires_grad_(False)
    for each in (made, made.initial):
        each.occupancy = partial(_replaced, scene, each.occupancy)
    return made


def _replaced(scene: Scene, occupancy: Callable[..., Tensor], encoded: Any, hand: HandBatch, *rest: Any) -> Tensor:
    occupancy(encoded, hand, *rest)
    return scene.values(hand)


@torch.no_grad()
def naive(scene: Scene, made: RefinedOccupancyNetwork) -> list[tuple[np.ndarray, np.ndarray]]:
    """(vertices, faces) of each hand, palm units."""
    crop, _, camera = photograph_crop(scene.image, scene.hands, scene.camera)
    images = normalise(torch.from_numpy(crop[None]))
    cameras = CameraBatch(
        *(torch.from_numpy(np.float32(x))[None] for x in (camera.rotation, camera.translation, camera.intrinsics))
    )
    batches = [hand_batch(hand) for hand in scene.hands]

    def initial(items: np.ndarray, points: np.ndarray) -> np.ndarray:
        seen = made.initial.image_map(made.initial.image_encoder(images))
        values = np.empty(len(points), np.float32)
        for item, batch in enumerate(batches):
            asked = batch.with_points(torch.from_numpy(points[items == item])[None])
            if not asked.points.shape[1]:
                continue
            naive_occupancy(made.initial, seen, asked, cameras)
            values[items == item] = scene.values(asked)[0].numpy()
        return values

    drawn = anchors_of(
        initial,
        [AnchoredHand(hand.frame, hand.keypoints, anchor_seed(0, 0, hand.frame.side)) for hand in scene.hands],
        ANCHORS,
    )
    anchors = {batch.side: torch.from_numpy(one.points[:1]) for batch, one in zip(batches, drawn, strict=True)}

    def refined(items: np.ndarray, index: np.ndarray) -> np.ndarray:
        points = grid_points(index, scene.resolution)
        asked = {
            batch.side: batch.with_points(torch.from_numpy(points[items == item])[None])
            for item, batch in enumerate(batches)
        }
        naive_refined(
            made, images, anchors, {side: hand for side, hand in asked.items() if hand.points.shape[1]}, cameras
        )
        return np.concatenate([scene.values(hand)[0].numpy() for hand in asked.values()])

    octrees = refine(refined, len(batches), scene.resolution >> DEPTH, DEPTH, LEVEL)
    return [
        mcubes.marching_cubes(np.pad(octrees.dense(item), 1, constant_values=-1e6), LEVEL)
        for item in range(len(batches))
    ]


def photograph_forms(resolution: int = RESOLUTION) -> dict[str, Callable[[], Any]]:
    """Both forms of one photograph; each returns the faces of every hand."""
    scene = Scene(resolution)
    made = network(scene)
    reconstructor = Reconstructor(made, Extraction("default", resolution, LEVEL), ANCHORS)

    def fast() -> list[int]:
        hands = reconstructor.reconstruct(scene.image, scene.keypoints, scene.camera)
        return [len(hands.meshes[hand.frame.side].faces) for hand in scene.hands]

    return {"fast": fast, "naive": lambda: [len(faces) for _, faces in naive(scene, made)]}


def batch(reconstructor: Reconstructor, scene: Scene, at_once: int) -> dict[str, float]:
    """Wall milliseconds of each of BATCH photographs, with the start of workers and after it; memory of a short batch."""

    def arrivals(count: int) -> list[float]:
        photographs = [(scene.image, scene.keypoints, scene.camera)] * count
        return [perf_counter() for _ in reconstructor.reconstruct_many(photographs, at_once)]

    peak = peak_of_all_processes(lambda: arrivals(3 * at_once))
    started = perf_counter()
    came = arrivals(BATCH)
    return {
        "wall_ms_each": round(1e3 * (came[-1] - started) / BATCH, 1),
        "wall_ms_each_after_start": round(1e3 * (came[-1] - came[at_once - 1]) / (BATCH - at_once), 1),
        "MiB_of_all_processes": round(peak),
    }


def parts(repeats: int = 3) -> dict[str, float]:
    """Wall milliseconds of the parts of one photograph, of the fastest of some runs."""
    scene = Scene()
    reconstructor = Reconstructor(network(scene), Extraction("default", RESOLUTION, LEVEL), ANCHORS)
    runs = [reconstructor.reconstruct(scene.image, scene.keypoints, scene.camera).timings for _ in range(repeats + 1)]
    best = min(runs[1:], key=lambda timings: sum(timings.values()))
    return {part: round(1e3 * seconds, 1) for part, seconds in best.items()}


def batches(benchmark: Benchmark) -> None:
    """Rows of one photograph alone and of batches; in turns, twice, because the machine's speed changes by several percent."""
    scene = Scene()
    reconstructor = Reconstructor(network(scene), Extraction("default", RESOLUTION, LEVEL), ANCHORS)

    def one() -> None:
        reconstructor.reconstruct(scene.image, scene.keypoints, scene.camera)

    one()
    for at_once in (1, 2, 1, 2):
        alone = []
        for _ in range(6):
            started = perf_counter()
            one()
            alone.append(perf_counter() - started)
        row = {
            "job": f"{BATCH} photographs, {at_once} at once",
            "wall_ms_of_one_alone": round(1e3 * float(np.mean(alone)), 1),
        }
        row |= batch(reconstructor, scene, at_once)
        row["ratio_after_start"] = round(row["wall_ms_of_one_alone"] / row["wall_ms_each_after_start"], 2)
        print(row, flush=True)
        benchmark.rows.append(row)


def main() -> None:
    benchmark = Benchmark("reconstruct", ("torch", "numpy", "pymcubes"))
    torch.set_num_threads(THREADS)
    batches(benchmark)
    forms = photograph_forms()
    torch.set_num_threads(THREADS)
    fast, plain = forms["fast"](), forms["naive"]()
    assert fast == plain, f"the forms found different surfaces: {fast} and {plain} faces"
    benchmark.compare_forms(
        "one photograph, two hands, from pixels to meshes",
        photograph_forms,
        small=(64,),
        target=PHOTOGRAPH_TARGET,
        repeats=3,
        threads=(THREADS,),
        faces=fast,
        parts_wall_ms=parts(),
    )
    benchmark.save()


if __name__ == "__main__":
    main()
