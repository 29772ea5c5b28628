"""Folders as the original preparation scripts of IntagHand and HALO leave them, written from our own tables.

Layouts: docs/preprocessed-folders.md. What a script computed is replaced by what our stages computed of the same hands.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import torch
import trimesh

from im2hands.datasets.frames import FrameTable
from im2hands.datasets.hands import HandTable
from im2hands.datasets.images import IMAGES
from im2hands.geometry.rotations import axis_angle_to_matrix
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.tables import ShardReader
from tests.training.two_hand_frames import TwoHandSplit

CHANNEL = {1: 2, 2: 1}
"""Label in our masks -> channel of a mask picture as OpenCV writes and reads it: left 2, right 1."""
SIGMA = 0.01


def write_intaghand_folder(folder: Path, data: TwoHandSplit) -> Path:
    """Crops, masks and annotations of every frame, numbered as the frames are."""
    place, frames, hands = folder / data.split, FrameTable.read(data.frames), HandTable.read(data.hands)
    for name in ("img", "anno", "mask", "dense"):
        (place / name).mkdir(parents=True)
    shard = ShardReader(data.images.parent / "0000-of-0001.arrow", IMAGES)
    for number in range(len(frames)):
        frame, crop = frames[number], shard.row(number)
        (place / f"img/{number}.jpg").write_bytes(bytes(crop["jpeg"]))
        if crop.get("mask_png") is not None:
            labels = cv2.imdecode(np.frombuffer(crop["mask_png"], np.uint8), cv2.IMREAD_GRAYSCALE)
            colours = np.zeros((*labels.shape, 3), np.uint8)
            for label, channel in CHANNEL.items():
                colours[labels == label, channel] = 255
            cv2.imwrite(str(place / f"mask/{number}.jpg"), colours)
            dense = cv2.imdecode(np.frombuffer(crop["dense_png"], np.uint8), cv2.IMREAD_COLOR)
            cv2.imwrite(str(place / f"dense/{number}.jpg"), dense[..., ::-1])  # x, y, z in OpenCV's order
        content = {
            "inter_idx": number,
            "image": {
                "id": frame.image_id,
                "file_name": frame.file_name,
                "capture": frame.capture,
                "subject": frame.subject,
                "seq_name": frame.sequence,
                "camera": frame.camera_name,
                "frame_idx": frame.frame_idx,
            },
            "annotation": {"id": frame.annotation_id, "image_id": frame.image_id},
            "mano_params": {side.value: _fit(hands, frame, side) for side in Side},
            "camera": {
                "R": frame.camera.rotation.astype(np.float32),
                "t": frame.camera.translation.astype(np.float32),
                "camera": np.asarray(crop["crop_K"], np.float64).reshape(3, 3),
            },
        }
        (place / f"anno/{number}.pkl").write_bytes(pickle.dumps(content))
    return folder


def _fit(hands: HandTable, frame, side: Side) -> dict[str, np.ndarray]:
    row = hands.rows[f"{frame.capture}_{frame.frame_idx}_{side.value}"]
    pose, shape, place = (hands.array(name)[row] for name in ("pose", "shape", "translation"))
    components = builtin_hand_models()[side].pose_components.double().numpy()
    return {
        "R": axis_angle_to_matrix(torch.from_numpy(pose[:3].copy())).numpy()[None].astype(np.float32),
        "pose": np.linalg.solve(components.T, pose[3:])[None].astype(np.float32),
        "shape": shape[None].astype(np.float32),
        "trans": place[None].astype(np.float32),
    }


def write_joints(folder: Path, split: str, name: str, number: int, side: Side, joints: np.ndarray) -> Path:
    path = folder / split / name / f"{number:07d}_{side.value}.ply"
    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.PointCloud(joints).export(path)
    return path


def write_halo_folder(folder: Path, data: TwoHandSplit, count: int = 64) -> Path:
    """`count` uniform and as many other points of every hand, labelled by their distance from the wrist."""
    hands = HandTable.read(data.hands)
    for name in ("points", "meta"):
        (folder / data.split / name).mkdir(parents=True)
    for row, name in enumerate(hands.hand_ids):
        generator = np.random.default_rng(row)
        points = np.concatenate([generator.uniform(-0.55, 0.55, (count, 3)), generator.normal(0, SIGMA, (count, 3))])
        inside = np.linalg.norm(points, axis=1) < 0.02
        np.savez(
            folder / data.split / f"points/{name}.npz",
            points=points.astype(np.float16),
            occupancies=np.packbits(inside),
            loc=np.zeros(3),
            scale=1.0,
        )
        np.savez(
            folder / data.split / f"meta/{name}.npz",
            root_xyz=hands.sides[row].mirror_points(hands.array("wrist")[row]),
            root_rot_mat=hands.array("palm_rotation")[row],
        )
    return folder
