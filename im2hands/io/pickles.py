"""A pickle reader that builds data and executes nothing: every global name must be on the caller's list."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from im2hands.io.errors import DamagedFileError, DataError


def array_names() -> dict[str, Any]:
    """The names under which arrays and numbers of numpy stand in pickles, written by any version of it."""
    from numpy._core import multiarray, numeric

    names = {"numpy.ndarray": np.ndarray, "numpy.dtype": np.dtype, "_codecs.encode": _encode}
    for package in ("numpy.core", "numpy._core"):
        names |= {f"{package}.multiarray.{name}": getattr(multiarray, name) for name in ("_reconstruct", "scalar")}
        names |= {f"{package}.numeric._frombuffer": numeric._frombuffer}
    return names


def _encode(text: Any, encoding: str = "latin1") -> bytes:
    return text.encode(encoding) if isinstance(text, str) else bytes(text)


def load_pickle(path: str | os.PathLike, allowed: Mapping[str, Callable | type], encoding: str = "latin1") -> Any:
    """The content of a pickle in which only the globals in `allowed` may stand.

    allowed: "module.name" as written in the file -> what to use in its place (a function, or an inert holder class).
    encoding: for strings of Python 2.
    Raises DataError for a missing file or a refused global (it is named), DamagedFileError for anything unreadable.
    """
    path = Path(path)

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
        with path.open("rb") as file:
            return Restricted(file, encoding=encoding).load()
    except FileNotFoundError:
        raise DataError(f"{path}: the file is missing; correct the path or fetch the file.") from None
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DamagedFileError(
            f"{path}: not a readable pickle ({type(error).__name__}: {error}); fetch it again."
        ) from None
