"""The contents of MANO's pickles as inert data: stand-ins for the few chumpy and scipy objects in them, and nothing else.

The stand-ins keep the pickled state and compute nothing but the array that they represent. The list of names follows the
sources of chumpy and scipy; a name outside it is refused by `io.pickles` with its name.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from im2hands.io.errors import DamagedFileError
from im2hands.io.pickles import array_names


class InertObject:
    """Stands for an object of a package that is not needed: contains the pickled state and does nothing."""

    state: Mapping[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        self.state = {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}


class _Leaf(InertObject):
    """chumpy.ch.Ch: an array in the attribute `x`."""

    def dense(self, name: str) -> np.ndarray:
        return dense_array(self.state["x"], name)


class _Select(InertObject):
    """chumpy.reordering.Select: entries `idxs` of the flattened array `a`, in `preferred_shape`."""

    def dense(self, name: str) -> np.ndarray:
        values = dense_array(self.state["a"], name).ravel()[dense_array(self.state["idxs"], name)]
        return values.reshape(self.state["preferred_shape"])


class _Sparse(InertObject):
    """A sparse matrix or array of scipy; entries at the same place add up."""

    def dense(self, name: str) -> np.ndarray:
        matrix = zeros(self.state.get("_shape") or self.state["shape"])
        at_rows, at_columns, values = (np.asarray(part) for part in self._entries(name))
        if values.size and min(at_rows.min(), at_columns.min()) < 0:
            raise ValueError("negative indices")
        np.add.at(matrix, (at_rows, at_columns), values)
        return matrix

    def _entries(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, column and value of every stored entry."""
        raise NotImplementedError

    def _parts(self, name: str, *parts: str) -> list[np.ndarray]:
        return [dense_array(self.state[part], name) for part in parts]


class _SparseRows(_Sparse):
    """csr: the entries row by row."""

    def _entries(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values, inner, starts = self._parts(name, "data", "indices", "indptr")
        if starts[-1] != len(values):
            raise ValueError(f"{len(values)} values instead of {starts[-1]}")
        return np.repeat(np.arange(len(starts) - 1), np.diff(starts)), inner, values


class _SparseColumns(_SparseRows):
    """csc: the entries column by column."""

    def _entries(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        outer, inner, values = super()._entries(name)
        return inner, outer, values


class _SparseTriples(_Sparse):
    """coo: row, column and value of each entry; newer versions of scipy keep rows and columns as `coords`."""

    def _entries(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        places = self.state["coords"] if "coords" in self.state else (self.state["row"], self.state["col"])
        at_rows, at_columns = (dense_array(place, name) for place in places)
        return at_rows, at_columns, *self._parts(name, "data")


class _SparseDiagonals(_Sparse):
    """dia: one row of values per diagonal, placed by column."""

    def _entries(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values, offsets = self._parts(name, "data", "offsets")
        rows, columns = self.state.get("_shape") or self.state["shape"]
        at_columns = np.broadcast_to(np.arange(values.shape[1]), values.shape)
        at_rows = at_columns - offsets[:, None]
        inside = (at_rows >= 0) & (at_rows < rows) & (at_columns < columns)
        return at_rows[inside], at_columns[inside], values[inside]


class _SparseLists(_Sparse):
    """lil: two lists per row, of columns and of values."""

    def _entries(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at_columns, values = (list(self.state[part]) for part in ("rows", "data"))
        at_rows = np.repeat(np.arange(len(at_columns)), [len(row) for row in at_columns])
        return at_rows, *(np.array([one for row in part for one in row]) for part in (at_columns, values))


LARGEST_MATRIX = 50_000_000
"""Numbers; a sparse matrix of a few bytes may claim any shape, a list may contain itself many times."""


def zeros(shape: Any) -> np.ndarray:
    """A matrix to fill. Raises ValueError if it is larger than any of a hand model."""
    if math.prod(int(extent) for extent in shape) > LARGEST_MATRIX:
        raise ValueError(f"a matrix of shape {tuple(shape)}")
    return np.zeros(tuple(shape))


def _of_list(value: Any, name: str) -> np.ndarray:
    waiting, count = [value], 0
    while waiting:
        one = waiting.pop()
        count += 1
        if count + len(waiting) > LARGEST_MATRIX // 50:
            raise DamagedFileError(f"{name} is a list of more than a million values; fetch the file again.")
        waiting += one if isinstance(one, (list, tuple)) else ()
    try:
        return np.asarray(value)
    except ValueError as error:
        raise DamagedFileError(f"{name} is no numeric array ({error}); fetch the file again.") from None


UNREADABLE = (AttributeError, OverflowError, KeyError, IndexError, TypeError, ValueError, RecursionError, MemoryError)
"""What a pickled state without a proper array behind it can raise."""


def dense_array(value: Any, name: str) -> np.ndarray:
    """The plain numeric array of a pickled value. name: for errors.  Raises DamagedFileError if it has none."""
    if isinstance(value, InertObject):
        try:
            return value.dense(name)
        except UNREADABLE as error:
            raise DamagedFileError(f"{name} cannot be read as an array ({error!r}); fetch the file again.") from None
    array = np.asarray(value) if isinstance(value, (np.ndarray, np.generic)) else _of_list(value, name)
    if array.dtype.kind not in "biuf":
        raise DamagedFileError(f"{name} is not a numeric array (it has type {array.dtype}); fetch the file again.")
    return array


def _reconstruct(kind: type, base: type, state: Any) -> Any:
    """copy_reg._reconstructor for inert classes and plain objects only."""
    return _empty(kind)


def _empty(kind: type, *arguments: Any) -> Any:
    """copyreg.__newobj__ for inert classes only."""
    if not (isinstance(kind, type) and issubclass(kind, InertObject)):
        raise pickle.UnpicklingError(f"it asks for an object of {kind!r}, which no hand model holds")
    return kind()


PICKLE_NAMES: dict[str, Any] = {
    "chumpy.ch.Ch": _Leaf,
    "chumpy.reordering.Select": _Select,
    **array_names(),
    "copy_reg._reconstructor": _reconstruct,
    "copyreg._reconstructor": _reconstruct,
    "copyreg.__newobj__": _empty,
    "collections.OrderedDict": OrderedDict,
}
"""The only names that a MANO pickle may request, and their stand-ins."""

SPARSE = {
    "csc": _SparseColumns,
    "csr": _SparseRows,
    "coo": _SparseTriples,
    "dia": _SparseDiagonals,
    "lil": _SparseLists,
}
for _form, _kind in SPARSE.items():
    for _module in (f"scipy.sparse.{_form}", f"scipy.sparse._{_form}"):
        PICKLE_NAMES |= {f"{_module}.{_form}_{_type}": _kind for _type in ("matrix", "array")}

for _module in ("__builtin__", "builtins"):
    PICKLE_NAMES |= {f"{_module}.object": object, f"{_module}.set": set, f"{_module}.frozenset": frozenset}
