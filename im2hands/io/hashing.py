"""Content hashes of files and parameters, and random seeds made from names."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from typing import Any

from im2hands.io.limits import readable_file


def sha256_file(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of a file's content. Raises DataError if the file is missing."""
    with readable_file(path, "file", remedy="run the stage that makes it").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: Any) -> str:
    """Hexadecimal SHA-256 of a JSON-able value; independent of the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def seed_of(*parts: int | str) -> list[int]:
    """Entropy for `numpy.random.default_rng` that depends on every part: integers directly, names by their CRC-32.

    A seed per sample id keeps results independent of the order and the number of workers.
    """
    return [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in parts]
