"""How real drawn hands look to a network that has only seen photographs: Google's hand-landmark network as a judge.

    python benchmarks/bm_judge.py --data data/raw/synthetic --split train     # pictures in InterHand2.6M's layout
    python benchmarks/bm_judge.py --data crops.npz     # `images` (n, rows, columns, 3), RGB; `points` (n, 2, 21, 2), pixels

Each hand is shown to the network as it likes hands best: cut out around its true points, turned upright (wrist to base of the
middle finger), in a square of 1.55 times its size. A hand is found if the network's presence is above one half; its error is
the mean distance of the 21 points from the true ones, over the extent. Real pictures: all of 19 hands found, median 8.4 %.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from im2hands.datasets.frames import pair_id
from im2hands.datasets.interhand26m import annotated_joints
from im2hands.geometry.cameras import project
from im2hands.hands.sides import SIDES, Side
from im2hands.io.atomic import read_json
from im2hands.io.errors import DataError
from im2hands.photographs.detection.crops import Sampler, extent, upright_square
from im2hands.photographs.detection.networks import LANDMARK_SIZE, HandNetworks, LiteRtNetworks
from im2hands.photographs.files import read_photograph

SHARE = 1.55
"""Side of the square in sides of the upright box around the hand; errors are shares of the box in the picture."""
FOUND = 0.5

Picture = UInt8[np.ndarray, "rows columns 3"]


@dataclass(frozen=True, eq=False)
class Verdict:
    """Of n hands. found: the network sees a hand.  error: share of the extent.  right: 0 left to 1 right.  points: pixels."""

    found: Bool[np.ndarray, " n"]
    error: Float[np.ndarray, " n"]
    right: Float[np.ndarray, " n"]
    points: Float[np.ndarray, "n 21 2"]

    def summary(self, sides: Iterable[Side] | None = None) -> dict[str, float]:
        """The numbers to compare. sides: the true ones of the hands, for the share of right sides among found hands."""
        said = {
            "hands": len(self.found),
            "found": round(float(self.found.mean()), 4),
            "median_error": round(float(np.median(self.error)), 4),
            "p90_error": round(float(np.quantile(self.error, 0.9)), 4),
        }
        if sides is not None:
            right = np.array([side is Side.RIGHT for side in sides])
            said["side_right"] = round(float(((self.right > 0.5) == right)[self.found].mean()), 4)
        return said


def judge(pictures: Iterable[Picture], points: Iterable[Float[np.ndarray, "21 2"]], networks: HandNetworks) -> Verdict:
    """The network's verdict on hands.

    pictures: RGB, 8 bit, any size; one per hand (pass a picture twice for two hands).  points: true pixels of each hand,
    STANDARD order, (0, 0) the centre of the first pixel; they may lie outside the picture.
    """
    seen = []
    for picture, true in zip(pictures, points, strict=True):
        true = np.asarray(true, np.float64)
        square = upright_square(true, SHARE)
        said = networks.hands(Sampler(picture).draw(square, LANDMARK_SIZE, repeat_border=True)[None])
        found = square.to_picture(said.points[0, :, :2])
        error = np.linalg.norm(found - true, axis=1).mean() / extent(true)
        seen.append((said.presence[0] > FOUND, error, said.right[0], found))
    return Verdict(*map(np.array, zip(*seen, strict=True)))


def annotated_hands(root: Path, split: str) -> Iterator[tuple[Picture, Side, Float[np.ndarray, "21 2"]]]:
    """Picture, side and true pixels of every hand of the two-hand frames of a dataset in InterHand2.6M's layout."""
    for picture, pair, _ in annotated_pairs(root, split):
        for side in SIDES:
            yield picture, side, pair[side.index]


def annotated_pairs(root: Path, split: str) -> Iterator[tuple[Picture, Float[np.ndarray, "2 21 2"], str]]:
    """Picture, true pixels of both hands (left, right) and file of every two-hand frame with all joints annotated."""
    data, cameras, joints = (
        read_json(root / f"annotations/{split}/InterHand2.6M_{split}_{kind}.json", "annotation file")
        for kind in ("data", "camera", "joint_3d")
    )
    for image in data["images"]:
        capture, frame, name = str(image["capture"]), str(image["frame_idx"]), str(image["camera"])
        found = annotated_joints(joints[capture][frame])
        file = root / f"images/{split}" / image["file_name"]
        if not all(valid.all() for _, valid in found.values()) or not file.is_file():
            continue
        camera = {key: np.array(value[name], np.float64) for key, value in cameras[capture].items()}
        world = np.stack([found[side][0] for side in SIDES])
        intrinsics = np.diag([*camera["focal"], 1.0])
        intrinsics[:2, 2] = camera["princpt"]
        seen = (world - camera["campos"] / 1000) @ camera["camrot"].T
        picture = read_photograph(file)
        if picture.mean() > 10:  # one frame of every split is black on purpose
            yield picture, project(seen, intrinsics), pair_id(capture, frame)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT / "data/raw/synthetic",
        help="a dataset folder, or an .npz file of images and points",
    )
    parser.add_argument("--split", default="test")
    parser.add_argument(
        "--models", type=Path, help="folder of the network files; default: where `detect --install` puts them"
    )
    arguments = parser.parse_args()
    try:
        networks = LiteRtNetworks(arguments.models)
        hands = list(_given_hands(arguments.data, arguments.split))
    except DataError as error:
        print(f"skipped: {error}")
        return
    pictures, sides, points = zip(*hands, strict=True)
    print(json.dumps(judge(pictures, points, networks).summary(sides)))


def _given_hands(data: Path, split: str) -> Iterator[tuple[Picture, Side, Float[np.ndarray, "21 2"]]]:
    if data.suffix != ".npz":
        yield from annotated_hands(data, split)
        return
    with np.load(data) as arrays:
        images, points = arrays["images"], arrays["points"]
    for image, pair in zip(images, points, strict=True):
        yield from ((image, side, pair[side.index]) for side in SIDES)


if __name__ == "__main__":
    main()
