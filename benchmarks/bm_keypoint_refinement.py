"""What the photograph adds to keypoints after the prior: keypoint refinement on hands that it has not seen.

    python benchmarks/bm_keypoint_refinement.py --demo FOLDER [--models FOLDER]      # FOLDER: where `make demo` has run

Hands: the demo's test split (unseen subjects, both cameras) and, with `--crops`, crops that are drawn here of new persons.
Given are true keypoints with normal noise, or IntagHand's. Errors are means over joints, mm, about the middle knuckle and about
the wrist; paired differences have 95 % intervals, poses drawn with replacement. To tell whether the network looks, it is also
shown another person's picture, a grey one, and the other hand where another pair has it. Two threads. Writes
results/keypoint_refinement.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.harness import RESULTS, describe_machine
from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.synthetic.crops import VIEWS, CropSource
from im2hands.datasets.synthetic.sequences import Fit
from im2hands.evaluation.comparisons import bootstrap
from im2hands.geometry.cameras import Camera
from im2hands.hands.joints import MIDDLE_BASE, WRIST
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.networks.intaghand import load_intaghand
from im2hands.networks.keypoint_prior import load_keypoint_prior
from im2hands.networks.keypoint_refinement import NAME, load_keypoint_refinement
from im2hands.networks.model_folder import SHIPPED
from im2hands.reconstruction.likely_keypoints import likely_hands
from im2hands.reconstruction.predicted_hands import hands_in
from im2hands.reconstruction.refined_keypoints import BATCH_FRAMES, refined_hands

NOISE_MM = (2, 5, 10, 15)
SEED, HIDING, EVERY = 77, 0.4, 4
"""Of the drawn crops, and how many of a pose's views come between two that are taken."""
MODELS = builtin_hand_models()


@dataclass(frozen=True)
class Set:
    """Crops with their cameras, the true keypoints (world, m), and which pose each crop shows."""

    images: UInt8[np.ndarray, "n 256 256 3"]
    cameras: Sequence[Camera]
    true: Float[np.ndarray, "n 2 21 3"]
    poses: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--demo", type=Path, default=ROOT)
    parser.add_argument("--models", type=Path, default=SHIPPED)
    parser.add_argument("--crops", type=int, default=0, help="crops drawn here besides")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    prior, intaghand = (load(SHIPPED / name)[0] for load, name in LOADED)
    network, card = load_keypoint_refinement(arguments.models / NAME)
    found: dict[str, Any] = {
        "machine": describe_machine(("torch", "numpy")),
        "weights": {"steps": card.parameters.get("steps"), "seed": card.seed, "origin": dict(card.origin)},
    }
    sets = {"demo's test split": of_demo(arguments.demo / "data")}
    if arguments.crops:
        sets["drawn crops"] = drawn(arguments.crops)
    for name, crops in sets.items():
        given = {f"{mm} mm of noise": noisy(crops, mm) for mm in NOISE_MM}
        made = hands_in(intaghand, MODELS, list(crops.images), crops.cameras)
        given["IntagHand"] = np.stack([one.keypoints for one in made])
        found[name] = {
            source: row(network, prior, crops, likely_hands(prior, keypoints)) for source, keypoints in given.items()
        }
        print(json.dumps({name: found[name]}, indent=1), flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "keypoint_refinement.json").write_text(json.dumps(found, indent=1) + "\n")


LOADED = ((load_keypoint_prior, "keypoint_prior"), (load_intaghand, "intaghand"))


def of_demo(data: Path) -> Set:
    frames = FrameSet(data / "frames/test.parquet", data / "hands/test.parquet", data / "images/test/manifest.json")
    items = [frames.item(place) for place in range(len(frames))]
    true = np.stack([item.keypoints for item in items])
    return Set(
        np.stack([item.image for item in items]), [item.camera for item in items], true, np.array(frames.pair_ids)
    )


def drawn(count: int) -> Set:
    source = CropSource(MODELS, SEED, HIDING)
    numbers = range(0, count * EVERY, EVERY)
    crops = [source.crop(number) for number in numbers]
    true = np.stack([[fitted_keypoints(crop.fits[side], side) for side in SIDES] for crop in crops])
    poses = np.array([number // VIEWS for number in numbers])
    return Set(np.stack([crop.image for crop in crops]), [crop.camera for crop in crops], true, poses)


def fitted_keypoints(fit: Fit, side: Side) -> Float[np.ndarray, "21 3"]:
    """Keypoints of a built-in hand model as annotated; world, m."""
    return MODELS[side].pose(fit.pose[None], fit.shape[None], fit.translation[None]).keypoints[0].numpy()


def noisy(crops: Set, sigma_mm: float) -> Float[np.ndarray, "n 2 21 3"]:
    return crops.true + np.random.default_rng(int(sigma_mm)).normal(0, sigma_mm / 1000, crops.true.shape)


def row(
    network: torch.nn.Module, prior: torch.nn.Module, crops: Set, likely: Float[np.ndarray, "n 2 21 3"]
) -> dict[str, Any]:
    """Errors before and after, what another picture and another second hand make of it."""
    after = refined(network, crops.images, crops, likely, prior)
    others = np.roll(np.arange(len(likely)), len(likely) // 2)
    elsewhere = likely.copy()  # the right hand of another pair, where this one has its own
    elsewhere[:, 1] += (
        likely[others][:, 1] - likely[others][:, 1, WRIST, None] - (likely[:, 1] - likely[:, 1, WRIST, None])
    )
    alone = refined(network, crops.images, crops, elsewhere, prior)
    shown = {
        "before": likely,
        "without the prior at the end": refined(network, crops.images, crops, likely, None),
        "after": after,
        "another picture": refined(network, crops.images[others], crops, likely, prior),
        "grey picture": refined(network, np.full_like(crops.images, 128), crops, likely, prior),
    }
    found: dict[str, Any] = {"crops": len(likely), "poses": len(np.unique(crops.poses))}
    for about, joint in (("knuckle", MIDDLE_BASE), ("wrist", WRIST)):
        errors = {name: error(keypoints, crops.true, joint) for name, keypoints in shown.items()}
        found[about] = {name: round(float(each.mean()), 2) for name, each in errors.items()}
        change = bootstrap(errors["after"] - errors["before"], crops.poses, SEED)
        found[about]["after - before"] = [round(value, 2) for value in (change.mean, change.low, change.high)]
        left = [error(each[:, :1], crops.true[:, :1], joint).mean() for each in (after, alone)]
        found[about]["left hand: after, with another right hand"] = [round(float(value), 2) for value in left]
    return found


def refined(network: torch.nn.Module, images: np.ndarray, crops: Set, likely: np.ndarray, prior) -> np.ndarray:
    made = []
    for start in range(0, len(likely), BATCH_FRAMES):
        part = slice(start, start + BATCH_FRAMES)
        cameras, shown = crops.cameras[part], likely[part]
        made.append(refined_hands(network, images[part], cameras, shown, shown[:, :, WRIST], "cpu", prior))
    return np.concatenate(made)


def error(found: np.ndarray, true: np.ndarray, joint: int) -> Float[np.ndarray, " n"]:
    about = [keypoints - keypoints[:, :, [joint]] for keypoints in (found, true)]
    return 1000 * np.linalg.norm(about[0] - about[1], axis=-1).mean((1, 2))


if __name__ == "__main__":
    main()
