"""Content hashes of files and folders, taken once per version of a file.

A file whose inode, size and both time stamps are those of before is not read again. The time of the last change (ctime) belongs
to them: no copying, unpacking or linking can set it back.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from im2hands.io.atomic import write_json
from im2hands.io.hashing import digest, sha256_file

STAMP = ".snakemake_timestamp"
"""Snakemake's time stamp of a folder: an empty file in it."""
RACY_NS = 2_000_000_000
"""A file this young may still change without its stamps showing it, so its hash is not kept."""

Signature = list[int]


class ContentHashes:
    """SHA-256 of files, and of folders by the names and contents of their files.

    store: where hashes are kept from run to run; damaged or missing, everything is read again.
    """

    def __init__(self, store: Path) -> None:
        self.store = store
        self._known: dict[str, tuple[Signature, str]] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            self._known = {path: (stat, value) for path, (stat, value) in json.loads(store.read_text()).items()}

    def of(self, path: str) -> str | None:
        """None for what is not there."""
        if os.path.isdir(path):
            files = sorted(file for file in Path(path).rglob("*") if file.is_file() and file.name != STAMP)
            return digest([[file.relative_to(path).as_posix(), self._of_file(str(file))] for file in files])
        return self._of_file(path) if os.path.isfile(path) else None

    def save(self) -> None:
        write_json(self.store, self._known, indent=None)

    def _of_file(self, path: str) -> str:
        before = _signature(path)
        known = self._known.get(path)
        if known and known[0] == before:
            return known[1]
        value = sha256_file(path)
        if _signature(path) == before and time.time_ns() - before[-1] > RACY_NS:
            self._known[path] = before, value
        return value


def _signature(path: str) -> Signature:
    stat = os.stat(path)
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
