"""Writers that never leave a half-written file under its final name, and readers that say what a damaged file is."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from im2hands.io.errors import DamagedFileError, DataError, DiskFullError, Im2HandsError

LEAST_FREE_BYTES = 1_000_000
"""With less room than this on the disk, a failed writer failed for want of room."""


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary sibling of `path` to write to; renamed to `path` when the block succeeds, removed when it fails.

    The temporary name keeps the file's suffix, because many writers choose their format by it.
    Raises DiskFullError if the disk has no room; other errors of the block pass through.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".part{path.suffix}", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except Exception as error:
        if _disk_is_full(error, path.parent):
            raise DiskFullError(
                f"{path}: the disk is full; make room and give the same command again: it goes on from what is complete."
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary sibling folder to fill; it takes the place of `path` when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike, content: str) -> None:
    write_bytes(path, content.encode())


def write_json(path: str | os.PathLike, content: Any, indent: int | None = 1) -> None:
    """JSON with keys in the given order, a final newline and no NaN (NaN is not JSON)."""
    write_text(path, json.dumps(content, indent=indent, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike, purpose: str = "file") -> Any:
    """Parsed JSON.

    purpose: what the file is, for the message.  Raises DataError if it is missing, DamagedFileError if it is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(
            f"{path}: the {purpose} is missing; run the stage that makes it, or correct the path."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamagedFileError(
            f"{path}: the {purpose} is not valid JSON ({error}); it is probably truncated: fetch or make it again."
        ) from None


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _disk_is_full(error: Exception, folder: Path) -> bool:
    """Writers in C++ (torch, Arrow) do not pass the system's error number on: then the free space has to tell."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return not isinstance(error, Im2HandsError) and shutil.disk_usage(folder).free < LEAST_FREE_BYTES


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
