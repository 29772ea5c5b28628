"""Golden case `intaghand_preprocess`: selection, crops, labels and training items of a made-up dataset of nine images.

The hand model is the stand-in of `mano_forward`, which must be in the same folder. Crops depend on the major version of
OpenCV; both are compared, the one that is not installed with a wider tolerance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch

from im2hands.datasets.frames import Frame, FrameTable, index_frames
from im2hands.datasets.heat_maps import HEAT_MAP_SIZE, draw_heat_maps, jpeg_round_trip
from im2hands.datasets.image_files import read_image
from im2hands.datasets.images import CropSettings, crop_image, hands_crop
from im2hands.datasets.interhand26m import HandFit, InterHand26M, hand_fit
from im2hands.datasets.two_hand_item import Augmentation, TwoHandItem, TwoHandSample, two_hand_item
from im2hands.geometry.cameras import Affine, Camera
from im2hands.geometry.rotations import axis_angle_to_matrix
from im2hands.hands.model import HandModel
from im2hands.hands.sides import SIDES, Side
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder, tolerance_of
from im2hands.parity.cases.mano_forward import stand_in_models

NAME = "intaghand_preprocess"
SPLIT = "train"
FILES = ("data", "camera", "joint_3d", "MANO_NeuralAnnot")
OPENCV_VERSIONS = (4, 5)
PUBLISHED_PI = 3.14159


@dataclass(frozen=True)
class CroppedFrame:
    """A kept frame after pre-processing; hands in the order left, right, world frame."""

    frame: Frame
    fits: dict[Side, HandFit]
    vertices: np.ndarray
    joints: np.ndarray
    affine: Affine
    camera: Camera
    crop: np.ndarray


def write_dataset(golden: Golden, root: Path) -> None:
    """The golden dataset as files of the InterHand2.6M layout; images as PNG, so without loss."""
    for kind in FILES:
        path = root / "annotations" / SPLIT / f"InterHand2.6M_{SPLIT}_{kind}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(golden[f"json_{kind}"].tobytes())
    for index, image in enumerate(json.loads(golden["json_data"].tobytes())["images"]):
        path = root / "images" / SPLIT / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", golden[f"image_{index}"])[1].tobytes())


def cropped_frames(root: Path, models: dict[Side, HandModel]) -> list[CroppedFrame]:
    """Selection and pre-processing of a whole split, in memory."""
    dataset = InterHand26M.open(root)
    table, _ = index_frames(root, SPLIT, max_unreadable_fraction=0.0)
    fits = {(int(capture), int(frame)): entry for capture, frame, entry in dataset.fits(SPLIT)}
    return [_cropped(dataset, frame, fits[frame.capture, frame.frame_idx], models) for frame in FrameTable(table)]


def _cropped(dataset: InterHand26M, frame: Frame, entry: dict, models: dict[Side, HandModel]) -> CroppedFrame:
    fits = {side: hand_fit(entry, side) for side in Side}
    posed = [models[side].pose(*(part[None] for part in fits[side])) for side in SIDES]
    vertices = np.stack([hand.vertices[0].numpy() for hand in posed])
    joints = np.stack([hand.keypoints[0].numpy() for hand in posed])
    affine, camera = hands_crop(frame.camera, vertices)
    image = read_image(dataset.image_file(SPLIT, frame.file_name))
    return CroppedFrame(frame, fits, vertices, joints, affine, camera, crop_image(image, affine, CropSettings().size))


def run(golden: Golden, folder: GoldenFolder) -> Iterator[Comparison]:
    models = stand_in_models(folder.find("mano_forward"))
    with TemporaryDirectory() as root:
        write_dataset(golden, Path(root))
        kept = cropped_frames(Path(root), models)
    yield golden.compare("kept", [item.frame.image_id for item in kept])
    for index, item in enumerate(kept[: len(golden["kept"])]):
        yield from _frame(golden, f"k{index}_", item, models)
    for name in ("aug0", "aug1", "aug2"):
        yield from _augmented(golden, name, kept[0])


def _frame(golden: Golden, prefix: str, item: CroppedFrame, models: dict[Side, HandModel]) -> Iterator[Comparison]:
    yield golden.compare(f"{prefix}camera_in", item.frame.camera.intrinsics, "camera")
    yield golden.compare(f"{prefix}camera_out", item.camera.intrinsics, "camera")
    yield golden.compare(f"{prefix}R", item.camera.rotation, "camera")
    yield golden.compare(f"{prefix}t", item.camera.translation, "camera")
    for version in OPENCV_VERSIONS:
        field = f"{prefix}crop_cv{version}"
        yield golden.compare(field, item.crop, f"crop_{_installed(version)}")
        difference = np.abs(item.crop.astype(float) - golden[field].astype(float))
        allowed = tolerance_of(NAME, f"crop_mean_{_installed(version)}").absolute
        yield Comparison(f"{field} (mean)", float(difference.mean()), allowed)
        change = np.abs(jpeg_round_trip(golden[field]).astype(float) - golden[field].astype(float))
        yield golden.compare(f"{prefix}jpeg_decoded_maxdiff_cv{version}", [change.max(), change.mean()], "jpeg")
    for side in SIDES:
        yield from _hand(golden, f"{prefix}{side.value}_", item, side, models[side])


def _hand(golden: Golden, prefix: str, item: CroppedFrame, side: Side, model: HandModel) -> Iterator[Comparison]:
    fit, vertices, joints = item.fits[side], item.vertices[side.index], item.joints[side.index]
    pose = torch.from_numpy(fit.pose)[None]
    yield golden.compare(f"{prefix}mano_R", axis_angle_to_matrix(pose[:, :3]), "parameters")
    yield golden.compare(f"{prefix}mano_pose", model.components_of(pose[:, 3:]), "parameters")
    yield golden.compare(f"{prefix}mano_shape", fit.shape[None], "parameters")
    yield golden.compare(f"{prefix}mano_trans", fit.translation[None], "points")

    joints_2d = item.camera.project(joints)
    yield golden.compare(f"{prefix}joints3d_cam", item.camera.to_camera(joints), "points")
    yield golden.compare(f"{prefix}verts3d_cam_every7", item.camera.to_camera(vertices)[::7], "points")
    yield golden.compare(f"{prefix}verts2d_orig_every7", item.frame.camera.project(vertices)[::7], "pixels")
    yield golden.compare(f"{prefix}joints2d_crop", joints_2d, "pixels")
    yield golden.compare(f"{prefix}verts2d_crop_every7", item.camera.project(vertices)[::7], "pixels")

    maps = draw_heat_maps(joints_2d * HEAT_MAP_SIZE / CropSettings().size)
    yield golden.compare(f"{prefix}hms_every4", maps[:, ::4, ::4], "heat_maps")
    yield golden.compare(f"{prefix}hms_sum", maps.sum((1, 2)), "heat_map_sums")
    yield golden.compare(f"{prefix}hms_argmax", maps.reshape(len(maps), -1).argmax(1))


def stand_in_maps(size: int = 256) -> np.ndarray:
    """Stand-ins for mask and dense files: a rectangle per hand, as decoded from JPEG."""
    image = np.zeros((size, size, 3), np.uint8)
    image[40:120, 30:100, 2] = 255
    image[100:220, 90:200, 1] = 255
    return jpeg_round_trip(image)


def augmented_item(item: CroppedFrame, params: np.ndarray, crop: np.ndarray | None = None) -> TwoHandItem:
    """The published training item of a frame for (theta, scale, u, v, flip), without change of colour."""
    angle, scale, u, v, flip = params
    augmentation = Augmentation(
        angle=float(angle) * PUBLISHED_PI / np.pi, scale=float(scale), shift=(float(u), float(v)), flip=bool(flip)
    )
    maps = stand_in_maps()
    image = jpeg_round_trip(item.crop if crop is None else crop)
    sample = TwoHandSample.of_hands(image, maps, maps, item.camera, item.vertices, item.joints)
    return two_hand_item(sample, augmentation, heat_maps="published")


def _augmented(golden: Golden, name: str, item: CroppedFrame) -> Iterator[Comparison]:
    ours = augmented_item(item, golden[f"{name}_params"])
    for side in SIDES:
        letter, row = side.value[0], side.index
        yield golden.compare(f"{name}_j2d_{letter}", ours.joints_2d[row], "labels_2d")
        yield golden.compare(f"{name}_v2d_{letter}_every7", ours.vertices_2d[row, ::7], "labels_2d")
        yield golden.compare(f"{name}_j3d_{letter}", ours.joints[row], "labels_3d")
        yield golden.compare(f"{name}_v3d_{letter}_every7", ours.vertices[row, ::7], "labels_3d")
    yield golden.compare(f"{name}_root_rel", ours.root_offset, "labels_3d")
    for version in OPENCV_VERSIONS:
        which = _installed(version)
        ours = augmented_item(item, golden[f"{name}_params"], golden[f"k0_crop_cv{version}"])
        yield golden.compare(f"{name}_img_every8_cv{version}", ours.image[:, ::8, ::8], f"image_{which}")
        yield golden.compare(f"{name}_hms_sum_cv{version}", ours.heat_maps.sum((1, 2)), f"item_heat_map_sums_{which}")
        yield golden.compare(f"{name}_mask_sum_cv{version}", ours.mask.sum((1, 2)), f"mask_sums_{which}")


def _installed(version: int) -> str:
    return "same" if int(cv2.__version__.split(".")[0]) == version else "other"


CASE = Case(NAME, frozenset({"json_data", "json_MANO_NeuralAnnot", "kept", "aug0_params"}), run)
