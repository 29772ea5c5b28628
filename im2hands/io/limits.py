"""Checks a file before it is read: it must be a regular file, and no larger than such files ever are.

Every reader of a user's file starts here, so that a wrong file costs one sentence, not the machine's memory or time.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from im2hands.io.errors import DamagedFileError, DataError

MEGABYTE = 1 << 20
LARGEST_DOCUMENT = 256 * MEGABYTE
"""Of a JSON file that is read as a whole; Python makes some twenty times as much of it. Larger ones are read as a stream."""
LARGEST_SETTINGS = MEGABYTE
"""Of a YAML file; parameters and presets have some kilobytes."""
LARGEST_PICKLE = 256 * MEGABYTE
LARGEST_PICTURE = 1024 * MEGABYTE
LARGEST_MESH = 512 * MEGABYTE
LARGEST_ARRAYS = 4096 * MEGABYTE
"""Of all arrays of an .npy or .npz file when they are in memory."""
DEEPEST = 64
"""Lists and objects in one another; numpy has no more axes, and files of this project have fewer than ten."""
MOST_DIGITS = 40
"""Of a whole number: far beyond 64 bits, far below what takes time to read."""


def readable_file(path: str | os.PathLike, purpose: str, largest: int | None = None, remedy: str = "") -> Path:
    """The path of a file that may be opened. largest: bytes.  remedy: what to do if it is not there.

    Raises DataError if it is missing, a folder, a pipe or device, or may not be read, DamagedFileError if it is larger.
    """
    path = Path(path)
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: the {purpose} is missing; {remedy or 'correct the path'}.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{_shown(path)}: the {purpose} cannot be read ({_why(error)}); correct the path.") from None
    if stat.S_ISDIR(found.st_mode):
        raise DataError(f"{path}: is a folder; give the {purpose} itself.")
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: is a pipe or a device; write the {purpose} to a file and give that.")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: the {purpose} may not be read; change its permissions.")
    if largest is not None and found.st_size > largest:
        raise DamagedFileError(
            f"{path}: the {purpose} has {_megabytes(found.st_size)}, and none has more than {_megabytes(largest)}; "
            "is it another file?"
        )
    return path


def read_content(path: str | os.PathLike, purpose: str, largest: int, remedy: str = "") -> bytes:
    """All bytes of a file. Raises DataError as `readable_file`, and if the disk does not give them."""
    path = readable_file(path, purpose, largest, remedy)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the {purpose} cannot be read ({_why(error)}); copy it again.") from None


def read_text(path: str | os.PathLike, purpose: str, largest: int, remedy: str = "") -> str:
    """A file of UTF-8, with or without a byte order mark.

    Raises DataError as `read_content`, DamagedFileError if it is not UTF-8.
    """
    content = read_content(path, purpose, largest, remedy)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DamagedFileError(
            f"{path}: the {purpose} is not UTF-8 text (byte {error.start}); save it as UTF-8, or fetch it again."
        ) from None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 10_000_000 else f"{size / 1e6:.1f} MB"


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _shown(path: Path) -> str:
    return str(path).encode("unicode_escape").decode()
