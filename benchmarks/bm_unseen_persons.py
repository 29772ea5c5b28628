"""Im2Hands against HALO on persons that no network has seen: one drawn crop of each.

    python benchmarks/bm_unseen_persons.py [--persons 40] [--models FOLDER]

A test split of four persons cannot tell differences of a point between methods, because a field that makes hands a quarter of a
millimetre too thick suits some persons and not others. Field IoU (%) on points drawn uniformly in the box of each hand and 8 mm
around it, hands with the wrist on the true one, mean of both hands; differences are paired, with 95 % intervals over persons.
As in the paper's tables, HALO gets keypoints from before refinement, here after the prior; beside it those after refinement.
One thread. Writes results/unseen_persons.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bm_keypoint_refinement import MODELS, fitted_keypoints
from benchmarks.harness import RESULTS, describe_machine
from im2hands.datasets.keypoints import aligned
from im2hands.datasets.synthetic.crop_poses import PAIRS_PER_PERSON
from im2hands.datasets.synthetic.crops import VIEWS, CropSource, DrawnCrop
from im2hands.evaluation.comparisons import bootstrap
from im2hands.geometry.inside import InsideTest
from im2hands.hands.joints import WRIST
from im2hands.hands.sides import SIDES
from im2hands.io.progress import progress
from im2hands.networks.halo import load_halo
from im2hands.networks.initial_occupancy import load_initial_occupancy
from im2hands.networks.intaghand import load_intaghand
from im2hands.networks.keypoint_prior import load_keypoint_prior
from im2hands.networks.keypoint_refinement import load_keypoint_refinement
from im2hands.networks.model_folder import SHIPPED
from im2hands.networks.refined_occupancy import LEVEL, load_refined_occupancy
from im2hands.photographs.reconstructor import hand_inputs
from im2hands.reconstruction.anchors import AnchorSettings, ImagedField
from im2hands.reconstruction.fields import BoneField
from im2hands.reconstruction.image_fields import imaged_pair
from im2hands.reconstruction.likely_keypoints import likely_hands
from im2hands.reconstruction.predicted_hands import hands_in
from im2hands.reconstruction.refined_keypoints import refined_hands

SEED, HIDING, NOISE_MM, POINTS, MARGIN = 79, 0.4, 10.0, 4000, 0.008
LOADERS = {
    "halo": load_halo,
    "initial_occupancy": load_initial_occupancy,
    "refined_occupancy": load_refined_occupancy,
    "intaghand": load_intaghand,
    "keypoint_prior": load_keypoint_prior,
    "keypoint_refinement": load_keypoint_refinement,
}
ROWS = (
    ("halo", "true"),
    ("initial_occupancy", "true"),
    ("refined_occupancy", "true"),
    ("halo", "noise, prior"),
    ("halo", "noise, prior, refined"),
    ("refined_occupancy", "noise, prior, refined"),
    ("halo", "photograph, prior"),
    ("halo", "photograph, prior, refined"),
    ("refined_occupancy", "photograph, prior, refined"),
)
PAIRS = ((2, 0), (1, 0), (5, 3), (5, 4), (8, 6), (8, 7))
"""Places in ROWS that are compared: the first minus the second."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--persons", type=int, default=40)
    parser.add_argument("--models", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    networks = {name: load(arguments.models / name)[0] for name, load in LOADERS.items()}
    source = CropSource(MODELS, SEED, HIDING)
    scores = []
    for person in progress(range(arguments.persons), "unseen persons"):
        crop = source.crop((person * PAIRS_PER_PERSON + person % PAIRS_PER_PERSON) * VIEWS + person % VIEWS)
        keypoints = keypoints_of(crop, networks, np.random.default_rng([SEED, person]))
        points, inside = labelled(crop, np.random.default_rng([SEED, person, 1]))
        scores.append([iou(networks, crop, method, keypoints[kind], points, inside) for method, kind in ROWS])
    each = np.array(scores)
    found = {"machine": describe_machine(("torch", "numpy")), "persons": len(each), "seed": SEED, "hiding": HIDING}
    found["field IoU (%)"] = {
        f"{method}: {kind}": round(float(mean), 2) for (method, kind), mean in zip(ROWS, each.mean(0), strict=True)
    }
    differences = {}
    for first, second in PAIRS:
        change = bootstrap(each[:, first] - each[:, second], np.arange(len(each)), SEED)
        name = " minus ".join(": ".join(ROWS[row]) for row in (first, second))
        differences[name] = [round(value, 2) for value in (change.mean, change.low, change.high)]
    found["differences"] = differences
    print(json.dumps(found, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "unseen_persons.json").write_text(json.dumps(found, indent=1) + "\n")


def keypoints_of(
    crop: DrawnCrop, networks: dict[str, torch.nn.Module], random: np.random.Generator
) -> dict[str, Float[np.ndarray, "2 21 3"]]:
    """Keypoints of every kind with the wrists on the true ones; world, m."""
    true = np.stack([fitted_keypoints(crop.fits[side], side) for side in SIDES])
    prior, refinement = networks["keypoint_prior"], networks["keypoint_refinement"]
    seen = hands_in(networks["intaghand"], MODELS, [crop.image], [crop.camera])[0].keypoints
    found = {"true": true}
    for name, given in (("noise", true + random.normal(0, NOISE_MM / 1000, true.shape)), ("photograph", seen)):
        likely = likely_hands(prior, given[None])
        found[f"{name}, prior"] = likely[0]
        refined = refined_hands(refinement, crop.image[None], [crop.camera], likely, likely[:, :, WRIST], "cpu", prior)
        found[f"{name}, prior, refined"] = refined[0]
    return {name: aligned(each[None], true[None, :, WRIST], "wrist")[0] for name, each in found.items()}


def labelled(
    crop: DrawnCrop, random: np.random.Generator
) -> tuple[Float[np.ndarray, "2 points 3"], Bool[np.ndarray, "2 points"]]:
    """Points (world, m) around each true hand and whether they are inside it."""
    points, inside = [], []
    for side in SIDES:
        vertices = MODELS[side].seal(crop.vertices[side.index])
        drawn = random.uniform(vertices.min(0) - MARGIN, vertices.max(0) + MARGIN, (POINTS, 3))
        points.append(drawn)
        inside.append(InsideTest(vertices, MODELS[side].sealed_faces).contains(drawn))
    return np.stack(points), np.stack(inside)


def iou(
    networks: dict[str, torch.nn.Module],
    crop: DrawnCrop,
    method: str,
    keypoints: Float[np.ndarray, "2 21 3"],
    points: Float[np.ndarray, "2 points 3"],
    inside: Bool[np.ndarray, "2 points"],
) -> float:
    """Mean of both hands, %."""
    pair, network = hand_inputs(keypoints), networks[method]
    if method == "halo":
        bones, lengths = (
            np.stack([getattr(hand, name) for hand in pair]) for name in ("bone_from_palm", "bone_lengths")
        )
        field = BoneField(network.occupancy, bones, lengths, points_per_call=POINTS)
    else:
        field = ImagedField(network, imaged_pair(network, crop.image, crop.camera, pair, AnchorSettings()))
    asked = np.concatenate([hand.frame.to_palm(own) for hand, own in zip(pair, points, strict=True)])
    level = LEVEL if method == "refined_occupancy" else 0.5
    found = (field(np.repeat(np.arange(len(pair)), POINTS), asked) > level).reshape(inside.shape)
    return 100 * float(np.mean((found & inside).sum(1) / (found | inside).sum(1)))


if __name__ == "__main__":
    main()
