"""The annotation files of a synthetic split, in InterHand2.6M's layout and units.

On disk: camera places and joints in millimetres, fits in metres, joints in the files' own order (right hand first).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from im2hands.datasets.synthetic.cameras import HEIGHT, MIN_VALID_JOINTS, WIDTH, RigCamera, inside_image
from im2hands.datasets.synthetic.plan import SPLITS, HardCase, Settings, captures_of
from im2hands.datasets.synthetic.sequences import Fit, SequenceId
from im2hands.hands.joints import FINGERS, JointOrder, reorder
from im2hands.hands.sides import Side
from im2hands.io.atomic import write_json

JOINT_NOISE = 0.002
"""Standard deviation (m) by which annotated joints differ from the fit's, as two annotations of real data do."""
DECIMALS = 6
BOX_MARGIN = 0.25
FIRST_IMAGE_ID, FIRST_ANNOTATION_ID, IDS_PER_SPLIT = 1017, 5003, 10_000_000
ANNOTATED_WHEN_INVALID = 30
FINGER_NAMES = {"little": "pinky"}
SPLIT_FILES = ("data", "camera", "joint_3d", "MANO_NeuralAnnot")


@dataclass(frozen=True)
class AnnotatedFrame:
    """A pose of a capture and the cameras whose images are annotated.

    fits: both hands.  joints: 42 annotated joints (metres, world, the files' order), NaN-free.  annotated: which of them an
    annotator saw.
    """

    capture: int
    subject: int
    sequence: str
    frame_idx: int
    hard: HardCase | None
    fits: Mapping[Side, Fit]
    joints: Float[np.ndarray, "42 3"]
    annotated: Bool[np.ndarray, "42"]
    cameras: tuple[str, ...]

    @property
    def hand_type(self) -> str:
        return {HardCase.SINGLE_RIGHT: "right", HardCase.SINGLE_LEFT: "left"}.get(self.hard, "interacting")

    @property
    def sides(self) -> tuple[Side, ...]:
        """Hands in the picture."""
        return tuple(Side) if self.hand_type == "interacting" else (Side(self.hand_type),)

    def file_name(self, camera: str) -> str:
        """Below images/<split>/."""
        return f"Capture{self.capture}/{self.sequence}/cam{camera}/image{self.frame_idx}.jpg"


def annotated_joints(
    keypoints: Mapping[Side, Float[np.ndarray, "21 3"]], identity: SequenceId, frame: int, hard: HardCase | None
) -> tuple[Float[np.ndarray, "42 3"], Bool[np.ndarray, "42"]]:
    """Joints as an annotator would give them, and which of them are given.

    keypoints: model keypoints, STANDARD order, metres.
    """
    ordered = [reorder(keypoints[side], JointOrder.STANDARD, JointOrder.INTERHAND) for side in Side]
    joints = np.concatenate(ordered) + identity.rng(frame, 1).normal(0, JOINT_NOISE, (42, 3))
    annotated = np.ones(42, bool)
    if hard is HardCase.SINGLE_RIGHT:
        annotated[21:] = False
    elif hard is HardCase.SINGLE_LEFT:
        annotated[:21] = False
    elif hard is HardCase.HAND_TYPE_INVALID:
        annotated[ANNOTATED_WHEN_INVALID:] = False
    return joints, annotated


def write_annotations(
    folder: Path,
    split: str,
    frames: Sequence[AnnotatedFrame],
    rigs: Mapping[int, Sequence[RigCamera]],
) -> None:
    """Writes the four JSON files of a split, each completely or not at all. folder: annotations/<split>."""
    cameras = {capture: {camera.name: camera for camera in rig} for capture, rig in rigs.items()}
    contents = {
        "data": _data(split, frames, cameras),
        "camera": {str(capture): _rig_entry(rig) for capture, rig in rigs.items()},
        "joint_3d": _by_capture(frames, _joint_entry),
        "MANO_NeuralAnnot": _by_capture(
            [frame for frame in frames if frame.hard is not HardCase.FRAME_NOT_FITTED], _fit_entry
        ),
    }
    for kind in SPLIT_FILES:
        write_json(folder / f"InterHand2.6M_{split}_{kind}.json", contents[kind], indent=None)


def skeleton_text() -> str:
    """skeleton.txt: joint name, index, parent index; every finger from tip to base, the wrist last, right hand first."""
    lines = ["# joint name, joint index, parent index"]
    for side in Side:
        first = 0 if side is Side.RIGHT else 21
        for finger, name in enumerate(FINGER_NAMES.get(name, name) for name in FINGERS):
            for level in (4, 3, 2, 1):
                index = first + 4 * finger + 4 - level
                parent = index + 1 if level > 1 else first + 20
                lines.append(f"{side.value[0]}_{name}{level} {index} {parent}")
        lines.append(f"{side.value[0]}_wrist {first + 20} -1")
    return "\n".join(lines) + "\n"


def subject_text(settings: Settings) -> str:
    """subject.txt: subject id, its captures, gender (synthetic people have none)."""
    lines = ["# subject id, subject directory, subject gender"]
    for split in SPLITS:
        for capture in range(captures_of(settings, split)):
            subject = settings.first_subject(split) + capture % settings.subjects[split]
            lines.append(f"{subject} {split}/Capture{capture} unspecified")
    return "\n".join(lines) + "\n"


def rounded(values: Any) -> list:
    """Values as written to the files; -0.0 becomes 0.0."""
    return (np.round(np.asarray(values, np.float64), DECIMALS) + 0.0).tolist()


def _data(
    split: str, frames: Sequence[AnnotatedFrame], cameras: Mapping[int, Mapping[str, RigCamera]]
) -> dict[str, list[dict[str, Any]]]:
    images, annotations = [], []
    first = IDS_PER_SPLIT * SPLITS.index(split)
    for frame in frames:
        for name in frame.cameras:
            image_id, annotation_id = (start + first + len(images) for start in (FIRST_IMAGE_ID, FIRST_ANNOTATION_ID))
            images.append(
                {
                    "id": image_id,
                    "file_name": frame.file_name(name),
                    "width": WIDTH,
                    "height": HEIGHT,
                    "capture": frame.capture,
                    "subject": frame.subject,
                    "seq_name": frame.sequence,
                    "camera": name,
                    "frame_idx": frame.frame_idx,
                }
            )
            annotations.append(
                {"id": annotation_id, "image_id": image_id} | _annotation(frame, cameras[frame.capture][name])
            )
    return {"images": images, "annotations": annotations}


def _annotation(frame: AnnotatedFrame, camera: RigCamera) -> dict[str, Any]:
    pixels = camera.camera.project(frame.joints)
    valid = frame.annotated & inside_image(pixels)
    enough = frame.hand_type != "interacting" or valid.sum() >= MIN_VALID_JOINTS
    return {
        "bbox": _box(pixels[frame.annotated]),
        "joint_valid": valid.astype(int).tolist(),
        "hand_type": frame.hand_type,
        "hand_type_valid": int(enough),
    }


def _box(pixels: Float[np.ndarray, "n 2"]) -> list[float]:
    """x, y, width, height of the joints' box, widened on each side, within the image."""
    low, high = pixels.min(0), pixels.max(0)
    margin = BOX_MARGIN * (high - low)
    low, high = np.maximum(low - margin, 0), np.minimum(high + margin, (WIDTH, HEIGHT))
    return rounded([*low, *(high - low)])


def _rig_entry(rig: Sequence[RigCamera]) -> dict[str, dict[str, list]]:
    return {
        "campos": {camera.name: rounded(camera.centre_mm) for camera in rig},
        "camrot": {camera.name: rounded(camera.rotation) for camera in rig},
        "focal": {camera.name: rounded(camera.focal) for camera in rig},
        "princpt": {camera.name: rounded(camera.principal) for camera in rig},
    }


def _by_capture(frames: Sequence[AnnotatedFrame], entry: Any) -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = {}
    for frame in frames:
        content.setdefault(str(frame.capture), {})[str(frame.frame_idx)] = entry(frame)
    return content


def _joint_entry(frame: AnnotatedFrame) -> dict[str, Any]:
    return {
        "world_coord": rounded(frame.joints * 1000),
        "joint_valid": [[int(valid)] for valid in frame.annotated],
        "hand_type": frame.hand_type,
        "seq": frame.sequence,
    }


def _fit_entry(frame: AnnotatedFrame) -> dict[str, Any]:
    fitted = frame.sides if frame.hard is not HardCase.NULL_FIT else (Side.RIGHT,)
    return {side.value: _fit(frame.fits[side]) if side in fitted else None for side in Side}


def _fit(fit: Fit) -> dict[str, list[float]]:
    return {"pose": rounded(fit.pose), "shape": rounded(fit.shape), "trans": rounded(fit.translation)}
