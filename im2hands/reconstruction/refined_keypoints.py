"""Refines a keypoint source with the photographs into a new keypoint source.

Joint views see hands where they were predicted, and say where they are. The published network was trained on hands whose wrist
is the true one, so its inputs are moved there. Its loss ignores the position of a hand, so only the shape of its output is used
(the published data stage also drops the position), and a refined hand keeps the wrist of its source.

Every joint moves on its own, so bones end up with other lengths. The keypoint prior, if it came before, is asked once more.
What joint views say of keypoints that are right is noise, so small moves count for little (`weight_of_moves`).

Keypoints are stored, like all, as predicted: world, metres, STANDARD order, left not mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8

from im2hands.datasets.frame_items import FrameItem, FrameSet
from im2hands.datasets.keypoints import Alignment, KeypointTable, aligned, judged
from im2hands.geometry.cameras import Camera
from im2hands.hands.frames import RefinementKeypoints
from im2hands.hands.joints import WRIST
from im2hands.io.progress import progress
from im2hands.networks.image_encoder import normalise
from im2hands.networks.keypoint_prior import KeypointPriorNetwork
from im2hands.networks.keypoint_refinement import RefinementNetwork
from im2hands.networks.view_refinement import ViewRefinementNetwork
from im2hands.reconstruction.likely_keypoints import likely_hands

BATCH_FRAMES = 16
REFINED_SIGMA = 0.003
"""Metres; what the prior is told of refined keypoints: less than their errors, so that it leaves alone those that are right."""
SMALLEST_MOVE, STEEPNESS = 0.0016, 4
"""Metres and an exponent, see `weight_of_moves`: by so much the network moves joints that are right."""


def refined_keypoints(
    network: RefinementNetwork,
    frames: FrameSet,
    given: KeypointTable,
    device: torch.device | str = "cpu",
    batch_frames: int = BATCH_FRAMES,
    prior: KeypointPriorNetwork | None = None,
) -> tuple[Float[np.ndarray, "frames 2 21 3"], list[str | None]]:
    """Refined keypoints of every row of `given` (m, world, order of `Side.index`), and why a row has none.

    network: on `device`, ready to evaluate.  frames: frames of the same split.  given: all frames of the split, see
    `require_frames`.  prior: see `refined_hands`.
    Rows without keypoints keep their reason; rows whose frame has no crop or no true wrist get one, and so do those of which
    the network makes no hands.
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
        refined[batch] = _refined(network, items, keypoints[batch], device, prior)
    return refined, judged(refined, reasons, "refined to no hands")


def _refined(
    network: RefinementNetwork,
    items: list[FrameItem],
    keypoints: Float[np.ndarray, "frames 2 21 3"],
    device: torch.device | str,
    prior: KeypointPriorNetwork | None,
) -> Float[np.ndarray, "frames 2 21 3"]:
    shown = aligned(keypoints, np.stack([item.wrist for item in items]), shown_to(network))
    images = np.stack([item.image for item in items])
    wrists, cameras = keypoints[:, :, WRIST], [item.camera for item in items]
    return refined_hands(network, images, cameras, shown, wrists, device, prior)


def shown_to(network: RefinementNetwork) -> Alignment:
    """What is done with hands whose true wrist is known before a network sees them."""
    return "camera" if isinstance(network, ViewRefinementNetwork) else "wrist"


@torch.no_grad()
def refined_hands(
    network: RefinementNetwork,
    crops: UInt8[np.ndarray, "frames 256 256 3"],
    cameras: Sequence[Camera],
    shown: Float[np.ndarray, "frames 2 21 3"],
    wrists: Float[np.ndarray, "frames 2 3"],
    device: torch.device | str = "cpu",
    prior: KeypointPriorNetwork | None = None,
) -> Float[np.ndarray, "frames 2 21 3"]:
    """What the network makes of keypoints (world, m) and crops (RGB, with their cameras); world, m.

    wrists: where the hands stay if the network does not say where they are.  prior: on the CPU; makes hands of a person of what
    the network says. Joint views then count as much as they move the joints, see `weight_of_moves`.
    """
    in_camera = np.stack([camera.to_camera(hands) for camera, hands in zip(cameras, shown, strict=True)])
    left, right = torch.from_numpy(in_camera).to(device).unbind(1)
    images = normalise(torch.from_numpy(crops)).to(device)
    intrinsics = torch.from_numpy(np.stack([camera.intrinsics for camera in cameras])).to(device)
    result = network(images, RefinementKeypoints.of(left, right), intrinsics).in_camera()
    hands = torch.stack(result, dim=1).double().cpu().numpy()
    world = np.stack([camera.to_world(one) for camera, one in zip(cameras, hands, strict=True)])
    placed = aligned(world, wrists, shown_to(network))
    if prior is None:
        return placed
    whole = np.isfinite(placed).all((1, 2, 3))  # what is not finite is no missing joint, but a failure
    if whole.any():
        said = likely_hands(prior, placed[whole], REFINED_SIGMA)
        if shown_to(network) == "camera":
            weight = weight_of_moves(shown[whole], placed[whole])[:, None, None, None]
            said = shown[whole] + weight * (said - shown[whole])
        placed[whole] = said
    return placed


def weight_of_moves(
    shown: Float[np.ndarray, "frames 2 21 3"], moved: Float[np.ndarray, "frames 2 21 3"]
) -> Float[np.ndarray, " frames"]:
    """How much of what the network says is believed, from 0 to 1, so that keypoints that are right already stay.

    By how much the network moves the joints of a pair tells how wrong they are; those that are right it moves by less than
    SMALLEST_MOVE (root mean square). shown, moved: before and after (m).  After James and Stein's estimate of a mean (1961).
    """
    square = np.square(moved - shown).sum(-1).mean((1, 2))
    return np.clip(1 - (SMALLEST_MOVE**2 / np.maximum(square, SMALLEST_MOVE**2)) ** (STEEPNESS / 2), 0, 1)
