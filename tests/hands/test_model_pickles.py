"""Hand models in pickles: MANO's without the packages that they name, and hostile ones, of which nothing is run."""

from __future__ import annotations

import pickle
import sys
import types

import numpy as np
import pytest
import scipy.sparse

from im2hands.hands.model_files import hand_model, load_hand_models, read_model_file
from im2hands.hands.sides import Side
from im2hands.io.errors import DamagedFileError, DataError
from tests.hands.stored_models import MODELS, arrays_of, assert_same_model
from tests.hostile import Hostile


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
