"""Parameters of MANO (pose, shape, translation) as keypoints, through a hand model.

A pose is axis-angles of 16 joints (48 numbers, or 45 and the root apart), principal components, or rotation matrices. Left
hands have a left model; tools that flip pictures of left hands write them in right-hand space instead (`mirrored`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from im2hands.hands.model import FINGER_ANGLES, JOINTS, SHAPES, HandModel
from im2hands.hands.sides import Side
from im2hands.io.arrays import number_array
from im2hands.io.errors import DataError

NAMES = {
    "pose": ("pose", "poses", "hand_pose", "mano_pose", "fullpose"),
    "root": ("rot", "global_orient", "root_orient", "root"),
    "shape": ("shape", "betas", "mano_shape", "beta"),
    "translation": ("trans", "transl", "translation", "mano_trans"),
}
"""What tools call the parameters."""
LARGEST_TURN = 4 * np.pi
"""Radians; a joint that is turned by more is in degrees."""
FARTHEST = 10.0
"""Metres; a translation beyond it is in millimetres."""
Rotations = Float[np.ndarray, "frames 16 3 3"]


@dataclass(frozen=True, eq=False)
class HandParameters:
    """Of one hand in one picture.

    pose: 48 axis-angles (root first), or root and principal components of the fingers, or 16 rotation matrices.
    shape, translation: of the model (m).  flat: whether the mean pose is not to be added.  components: whether the fingers are
    principal components.  mirrored: a left hand in right-hand space.
    """

    pose: np.ndarray
    shape: Float[np.ndarray, "10"]
    translation: Float[np.ndarray, "3"]
    flat: bool = False
    components: bool = False
    mirrored: bool = False

    def keypoints(self, models: Mapping[Side, HandModel], side: Side) -> Float[np.ndarray, "21 3"]:
        """Keypoints (m, STANDARD order, frame of the translation)."""
        model = models[Side.RIGHT if self.mirrored else side]
        shape, move = torch.from_numpy(self.shape)[None], torch.zeros(1, 3)
        pose = torch.from_numpy(self.pose)[None]
        if pose.ndim == 4:
            posed = model.pose_by_rotations(pose, shape, move)
        elif self.components:
            fingers = pose[:, 3:] @ model.pose_components[: pose.shape[1] - 3]
            posed = model.pose(torch.cat([pose[:, :3], fingers - self.flat * model.mean_pose], 1), shape, move)
        else:
            fingers = pose[:, 3:] - self.flat * model.mean_pose
            posed = model.pose(torch.cat([pose[:, :3], fingers], 1), shape, move)
        found = posed.keypoints[0].numpy()
        return (side.mirror_points(found) if self.mirrored else found) + self.translation


def has_parameters(entry: Any) -> bool:
    """Whether an object is the parameters of one hand."""
    return isinstance(entry, Mapping) and _named(entry, "pose") is not None and not {"keypoints", "joints"} & set(entry)


def hand_parameters(entry: Mapping[str, Any], where: str, flat: bool = False, mirrored: bool = False) -> HandParameters:
    """The parameters of one hand. flat: whether the mean pose is not to be added, unless the object says (`flat_hand_mean`).

    Raises DataError for numbers of another count, angles in degrees and places in millimetres.
    """
    pose = _array(entry, "pose", where)
    root = _array(entry, "root", where) if _named(entry, "root") is not None else None
    shape = _array(entry, "shape", where).ravel() if _named(entry, "shape") is not None else np.zeros(SHAPES)
    move = _array(entry, "translation", where).ravel() if _named(entry, "translation") is not None else np.zeros(3)
    if pose.shape[-2:] == (3, 3):
        return _of_matrices(pose, root, shape, move, where, mirrored)
    pose = pose.ravel() if root is None else np.concatenate([root.ravel(), pose.ravel()])
    components = bool(entry.get("use_pca", len(pose) < 3 + FINGER_ANGLES))
    if not 3 < len(pose) <= 3 + FINGER_ANGLES or shape.shape != (SHAPES,) or move.shape != (3,):
        raise DataError(
            f"{where}pose, shape and translation have {len(pose)}, {shape.size} and {move.size} numbers; MANO has 48 (or 3 and "
            "up to 45 principal components), 10 and 3."
        )
    _plausible(pose[: 3 if components else None], move, where)
    return HandParameters(pose, shape, move, bool(entry.get("flat_hand_mean", flat)), components, mirrored)


def _of_matrices(
    pose: np.ndarray, root: np.ndarray | None, shape: np.ndarray, move: np.ndarray, where: str, mirrored: bool
) -> HandParameters:
    pose = pose.reshape(-1, 3, 3)
    pose = pose if root is None else np.concatenate([root.reshape(-1, 3, 3), pose])
    if len(pose) != JOINTS or np.abs(pose @ pose.swapaxes(1, 2) - np.eye(3)).max() > 1e-3:
        raise DataError(f"{where}the pose has {len(pose)} matrices, or they are no rotations; MANO has 16 rotations.")
    return HandParameters(pose, shape, move, mirrored=mirrored)


def _plausible(angles: np.ndarray, move: np.ndarray, where: str) -> None:
    if np.abs(angles).max() > LARGEST_TURN:
        raise DataError(f"{where}the pose has an angle of {np.abs(angles).max():.0f}: it is in degrees; write radians.")
    if np.abs(move).max() > FARTHEST:
        raise DataError(
            f"{where}the translation has a value of {np.abs(move).max():.0f}: it is in millimetres; write metres."
        )


def _named(entry: Mapping[str, Any], name: str) -> Any:
    return next((entry[key] for key in NAMES[name] if entry.get(key) is not None), None)


def _array(entry: Mapping[str, Any], name: str, where: str) -> np.ndarray:
    value = _named(entry, name)
    try:
        found = number_array(value.tolist() if isinstance(value, np.ndarray) else value)
    except ValueError as error:
        raise DataError(f"{where}the {name} must be numbers ({error}).") from None
    if not np.isfinite(found).all():
        raise DataError(f"{where}the {name} has numbers that are not finite; leave the hand out.")
    return found
