"""A tiny dataset in the layout of InterHand2.6M v1.0: posed built-in hands, small bright images, everything in memory first.

dataset = made_up_interhand(tmp_path)      # written and whole
dataset.fits["0"]["5"]["left"] = None      # damage something ...
dataset.write_annotations()                # ... and write it again
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from im2hands.datasets.audit import Audit
from im2hands.datasets.frames import index_frames
from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side

WIDTH, HEIGHT = 64, 80
FOCAL, DISTANCE_MM = 90.0, 700.0
CAMERAS = ("400002", "400262")


@dataclass
class MadeUpInterHand:
    """The content of the four annotation files of a split; `images` and `annotations` are lists of data.json."""

    root: Path
    split: str
    images: list[dict] = field(default_factory=list)
    annotations: list[dict] = field(default_factory=list)
    camera: dict = field(default_factory=dict)
    fits: dict = field(default_factory=dict)
    joints: dict = field(default_factory=dict)

    def annotation_file(self, kind: str) -> Path:
        return self.root / "annotations" / self.split / f"InterHand2.6M_{self.split}_{kind}.json"

    def image_file(self, position: int) -> Path:
        return self.root / "images" / self.split / self.images[position]["file_name"]

    def write_annotations(self) -> None:
        contents = {
            "data": {"images": self.images, "annotations": self.annotations},
            "camera": self.camera,
            "MANO_NeuralAnnot": self.fits,
            "joint_3d": self.joints,
        }
        for kind, content in contents.items():
            path = self.annotation_file(kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))

    def write_image(self, position: int, image: np.ndarray) -> None:
        path = self.image_file(position)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())

    def rename_to_single_hand(self, position: int, hand_type: str = "right") -> None:
        self.annotations[position]["hand_type"] = hand_type


def made_up_interhand(
    root: Path, poses: int = 3, split: str = "train", first_image_id: int = 700, seed: int = 0
) -> MadeUpInterHand:
    """Writes `poses` two-hand poses seen by two cameras (one image each, in file order) below `root`.

    Poses are spread over two captures; both hands are near the world's origin, the cameras 0.7 m away.
    """
    generator = np.random.default_rng(seed)
    dataset = MadeUpInterHand(Path(root), split)
    models = builtin_hand_models()
    for capture in range(2):
        dataset.camera[str(capture)] = _cameras()
    for pose in range(poses):
        capture, frame = str(pose % 2), str(5 + 3 * pose)
        entry, coordinates = {}, {}
        for side in (Side.RIGHT, Side.LEFT):
            angles = generator.normal(0, 0.15, 48)
            shape = generator.normal(0, 0.3, 10)
            wrist = np.array([-0.08 if side is Side.RIGHT else 0.08, 0.0, 0.0]) + generator.normal(0, 0.01, 3)
            posed = models[side].pose(angles[None], shape[None], wrist[None])
            entry[side.value] = {"pose": angles.tolist(), "shape": shape.tolist(), "trans": wrist.tolist()}
            keypoints = posed.keypoints[0].double().numpy()
            coordinates[side] = reorder(keypoints, JointOrder.STANDARD, JointOrder.INTERHAND) * 1000
        both = np.concatenate([coordinates[Side.RIGHT], coordinates[Side.LEFT]]) + generator.normal(0, 2, (42, 3))
        dataset.fits.setdefault(capture, {})[frame] = entry
        dataset.joints.setdefault(capture, {})[frame] = {
            "world_coord": both.tolist(),
            "joint_valid": [[1]] * 42,
            "hand_type": "interacting",
            "seq": "0000_made_up",
        }
        for camera in CAMERAS:
            _add_image(dataset, generator, capture, frame, camera, first_image_id)
    dataset.write_annotations()
    return dataset


def _cameras() -> dict:
    turn = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    rotations = dict(zip(CAMERAS, (np.eye(3), turn), strict=True))
    return {
        "campos": {name: (-DISTANCE_MM * rotation[2]).tolist() for name, rotation in rotations.items()},
        "camrot": {name: rotation.tolist() for name, rotation in rotations.items()},
        "focal": {name: [FOCAL, FOCAL] for name in CAMERAS},
        "princpt": {name: [WIDTH / 2, HEIGHT / 2] for name in CAMERAS},
    }


def _add_image(
    dataset: MadeUpInterHand, generator: np.random.Generator, capture: str, frame: str, camera: str, first_id: int
) -> None:
    position = len(dataset.images)
    dataset.images.append(
        {
            "id": first_id + position,
            "file_name": f"Capture{capture}/0000_made_up/cam{camera}/image{frame}.jpg",
            "width": WIDTH,
            "height": HEIGHT,
            "capture": int(capture),
            "subject": 1 + int(capture),
            "seq_name": "0000_made_up",
            "camera": camera,
            "frame_idx": int(frame),
        }
    )
    dataset.annotations.append(
        {
            "id": 9000 + position,
            "image_id": first_id + position,
            "bbox": [1.0, 2.0, 30.0, 40.0],
            "joint_valid": [1] * 42,
            "hand_type": "interacting",
            "hand_type_valid": 1,
        }
    )
    noise = generator.integers(60, 200, (HEIGHT // 4, WIDTH // 4, 3)).astype(np.uint8)
    dataset.write_image(position, cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))


def index(dataset: MadeUpInterHand, max_unreadable_fraction: float = 0.0, **options) -> tuple[pa.Table, Audit]:
    """Frame table and audit of the annotations as they are in memory."""
    dataset.write_annotations()
    return index_frames(dataset.root, dataset.split, max_unreadable_fraction, **options)
