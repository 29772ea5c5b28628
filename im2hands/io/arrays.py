"""Arrays from a user's files: NPY and NPZ with a check of their declared size, and lists of JSON, YAML or Parquet."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Collection
from typing import IO, Any

import numpy as np

from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.limits import LARGEST_ARRAYS, readable_file

NUMBERS = {int, float, type(None)}


def number_array(value: Any) -> np.ndarray:
    """Nested lists of numbers as float64, null as NaN.

    Raises ValueError for true and false, text, rows of different length, and numbers beyond float64.
    """
    array = np.array(value, dtype=object)
    wrong = {type(item) for item in array.ravel()} - NUMBERS
    wrong = {kind for kind in wrong if not issubclass(kind, (np.integer, np.floating))}
    if wrong:
        found = wrong.pop()
        raise ValueError("its rows differ in length" if found is list else f"expected a number, got {found.__name__}")
    try:
        return array.astype(np.float64)
    except OverflowError:
        raise ValueError("a number is too large") from None


def read_npy(path: str | os.PathLike, purpose: str) -> np.ndarray:
    """The array of an NPY file. Raises DataError if it is missing or too large, DamagedFileError if it cannot be read."""
    path = readable_file(path, purpose, LARGEST_ARRAYS)
    try:
        with path.open("rb") as file:
            return _array(file, os.fstat(file.fileno()).st_size)
    except Exception as error:  # numpy's header is Python text, and its parser raises nearly anything
        raise _unreadable(path, purpose, error) from None


def npz_names(path: str | os.PathLike, purpose: str) -> list[str]:
    """Names of the arrays of an NPZ file, without reading one. Raises as `read_npz`."""
    path = readable_file(path, purpose)
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:
        raise _unreadable(path, purpose, error) from None


def read_npz(path: str | os.PathLike, purpose: str, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an NPZ file, or those of them that are named.

    Raises DataError if the file is missing, lacks one, or would take more than LARGEST_ARRAYS; DamagedFileError if it cannot
    be read, or contains Python objects.
    """
    path = readable_file(path, purpose)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            missing = [name for name in names or () if name not in members]
            if missing:
                raise DataError(f"{path}: the array {missing[0]} is missing in the {purpose}; make the file again.")
            wanted = [members[name] for name in names or members]
            declared = sum(member.file_size for member in wanted)
            if declared > LARGEST_ARRAYS:
                raise DamagedFileError(
                    f"{path}: the {purpose} would take {declared / 1e9:,.0f} GB of memory; is it damaged?"
                )
            return {member.filename.removesuffix(".npy"): _member(archive, member) for member in wanted}
    except DataError:
        raise
    except Exception as error:
        raise _unreadable(path, purpose, error) from None


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        array = _array(file, member.file_size)
        if file.read(1):
            raise ValueError(f"{member.filename} is longer than its array")
        return array


def _array(file: IO[bytes], size: int) -> np.ndarray:
    """size: bytes that there are. Raises ValueError where the header announces another array than they can hold."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("it contains Python objects")
    wanted = math.prod(shape) * dtype.itemsize
    if any(extent < 0 for extent in shape) or wanted > size:
        raise ValueError(f"its header announces {'x'.join(map(str, shape))[:60]} values, more than the file contains")
    content = file.read(wanted)
    if len(content) != wanted:
        raise ValueError("it is truncated")
    return np.frombuffer(bytearray(content), dtype).reshape(shape, order="F" if fortran else "C")


def _unreadable(path: Any, purpose: str, error: Exception) -> DamagedFileError:
    reason = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
    return DamagedFileError(f"{path}: not a readable {purpose} ({reason}); copy or make it again.")
