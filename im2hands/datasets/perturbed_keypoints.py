"""True keypoints with noise, as a keypoint source: isotropic normal noise on every joint, drawn for every frame and hand.

The frames of one pose get different noise, as predictions from different cameras do. Metres, world, STANDARD order.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from im2hands.datasets.frames import FrameTable, hand_id
from im2hands.datasets.hands import HandTable
from im2hands.datasets.keypoints import judged
from im2hands.hands.joints import JOINT_NAMES
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.hashing import seed_of


def perturbed_keypoints(
    frames: FrameTable, hands: HandTable, sigma_mm: float, seed: int
) -> tuple[Float[np.ndarray, "frames 2 21 3"], list[str | None]]:
    """Noisy `model` keypoints of every frame (m, world, order of `Side.index`), and why a frame has none.

    hands: with keypoints_model.  sigma_mm: standard deviation per coordinate.
    seed: with it, a hand's noise is a function of capture, frame, camera and side alone.
    Raises DataError for a standard deviation that is no positive number, or if no frame has two fitted hands.
    """
    if not (np.isfinite(sigma_mm) and sigma_mm > 0):
        raise DataError(f"the noise's standard deviation must be a positive number of millimetres, not {sigma_mm}.")
    true, rows = hands.array("keypoints_model"), hands.rows
    keypoints = np.full((len(frames), 2, len(JOINT_NAMES), 3), np.nan)
    reasons: list[str | None] = []
    cameras = frames.table["camera"].to_pylist()
    for index, (pair, camera) in enumerate(zip(frames.pair_keys, cameras, strict=True)):
        names = {side: hand_id(*pair, side) for side in Side}
        missing = [name for name in names.values() if name not in rows]
        reasons.append(f"{missing[0]} was set aside" if missing else None)
        if missing:
            continue
        for side, name in names.items():
            random = np.random.default_rng(seed_of(seed, "perturbed keypoints", *pair, camera, side.value))
            noise = random.normal(0, sigma_mm / 1000, true.shape[1:])
            keypoints[index, side.index] = true[rows[name]] + noise
    if None not in reasons:
        raise DataError("no frame of the frame table has two fitted hands; run fit_hands for this split.")
    return keypoints, judged(keypoints, reasons, "disturbed beyond a hand")
