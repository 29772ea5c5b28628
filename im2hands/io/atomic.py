"""Writers that never leave a half-written file under its final name, and readers that report damaged files."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from im2hands.io.documents import RefusedValue, parsed_json
from im2hands.io.errors import DamagedFileError, DiskFullError, Im2HandsError, NotWritableError
from im2hands.io.limits import LARGEST_DOCUMENT, read_text

LEAST_FREE_BYTES = 1_000_000
"""With less free space than this, a failed write is taken as a full disk."""
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EFBIG)
NAME_PART = 120
"""Bytes of a file's name that its temporary name repeats; a name has 255 at most."""


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary sibling of `path` to write to; renamed to `path` when the block succeeds, removed when it fails.

    The temporary name keeps the file's suffix, because many writers choose their format by it.
    Raises DiskFullError if the disk has no room, NotWritableError if nothing may be written there; other errors of the block
    pass through.
    """
    path = Path(path)
    with _said(path):
        _prepare(path.parent)
        if path.is_dir():
            raise NotWritableError(f"{path}: is a folder; give the name of a file.")
        handle, name = tempfile.mkstemp(prefix=_prefix(path.stem), suffix=f".part{path.suffix}", dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with _said(path):
            yield temporary
            _flush_to_disk(temporary)
            temporary.chmod(0o666 & ~_umask())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary sibling folder to fill; it takes the place of `path` when the block succeeds. Raises as `atomic_path`."""
    path = Path(path)
    with _said(path):
        _prepare(path.parent)
        temporary = Path(tempfile.mkdtemp(prefix=_prefix(path.name), suffix=".part", dir=path.parent))
    try:
        with _said(path):
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _flush_to_disk(file)
            temporary.chmod(0o777 & ~_umask())
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_writable(folder: str | os.PathLike) -> None:
    """Creates a folder and a file in it, which is removed again, so that errors appear before hours of work, not after.

    Raises DiskFullError or NotWritableError.
    """
    probe = Path(folder) / "probe"
    with _said(Path(folder)):
        _prepare(probe.parent)
        handle, name = tempfile.mkstemp(prefix=_prefix("probe"), suffix=".part", dir=probe.parent)
        os.close(handle)
        os.unlink(name)


def writing_failed(path: str | os.PathLike, error: Exception) -> Im2HandsError | None:
    """The error to report if writing `path` failed; None if the disk is not the cause.

    Writers in C++ (torch, Arrow) do not pass on the system's error number; then the free space is checked.
    """
    if isinstance(error, OSError) and not _concerns(Path(path), error):
        return None
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return _no_room(path)
    if number in NOT_WRITABLE:
        in_the_way = number in (errno.EEXIST, errno.ENOTDIR)
        reason = "a file is in the place of a folder" if in_the_way else os.strerror(number).lower()
        return NotWritableError(
            f"{path}: cannot be written ({reason}); choose another path, or make this one writable."
        )
    folder = next((parent for parent in Path(path).absolute().parents if parent.is_dir()), Path("/"))
    return None if isinstance(error, Im2HandsError) or not _out_of_room(folder) else _no_room(path)


def _concerns(path: Path, error: OSError) -> bool:
    """Whether an error names no file, one next to `path`, or a parent folder; otherwise it may be from reading another file."""
    if not isinstance(error.filename, (str, os.PathLike)):
        return True
    named, folder = Path(error.filename).absolute(), path.absolute().parent
    return named.is_relative_to(folder) or folder.is_relative_to(named)


def _no_room(path: str | os.PathLike) -> DiskFullError:
    return DiskFullError(
        f"{path}: the disk is full; free some space and run the same command again: it continues from complete files."
    )


def _out_of_room(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < LEAST_FREE_BYTES


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Errors of the disk as one sentence about `path`."""
    try:
        yield
    except Exception as error:
        said = writing_failed(path, error)
        if said is None:
            raise
        raise said from error


def _prefix(name: str) -> str:
    """Prefix of temporary names with machine and process, so that leftovers of a killed process can be recognised."""
    return f".{name.encode()[:NAME_PART].decode(errors='ignore')}.{_machine()}-{os.getpid()}."


@cache
def _machine() -> str:
    return re.sub(r"[^\w-]", "-", platform.node())[:32] or "machine"


_PREPARED: set[tuple[int, Path]] = set()


def _prepare(folder: Path) -> None:
    """Makes a folder and, once in a process, removes what killed processes of this machine left half-written in it."""
    folder.mkdir(parents=True, exist_ok=True)
    key = os.getpid(), folder.absolute()
    if key in _PREPARED:
        return
    _PREPARED.add(key)
    left = re.compile(rf"\..+\.{re.escape(_machine())}-(\d+)\.\w+\.part(\.\w+)?")
    with os.scandir(folder) as entries:
        found = [(entry.path, int(match[1])) for entry in entries if (match := left.fullmatch(entry.name))]
    for name, process in found:
        if not _alive(process):
            if os.path.isdir(name) and not os.path.islink(name):
                shutil.rmtree(name, ignore_errors=True)
            else:
                Path(name).unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


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

    purpose: what the file is, for the message.  Raises DataError if it is missing, too large or no file, DamagedFileError if it
    is not JSON or goes beyond the limits of `documents.parsed_json`.
    """
    text = read_text(path, purpose, LARGEST_DOCUMENT, "run the stage that makes it, or correct the path")
    try:
        return parsed_json(text)
    except RefusedValue as error:
        raise DamagedFileError(f"{path}: the {purpose} contains {error}; correct it or make it again.") from None
    except ValueError as error:
        raise DamagedFileError(
            f"{path}: the {purpose} is not valid JSON ({error}); it is probably truncated: fetch or make it again."
        ) from None


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
