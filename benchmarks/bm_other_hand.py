"""IntagHand on a hand that it never saw: drawn pictures of NVIDIA SOMA's hand against the same pictures of our own hand.

    python -m tools.other_hand.cut --output FOLDER                    # once; FOLDER lies outside the repository
    python benchmarks/bm_other_hand.py --hand FOLDER [--model FOLDER]

Both sets show the same poses of unseen persons with the same cameras, lights, skin, clothes and backgrounds; only the hand's
shape differs (see `tools.other_hand`). Error: mean distance of the 21 joints about each hand's middle base, the prediction
scaled to the true length from wrist to middle base; SOMA's hand has the size of the person's, so millimetres mean the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.harness import RESULTS, describe_machine  # sets the threads; before numpy

# isort: split
import json

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from im2hands.datasets.synthetic.crop_poses import PAIRS_PER_PERSON
from im2hands.datasets.synthetic.crop_tables import FIRST_PERSONS
from im2hands.datasets.synthetic.crops import VIEWS
from im2hands.hands.joints import FINGERS, JOINT_NAMES, PARENTS
from im2hands.hands.model_files import builtin_hand_models
from im2hands.io.errors import Im2HandsError
from im2hands.io.hashing import sha256_file
from im2hands.networks.intaghand import IntagHandNetwork, load_intaghand
from im2hands.networks.model_folder import WEIGHTS
from im2hands.reconstruction.predicted_hands import hands_in
from im2hands.training.intaghand import scaled_joint_errors
from tools.other_hand.hand import HOW_TO_GET, OtherHand
from tools.other_hand.pictures import PairedCrop, PairedCrops

SEED = 20270101
"""Not the seed of any training; the persons are those of test splits besides."""
PERSONS, POSES, SEEN = 16, 4, 3
"""Persons, poses of each, and views of each pose: 192 pictures of either hand."""
TARGET = 1.35
BATCH = 16
DRAWS = 2000
OWN, OTHER = "own", "other"


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors (mm) of n pictures. joints: about the middle base, scaled; NaN where the network placed no hands.

    persons: number of the person on each picture.
    """

    joints: Float[np.ndarray, "n 2 21"]
    persons: np.ndarray

    @property
    def hands(self) -> Float[np.ndarray, "n 2"]:
        return self.joints.mean(-1)


def draw(crops: PairedCrops, persons: int) -> tuple[list[PairedCrop], list[int], int]:
    """The pictures, the person on each, and how many poses were left out as the other hands run into each other in them."""
    drawn, whose, left_out = [], [], 0
    for person in range(persons):
        first, taken = (FIRST_PERSONS["test"] + person) * PAIRS_PER_PERSON, 0
        for pose in range(first, first + PAIRS_PER_PERSON):
            if not crops.placed(pose).usable:
                left_out += 1
                continue
            drawn += [crops.crop(pose * VIEWS + view) for view in range(SEEN)]
            whose += [person] * SEEN
            taken += 1
            if taken == POSES:
                break
        print(f"person {person + 1} of {persons} drawn", file=sys.stderr, flush=True)
    return drawn, whose, left_out


def contact_sheet(drawn: Sequence[PairedCrop], rows: int = 16) -> UInt8[np.ndarray, "height width 3"]:
    """Crops spread over the set, one a row: our hand, its joints, the other hand, its joints; RGB."""
    lines = []
    for crop in drawn[:: max(1, len(drawn) // rows)][:rows]:
        line = []
        for image, keypoints in ((crop.own, crop.own_keypoints), (crop.other, crop.other_keypoints)):
            shown = image.copy()
            for pixels, colour in zip(crop.camera.project(keypoints), ((0, 255, 0), (255, 255, 0)), strict=True):
                places = [tuple(np.round(16 * pixel).astype(int).tolist()) for pixel in pixels]
                for joint, parent in enumerate(PARENTS[1:], 1):
                    cv2.line(shown, places[joint], places[parent], colour, 1, cv2.LINE_AA, 4)
            line += [image, shown]
        lines.append(np.concatenate(line, 1))
    return np.concatenate(lines)


def measured(network: IntagHandNetwork, drawn: Sequence[PairedCrop], whose: Sequence[int], which: str) -> Errors:
    """The network's errors on one of the two sets."""
    models, errors = builtin_hand_models(), []
    for start in range(0, len(drawn), BATCH):
        batch = drawn[start : start + BATCH]
        made = hands_in(network, models, [getattr(crop, which) for crop in batch], [crop.camera for crop in batch])
        for crop, found in zip(batch, made, strict=True):
            true = getattr(crop, f"{which}_keypoints")
            errors.append(1000 * scaled_joint_errors(torch.from_numpy(found.keypoints), torch.from_numpy(true)).numpy())
    return Errors(np.array(errors), np.array(whose))


def summary(errors: Errors) -> dict:
    """Means and quartiles over hands, and means of each finger's joints."""
    hands = errors.hands[np.isfinite(errors.hands)]
    fingers = {
        finger: round(float(np.nanmean(errors.joints[..., [name.startswith(finger) for name in JOINT_NAMES]])), 1)
        for finger in FINGERS
    }
    return {
        "hands": len(hands),
        "not_placed": errors.hands.size - len(hands),
        "mean_mm": round(float(hands.mean()), 2),
        "quartiles_mm": [round(float(np.quantile(hands, share)), 1) for share in (0.25, 0.5, 0.75)],
        "mean_by_finger_mm": fingers,
    }


def ratio(own: Errors, other: Errors) -> dict:
    """The ratio of mean errors and the middle 90 % of it when persons are drawn again with replacement."""
    persons, rng = np.unique(own.persons), np.random.default_rng(0)
    sums = [np.array([np.nanmean(one.hands[one.persons == person]) for person in persons]) for one in (own, other)]
    picks = rng.integers(0, len(persons), (DRAWS, len(persons)))
    again = sums[1][picks].mean(1) / sums[0][picks].mean(1)
    found = float(np.nanmean(other.hands) / np.nanmean(own.hands))
    return {
        "ratio": round(found, 3),
        "ratio_90_percent": [round(float(np.quantile(again, q)), 3) for q in (0.05, 0.95)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hand", type=Path, help="folder of the other hand's file, see tools/other_hand/README.md")
    parser.add_argument("--model", type=Path, default=ROOT / "im2hands/weights/intaghand", help="IntagHand's folder")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--persons", type=int, default=PERSONS)
    parser.add_argument("--sheet", type=Path, help="picture file for some of the crops, with the true joints")
    parser.add_argument("--output", type=Path, default=RESULTS / "other_hand.json", help="file for the numbers")
    arguments = parser.parse_args()
    if arguments.hand is None:
        print(f"skipped: no other hand; {HOW_TO_GET} as `--hand`.")
        return
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        hand = OtherHand.read(arguments.hand)
        network, card = load_intaghand(arguments.model)
    except Im2HandsError as error:
        sys.exit(f"{error}")
    drawn, whose, left_out = draw(PairedCrops(builtin_hand_models(), hand, arguments.seed), arguments.persons)
    if arguments.sheet is not None:
        cv2.imwrite(str(arguments.sheet), contact_sheet(drawn)[..., ::-1])
    errors = {which: measured(network, drawn, whose, which) for which in (OWN, OTHER)}
    same = [scaled_joint_errors(*(torch.from_numpy(k) for k in (c.other_keypoints, c.own_keypoints))) for c in drawn]
    result = {
        "machine": describe_machine(("numpy", "numba", "opencv-python-headless", "torch")),
        "model": {"sha256": sha256_file(arguments.model / WEIGHTS), "run": card.origin.get("run")},
        "seed": arguments.seed,
        "pictures_of_each": len(drawn),
        "poses_left_out": left_out,
        OWN: summary(errors[OWN]),
        OTHER: summary(errors[OTHER]),
        **ratio(errors[OWN], errors[OTHER]),
        "target_ratio": TARGET,
        "between_true_hands_mm": round(1000 * float(torch.stack(same).mean()), 2),
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name not in ("machine", "model")}, indent=1))


if __name__ == "__main__":
    main()
