"""IntagHand's published graph files: pickles with SciPy matrices, read as data without executing anything.

`graph_left.pkl`, `graph_right.pkl`: the levels of a hand's graph from fine to coarse, and the orders of vertices.
`v_color.pkl`: three numbers in 0..1 for each vertex.  `upsample.pkl`: weights from coarse nodes to vertices.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.hands.mano_pickles import PICKLE_NAMES, InertObject, dense_array, zeros
from im2hands.hands.sides import Side
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.pickles import load_pickle
from im2hands.networks.hand_graphs import ROUNDS, USED_LEVELS, HandGraph

VERTICES = 778


@dataclass(frozen=True)
class GraphFiles:
    """What a folder of graph files contains; vertex_codes and upsampling may be missing, checkpoints repeat them."""

    folder: Path
    graphs: dict[Side, HandGraph]
    vertex_codes: Float[Tensor, "778 3"] | None
    upsampling: Float[Tensor, "778 nodes"] | None


class _Compressed(InertObject):
    """SciPy's compressed sparse matrices. rows: whether `indptr` runs over rows."""

    rows = True

    def dense(self, name: str) -> np.ndarray:
        data, indices, starts = (dense_array(self.state[part], name) for part in ("data", "indices", "indptr"))
        matrix = zeros(_shape(self.state))
        lines = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        np.add.at(matrix, (lines, indices) if self.rows else (indices, lines), data)
        return matrix


class _CompressedColumns(_Compressed):
    rows = False


class _Coordinates(InertObject):
    """SciPy's coordinate matrices, whose places are `coords` or, in older files, `row` and `col`."""

    def dense(self, name: str) -> np.ndarray:
        places = self.state.get("coords") or (self.state["row"], self.state["col"])
        rows, columns = (dense_array(part, name) for part in places)
        matrix = zeros(_shape(self.state))
        np.add.at(matrix, (rows, columns), dense_array(self.state["data"], name))
        return matrix


def _shape(state: dict[str, Any]) -> tuple[int, int]:
    return tuple(state.get("_shape") or state["shape"])


def _frombuffer(content: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """numpy's reader of protocol-5 arrays."""
    return np.frombuffer(content, dtype=dtype).reshape(shape, order=order)


def _empty_bytes() -> bytes:
    """What Python 3 writes as `bytes()` in protocol 2."""
    return b""


GRAPH_NAMES: dict[str, Any] = {**PICKLE_NAMES, "__builtin__.bytes": _empty_bytes, "builtins.bytes": _empty_bytes}
"""The only names that a graph file may request, and their stand-ins."""

for _format, _stand_in in (("csr", _Compressed), ("csc", _CompressedColumns), ("coo", _Coordinates)):
    for _module in (_format, f"_{_format}"):
        GRAPH_NAMES |= {f"scipy.sparse.{_module}.{_format}_{kind}": _stand_in for kind in ("matrix", "array")}
for _module in ("numpy.core.numeric", "numpy._core.numeric"):
    GRAPH_NAMES[f"{_module}._frombuffer"] = _frombuffer


def read_graph_files(folder: str | os.PathLike) -> GraphFiles:
    """The graph files of a folder.

    Raises DataError if a graph is missing, its vertices are not a hand's or the file asks for anything except data;
    DamagedFileError if a file is unreadable.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: the folder of graph files does not exist; it must contain graph_left.pkl and graph_right.pkl."
        )
    graphs = {side: read_hand_graph(folder / f"graph_{side.value}.pkl") for side in Side}
    codes = _optional(folder / "v_color.pkl", (VERTICES, 3))
    upsampling = _optional(folder / "upsample.pkl", (VERTICES, graphs[Side.LEFT].sizes[-1]))
    return GraphFiles(folder, graphs, codes, upsampling)


def read_hand_graph(path: str | os.PathLike) -> HandGraph:
    """The graph of one hand; errors as `read_graph_files`."""
    path = Path(path)
    content = load_pickle(path, GRAPH_NAMES)
    try:
        levels = list(content["coarsen_graphs_L"])
        gather, back = (_integers(content[name], f"{path}: {name}") for name in ("graph_perm", "graph_perm_reverse"))
    except (KeyError, TypeError) as error:
        raise DamagedFileError(
            f"{path}: not a graph file of IntagHand ({error} is missing); give the folder with "
            "graph_left.pkl and graph_right.pkl."
        ) from None
    if len(levels) != ROUNDS + 1:
        raise DataError(f"{path}: has {len(levels)} levels instead of {ROUNDS + 1}; is it a graph of another network?")
    if len(back) < VERTICES or max(gather.max(), back.max()) >= len(gather) or min(gather.min(), back.min()) < 0:
        raise DamagedFileError(f"{path}: its vertex orders do not match; fetch it again.")
    used = [levels[ROUNDS - level] for level in range(USED_LEVELS)]
    laplacians = tuple(_floats(matrix, f"{path}: coarsen_graphs_L") for matrix in used)
    try:
        return HandGraph(laplacians, gather, back[:VERTICES].clone())
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _optional(path: Path, shape: tuple[int, int]) -> Float[Tensor, "rows columns"] | None:
    if not path.exists():
        return None
    values = _floats(load_pickle(path, GRAPH_NAMES), str(path))
    if values.shape != shape:
        raise DataError(f"{path}: has shape {tuple(values.shape)} instead of {shape}; does it belong to these graphs?")
    return values


def _floats(value: Any, name: str) -> Tensor:
    return torch.from_numpy(dense_array(value, name).astype(np.float32))


def _integers(value: Any, name: str) -> Tensor:
    return torch.from_numpy(dense_array(value, name).astype(np.int64)).flatten()
