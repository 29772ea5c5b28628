"""A pickle reader that builds data and executes nothing: every global name must be on the caller's list."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.limits import LARGEST_PICKLE, MOST_DIGITS, read_content

MOST_STEPS = 5_000_000
"""Instructions of a pickle; arrays are one each, whatever their size."""


def array_names() -> dict[str, Any]:
    """The names under which pickles store numpy arrays and numbers, for all versions of numpy."""
    from numpy._core import multiarray

    kinds = ("numpy.ndarray", "numpy.matrix", "numpy.matrixlib.defmatrix.matrix")  # a matrix is read as an array
    names = {**dict.fromkeys(kinds, _ArrayKind), "numpy.dtype": np.dtype, "_codecs.encode": _encode}
    for package in ("numpy.core", "numpy._core"):
        names |= {f"{package}.multiarray._reconstruct": _empty_array, f"{package}.multiarray.scalar": multiarray.scalar}
        names |= {f"{package}.numeric._frombuffer": _array_of_bytes}
    return names


class _ArrayKind:
    """Stands for `numpy.ndarray`, which a pickle could also call to have memory of any size."""

    def __init__(self, *_: Any) -> None:
        raise pickle.UnpicklingError("it makes an array without content")


def _empty_array(kind: type, *_: Any) -> np.ndarray:
    """What numpy's own `_reconstruct` gives: the state that follows brings shape, type and content."""
    if kind is not _ArrayKind:
        raise pickle.UnpicklingError(f"it makes an array of {kind!r}")
    return np.empty(0, np.int8)


def _array_of_bytes(content: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str = "C") -> np.ndarray:
    return np.frombuffer(content, dtype=dtype).reshape(shape, order=order)


def _encode(text: Any, encoding: str = "latin1") -> bytes:
    return text.encode(encoding) if isinstance(text, str) else bytes(text)


def load_pickle(path: str | os.PathLike, allowed: Mapping[str, Callable | type], encoding: str = "latin1") -> Any:
    """The content of a pickle that may use only the globals in `allowed`.

    allowed: "module.name" as written in the file -> what to use in its place (a function, or an inert holder class).
    encoding: for strings of Python 2.
    Raises DataError for a missing file or a refused global (it is named), DamagedFileError for anything unreadable.
    """
    path = Path(path)
    return pickled(
        read_content(path, "pickle file", LARGEST_PICKLE, "correct the path or fetch the file"), path, allowed, encoding
    )


def pickled(content: bytes, path: Path, allowed: Mapping[str, Callable | type], encoding: str = "latin1") -> Any:
    """As `load_pickle`, of bytes that were read. path: file that is named in messages."""

    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            try:
                return allowed[f"{module}.{name}"]
            except KeyError:
                raise DataError(
                    f"{path}: refused to load, because the pickle asks for `{module}.{name}`, which is not data this file "
                    "should hold; nothing was executed. Get the file from its original source, or report this name."
                ) from None

        def persistent_load(self, pid: Any) -> Any:
            raise DataError(f"{path}: refused to load, because the pickle refers to objects outside the file.")

    try:
        _check_steps(content)
        return Restricted(io.BytesIO(content), encoding=encoding).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = " ".join(str(error).split())[:200]
        raise DamagedFileError(
            f"{path}: not a readable pickle ({type(error).__name__}: {reason}); fetch it again."
        ) from None


def _check_steps(content: bytes) -> None:
    """Raises UnpicklingError for what would cost more memory or time than the file has bytes, before anything is built."""
    stream = io.BytesIO(content)
    for step, (instruction, argument, _) in enumerate(pickletools.genops(stream), 1):
        if step > MOST_STEPS:
            raise pickle.UnpicklingError(f"it has more than {MOST_STEPS} instructions")
        if instruction.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > len(content):
            raise pickle.UnpicklingError(f"it numbers an object {argument}")
        if instruction.name in ("INT", "LONG", "LONG1", "LONG4") and abs(int(argument)) >= 10**MOST_DIGITS:
            raise pickle.UnpicklingError(f"it holds a number of more than {MOST_DIGITS} digits")
        if instruction.name.startswith("EXT"):
            raise pickle.UnpicklingError("it refers to registered objects")
    if stream.read(1):
        raise pickle.UnpicklingError("something stands behind its end")
