"""Corrects a keypoint source with the keypoint prior into a new keypoint source: world, metres, STANDARD order."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from im2hands.datasets.keypoints import KeypointTable, judged
from im2hands.io.progress import progress
from im2hands.networks.keypoint_prior import KeypointPriorNetwork

BATCH_PAIRS = 256


def likely_keypoints(
    network: KeypointPriorNetwork, given: KeypointTable
) -> tuple[Float[np.ndarray, "frames 2 21 3"], list[str | None]]:
    """Corrected keypoints of every row of `given` (m, world, order of `Side.index`), and why a row has none.

    network: ready to evaluate, on the CPU.
    """
    keypoints, reasons = given.keypoints(), list(given.reasons)
    likely = np.full_like(keypoints, np.nan)
    rows = [row for row, reason in enumerate(reasons) if reason is None]
    batches = [rows[start : start + BATCH_PAIRS] for start in range(0, len(rows), BATCH_PAIRS)]
    for batch in progress(batches, f"correct keypoints (x{BATCH_PAIRS} frames)"):
        likely[batch] = likely_hands(network, keypoints[batch])
    return likely, judged(likely, reasons, "corrected to no hands")


@torch.no_grad()
def likely_hands(
    network: KeypointPriorNetwork, keypoints: Float[np.ndarray, "frames 2 21 3"], sigma: float | None = None
) -> Float[np.ndarray, "frames 2 21 3"]:
    """The network's hands for keypoints in any one frame (m); computed in single precision about each pair's centre.

    sigma: standard deviation of the keypoints per coordinate (m), if it is known.
    """
    centre = np.nanmean(keypoints, axis=(1, 2), keepdims=True)
    told = None if sigma is None else torch.full(keypoints.shape[:-1], sigma)
    found = network(torch.from_numpy(keypoints - centre).float(), told)
    return found.keypoints.double().numpy() + centre
