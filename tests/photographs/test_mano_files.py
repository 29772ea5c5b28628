"""Files of MANO's parameters give the hands of the hand model that they were made with."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from im2hands.hands.model_files import builtin_hand_models, write_hand_model_folder
from im2hands.hands.sides import SIDES, Side
from im2hands.photographs.keypoint_conversion import Conversion, convert_keypoints
from im2hands.photographs.keypoint_files import read_keypoints
from im2hands.photographs.keypoint_layouts.mano_files import BUILT_IN_HAND, hand_models_of

FRAMES = 3
MODELS = builtin_hand_models()
RANDOM = np.random.default_rng(0)
POSE = {side: RANDOM.normal(0, 0.1, (FRAMES, 48)) for side in SIDES}
SHAPE = RANDOM.normal(0, 1, 10)
PLACE = {
    side: np.array([-0.1 if side is Side.LEFT else 0.1, 0.0, 0.7]) + RANDOM.normal(0, 0.01, (FRAMES, 3))
    for side in SIDES
}


def hands() -> np.ndarray:
    """The keypoints that the parameters stand for: (frames, 2, 21, 3)."""
    shape = torch.tensor(SHAPE).repeat(FRAMES, 1)
    made = [
        MODELS[side].pose(torch.tensor(POSE[side]), shape, torch.tensor(PLACE[side])).keypoints.numpy()
        for side in SIDES
    ]
    return np.stack(made, axis=1)


def fit(side: Side, frame: int) -> dict:
    """As InterHand2.6M's fits have it."""
    return {"pose": POSE[side][frame].tolist(), "shape": SHAPE.tolist(), "trans": PLACE[side][frame].tolist()}


def read(path: Path, **more: object) -> np.ndarray:
    found = read_keypoints(path, hand_models=MODELS, **more)
    assert found.format in ("mano", "hands.json")
    return np.stack(list(found.hands.values()))


def write_fits(path: Path) -> None:
    frames = {str(frame): {side.value: fit(side, frame) for side in SIDES} for frame in range(FRAMES)}
    path.write_text(json.dumps({"0": frames}))


def write_arctic(path: Path) -> None:
    """rot, pose, trans by frame, one shape."""
    parts = {
        side.value: {"rot": POSE[side][:, :3], "pose": POSE[side][:, 3:], "trans": PLACE[side], "shape": SHAPE}
        for side in SIDES
    }
    with path.open("wb") as file:
        np.save(file, np.array(parts, dtype=object))


def write_arrays(path: Path) -> None:
    """One array per parameter and side."""
    arrays = {
        f"{side.value}_{name}": value[side] for side in SIDES for name, value in (("pose", POSE), ("trans", PLACE))
    }
    np.savez(path, **arrays, left_betas=SHAPE, right_betas=SHAPE)


def write_components(path: Path) -> None:
    """45 principal components and the root."""
    parts = {}
    for side in SIDES:
        coefficients = MODELS[side].components_of(torch.tensor(POSE[side][:, 3:])).numpy()
        whole = np.concatenate([POSE[side][:, :3], coefficients], axis=1)
        parts[side.value] = {
            "pose": whole,
            "use_pca": True,
            "betas": np.tile(SHAPE, (FRAMES, 1)),
            "transl": PLACE[side],
        }
    path.write_bytes(pickle.dumps(parts))


def write_absolute(path: Path) -> None:
    """Rotations without the mean pose taken off, as `flat_hand_mean` has them."""
    parts = []
    for frame in range(FRAMES):
        row: dict = {"image": f"{frame}.png"}
        for side in SIDES:
            whole = POSE[side][frame].copy()
            whole[3:] += MODELS[side].mean_pose.numpy()
            moved = {"global_orient": whole[:3].tolist(), "hand_pose": whole[3:].tolist(), "flat_hand_mean": True}
            row[side.value] = moved | {"betas": SHAPE.tolist(), "transl": PLACE[side][frame].tolist()}
        parts.append(row)
    path.write_text(json.dumps(parts))


def write_matrices(path: Path) -> None:
    """Rotation matrices, as HaMeR's parameters are."""
    parts = {}
    for frame in range(FRAMES):
        parts[f"{frame}.png"] = {}
        for side in SIDES:
            whole = POSE[side][frame].copy()
            whole[3:] += MODELS[side].mean_pose.numpy()
            turns = Rotation.from_rotvec(whole.reshape(16, 3)).as_matrix()
            given = {"global_orient": turns[:1].tolist(), "hand_pose": turns[1:].tolist(), "betas": SHAPE.tolist()}
            parts[f"{frame}.png"][side.value] = given | {"trans": PLACE[side][frame].tolist()}
    path.write_text(json.dumps(parts))


def write_hands_json(path: Path) -> None:
    """Left hands in right-hand space, before the detector's camera."""
    frames = {}
    for frame in range(FRAMES):
        frames[f"{frame}.png"] = []
        for side in SIDES:
            whole = POSE[side][frame].copy()
            whole[3:] += MODELS[side].mean_pose.numpy()
            whole = side.mirror_axis_angles(whole.reshape(16, 3)).ravel()
            mano = {"betas": SHAPE.tolist(), "global_orient": whole[:3].tolist(), "hand_pose": whole[3:].tolist()}
            camera = {"pred_cam_t_full": PLACE[side][frame].tolist(), "scaled_focal_length": 900.0}
            frames[f"{frame}.png"].append(
                {"is_right": side is Side.RIGHT, "score": 0.9, "mano": mano, "camera": camera}
            )
    path.write_text(json.dumps(frames))


FILES = {
    "fits.json": write_fits,
    "s01.mano.npy": write_arctic,
    "arrays.npz": write_arrays,
    "components.pkl": write_components,
    "absolute.json": write_absolute,
    "matrices.json": write_matrices,
    "hands.json": write_hands_json,
}


@pytest.mark.parametrize("name", FILES)
def test_parameters_of_every_form_give_the_same_hands(tmp_path, name):
    FILES[name](tmp_path / name)
    np.testing.assert_allclose(read(tmp_path / name), hands(), atol=1e-9)


def test_one_hand_needs_its_side(tmp_path):
    """A file of one hand that does not say which: the models of both sides are other hands."""
    path = tmp_path / "one.npz"
    np.savez(path, pose=POSE[Side.LEFT], betas=SHAPE, trans=PLACE[Side.LEFT])
    found = read(path, side="left")
    np.testing.assert_allclose(found[:, Side.LEFT.index], hands()[:, Side.LEFT.index], atol=1e-9)
    assert np.isnan(found[:, Side.RIGHT.index]).all()


def test_hand_models_of_a_folder_and_the_built_in_one(tmp_path):
    """The command says that parameters of another hand would be other hands."""
    write_hand_model_folder(tmp_path / "models")
    write_fits(tmp_path / "fits.json")
    for number, folder in enumerate(("built-in", str(tmp_path / "models"))):
        settings = Conversion("json", hand_model=folder)
        said = [line for line, _ in convert_keypoints(tmp_path / "fits.json", tmp_path / f"{number}.json", settings)]
        assert (f"note: {BUILT_IN_HAND}" in said) == (folder == "built-in")
        found = np.stack(list(read_keypoints(tmp_path / f"{number}.json").hands.values()))
        np.testing.assert_allclose(found, hands(), atol=1e-6)
    assert hand_models_of(None) is None
