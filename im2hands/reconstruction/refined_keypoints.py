"""Refines a keypoint source with the photographs into a new keypoint source.

The network was trained on hands whose wrist is the true one, so its inputs are moved there. Its loss ignores the position of a
hand, so only the shape of its output is used (the published data stage also drops the position). A refined hand keeps the wrist
of its source and is stored, like all keypoints, as predicted: world, metres, STANDARD order, left not mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8

from im2hands.datasets.frame_items import FrameItem, FrameSet
from im2hands.datasets.keypoints import KeypointTable, aligned, judged
from im2hands.geometry.cameras import Camera
from im2hands.hands.frames import RefinementKeypoints
from im2hands.hands.joints import WRIST
from im2hands.io.progress import progress
from im2hands.networks.image_encoder import normalise
from im2hands.networks.keypoint_refinement import KeypointRefinementNetwork

BATCH_FRAMES = 16


def refined_keypoints(
    network: KeypointRefinementNetwork,
    frames: FrameSet,
    given: KeypointTable,
    device: torch.device | str = "cpu",
    batch_frames: int = BATCH_FRAMES,
) -> tuple[Float[np.ndarray, "frames 2 21 3"], list[str | None]]:
    """Refined keypoints of every row of `given` (m, world, order of `Side.index`), and why a row has none.

    network: on `device`, ready to evaluate.  frames: frames of the same split.  given: all frames of the split, see
    `require_frames`. Rows without keypoints keep their reason; rows whose frame has no crop or no true wrist get one, and so
    do those of which the network makes no hands.
    """
    keypoints, reasons = given.keypoints(), list(given.reasons)
    refined = np.full_like(keypoints, np.nan)
    places = {int(frame_id): place for place, frame_id in enumerate(frames.frame_ids)}
    for row, reason in enumerate(reasons):
        if reason is None and row not in places:
            reasons[row] = frames.crops[row].reason or "a hand was set aside, so its wrist is not known"
    rows = [row for row, reason in enumerate(reasons) if reason is None]
    batches = [rows[start : start + batch_frames] for start in range(0, len(rows), batch_frames)]
    for batch in progress(batches, f"refine keypoints (x{batch_frames} frames)"):
        items = [frames.item(places[row]) for row in batch]
        refined[batch] = _refined(network, items, keypoints[batch], device)
    return refined, judged(refined, reasons, "refined to no hands")


def _refined(
    network: KeypointRefinementNetwork,
    items: list[FrameItem],
    keypoints: Float[np.ndarray, "frames 2 21 3"],
    device: torch.device | str,
) -> Float[np.ndarray, "frames 2 21 3"]:
    shown = aligned(keypoints, np.stack([item.wrist for item in items]), "wrist")
    images = np.stack([item.image for item in items])
    world = refined_hands(network, images, [item.camera for item in items], shown, device)
    return aligned(world, keypoints[:, :, WRIST], "wrist")


@torch.no_grad()
def refined_hands(
    network: KeypointRefinementNetwork,
    crops: UInt8[np.ndarray, "frames 256 256 3"],
    cameras: Sequence[Camera],
    shown: Float[np.ndarray, "frames 2 21 3"],
    device: torch.device | str = "cpu",
) -> Float[np.ndarray, "frames 2 21 3"]:
    """What the network makes of keypoints (world, m) and crops (RGB, with their cameras); world, m, wrists not moved back."""
    in_camera = np.stack([camera.to_camera(hands) for camera, hands in zip(cameras, shown, strict=True)])
    left, right = torch.from_numpy(in_camera).to(device).unbind(1)
    images = normalise(torch.from_numpy(crops)).to(device)
    result = network(images, RefinementKeypoints.of(left, right)).in_camera()
    hands = torch.stack(result, dim=1).double().cpu().numpy()
    return np.stack([camera.to_world(one) for camera, one in zip(cameras, hands, strict=True)])
