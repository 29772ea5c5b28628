"""IntagHand's meshes and keypoints of frames, placed in the world.

The network gives both hands in one frame, relative to the left middle base, in units in which the mean palm (wrist to middle
base) is 0.095 m long, and for each hand a scaled orthographic projection into the crop. Assuming a palm of that length
makes the units metres; the projections then give the position of the origin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.keypoints import Alignment, aligned, judged
from im2hands.geometry.cameras import Camera, crop_axes
from im2hands.geometry.mesh import Mesh
from im2hands.hands.joints import JOINT_NAMES, PALM
from im2hands.hands.model import HandModel
from im2hands.hands.sides import Side
from im2hands.io.progress import progress
from im2hands.networks.image_encoder import normalise
from im2hands.networks.intaghand import CROP, HandPairPrediction, IntagHandNetwork
from im2hands.reconstruction.failures import Reason
from im2hands.reconstruction.inputs import NO_VIEW, BoneInputs
from im2hands.reconstruction.solid_hands import solid_hand
from im2hands.reconstruction.surfaces import HandInput, HandSurface

BATCH_FRAMES = 16
LEAST_SCALE = 1e-3
"""Crop widths per metre; a smaller (or negative) predicted scale puts the hand hundreds of metres away or behind the camera."""


@dataclass(frozen=True, eq=False)
class PlacedHands:
    """Both hands of a frame, order of `Side.index`; world, metres.

    frame: index in the frame set.  vertices: vertices of the open meshes.  keypoints: regressed from them, STANDARD order.
    reason: why the hands cannot be placed; then they are NaN.  seconds: the frame's share of its batch's wall-clock time.
    """

    frame: int
    vertices: Float[np.ndarray, "2 778 3"]
    keypoints: Float[np.ndarray, "2 21 3"]
    reason: str | None = None
    seconds: float = 0.0


def predicted_hands(
    network: IntagHandNetwork,
    models: Mapping[Side, HandModel],
    frames: FrameSet,
    chosen: Sequence[int],
    device: torch.device | str = "cpu",
    batch_frames: int = BATCH_FRAMES,
) -> Iterator[PlacedHands]:
    """The hands of some frames of a set, in their order.

    network: on `device`, ready to evaluate.  models: whose joint regressors make keypoints of vertices.
    """
    batches = [chosen[start : start + batch_frames] for start in range(0, len(chosen), batch_frames)]
    for batch in progress(batches, f"predict hands (x{batch_frames} frames)"):
        begun = perf_counter()
        items = [frames.item(frame) for frame in batch]
        made = hands_in(network, models, [item.image for item in items], [item.camera for item in items], device)
        seconds = (perf_counter() - begun) / len(items)
        yield from (replace(one, frame=item.frame, seconds=seconds) for item, one in zip(items, made, strict=True))


def hands_in(
    network: IntagHandNetwork,
    models: Mapping[Side, HandModel],
    images: Sequence[UInt8[np.ndarray, "256 256 3"]],
    cameras: Sequence[Camera],
    device: torch.device | str = "cpu",
) -> list[PlacedHands]:
    """The hands of RGB crops; `frame` is the place in the list.

    Of a network in the crop's axes, for which the mirror image of a crop is as good a crop, it is halfway between what it says
    of both. Published networks see a crop once.
    """
    crops = normalise(torch.from_numpy(np.stack(images))).to(device)
    with torch.inference_mode():
        seen = network(crops)
        mirrored = network(crops.flip(-1)) if seen.axes == "consistent" else None
    hands = [placed(seen, row, row, camera, models) for row, camera in enumerate(cameras)]
    if mirrored is None:
        return hands
    again = [placed_mirrored(mirrored, row, row, camera, models) for row, camera in enumerate(cameras)]
    return [_halfway_placed(*both) for both in zip(hands, again, strict=True)]


def placed(
    prediction: HandPairPrediction, row: int, frame: int, camera: Camera, models: Mapping[Side, HandModel]
) -> PlacedHands:
    """One frame of a batch in the world.

    The depth of the common origin follows from the mean of both hands' scales: an object at depth z appears fx / z pixels per
    metre, and scale * 256 of them were predicted. Sideways, every hand is where its own projection puts the origin.
    camera: of the crop.
    """
    return _in_world(frame, *_in_camera(prediction, row, camera.intrinsics), camera, models)


def placed_mirrored(
    prediction: HandPairPrediction, row: int, frame: int, camera: Camera, models: Mapping[Side, HandModel]
) -> PlacedHands:
    """As `placed`, of what was predicted for the mirror image of the crop. camera: of the crop itself."""
    intrinsics = camera.intrinsics.copy()
    intrinsics[0, 1:] = -intrinsics[0, 1], CROP - 1 - intrinsics[0, 2]
    vertices, reason = _in_camera(prediction, row, intrinsics)
    return _in_world(frame, Side.LEFT.mirror_points(vertices[::-1]), reason, camera, models)


def _in_camera(
    prediction: HandPairPrediction, row: int, intrinsics: Float[np.ndarray, "3 3"]
) -> tuple[Float[np.ndarray, "2 778 3"], str | None]:
    """Vertices of both hands in the camera's frame (m), or why they are NaN."""
    vertices = np.full((2, 778, 3), np.nan)
    scale = float(np.mean([hand.scale[row].item() for hand in prediction.hands.values()]))
    if not LEAST_SCALE < scale < np.inf:
        return vertices, f"the predicted scale {scale:.3g} puts the hands nowhere"
    turn = np.eye(3) if prediction.axes == "published" else crop_axes(intrinsics, CROP)
    focal, centre = np.diag(intrinsics)[:2], intrinsics[:2, 2]
    depth = focal[0] / (CROP * scale)
    for side, hand in prediction.hands.items():
        pixel = hand.shift[row].double().cpu().numpy() * (CROP / 2) + CROP / 2
        origin = np.array([*((pixel - centre) * depth / focal), depth])
        found = hand.vertices[row].double().cpu().numpy()
        if not (np.isfinite(found).all() and np.isfinite(origin).all()):
            return np.full_like(vertices, np.nan), "the prediction is not finite"
        vertices[side.index] = found @ turn + origin
    return vertices, None


def _in_world(
    frame: int,
    vertices: Float[np.ndarray, "2 778 3"],
    reason: str | None,
    camera: Camera,
    models: Mapping[Side, HandModel],
) -> PlacedHands:
    """vertices: in the camera's frame, NaN if there is a reason."""
    keypoints = np.full((2, 21, 3), np.nan)
    if reason is None:
        vertices = camera.to_world(vertices)
        for side in Side:
            joints = models[side].regress(torch.from_numpy(vertices[side.index])[None].to(models[side].dtype))
            keypoints[side.index] = joints[0].double().numpy()
    return PlacedHands(frame, vertices, keypoints, reason)


def _halfway_placed(one: PlacedHands, other: PlacedHands) -> PlacedHands:
    """The hands halfway between two placements of the same hands, or the one placement that there is."""
    if one.reason or other.reason:
        return other if one.reason else one
    vertices, keypoints = (np.empty_like(each) for each in (one.vertices, one.keypoints))
    for side in Side:
        ends = (_points_of(hands, side) for hands in (one, other))
        middle = halfway(*ends)
        keypoints[side.index], vertices[side.index] = middle[: len(JOINT_NAMES)], middle[len(JOINT_NAMES) :]
    return replace(one, vertices=vertices, keypoints=keypoints)


def _points_of(hands: PlacedHands, side: Side) -> Float[np.ndarray, "799 3"]:
    return np.concatenate([hands.keypoints[side.index], hands.vertices[side.index]])


def halfway(one: Float[np.ndarray, "n 3"], other: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """The hand between two hands: place and turn of the palm are halfway, the shape about the palm is the mean.

    The mean of the points themselves is no hand where both palms look in other directions: it is narrow, and flat at last.
    one, other: points of a hand, its joints first, STANDARD order.
    """
    centres = [points[list(PALM)].mean(0) for points in (one, other)]
    shapes = [points - centre for points, centre in zip((one, other), centres, strict=True)]
    turn, _ = Rotation.align_vectors(shapes[0][list(PALM)], shapes[1][list(PALM)])
    half = Rotation.from_rotvec(turn.as_rotvec() / 2)
    return (half.inv().apply(shapes[0]) + half.apply(shapes[1])) / 2 + np.mean(centres, 0)


def predicted_keypoints(
    network: IntagHandNetwork,
    models: Mapping[Side, HandModel],
    frames: FrameSet,
    device: torch.device | str = "cpu",
) -> tuple[Float[np.ndarray, "frames 2 21 3"], list[str | None]]:
    """Keypoints of all frames of the split (m, world, order of `Side.index`), and why a frame has none."""
    count = len(frames.crops)
    keypoints = np.full((count, 2, 21, 3), np.nan)
    reasons: list[str | None] = ["no usable crop, or a hand was set aside"] * count
    for hands in predicted_hands(network, models, frames, range(len(frames)), device):
        frame_id = int(frames.frame_ids[hands.frame])
        keypoints[frame_id] = hands.keypoints
        reasons[frame_id] = hands.reason
    return keypoints, judged(keypoints, reasons, "no hands")


def predicted_surfaces(
    network: IntagHandNetwork,
    models: Mapping[Side, HandModel],
    frames: FrameSet,
    inputs: BoneInputs,
    alignment: Alignment,
    device: torch.device | str = "cpu",
) -> Iterator[list[HandSurface]]:
    """IntagHand's meshes, closed at the wrist, of every pair of `inputs`, each from its frame.

    inputs: with the network's keypoints; a hand that they reject has no mesh.  alignment: where a hand is placed, see
    `datasets.keypoints.aligned`.
    The field of such a mesh is 1 inside it and 0 outside.
    """
    chosen = [frames.place_of(frame_ids[0]) for _, frame_ids in inputs.views if frame_ids]
    made = predicted_hands(network, models, frames, chosen, device)
    for view in inputs.views:
        hands = next(made) if view[1] else None
        yield [_surface(hand, hands, models[hand.frame.side], alignment) for hand in inputs(view)]


def _surface(hand: HandInput, made: PlacedHands | None, model: HandModel, alignment: Alignment) -> HandSurface:
    reason = hand.rejected or (NO_VIEW if made is None else made.reason and Reason.NO_KEYPOINTS.because(made.reason))
    if reason is not None:
        return hand.missing(reason)
    side = hand.frame.side
    keypoints = made.keypoints[side.index]
    moved = aligned(keypoints, hand.frame.wrist, alignment)
    vertices = model.seal(made.vertices[side.index]) + (moved - keypoints)[0]
    return solid_hand(hand, Mesh(vertices, model.sealed_faces), made.seconds / len(Side))
