"""Hand model files: MANO's pickles without their packages, hostile and damaged files, the left hand's sign defect."""

from __future__ import annotations

import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
import scipy.sparse
import torch

from im2hands.datasets.check import check_data
from im2hands.hands.joints import MANO_PARENTS
from im2hands.hands.model_files import (
    builtin_hand_models,
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
from tests.hostile import Hostile
from workflow import paths

MODELS = builtin_hand_models()
TENSORS = ("template", "shape_directions", "pose_directions", "joint_regressor", "skinning_weights", "mean_pose")


def arrays_of(side, **changes):
    """The built-in hand as a file would hold it, with some arrays replaced (None: left out)."""
    arrays = {**model_arrays(MODELS[side]), **changes}
    return {name: array for name, array in arrays.items() if array is not None}


def assert_same_model(model, other):
    for name in TENSORS:
        assert torch.equal(getattr(model, name), getattr(other, name)), name
    assert np.array_equal(model.faces, other.faces)


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


# -- pickles --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def foreign(monkeypatch):
    """Modules and classes with the names that official pickles ask for; they exist only while pickling."""

    def define(module, name, bases=(object,)):
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            path = ".".join(parts[:end])
            fake = sys.modules.get(path) if path not in ("scipy.sparse.csc",) else None
            if fake is None:
                fake = types.ModuleType(path)
                monkeypatch.setitem(sys.modules, path, fake)
        kind = type(name, bases, {"__module__": module, "__qualname__": name})
        monkeypatch.setattr(sys.modules[module], name, kind, raising=False)
        return kind

    return define


def official_like(side, foreign, sparse_module="scipy.sparse.csc", shape_name="_shape"):
    """The model as official files hold it: shapedirs a chumpy slice of a leaf, the regressor a sparse matrix."""
    arrays = arrays_of(side)
    leaf, select = foreign("chumpy.ch", "Ch")(), foreign("chumpy.reordering", "Select")()
    more = np.concatenate([arrays["shapedirs"], np.full((778, 3, 2), 99.0)], -1).astype(np.float64)
    leaf.__dict__.update(x=more, _dirty_vars=set(), _itr=None)
    places = np.arange(more.size).reshape(more.shape)[:, :, :10].ravel()
    select.__dict__.update(a=leaf, idxs=places, preferred_shape=(778, 3, 10), _status="new", _make_dense=False)

    dense = arrays["J_regressor"].astype(np.float64)
    columns, rows = np.nonzero(dense.T)
    sparse = foreign(sparse_module, "csc_matrix")()
    starts = np.searchsorted(columns, np.arange(779)).astype(np.int32)
    parts = {"data": dense[rows, columns], "indices": rows.astype(np.int32), "indptr": starts, shape_name: (16, 778)}
    sparse.__dict__.update(parts, maxprint=50, format="csc")
    extras = {"J": np.zeros((16, 3)), "bs_style": "lbs", "bs_type": "lrotmin", "hands_coeffs": np.zeros((4, 45))}
    return {**arrays, **extras, "shapedirs": select, "J_regressor": sparse}


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize(
    ("sparse_module", "shape_name"), [("scipy.sparse.csc", "shape"), ("scipy.sparse._csc", "_shape")]
)
def test_official_pickles_load_without_chumpy(tmp_path, foreign, protocol, sparse_module, shape_name, monkeypatch):
    for side in Side:
        content = official_like(side, foreign, sparse_module, shape_name)
        (tmp_path / f"MANO_{side.name}.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    monkeypatch.undo()
    assert "chumpy" not in sys.modules
    models = load_hand_models(tmp_path)
    for side in Side:
        assert_same_model(models[side], MODELS[side])


@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("form", ["csc", "csr", "coo", "dia", "lil"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_regressors_in_every_sparse_form_of_scipy_are_read_as_data(tmp_path, form, kind, protocol):
    """As the installed scipy pickles them; scipy is not asked to read them."""
    for side in Side:
        regressor = getattr(scipy.sparse, f"{form}_{kind}")(arrays_of(side)["J_regressor"].astype(np.float64))
        content = {**arrays_of(side), "J_regressor": regressor}
        (tmp_path / f"MANO_{side.name}.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    models = load_hand_models(tmp_path)
    for side in Side:
        assert_same_model(models[side], MODELS[side])


def test_sparse_entries_at_the_same_place_add_up_and_old_states_are_read(tmp_path, foreign, monkeypatch):
    """coo of scipy before 1.13 keeps `row` and `col`; a numpy matrix is an array."""
    dense = arrays_of(Side.RIGHT)["J_regressor"].astype(np.float64)
    rows, columns = (np.concatenate([place, place]) for place in np.nonzero(dense))
    sparse = foreign("scipy.sparse.coo", "coo_matrix")()
    halves = np.concatenate([dense[np.nonzero(dense)] / 2] * 2)
    sparse.__dict__.update(row=rows, col=columns, data=halves, _shape=(16, 778))
    content = {**arrays_of(Side.RIGHT), "J_regressor": sparse, "hands_components": np.matrix(np.eye(45))}
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(content, protocol=2))
    monkeypatch.undo()
    read = read_model_file(path)
    assert np.array_equal(read["J_regressor"], dense)
    assert type(read["hands_components"]) is np.ndarray


@pytest.mark.parametrize(
    "change",
    [
        {"_shape": (10**6, 10**6)},
        {"_shape": (-16, -778)},
        {"_shape": (4, 4)},
        {"indices": np.full(5, -1)},
        {"indptr": np.array([0, 10**9])},
        {"indptr": np.array([0, 9, 5])},
        {"data": np.array(["a"] * 5)},
        {"indptr": None},
    ],
)
def test_damaged_sparse_regressors_are_named(tmp_path, change):
    regressor = scipy.sparse.csr_matrix(np.eye(5))
    regressor.__dict__.update(change)
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps({**arrays_of(Side.RIGHT), "J_regressor": regressor}, protocol=2))
    with pytest.raises(DamagedFileError, match="`J_regressor`"):
        read_model_file(path)


def test_objects_of_scipy_that_are_no_matrices_are_still_refused_by_name(tmp_path):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps({**arrays_of(Side.RIGHT), "J": scipy.sparse.dok_matrix((2, 2))}, protocol=2))
    with pytest.raises(DataError, match=r"dok_matrix"):
        read_model_file(path)


def test_pickle_of_python_two_loads(tmp_path):
    """Text of Python 2 is bytes (protocol 2 BINSTRING opcodes) and is read as latin-1."""
    content = pickle.dumps(arrays_of(Side.RIGHT), protocol=2)
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert_same_model(hand_model(read_model_file(path), Side.RIGHT, "file"), MODELS[Side.RIGHT])


def test_hostile_pickle_is_refused_by_name_and_runs_nothing(tmp_path):
    marker = tmp_path / "executed"
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps({**arrays_of(Side.RIGHT), "J": Hostile(marker)}, protocol=2))
    with pytest.raises(DataError, match=r"(posix|nt)\.system"):
        read_model_file(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.",  # a real class instead of a stand-in
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"cbuiltins\ngetattr\n.",
        b"cchumpy.ch\nCh\n)R}(S'x'\ncchumpy.ch\nCh\nub.",  # a leaf whose value is a class
    ],
)
def test_pickle_tricks_end_in_a_sentence(tmp_path, program):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(program)
    with pytest.raises(DataError, match=r"MANO_RIGHT\.pkl"):
        read_model_file(path)


def test_pickled_objects_without_numbers_are_named(tmp_path, foreign, monkeypatch):
    content = official_like(Side.RIGHT, foreign)
    del content["shapedirs"].__dict__["idxs"]
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(content, protocol=2))
    monkeypatch.undo()
    with pytest.raises(DamagedFileError, match="`shapedirs` cannot be read"):
        read_model_file(path)


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
