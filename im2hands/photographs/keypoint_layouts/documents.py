"""The content of a file of any container, as plain data: JSON, lines of JSON, NPY, NPZ, pickles and Parquet.

Nothing in a file is executed: pickles may hold numpy arrays and plain values.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from im2hands.io.arrays import read_npy, read_npz
from im2hands.io.atomic import read_json
from im2hands.io.documents import parsed_json
from im2hands.io.errors import DamagedFileError
from im2hands.io.limits import LARGEST_DOCUMENT, LARGEST_PICKLE, read_content, read_text, readable_file
from im2hands.io.pickles import array_names, load_pickle, pickled
from im2hands.io.tables import read_rows

PURPOSE = "keypoint file"
NPY, PARQUET, ZIP = b"\x93NUMPY", b"PAR1", b"PK\x03\x04"
"""First bytes of these files."""
PICKLES = (".pkl", ".pickle", ".p")
PLAIN: dict[str, Any] = {**array_names(), "collections.OrderedDict": OrderedDict}
"""What pickles of keypoints may ask for."""


def begins_with(path: Path, magic: bytes) -> bool:
    with readable_file(path, PURPOSE).open("rb") as file:
        return file.read(len(magic)) == magic


def read_document(path: Path) -> Any:
    """The plain values of a file. Raises DataError or DamagedFileError, with the path, for what cannot be read."""
    if begins_with(path, PARQUET):
        return read_rows(path, PURPOSE)
    if begins_with(path, NPY):
        return _npy(path)
    if begins_with(path, ZIP):
        return read_npz(path, PURPOSE)
    if path.suffix.lower() in PICKLES:
        return load_pickle(path, PLAIN)
    if path.suffix.lower() == ".jsonl":
        return _lines(path)
    return read_json(path, PURPOSE)


def _npy(path: Path) -> Any:
    """An array, or the Python object that `numpy.save` put into a file."""
    content = read_content(path, PURPOSE, LARGEST_PICKLE) if path.stat().st_size <= LARGEST_PICKLE else b""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        is_object = header(stream)[2].hasobject
    except Exception:  # the array reader says what is wrong with it
        is_object = False
    if not is_object:
        return read_npy(path, "array of numbers")
    found = pickled(stream.read(), path, PLAIN)
    return found.item() if isinstance(found, np.ndarray) and found.shape == () else found


def _lines(path: Path) -> list[Any]:
    text = read_text(path, PURPOSE, LARGEST_DOCUMENT)
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(parsed_json(line))
            except ValueError as error:
                raise DamagedFileError(
                    f"{path}: line {number} is not valid JSON ({error}); make the file again."
                ) from None
    return found
