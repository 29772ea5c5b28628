"""What keypoints alone tell: the shipped keypoint prior, and the fit to pixels, on hands that neither has seen.

    python benchmarks/bm_keypoint_prior.py --demo FOLDER      # a checkout in which `make demo` has run

Hands: the demo's test split (unseen subjects), and pairs whose angles are uniform within anatomical limits, drawn by the
sampler of tests/training/test_train_keypoint_prior.py, which training does not share. Errors are means over joints, mm. The
fit sees pixels of the crops alone, with 3 px of noise and known cameras. One thread. Writes results/keypoint_prior.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.harness import RESULTS, describe_machine
from im2hands.datasets.frame_items import FrameSet
from im2hands.hands.joints import MIDDLE_BASE, WRIST
from im2hands.hands.model_files import builtin_hand_models
from im2hands.networks.keypoint_prior import NAME, load_keypoint_prior
from im2hands.networks.model_folder import built_in
from im2hands.photographs.hand_fit import Evidence, HandFit
from im2hands.photographs.pixel_hands import FLAT_SIGMA, flat_hands
from tests.training.test_train_keypoint_prior import hands_over_the_range_of_motion

PIXEL_NOISE = 3.0
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--demo", type=Path, default=ROOT)
    parser.add_argument("--range-of-motion", type=int, default=300, help="pairs of the other sampler")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = arguments.demo / "data"
    frames = FrameSet(data / "frames/test.parquet", data / "hands/test.parquet", data / "images/test/manifest.json")
    items = [frames.item(place, with_image=False) for place in range(len(frames.frame_ids))]
    test = torch.from_numpy(np.stack([item.camera.to_camera(item.keypoints) for item in items]))
    intrinsics = torch.from_numpy(np.stack([item.camera.intrinsics for item in items]))
    free = hands_over_the_range_of_motion(arguments.range_of_motion, seed=11).double()
    network, card = load_keypoint_prior(built_in(NAME))
    found = {
        "machine": describe_machine(("torch", "numpy")),
        "weights": {"steps": card.parameters.get("steps"), "seed": card.seed, "origin": dict(card.origin)},
        "prior": {
            "demo's test split": [prior_row(network, test, sigma) for sigma in (5, 10, 15)],
            "uniform over the range of motion": [prior_row(network, free, sigma) for sigma in (5, 10, 15)],
        },
        "pixels alone": [pixel_row(network, test, intrinsics, missing) for missing in (0.0, 0.3)],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "keypoint_prior.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


@torch.no_grad()
def prior_row(network: torch.nn.Module, true: Tensor, sigma_mm: float) -> dict[str, float]:
    """Mean joint error about the middle base and about the wrist, before and after; sigma unknown and known."""
    random = np.random.default_rng(int(sigma_mm))
    noisy = (true + torch.from_numpy(random.normal(0, sigma_mm / 1000, true.shape))).float()
    unknown, known = network(noisy), network(noisy, torch.full(noisy.shape[:-1], sigma_mm / 1000))
    inside = (unknown.keypoints - true).abs() < 1.645 * unknown.sigma[..., None]
    return {
        "sigma_mm": sigma_mm,
        "pairs": len(true),
        "noisy_mm": error(noisy, true, MIDDLE_BASE),
        "corrected_mm": error(unknown.keypoints, true, MIDDLE_BASE),
        "corrected_known_sigma_mm": error(known.keypoints, true, MIDDLE_BASE),
        "noisy_about_wrist_mm": error(noisy, true, WRIST),
        "corrected_about_wrist_mm": error(unknown.keypoints, true, WRIST),
        "share_in_90_percent_interval": round(float(inside.double().mean()), 3),
    }


@torch.no_grad()
def pixel_row(network: torch.nn.Module, true: Tensor, intrinsics: Tensor, missing: float) -> dict[str, float]:
    """Errors about the wrist of a fit to noisy pixels, the share of coordinates in their 90 % intervals, ms of a frame."""
    random = np.random.default_rng(5)
    seen = true @ intrinsics[:, None].mT
    pixels = seen[..., :2] / seen[..., 2:] + torch.from_numpy(random.normal(0, PIXEL_NOISE, (*true.shape[:-1], 2)))
    pixels[torch.from_numpy(random.random(true.shape[:-1]) < missing)] = torch.nan
    times = -(-BATCH // len(true))
    pixels, true, intrinsics = (
        tensor.repeat(times, *[1] * (tensor.ndim - 1))[:BATCH] for tensor in (pixels, true, intrinsics)
    )
    fit = HandFit(builtin_hand_models())
    flat = flat_hands(pixels, intrinsics)
    started = perf_counter()
    start = network(flat.float(), torch.full(flat.shape[:-1], FLAT_SIGMA))
    evidence = Evidence(intrinsics, pixels, torch.full(pixels.shape[:-1], PIXEL_NOISE, dtype=torch.float64))
    found = fit.fit(evidence, start)
    seconds = perf_counter() - started
    errors = 1000 * (about(found.keypoints, WRIST) - about(true, WRIST)).norm(dim=-1).mean((1, 2))
    deviation = found.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    apart = (found.keypoints - true).flatten(2).abs()
    return {
        "missing": missing,
        "frames": len(true),
        "median_about_wrist_mm": round(float(errors.median()), 2),
        "mean_about_wrist_mm": round(float(errors.mean()), 2),
        "p90_about_wrist_mm": round(float(errors.quantile(0.9)), 2),
        "share_in_90_percent_interval": round(float((apart < 1.645 * deviation).double().mean()), 3),
        "ms_per_frame_in_a_batch_of_64": round(1000 * seconds / len(true), 1),
    }


def error(found: Tensor, true: Tensor, joint: int) -> float:
    return round(1000 * float((about(found, joint) - about(true, joint)).norm(dim=-1).mean()), 2)


def about(keypoints: Tensor, joint: int) -> Tensor:
    return keypoints - keypoints[:, :, joint : joint + 1]


if __name__ == "__main__":
    main()
