"""Hand model files: MANO's own pickles read without running them, `.npz` files with the same keys, and the built-in hand.

MANO_RIGHT.pkl and MANO_LEFT.pkl are pickles of Python 2 that contain objects of chumpy and scipy. They are read as inert data:
a name outside the short list of `mano_pickles` is refused, and neither package is needed. A folder may contain
`MANO_RIGHT.npz` and `MANO_LEFT.npz` instead, with the same keys as plain arrays; `write_hand_model_folder` writes the built-in
hand that way.

MANO files are licensed: an `.npz` made from them is a derivative that must not be published.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from im2hands.hands.joints import MANO_PARENTS
from im2hands.hands.mano_pickles import PICKLE_NAMES, dense_array
from im2hands.hands.model import FACES, FINGER_ANGLES, JOINTS, SHAPES, VERTICES, HandModel
from im2hands.hands.sides import Side
from im2hands.io.arrays import read_npz
from im2hands.io.atomic import atomic_path
from im2hands.io.errors import DataError
from im2hands.io.hand_model_folder import hand_model_files
from im2hands.io.pickles import load_pickle

SHAPE_OF = {
    "v_template": (VERTICES, 3),
    "shapedirs": (VERTICES, 3, SHAPES),
    "posedirs": (VERTICES, 3, 9 * (JOINTS - 1)),
    "weights": (VERTICES, JOINTS),
    "J_regressor": (JOINTS, VERTICES),
    "f": (FACES, 3),
    "kintree_table": (2, JOINTS),
    "hands_mean": (FINGER_ANGLES,),
    "hands_components": (FINGER_ANGLES, FINGER_ANGLES),
}
"""The arrays that a hand model file must contain; any others are ignored."""

SAME_SHAPE_DIRECTIONS_BELOW = 1.0
"""Sum of |left - right| over the x components of the shape directions under which the left file has the sign defect."""


def load_hand_models(folder: str | os.PathLike) -> dict[Side, HandModel]:
    """Both hands of a folder with MANO_RIGHT and MANO_LEFT, each `.pkl` (preferred, as the original) or `.npz`.

    They may lie a little deeper or be written in lower case, see `hand_model_files`. The left hand's sign defect in the shape
    directions is corrected if present (`correct_left_shape_directions`).
    Raises DataError for missing or unsuitable files, DamagedFileError for unreadable ones.
    """
    paths = dict(zip((Side.RIGHT, Side.LEFT), hand_model_files(folder), strict=True))
    models = {side: hand_model(read_model_file(path), side, str(path)) for side, path in paths.items()}
    return correct_left_shape_directions(models)


def builtin_hand_models() -> dict[Side, HandModel]:
    """The hands that come with the package: CC0, MANO's schema, no MANO data. The left one is the mirrored right one."""
    right = hand_model(_builtin_arrays(), Side.RIGHT, "built-in hand")
    return {Side.RIGHT: right, Side.LEFT: right.mirrored()}


def write_hand_model_folder(folder: str | os.PathLike) -> None:
    """Writes the built-in hands as MANO_RIGHT.npz and MANO_LEFT.npz (MANO's keys, float32), each completely or not at all."""
    for side, model in builtin_hand_models().items():
        write_model_file(Path(folder) / f"MANO_{side.name}.npz", model)


def write_model_file(path: str | os.PathLike, model: HandModel) -> None:
    """Writes a model as `.npz` with MANO's keys; equal models give equal bytes.

    The file of a model that was read from MANO's files falls under MANO's licence.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **model_arrays(model))


def model_arrays(model: HandModel) -> dict[str, np.ndarray]:
    """A model's arrays under MANO's keys: floats as float32, parents with MANO's unsigned root."""
    tensors = {
        "v_template": model.template,
        "shapedirs": model.shape_directions,
        "posedirs": model.pose_directions,
        "weights": model.skinning_weights,
        "J_regressor": model.joint_regressor,
        "hands_mean": model.mean_pose,
        "hands_components": model.pose_components,
    }
    arrays = {name: tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in tensors.items()}
    parents = np.array([MANO_PARENTS, range(JOINTS)]) % 2**32
    return arrays | {"f": model.faces.astype(np.int32), "kintree_table": parents.astype(np.uint32)}


def correct_left_shape_directions(models: Mapping[Side, HandModel]) -> dict[Side, HandModel]:
    """The models, the left one's shape directions mirrored if they are still the right one's.

    In the official left file the x components of `shapedirs` equal the right hand's although the template is mirrored, so that
    equal shapes give different hands. InterHand2.6M's fits use the corrected version. Files that are already corrected pass
    unchanged. The model records what was done in `shape_directions_corrected`.
    """
    left, right = models[Side.LEFT], models[Side.RIGHT]
    difference = (left.shape_directions[:, 0] - right.shape_directions[:, 0].to(left.shape_directions)).abs().sum()
    if difference < SAME_SHAPE_DIRECTIONS_BELOW:
        mirrored = Side.LEFT.mirror_points(left.shape_directions.mT).mT
        left = replace(left, shape_directions=mirrored, shape_directions_corrected=True)
    return {Side.RIGHT: right, Side.LEFT: left}


def hand_model(arrays: Mapping[str, np.ndarray], side: Side, source: str) -> HandModel:
    """A float64 model of arrays under MANO's keys, after checking them.

    Triangles that point inwards (as some left-hand files have them) are turned round.  source: file named in errors.
    Raises DataError naming the first array that does not fit.
    """
    _check(arrays, source)

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.array(arrays[name], dtype=np.float64))

    model = HandModel(
        side=side,
        template=tensor("v_template"),
        shape_directions=tensor("shapedirs"),
        pose_directions=tensor("posedirs"),
        joint_regressor=tensor("J_regressor"),
        skinning_weights=tensor("weights"),
        faces=np.array(arrays["f"], dtype=np.int64),
        mean_pose=tensor("hands_mean"),
        pose_components=tensor("hands_components"),
        source=source,
    )
    corners = model.seal(model.template)[torch.from_numpy(model.sealed_faces.copy())]
    if torch.linalg.det(corners).sum() < 0:  # six times the enclosed volume
        model = replace(model, faces=model.faces[:, ::-1], faces_reversed=True)
    return model


def read_model_file(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The required arrays of a `.pkl` or `.npz` hand model file, dense; nothing in the file is executed.

    Raises DataError for a missing file, array or a refused pickle, DamagedFileError for an unreadable file.
    """
    path = Path(path)
    content = _read_npz(path) if path.suffix.lower() == ".npz" else load_pickle(path, PICKLE_NAMES, encoding="latin1")
    if not isinstance(content, Mapping):
        raise DataError(
            f"{path}: contains a {type(content).__name__} instead of a dictionary; this is not a MANO file."
        )
    return {name: dense_array(content[name], f"{path}: `{name}`") for name in SHAPE_OF if name in content}


def _builtin_arrays() -> dict[str, np.ndarray]:
    with as_file(files("im2hands.hands") / "asset" / "hand_right.npz") as path:
        return read_model_file(path)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    return read_npz(path, "hand model")


def _check(arrays: Mapping[str, np.ndarray], source: str) -> None:
    for name, shape in SHAPE_OF.items():
        if name not in arrays:
            raise DataError(
                f"{source}: the array `{name}` is missing; this is not a complete MANO file (v1.2 is expected)."
            )
        if np.shape(arrays[name]) != shape:
            raise DataError(
                f"{source}: `{name}` has shape {np.shape(arrays[name])} instead of {shape}; is it a body model?"
            )
        if not np.isfinite(np.asarray(arrays[name], dtype=np.float64)).all():
            raise DataError(f"{source}: `{name}` contains values that are not finite; fetch the file again.")
    for name in ("weights", "J_regressor"):
        worst = np.abs(np.asarray(arrays[name], np.float64).sum(1) - 1).max()
        if worst > 1e-4:
            raise DataError(
                f"{source}: rows of `{name}` must sum to 1, but one is off by {worst:.3g}; fetch the file again."
            )
    parents = np.asarray(arrays["kintree_table"], np.int64)[0]
    if tuple(parents[1:]) != MANO_PARENTS[1:] or parents[0] not in (-1, 2**32 - 1):
        raise DataError(f"{source}: the kinematic tree {parents.tolist()} is not MANO's; this model cannot be used.")
    used = np.unique(np.asarray(arrays["f"], np.int64))
    if not np.array_equal(used, np.arange(VERTICES)):
        raise DataError(f"{source}: the triangles `f` do not use the vertices 0 to 777 exactly; fetch the file again.")
