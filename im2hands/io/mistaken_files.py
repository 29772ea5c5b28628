"""Recognises by its first bytes what a supposed text file really is: the cause of most "invalid" downloads."""

from __future__ import annotations

import os
from pathlib import Path

ARCHIVE = "it is really a compressed archive: unpack it"
WIDE_TEXT = "it is UTF-16 text: save it as UTF-8"
BEGINNINGS = {
    b"\x1f\x8b": ARCHIVE,
    b"PK\x03\x04": ARCHIVE,
    b"BZh": ARCHIVE,
    b"\xfd7zXZ": ARCHIVE,
    b"\xff\xfe": WIDE_TEXT,
    b"\xfe\xff": WIDE_TEXT,
    b"version https://git-lfs": "it is a Git LFS pointer: run git lfs pull",
    b"<": "it is really a web page, perhaps a login page: download the file itself",
}


def mistaken_for(path: str | os.PathLike) -> str | None:
    """The cause with its remedy, as the end of a sentence; None if nothing is recognised or the file cannot be read."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(64)
    except OSError:
        return None
    if not start:
        return "it is empty: fetch or unpack it again"
    start = start.lstrip()
    return next((cause for beginning, cause in BEGINNINGS.items() if start.startswith(beginning)), None)
