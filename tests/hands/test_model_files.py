"""Hand model files: where they are found, what is wrong with them, the left hand's sign defect."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest
import torch

from im2hands.datasets.check import check_data
from im2hands.hands.joints import MANO_PARENTS
from im2hands.hands.model_files import (
    correct_left_shape_directions,
    hand_model,
    load_hand_models,
    model_arrays,
    read_model_file,
    write_hand_model_folder,
    write_model_file,
)
from im2hands.hands.sides import Side
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.hand_model_folder import hand_model_files
from tests.hands.stored_models import MODELS, arrays_of, assert_same_model
from workflow import paths

# -- folders --------------------------------------------------------------------------------------------------------------


def test_written_folder_loads_as_the_builtin_hands(tmp_path):
    write_hand_model_folder(tmp_path)
    models = load_hand_models(tmp_path)
    for side in Side:
        assert_same_model(models[side], MODELS[side])
        assert models[side].source.endswith(f"MANO_{side.name}.npz")
        assert not models[side].shape_directions_corrected


def test_written_files_are_reproducible_and_hold_manos_root(tmp_path):
    for name in ("one", "two"):
        write_hand_model_folder(tmp_path / name)
    for side in Side:
        one, two = ((tmp_path / name / f"MANO_{side.name}.npz").read_bytes() for name in ("one", "two"))
        assert one == two
    table = np.load(tmp_path / "one" / "MANO_LEFT.npz")["kintree_table"]
    assert table[0, 0] == 2**32 - 1
    assert tuple(table[0, 1:]) == MANO_PARENTS[1:]


def test_missing_and_mixed_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"MANO_RIGHT\.pkl nor MANO_RIGHT\.npz"):
        load_hand_models(tmp_path)
    write_hand_model_folder(tmp_path)
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(pickle.dumps(arrays_of(Side.RIGHT), protocol=2))
    with pytest.raises(DataError, match=r"both must be \.pkl or both \.npz"):
        load_hand_models(tmp_path)
    with pytest.raises(DataError, match="missing"):
        read_model_file(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("below", ["mano", "mano_v1_2/models", "models", "."])
@pytest.mark.parametrize("spelling", [str, str.lower])
def test_files_a_little_deeper_or_in_lower_case_are_found(tmp_path, below, spelling):
    """As MANO's archive unpacks and as other packages expect them."""
    write_hand_model_folder(tmp_path / "written")
    (tmp_path / "model" / below).mkdir(parents=True, exist_ok=True)
    for file in (tmp_path / "written").iterdir():
        file.rename(tmp_path / "model" / below / spelling(file.name))
    (tmp_path / "model" / ".cache").mkdir()
    models = load_hand_models(tmp_path / "model")
    for side in Side:
        assert_same_model(models[side], MODELS[side])
    expected = [tmp_path / "model" / below / spelling(f"MANO_{side.name}.npz") for side in (Side.RIGHT, Side.LEFT)]
    assert list(hand_model_files(tmp_path / "model")) == expected


def test_the_workflow_and_check_data_take_the_files_that_are_found(tmp_path):
    write_hand_model_folder(tmp_path / "mano")
    files = [file.as_posix() for file in hand_model_files(tmp_path)]
    assert paths.hand_model_files({"dataset": {"hand_model": str(tmp_path)}}) == files
    found = next(iter(check_data(tmp_path / "nowhere", tmp_path, ["train"])))
    assert found.ok
    assert all(file in found.text for file in files)
    assert paths.hand_model_files({"dataset": {"hand_model": "data/nowhere"}})[1] == "data/nowhere/MANO_LEFT.npz"


def test_several_folders_with_models_are_ambiguous(tmp_path):
    for name in ("mano", "old"):
        write_hand_model_folder(tmp_path / name)
    with pytest.raises(DataError, match=r"several folders below it contain MANO's files \(mano, old\); set dataset"):
        load_hand_models(tmp_path)
    write_hand_model_folder(tmp_path)  # files of its own decide
    assert load_hand_models(tmp_path)[Side.LEFT].source == str(tmp_path / "MANO_LEFT.npz")


def test_what_is_wrong_with_a_hand_model_folder_is_said(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: the hand model folder does not exist; correct dataset\.hand_model"):
        load_hand_models(tmp_path / "nowhere")
    with pytest.raises(
        DataError, match=r"copy MANO's two \.pkl files .*built-in hand, set dataset\.hand_model to data/hand"
    ):
        load_hand_models(tmp_path)
    (tmp_path / "mano_v1_2.zip").touch()
    with pytest.raises(DataError, match=r"unpack mano_v1_2\.zip there"):
        load_hand_models(tmp_path)
    write_hand_model_folder(tmp_path)
    with pytest.raises(DataError, match="is a file; give the folder"):
        load_hand_models(tmp_path / "MANO_LEFT.npz")
    (tmp_path / "MANO_LEFT.npz").unlink()
    with pytest.raises(
        DataError, match=r"MANO_LEFT\.pkl or MANO_LEFT\.npz is missing; copy it next to the other hand's"
    ):
        load_hand_models(tmp_path)


def test_original_pickles_are_preferred_to_converted_files(tmp_path):
    write_hand_model_folder(tmp_path)
    for side in Side:
        (tmp_path / f"MANO_{side.name}.pkl").write_bytes(pickle.dumps(arrays_of(side), protocol=2))
    assert load_hand_models(tmp_path)[Side.LEFT].source.endswith("MANO_LEFT.pkl")


# -- the left hand's sign defect ------------------------------------------------------------------------------------------


def uncorrected_folder(folder):
    """Files like the official ones: the left shape directions have the right hand's x components."""
    write_model_file(folder / "MANO_RIGHT.npz", MODELS[Side.RIGHT])
    arrays = arrays_of(Side.LEFT, shapedirs=arrays_of(Side.RIGHT)["shapedirs"])
    np.savez(folder / "MANO_LEFT.npz", **arrays)


def test_left_defect_is_mended_once_and_recorded(tmp_path):
    uncorrected_folder(tmp_path)
    models = load_hand_models(tmp_path)
    assert models[Side.LEFT].shape_directions_corrected
    assert_same_model(models[Side.LEFT], MODELS[Side.LEFT])
    again = correct_left_shape_directions(models)
    assert_same_model(again[Side.LEFT], MODELS[Side.LEFT])
    assert again[Side.LEFT].shape_directions_corrected  # what was done stays on record


def test_equal_shapes_give_mirrored_hands_only_when_mended(tmp_path):
    uncorrected_folder(tmp_path)
    raw = {side: hand_model(read_model_file(tmp_path / f"MANO_{side.name}.npz"), side, "file") for side in Side}
    shape = torch.ones(1, 10)
    mirrored = Side.LEFT.mirror_points(raw[Side.RIGHT].shaped_template(shape))
    assert (raw[Side.LEFT].shaped_template(shape) - mirrored).abs().max() > 5e-3
    mended = correct_left_shape_directions(raw)[Side.LEFT]
    assert (mended.shaped_template(shape) - mirrored).abs().max() < 1e-15


def test_inward_triangles_are_turned_round():
    """Some left-hand files keep the right hand's triangles."""
    left = hand_model(arrays_of(Side.LEFT, f=MODELS[Side.RIGHT].faces), Side.LEFT, "file")
    assert left.faces_reversed
    assert np.array_equal(np.sort(left.faces, 1), np.sort(MODELS[Side.LEFT].faces, 1))
    vertices, faces = left.seal(left.template).numpy(), left.sealed_faces
    assert np.linalg.det(vertices[faces]).sum() > 0


# -- damaged and unsuitable files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MANO_RIGHT.npz", "MANO_RIGHT.pkl"])
@pytest.mark.parametrize("size", [0, 1000])
def test_truncated_files_are_named(tmp_path, name, size):
    path = tmp_path / name
    if name.endswith("npz"):
        write_model_file(path, MODELS[Side.RIGHT])
    else:
        path.write_bytes(pickle.dumps(arrays_of(Side.RIGHT), protocol=2))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DamagedFileError, match=name):
        read_model_file(path)


def test_npz_with_objects_is_refused(tmp_path):
    path = tmp_path / "MANO_RIGHT.npz"
    np.savez(path, v_template=np.array([{}], dtype=object))
    with pytest.raises(DamagedFileError, match="MANO_RIGHT"):
        read_model_file(path)


def test_npz_with_a_damaged_member_is_named(tmp_path):
    path = tmp_path / "MANO_RIGHT.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("f.npy", b"nonsense")
    with pytest.raises(DataError, match="MANO_RIGHT"):
        hand_model(read_model_file(path), Side.RIGHT, str(path))


def test_pickle_of_something_else_is_named(tmp_path):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps([1, 2], protocol=2))
    with pytest.raises(DataError, match="contains a list"):
        read_model_file(path)


SHORT_WEIGHTS = model_arrays(MODELS[Side.RIGHT])["weights"] * 0.99
OTHER_TREE = model_arrays(MODELS[Side.RIGHT])["kintree_table"][:, ::-1]
FLIPPED_ONE = np.concatenate([MODELS[Side.RIGHT].faces[:1, ::-1], MODELS[Side.RIGHT].faces[1:]])
SECOND_HOLE = np.concatenate([MODELS[Side.RIGHT].faces[1:], MODELS[Side.RIGHT].faces[1:2]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"posedirs": None}, "`posedirs` is missing"),
        ({"v_template": np.zeros((6890, 3))}, "shape .*body model"),
        ({"v_template": np.full((778, 3), np.nan)}, "not finite"),
        ({"weights": SHORT_WEIGHTS}, "`weights` must sum to 1"),
        ({"kintree_table": OTHER_TREE}, "kinematic tree"),
        ({"f": np.zeros((1538, 3), int)}, "vertices 0 to 777"),
        ({"f": FLIPPED_ONE}, "wound consistently"),
        ({"f": SECOND_HOLE}, "wound consistently"),
    ],
)
def test_unsuitable_arrays_are_named(changes, message):
    with pytest.raises(DataError, match=message):
        hand_model(arrays_of(Side.RIGHT, **changes), Side.RIGHT, "MANO_RIGHT.pkl")
