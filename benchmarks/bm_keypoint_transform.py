"""Keypoints to bone frames: a batch of 512 hands against the same function one hand at a time, and the plain formulas.

Run from the repository root: python -m benchmarks.bm_keypoint_transform
"""

from benchmarks.harness import Benchmark  # first: it limits the threads of what is imported next

# isort: split

import numpy as np
import torch

from im2hands.hands.bone_frames import canonical_frames
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from tests.naive.bone_frames import naive_bone_matrices

HANDS = 512


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    pose = rng.normal(size=(HANDS, 48)) * 0.4
    posed = builtin_hand_models()[Side.RIGHT].pose(pose, rng.normal(size=(HANDS, 10)), rng.normal(size=(HANDS, 3)))
    keypoints = posed.keypoints.clone()
    arrays = keypoints.numpy()

    benchmark = Benchmark("keypoint_transform", packages=("numpy", "torch"))
    for behaviour in ("consistent", "published"):
        options = {"angle_clamp": behaviour, "degenerate_hands": behaviour}
        benchmark.compare(
            f"{HANDS} hands, {behaviour} (per hand)",
            lambda options=options: canonical_frames(keypoints, Side.RIGHT, **options),
            {
                "same function, one hand at a time": lambda options=options: [
                    canonical_frames(hand[None], Side.RIGHT, **options) for hand in keypoints
                ],
                "plain numpy formulas, one hand at a time": lambda: [
                    naive_bone_matrices(hand, False) for hand in arrays
                ],
            },
            target={"same function, one hand at a time": 20},
            per=HANDS,
        )
    benchmark.save()


if __name__ == "__main__":
    main()
