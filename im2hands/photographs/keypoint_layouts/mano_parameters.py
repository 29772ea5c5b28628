"""Parameters of MANO (pose, shape, translation) as keypoints, through a hand model.

A pose is axis-angles of 16 joints (48 numbers, or 45 and the root apart), principal components, or rotation matrices. Left
hands have a left model; tools that flip pictures of left hands write them in right-hand space instead (`mirrored`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.geometry.rotations import axis_angle_to_matrix
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
ROUNDING = 1e-3
"""How far rotation matrices may be from orthonormal."""
LARGEST_TURN = 4 * np.pi
"""Radians; a joint that is turned by more is in degrees."""
FARTHEST = 10.0
"""Metres; a translation beyond it is in millimetres."""
AT_ONCE = 256
"""Hands that are posed in one batch."""


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

    def rotations(self, model: HandModel) -> Float[Tensor, "16 3 3"]:
        """Every joint's rotation relative to its parent, the mean pose included."""
        pose = torch.from_numpy(self.pose)
        if pose.ndim == 3:
            return pose
        fingers = pose[3:]
        if self.components:
            fingers = fingers @ model.pose_components[: len(fingers)]
        fingers = fingers if self.flat else fingers + model.mean_pose
        return axis_angle_to_matrix(torch.cat([pose[:3], fingers]).reshape(JOINTS, 3))


def posed_keypoints(
    parameters: Sequence[HandParameters], models: Mapping[Side, HandModel], side: Side
) -> Float[np.ndarray, "hands 21 3"]:
    """Keypoints of hands of one side (m, STANDARD order, frame of the translation), some hundred at a time."""
    found = np.zeros((len(parameters), 21, 3))
    for mirrored in (False, True):
        places = [place for place, one in enumerate(parameters) if one.mirrored == mirrored]
        model = models[Side.RIGHT if mirrored else side]
        for start in range(0, len(places), AT_ONCE):
            chosen = places[start : start + AT_ONCE]
            turns = torch.stack([parameters[place].rotations(model) for place in chosen])
            shape = torch.from_numpy(np.stack([parameters[place].shape for place in chosen]))
            points = model.pose_by_rotations(turns, shape).keypoints.numpy()
            moves = np.stack([parameters[place].translation for place in chosen])
            found[chosen] = (side.mirror_points(points) if mirrored else points) + moves[:, None]
    return found


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
    parts = [part.ravel() for part in (root, pose) if part is not None]
    whole = np.concatenate(parts)
    if whole.size != JOINTS * 9 or shape.shape != (SHAPES,) or move.shape != (3,):
        raise DataError(
            f"{where}pose, shape and translation have {whole.size}, {shape.size} and {move.size} numbers; MANO has 16 rotation "
            "matrices, 10 and 3."
        )
    pose = whole.reshape(JOINTS, 3, 3)
    if np.abs(pose).max() > 1 + ROUNDING or np.abs(pose @ pose.swapaxes(1, 2) - np.eye(3)).max() > ROUNDING:
        raise DataError(f"{where}the matrices of the pose are no rotations; write them as axis-angles.")
    _plausible(np.zeros(1), move, where)
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
