"""The list of a folder's shards: names, rows and checksums. Readers open only what it lists."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from im2hands.io.atomic import read_json, write_json
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.hashing import sha256_file
from im2hands.io.tables import Layout, ShardReader, count_rows, file_card


@dataclass(frozen=True)
class ShardFile:
    path: Path
    rows: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The shards of one folder in their order."""

    path: Path
    files: tuple[ShardFile, ...]

    @classmethod
    def read(cls, path: str | os.PathLike) -> Manifest:
        """Raises DataError if the file is missing, DamagedFileError if it is not a manifest."""
        path = Path(path)
        content = read_json(path, "shard manifest")
        try:
            files = tuple(_shard(path.parent, entry) for entry in content["files"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(f"{path}: not a shard manifest ({error}); delete it and run again.") from None
        return cls(path, files)

    def open(self, layout: Layout) -> ShardSet:
        return ShardSet(
            [ShardReader(file.path, layout, file.sha256) for file in self.files], [f.rows for f in self.files]
        )


class ShardSet:
    """All rows of several shards as one sequence; each shard is checked against its checksum when first opened."""

    def __init__(self, readers: list[ShardReader], rows: list[int]) -> None:
        self.readers = readers
        self._starts = [0, *accumulate(rows)]

    def __len__(self) -> int:
        return self._starts[-1]

    def row(self, index: int, columns: list[str] | None = None) -> dict[str, Any]:
        """Row `index` of the whole set; see ShardReader.row."""
        reader, local = self.locate(index)
        return reader.row(local, columns)

    def locate(self, index: int) -> tuple[ShardReader, int]:
        """The shard that contains a row, and the row's place in it. Raises IndexError outside the set."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        shard = bisect_right(self._starts, index) - 1
        return self.readers[shard], index - self._starts[shard]

    def column(self, name: str) -> list[Any]:
        return [value for reader in self.readers for value in reader.column(name)]


def _shard(folder: Path, entry: dict[str, Any]) -> ShardFile:
    """Raises the errors of a wrong entry; a shard must be in the folder of its manifest."""
    name, rows, checksum = entry["path"], entry["rows"], entry["sha256"]
    if not (isinstance(name, str) and Path(name).name == name and "\0" not in name):
        raise ValueError(f"path {name!r} is not the name of a file in the same folder")
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 0 or not isinstance(checksum, str):
        raise ValueError(f"the entry of {name}")
    return ShardFile(folder / name, rows, checksum)


def write_manifest(path: str | os.PathLike, shards: Iterable[str | os.PathLike]) -> None:
    """Lists `shards` (files in the manifest's folder, in this order) and removes shards left over from earlier runs.

    Raises DamagedFileError, which names the file, if one is not what its stage wrote, DataError if shards of images were cut
    by versions of OpenCV that compute otherwise.
    """
    path, shards = Path(path), [Path(shard) for shard in shards]
    files = [{"path": shard.name, "rows": count_rows(shard), "sha256": sha256_file(shard)} for shard in shards]
    listed = {shard.name for shard in shards}
    for left_over in path.parent.glob("*.arrow"):
        if left_over.name not in listed:
            left_over.unlink()
    versions = sorted({card["opencv"] for card in map(file_card, shards) if "opencv" in card})
    kinds = sorted({version.split(".")[0] for version in versions})
    if len(kinds) > 1:
        raise DataError(
            f"{path.parent}: shards of OpenCV {' and '.join(kinds)} are mixed, and their crops differ; "
            "delete the shards and run again."
        )
    write_json(path, {**({"opencv": versions} if versions else {}), "files": files})
