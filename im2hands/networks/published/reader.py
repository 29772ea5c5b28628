"""Reader of published `.pt` files that reads data and executes nothing.

PyTorch's weights-only unpickler does the reading. Published files also contain NumPy scalars (a best validation loss, say),
which it refuses; here the three names that such a scalar is pickled with are answered by inert stand-ins of our own.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from im2hands.io.errors import CheckpointError, DataError
from im2hands.io.hashing import sha256_file
from im2hands.io.limits import readable_file
from im2hands.networks.published.archive import check_archive, check_sizes

WEIGHT_ENTRIES = ("model", "state_dict", "model_state_dict", "network")
"""Names under which training scripts store the state dict; a file may also be the state dict itself."""
SCALAR_KINDS = "biuf"


@dataclass(frozen=True)
class PublishedFile:
    """Content of a published checkpoint.

    weights: key -> tensor, in the file's order.
    notes: the plain numbers and texts stored with them (iterations, best loss), dotted names.
    """

    path: Path
    sha256: str
    weights: dict[str, Tensor]
    notes: dict[str, Any]


def read_published(path: str | os.PathLike) -> PublishedFile:
    """Weights and notes of a file written by `torch.save`.

    Raises CheckpointError, in one sentence, if the file is missing or damaged, would execute anything, or has no weights.
    """
    path = Path(path)
    content = safe_load(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path}: contains a {type(content).__name__} instead of a state dict; is it a weight file?"
        )
    weights = next((content[name] for name in WEIGHT_ENTRIES if isinstance(content.get(name), Mapping)), content)
    tensors = {str(key): value.detach() for key, value in weights.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path}: contains no weights; is it the checkpoint of a network?")
    check_sizes(path, tensors.items())
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    return PublishedFile(path, sha256_file(path), tensors, dict(_notes(content)))


def safe_load(path: str | os.PathLike) -> Any:
    """`torch.load` of tensors, containers, numbers, texts and NumPy scalars, on the CPU; nothing else.

    Raises CheckpointError as `read_published` does.
    """
    path = Path(path)
    try:
        readable_file(path, "weight file")
    except DataError as error:
        raise CheckpointError(str(error)) from None
    check_archive(path)
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    allowed = [(_scalar, name) for name in names] + [(_ScalarType, "numpy.dtype"), (_encode, "_codecs.encode")]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from None
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError, ... for damaged files
        raise CheckpointError(
            f"{path}: damaged or not a PyTorch weight file ({_first_line(error)}); fetch it again."
        ) from None


class _ScalarType:
    """Stands for `numpy.dtype` while reading: keeps the type's code, refuses anything but plain numbers."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1] if state[1] in "<>" else "="

    def __hash__(self) -> int:
        return hash(self.code)


def _scalar(kind: _ScalarType, content: bytes) -> int | float | bool:
    """Stands for NumPy's scalar constructor: the number that `content` is, as a Python number."""
    if not isinstance(kind, _ScalarType) or not isinstance(content, bytes):
        raise CheckpointError("a NumPy scalar in it is malformed; fetch the file again.")
    code = kind.code if isinstance(kind.code, str) else ""
    if not re.fullmatch(rf"[{SCALAR_KINDS}]\d+", code):
        raise CheckpointError(f"a NumPy value of type {code!r} in it is not a plain number; refused as unsafe.")
    dtype = np.dtype(kind.order + code)
    if len(content) != dtype.itemsize:
        raise CheckpointError("a NumPy scalar in it is malformed; fetch the file again.")
    return np.frombuffer(content, dtype)[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stands for `codecs.encode`, by which protocol 2 writes bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise CheckpointError(f"bytes in it are written as {encoding!r}; refused as unsafe.")
    return text.encode("latin1")


def _refusal(path: Path, message: str) -> str:
    found = re.search(r"GLOBAL ([\w.<>]+)", message)
    if found:
        return f"{path}: refused, because loading it would run {found.group(1)}; use only weight files with plain data."
    reason = message.partition("WeightsUnpickler error:")[2] or message
    return f"{path}: refused or damaged ({_first_line(reason)}); fetch it again, or save its plain state dict."


def _first_line(error: Any) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".")[:160] if lines else type(error).__name__


def _notes(content: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, (bool, int, float, str)):
            yield f"{prefix}{key}", value
