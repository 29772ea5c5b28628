"""How often the detector finds both hands of touching pairs, with which sides and errors, and how long it takes.

    python benchmarks/bm_detect.py                       # 200 pictures; needs `im2hands detect --install`
    python benchmarks/bm_detect.py --write pictures/     # also keeps the pictures, with truth.json, for other detectors
    python benchmarks/bm_detect.py --write pictures/ --add "MediaPipe 1.2.3" landmarks.json      # adds another one's results

Pictures: drawn by the code of `synthesize_dataset`, subjects of its test split, 50 pairs before four cameras each. A hand is
found if its 21 points are within 20 % of its extent on average (longer side of the box around its true pixels); errors are
those of found hands, in extents. Beside it a plain driver of the same networks: one look at the whole picture, every palm with
a score above one half. Hands without a partner: the same pictures drawn again with one hand; a second hand is a ghost.
One thread; seconds of CPU. Writes results/detect.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.harness import RESULTS, describe_machine
from im2hands.datasets.synthetic.dataset import PictureTask, draw_picture, picture_tasks
from im2hands.datasets.synthetic.plan import SEQUENCES_PER_CAPTURE, Settings
from im2hands.datasets.synthetic.sequences import pose_fits
from im2hands.geometry.cameras import Camera, project
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.io.atomic import read_json
from im2hands.io.errors import DataError
from im2hands.photographs.detection.crops import Sampler, Square, extent
from im2hands.photographs.detection.detector import HandDetector
from im2hands.photographs.detection.hands import FoundHand, as_joints, look
from im2hands.photographs.detection.looks import palms_in
from im2hands.photographs.detection.networks import HandNetworks, LiteRtNetworks
from im2hands.photographs.landmark_files import PictureLandmarks
from im2hands.photographs.landmarks import Landmarks

POSES, CAMERAS = 50, 4
SINGLE = 40
"""Pictures with one hand."""
FOUND = 0.2
PLAIN_SCORE = 0.5

Picture = UInt8[np.ndarray, "rows columns 3"]
Find = Callable[[Picture], dict[Side, Float[np.ndarray, "21 2"]]]


@dataclass(frozen=True, eq=False)
class Drawn:
    """pixels, points: true ones of the hands that are there, in the picture and in the camera frame (m)."""

    picture: Picture
    pixels: dict[Side, Float[np.ndarray, "21 2"]]
    points: dict[Side, Float[np.ndarray, "21 3"]] | None = None
    camera: Camera | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=POSES * CAMERAS)
    parser.add_argument("--detector", type=Path, help="folder of the network files")
    parser.add_argument("--write", type=Path, help="folder for the pictures and their truth")
    parser.add_argument("--space", type=int, help="only add errors in space, on so many of the pictures")
    parser.add_argument("--add", nargs=2, metavar=("NAME", "FILE"), help="a landmark file of the written pictures")
    arguments = parser.parse_args()
    if arguments.add is not None:
        add(arguments.write, *arguments.add)
        return
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        networks = LiteRtNetworks(arguments.detector)
    except DataError as error:
        print(f"skipped: {error}")
        return
    tasks = two_hand_tasks(arguments.pictures)
    if arguments.space is not None:
        add_space(tasks[:: max(1, len(tasks) // arguments.space)], HandDetector(networks))
        return
    pairs = [drawn(task) for task in tasks]
    if arguments.write is not None:
        write(arguments.write, pairs)
    singles = [drawn(task) for task in one_hand_tasks(tasks)]
    detector = HandDetector(networks)

    def ours(picture: Picture) -> dict[Side, np.ndarray]:
        return {side: hand.points for side, hand in detector(picture).hands.items()}

    found = {
        "machine": describe_machine(("ai-edge-litert", "numpy", "opencv-python-headless")),
        "pictures": "drawn by synthesize_dataset's code, subjects of the test split",
        "touching pairs": {
            "im2hands detect": row(pairs, ours),
            "one look, score above 0.5": row(pairs, plain_driver(networks)),
        },
        "one hand": {"im2hands detect": row(singles, ours)},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "detect.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def add(folder: Path, name: str, file: str) -> None:
    """Adds a row of another detector, which wrote a landmark file of the pictures of `write`; its time is not known."""
    truth, found = read_json(folder / "truth.json"), read_json(file)
    pictures = [
        Drawn(cv2.imread(str(folder / name)), {Side(side): np.array(pixels) for side, pixels in hands.items()})
        for name, hands in truth.items()
    ]
    results = iter(found.get(picture, {"hands": []})["hands"] for picture in truth)

    def stored(_: Picture) -> dict[Side, np.ndarray]:
        hands: dict[Side, np.ndarray] = {}
        for hand in next(results):  # the second one of a side is taken for the other side
            side = Side(hand["side"])
            hands[side.other if side in hands else side] = np.array(hand["pixels"])
        return hands

    said = row(pictures, stored)
    content = read_json(RESULTS / "detect.json")
    content["touching pairs"][name] = {key: value for key, value in said.items() if not key.startswith("cpu")}
    (RESULTS / "detect.json").write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["touching pairs"][name]))


def add_space(tasks: Sequence[PictureTask], detector: HandDetector) -> None:
    """Adds the errors in space of found hands with the right side: of the network's points, and of the fit to its pixels."""
    errors: dict[str, list[float]] = {"network's points, placed by perspective": [], "fit to the pixels alone": []}
    for one in map(drawn, tasks):
        for side, hand in detector(one.picture).hands.items():
            if hand.of(side) >= 0.5 and _error(hand.points, one.pixels[side]) < FOUND:
                network = PictureLandmarks({side: Landmarks(hand.points, hand.relative)}, None, "ray")
                pixels = PictureLandmarks({side: Landmarks(hand.points)}, None, "ray")
                for kind, given in zip(errors, (network, pixels), strict=True):
                    made = given.placed(one.camera).keypoints[side.index]
                    errors[kind].append(1000 * _after_alignment(made, one.points[side]))
    content = read_json(RESULTS / "detect.json")
    content["median error after rigid alignment, mm"] = {
        kind: {"hands": len(values), "mm": round(float(np.median(values)), 1)} for kind, values in errors.items()
    }
    (RESULTS / "detect.json").write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["median error after rigid alignment, mm"]))


def _after_alignment(points: Float[np.ndarray, "21 3"], true: Float[np.ndarray, "21 3"]) -> float:
    turn, _ = Rotation.align_vectors(true - true.mean(axis=0), points - points.mean(axis=0))
    return float(np.linalg.norm(turn.apply(points - points.mean(axis=0)) - true + true.mean(axis=0), axis=1).mean())


def two_hand_tasks(count: int) -> list[PictureTask]:
    """Pictures of both hands; every pair of hands is another pose, and every second one another person."""
    poses = -(-count // CAMERAS)
    settings = Settings(
        poses={"train": 0, "val": 0, "test": poses},
        subjects={"train": 16, "val": 4, "test": max(1, poses // SEQUENCES_PER_CAPTURE)},
        cameras=CAMERAS,
        scale=1.0,
        supersampling=2,
        jpeg_quality=92,
        seed=20230618,
    )
    both = (task for task in picture_tasks("", settings, "test") if len(task.fits) == len(SIDES) and not task.black)
    return [task for task in both if "_Mixed" not in task.path][:count]


def one_hand_tasks(tasks: Sequence[PictureTask]) -> Iterator[PictureTask]:
    """Some of the tasks with one hand, left and right in turn."""
    for number, task in enumerate(tasks[:: max(1, len(tasks) // SINGLE)]):
        side = SIDES[number % len(SIDES)]
        yield replace(task, fits={side: task.fits[side]}, arms={side: task.arms[side]})


def drawn(task: PictureTask) -> Drawn:
    posed = pose_fits(
        builtin_hand_models(), [{side: task.fits.get(side) or next(iter(task.fits.values())) for side in SIDES}]
    )
    camera = task.camera.camera
    points = {side: camera.to_camera(posed[side][1][0]) for side in SIDES if side in task.fits}
    pixels = {side: project(hand, camera.intrinsics) for side, hand in points.items()}
    return Drawn(draw_picture(task).image, pixels, points, Camera(camera.intrinsics, np.eye(3), np.zeros(3)))


def plain_driver(networks: HandNetworks) -> Find:
    """One look at the whole picture; the first hand of each side, as a simple program would do it."""

    def find(picture: Picture) -> dict[Side, np.ndarray]:
        sampler, size = Sampler(picture), np.array(picture.shape[1::-1], np.float64)
        palms = palms_in(sampler, [Square((size - 1) / 2, float(size.max()))], networks)
        hands: dict[Side, FoundHand] = {}
        for number in np.flatnonzero(palms.score > PLAIN_SCORE):
            for hand in look(sampler, [palms.hand_square(int(number))], networks, PLAIN_SCORE):
                hands.setdefault(max(SIDES, key=hand.of), as_joints(hand))
        return {side: hand.points for side, hand in hands.items()}

    return find


def row(pictures: Sequence[Drawn], find: Find) -> dict[str, float]:
    """What a detector does on these pictures."""
    found, ghosts, sides, errors, seconds, given = [], 0, [], [], [], 0
    for one in pictures:
        begun = process_time()
        hands = find(one.picture)
        seconds.append(process_time() - begun)
        given += len(hands)
        ghosts += len(hands) > len(one.pixels)
        places = {
            side: min(_error(points, pixels) for points in hands.values()) if hands else np.inf
            for side, pixels in one.pixels.items()
        }
        found.append([place < FOUND for place in places.values()])
        for side, pixels in one.pixels.items():
            if places[side] < FOUND:
                right = side in hands and _error(hands[side], pixels) < FOUND
                sides.append(right)
                errors.append(places[side])
    counts = np.array(found).sum(axis=1)
    return {
        "pictures": len(pictures),
        "all_hands": round(float((counts == len(found[0])).mean()), 3),
        "at_least_one": round(float((counts > 0).mean()), 3),
        "side_right": round(float(np.mean(sides)), 3),
        "median_error": round(float(np.median(errors)), 4),
        "p90_error": round(float(np.quantile(errors, 0.9)), 4),
        "results_that_are_a_hand": round(float(counts.sum() / max(given, 1)), 3),
        "more_hands_than_there_are": round(ghosts / len(pictures), 3),
        "cpu_seconds_median": round(float(np.median(seconds)), 3),
        "cpu_seconds_p90": round(float(np.quantile(seconds, 0.9)), 3),
    }


def _error(points: Float[np.ndarray, "21 2"], true: Float[np.ndarray, "21 2"]) -> float:
    return float(np.linalg.norm(points - true, axis=1).mean() / extent(true))


def write(folder: Path, pictures: Sequence[Drawn]) -> None:
    """PNG files, and truth.json: name -> side -> pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = {}
    for number, one in enumerate(pictures):
        name = f"{number:03d}.png"
        cv2.imwrite(str(folder / name), one.picture[..., ::-1])
        truth[name] = {side.value: np.round(pixels, 3).tolist() for side, pixels in one.pixels.items()}
    (folder / "truth.json").write_text(json.dumps(truth))


if __name__ == "__main__":
    main()
