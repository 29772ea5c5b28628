"""A film of hands against its pictures one by one: jitter, lag, errors, stated uncertainty, and time.

Motion: drawn poses of unseen shapes (right and left hand), 2-D keypoints of a 640 x 480 picture with 2 px of noise that is
independent in every frame, known camera. "Single" is what `reconstruct` makes of a picture by itself, the fit to its pixels.

Time: CPU time of a frame on one thread, in turns, networks of published size at 256 cells whose values are replaced by a table
of two posed hands (as in bm_reconstruct). Both make meshes, pictures and files; the film has its motion from the smoothing and
smaller pictures.
"""

from __future__ import annotations

from benchmarks.harness import RESULTS, best_of_turns, describe_machine  # first: it sets the number of threads

# isort: split
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.bm_reconstruct import ANCHORS, LEVEL, RESOLUTION, Scene, network
from im2hands.films.command import PICTURE
from im2hands.geometry.isosurface import FIRST_CELLS
from im2hands.hands.sides import SIDES
from im2hands.photographs.command import Made, Settings, write_results
from im2hands.photographs.files import Photograph
from im2hands.photographs.landmark_files import GivenHands
from im2hands.photographs.pixel_hands import hands_from_pixels
from im2hands.photographs.reconstructor import Reconstructor
from im2hands.reconstruction.surfaces import Extraction
from tests.films.moving_hands import moving_pair
from tests.films.test_film_motion import CAMERA, about_wrist, film_of, keypoints_of, smoothed

FRAMES, FILMS, NOISE = 100, 4, 2.0


def single(film: list) -> np.ndarray:
    """Keypoints of every picture by itself."""
    return np.stack(
        [hands_from_pixels({one.side: one.pixels for one in picture.found}, CAMERA).keypoints for picture in film]
    )


def depth(hands: np.ndarray) -> np.ndarray:
    return 1e3 * hands[..., 2].mean(axis=2)


def shaking(hands: np.ndarray) -> float:
    """Standard deviation (mm) of the depth's second difference, as of independent noise in each frame."""
    return float(np.diff(depth(hands), 2, axis=0).std() / 6**0.5)


def lag(found: np.ndarray, true: np.ndarray) -> float:
    """Frames by which the motion of a hand's middle in the picture plane is late."""
    times, offsets, inner = np.arange(len(true)), np.linspace(-2, 2, 161), slice(4, -4)
    costs = []
    for offset in offsets:
        moved = np.stack([np.interp(times - offset, times, true[:, axis]) for axis in range(2)], axis=1)[inner]
        size = (found[inner, :2] * moved).sum() / (moved * moved).sum()
        costs.append(np.square(found[inner, :2] - size * moved).sum())
    return float(offsets[int(np.argmin(costs))])


def motion_row(still: bool) -> dict:
    """Means over drawn films."""
    rows, lags = [], []
    for seed in range(FILMS):
        truth = keypoints_of(moving_pair(FRAMES, seed=50 + seed, poses=1 + 4))
        truth = np.repeat(truth[30:31], FRAMES, axis=0) if still else truth
        film = film_of(truth, NOISE, seed=seed)
        alone, together = single(film), smoothed(film)
        row = {}
        for name, hands in (("single", alone), ("film", together.keypoints)):
            off = about_wrist(hands) - about_wrist(truth)
            row[f"{name}_depth_std_mm"] = float((depth(hands) - depth(truth)).std(axis=0).mean())
            row[f"{name}_depth_shaking_mm"] = shaking(hands)
            row[f"{name}_error_about_wrist_mm"] = 1e3 * float(np.linalg.norm(off, axis=-1).mean())
        off = np.abs(about_wrist(together.keypoints) - about_wrist(truth))[:, :, 1:]
        row["film_joints_in_90_percent_interval"] = float((off < 1.645 * together.sigma[:, :, 1:, None]).mean())
        low, high, true = together.distance[..., 1], together.distance[..., 2], truth[..., 2].mean(axis=2)
        row["film_distance_in_90_percent_interval"] = float(((low < true) & (true < high)).mean())
        rows.append(row)
        if not still:
            lags += [lag(together.keypoints[:, side.index].mean(1), truth[:, side.index].mean(1)) for side in SIDES]
    found = {name: round(float(np.mean([row[name] for row in rows])), 3) for name in rows[0]}
    return found | ({"largest_lag_frames": round(float(np.abs(lags).max()), 3)} if lags else {})


def interval_row(films: int = 14, frames: int = 16) -> dict:
    """How often the truth is in what is stated, in many short films of different shapes."""
    joints, distances = [], []
    for seed in range(films):
        truth = keypoints_of(moving_pair(frames, seed=100 + seed, poses=2))
        found = smoothed(film_of(truth, NOISE, seed=seed))
        off = np.abs(about_wrist(found.keypoints) - about_wrist(truth))[:, :, 1:]
        joints.append(off < 1.645 * found.sigma[:, :, 1:, None])
        true = truth[..., 2].mean(axis=2)
        distances.append((found.distance[..., 1] < true) & (true < found.distance[..., 2]))
    shares = {"joint_coordinates": joints, "distances": distances}
    return {"films": films, "frames": frames} | {name: round(float(np.mean(x)), 3) for name, x in shares.items()}


def fit_ms() -> dict:
    """CPU milliseconds of a frame until its hands are known."""
    film = film_of(keypoints_of(moving_pair(FRAMES, seed=50, poses=5)), NOISE)
    seconds = best_of_turns({"single": lambda: single(film), "film": lambda: smoothed(film)}, time.process_time, 2)
    return {name: round(1e3 * value / FRAMES, 1) for name, value in seconds.items()}


def mesh_ms() -> dict:
    """CPU milliseconds of a frame from its hands to its files, and the parts."""
    scene = Scene()
    reconstructor = Reconstructor(network(scene), Extraction("default", RESOLUTION, LEVEL), ANCHORS, one_part=True)
    settings = Settings(Path(), "keypoints")
    photograph = Photograph("frame", Path("film.mp4"), lambda: scene.image)
    found: dict[str, float] = {}

    def surfaces():
        return reconstructor.reconstruct(scene.image, scene.keypoints, scene.camera)

    hands = surfaces()

    def files(of: Settings) -> None:
        fresh = replace(hands)  # what was computed once per picture is computed again
        with tempfile.TemporaryDirectory() as folder:
            write_results(Path(folder), photograph, Made(fresh, GivenHands(scene.keypoints), scene.image.shape), of)

    jobs = {
        "surfaces": surfaces,
        "files_of_a_single_picture": lambda: files(settings),
        "files_of_a_film's_frame": lambda: files(replace(settings, picture=PICTURE)),
    }
    found |= {name: round(1e3 * value, 1) for name, value in best_of_turns(jobs, time.process_time, 2).items()}
    return found


def evaluations() -> dict:
    """How many points of the field a frame's search asks, and how many it could not do without."""
    scene = Scene()
    made, asked = network(scene), []
    occupancy = made.occupancy
    made.occupancy = lambda encoded, hand, *rest: (asked.append(hand.points.shape[1]), occupancy(encoded, hand, *rest))[
        1
    ]
    Reconstructor(made, Extraction("default", RESOLUTION, LEVEL), ANCHORS).reconstruct(
        scene.image, scene.keypoints, scene.camera
    )
    return {
        "points": sum(asked),
        "of_them_on_the_first_grid": len(scene.hands) * (FIRST_CELLS + 1) ** 3,
        "of_them_at_corners_of_cells_that_the_surface_crosses": sum(map(crossed_corners, scene.tables.values())),
    }


def crossed_corners(inside: np.ndarray) -> int:
    """Grid points that marching cubes needs: corners of cells with corners on both sides."""
    size = len(inside) - 1
    places = [tuple(slice(k, k + size) for k in corner) for corner in np.ndindex(2, 2, 2)]
    some = np.logical_or.reduce([inside[place] for place in places])
    every = np.logical_and.reduce([inside[place] for place in places])
    needed = np.zeros(inside.shape, bool)
    for place in places:
        needed[place] |= some & ~every
    return int(needed.sum())


def main() -> None:
    torch.set_num_threads(1)
    found = {
        "machine": describe_machine(("torch", "numpy", "scipy")),
        "frames": FRAMES,
        "films": FILMS,
        "pixel_noise": NOISE,
        "still": motion_row(still=True),
        "moving": motion_row(still=False),
        "in_90_percent_intervals": interval_row(),
        "hands_ms": fit_ms(),
        "meshes_ms": mesh_ms(),
        "evaluations": evaluations(),
    }
    hands, meshes = found["hands_ms"], found["meshes_ms"]
    one = hands["single"] + meshes["surfaces"] + meshes["files_of_a_single_picture"]
    frame = hands["film"] + meshes["surfaces"] + meshes["files_of_a_film's_frame"]
    found["frame_ms"] = {"single": round(one, 1), "film": round(frame, 1), "ratio": round(one / frame, 2)}
    print(json.dumps(found, indent=1))
    (RESULTS / "film.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
