"""Columnar files between stages: Parquet tables and memory-mapped Arrow shards, each with a layout and its provenance.

A file is readable with pyarrow alone; layout name, version and provenance are stored as JSON under the key `im2hands` of the
schema's metadata. Files are written under a temporary name and renamed, so a half-written one is never taken for whole.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from im2hands import __version__
from im2hands.io.atomic import atomic_path
from im2hands.io.documents import parsed_json
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.hashing import digest, sha256_file
from im2hands.io.limits import readable_file

METADATA_KEY = b"im2hands"
CHECKSUM_KEY = b"crc32"
MOST_VALUES = 100_000_000
"""Of a Parquet file of others; 63 of them are a hand. Equal values take no room in a file, but do in memory."""


@dataclass(frozen=True)
class Layout:
    """The columns of a kind of file.

    version: raised whenever a column changes its meaning, so that an old file is refused instead of misread.
    """

    name: str
    version: int
    schema: pa.Schema

    def column_names(self) -> list[str]:
        return self.schema.names


@dataclass(frozen=True)
class Provenance:
    """Where a file comes from: the parameters and the seed that made it, and the content hashes of what it was made of.

    sources: role -> path of an input file; hashed when the file is written.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    sources: Mapping[str, str | os.PathLike] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "software": f"im2hands {__version__}",
            "parameters": dict(self.parameters),
            "parameters_hash": digest(dict(self.parameters)),
            "seed": self.seed,
            "sources": {role: sha256_file(path) for role, path in self.sources.items()},
        }


def write_parquet(
    path: str | os.PathLike,
    table: pa.Table,
    layout: Layout,
    provenance: Provenance,
    row_group_rows: int | None = None,
) -> None:
    """Writes `table` (its columns put in the layout's order and cast to its types) as one whole Parquet file.

    row_group_rows: rows that are stored and read together; small groups suit readers of a few wide rows.
    """
    table = table.select(layout.column_names()).cast(layout.schema)
    table = table.replace_schema_metadata(_metadata(layout, provenance))
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=row_group_rows, write_page_checksum=True)


def read_parquet(path: str | os.PathLike, layout: Layout, columns: list[str] | None = None) -> pa.Table:
    """The table, or some of its columns.

    Raises DataError if it is missing, DamagedFileError if it is unreadable, of another kind or of another version.
    """
    _require(path, layout)
    remedy = "delete it and run again"
    schema = _parquet_schema(path, f"{layout.name} table", remedy)
    _check_layout(path, layout, schema)
    with _readable(path, f"{layout.name} table", remedy):
        return pq.read_table(path, columns=columns, page_checksum_verification=True)


def read_rows(path: str | os.PathLike, purpose: str) -> list[dict[str, Any]]:
    """The rows of a Parquet file that others wrote.

    Raises DataError if it is missing or has more than MOST_VALUES numbers, DamagedFileError if it cannot be read.
    """
    readable_file(path, purpose)
    with _readable(path, purpose, "make or copy it again"):
        described = pq.read_metadata(path)
        groups = [described.row_group(group) for group in range(described.num_row_groups)]
        values = sum(group.column(place).num_values for group in groups for place in range(group.num_columns))
        if values > MOST_VALUES:
            raise DataError(f"{path}: the {purpose} has {values:,} values, which is too many; is it the right file?")
        return pq.read_table(path, page_checksum_verification=True).to_pylist()


def file_card(
    path: str | os.PathLike,
    purpose: str = "table",
    remedy: str = "delete it and run again",
    foreign: bool = False,
) -> dict[str, Any]:
    """Layout name, version, provenance and extra entries of a Parquet or Arrow file of ours.

    foreign: files of others may be given; they have the card {}.
    Raises DataError if the file is missing, DamagedFileError if it cannot be read or is not ours.
    """
    readable_file(path, purpose, remedy="run the stage that makes it")
    arrow = Path(path).suffix == ".arrow"
    card = _card(path, _open_shard(path).schema if arrow else _parquet_schema(path, purpose, remedy))
    if not card and not foreign:
        raise DamagedFileError(f"{path}: was not written by this software; run the stage that makes it.")
    return card


class ShardWriter:
    """Writes an Arrow IPC file, uncompressed, one record batch with a checksum per row, so that a row is one contiguous block.

    Use as a context manager; the file appears under its name only when the block ends without an error.
    extra: JSON-able entries stored with the provenance, e.g. the quantisation range.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        layout: Layout,
        provenance: Provenance,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._path, self._layout = path, layout
        self._schema = layout.schema.with_metadata(_metadata(layout, provenance, extra))

    def __enter__(self) -> ShardWriter:
        self._stack = ExitStack()
        temporary = self._stack.enter_context(atomic_path(self._path))
        sink = self._stack.enter_context(pa.OSFile(str(temporary), "wb"))
        self._writer = self._stack.enter_context(pa.ipc.new_file(sink, self._schema))
        return self

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds a row; arrays are given flat, missing columns become null. Raises DataError for an unknown column."""
        unknown = set(row) - set(self._schema.names)
        if unknown:
            raise DataError(f"{self._path}: the {self._layout.name} layout has no column {sorted(unknown)}.")
        arrays = [pa.array([row.get(column.name)], type=column.type) for column in self._schema]
        batch = pa.record_batch(arrays, schema=self._schema)
        self._writer.write_batch(batch, custom_metadata={CHECKSUM_KEY: _row_checksum(batch)})

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)


class ShardReader:
    """A memory-mapped shard; opened at the first use and again after pickling, so it may travel to loader workers.

    sha256: if given, the content is compared with it when the file is opened; if not, each row that is read is compared
    with the checksum that was written with it.
    """

    def __init__(self, path: str | os.PathLike, layout: Layout, sha256: str | None = None) -> None:
        self.path, self.layout, self._sha256 = Path(path), layout, sha256
        self._opened: pa.ipc.RecordBatchFileReader | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def _file(self) -> pa.ipc.RecordBatchFileReader:
        if self._opened is None:
            _require(self.path, self.layout)
            if self._sha256 is not None and sha256_file(self.path) != self._sha256:
                raise _other_content(self.path)
            self._opened = _open_shard(self.path)
            _check_layout(self.path, self.layout, self._opened.schema)
        return self._opened

    @property
    def metadata(self) -> dict[str, Any]:
        """The file's card: layout, version, provenance and extra entries."""
        return _card(self.path, self._file.schema)

    def __len__(self) -> int:
        return self._file.num_record_batches

    def row(self, index: int, columns: list[str] | None = None) -> dict[str, Any]:
        """One row: lists as flat numpy arrays and binaries as memoryviews (both without a copy), the rest as Python values."""
        batch = _row(self.path, self._file, index, check=self._sha256 is None)
        return {name: _value(batch.column(name)[0]) for name in columns or self.layout.column_names()}

    def column(self, name: str) -> list[Any]:
        """A column over all rows."""
        return [self.row(index, [name])[name] for index in range(len(self))]


def count_rows(path: str | os.PathLike) -> int:
    """Rows of a shard, each compared with its checksum. Raises DamagedFileError if the file is not what was written."""
    file = _open_shard(path)
    for index in range(file.num_record_batches):
        _row(path, file, index, check=True)
    return file.num_record_batches


def as_array(value: Any, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A stored list or binary as a read-only array of the given type and shape (no copy where the type agrees)."""
    array = np.frombuffer(value, dtype) if isinstance(value, (bytes, memoryview)) else np.asarray(value, dtype)
    return array.reshape(shape)


def flat(array: Any) -> np.ndarray:
    """An array in the flat form in which columns store it."""
    return np.ascontiguousarray(array).reshape(-1)


def _open_shard(path: str | os.PathLike) -> pa.ipc.RecordBatchFileReader:
    with _readable(path, "shard", "delete this file and run again"):
        file = pa.ipc.open_file(pa.memory_map(str(path)))
    _card(path, file.schema)
    return file


@contextmanager
def _readable(path: str | os.PathLike, purpose: str, remedy: str) -> Iterator[None]:
    """What pyarrow raises for damaged files, as one sentence."""
    try:
        yield
    except (pa.ArrowException, ValueError, OSError, KeyError, NotImplementedError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise DamagedFileError(f"{path}: not a readable {purpose} ({reason}); {remedy}.") from None


def _parquet_schema(path: str | os.PathLike, purpose: str, remedy: str) -> pa.Schema:
    with _readable(path, purpose, remedy):
        return pq.read_schema(path)


def _card(path: str | os.PathLike, schema: pa.Schema) -> dict[str, Any]:
    """The metadata of a file of this software. Raises DamagedFileError if that is not a JSON object."""
    try:
        card = parsed_json((schema.metadata or {}).get(METADATA_KEY, b"{}").decode())
    except ValueError as error:
        card = error
    provenance = card.get("provenance", {}) if isinstance(card, dict) else None
    whole = isinstance(provenance, dict) and isinstance(provenance.get("parameters", {}), dict)
    if not whole or (card and not ("layout" in card and "parameters" in provenance)):
        raise DamagedFileError(
            f"{path}: its metadata {METADATA_KEY.decode()} is not a JSON object of this software; "
            "delete this file and run again."
        )
    return card


def _row(path: str | os.PathLike, file: pa.ipc.RecordBatchFileReader, index: int, check: bool) -> pa.RecordBatch:
    try:
        batch, notes = file.get_batch_with_custom_metadata(index)
        if not check or (notes or {}).get(CHECKSUM_KEY) == _row_checksum(batch):
            return batch
    except (ValueError, KeyError, OSError) as error:
        raise DamagedFileError(
            f"{path}: row {index} cannot be read ({error}); delete this file and run again to rebuild it."
        ) from None
    raise _other_content(path)


def _row_checksum(batch: pa.RecordBatch) -> bytes:
    """Of the file's card and of the row's values; not of their storage, which may differ between versions of pyarrow.

    Raises ValueError where a look at a value of a damaged row could end the process.
    """
    if batch.num_rows != 1:
        raise ValueError(f"expected one row, got {batch.num_rows}")
    batch.validate(full=True)
    checksum = zlib.crc32(batch.schema.metadata[METADATA_KEY] + repr(batch.schema.names).encode())
    for column in batch.columns:
        value = _value(column[0])
        plain = isinstance(value, memoryview) or (isinstance(value, np.ndarray) and value.dtype != object)
        checksum = zlib.crc32(value if plain else repr(value).encode(), checksum)
    return f"{checksum:08x}".encode()


def _other_content(path: str | os.PathLike) -> DamagedFileError:
    return DamagedFileError(
        f"{path}: the content does not match its checksum; delete this file and run again to rebuild it."
    )


def _value(scalar: pa.Scalar) -> Any:
    if not scalar.is_valid:
        return None
    if isinstance(scalar, (pa.BinaryScalar, pa.LargeBinaryScalar)) and not isinstance(scalar, pa.StringScalar):
        return memoryview(scalar.as_buffer())
    if isinstance(scalar, pa.ListScalar):
        return scalar.values.to_numpy(zero_copy_only=False)
    return scalar.as_py()


def _metadata(layout: Layout, provenance: Provenance, extra: Mapping[str, Any] | None = None) -> dict[bytes, bytes]:
    card = {"layout": layout.name, "version": layout.version, "provenance": provenance.as_json(), **(extra or {})}
    return {METADATA_KEY: json.dumps(card, sort_keys=True, default=str).encode()}


def _check_layout(path: str | os.PathLike, layout: Layout, schema: pa.Schema) -> None:
    card = _card(path, schema)
    found = (card.get("layout"), card.get("version"))
    if found != (layout.name, layout.version):
        raise DamagedFileError(
            f"{path}: expected {layout.name} version {layout.version}, found {found[0]} version {found[1]}; "
            "delete it and run the stage that makes it."
        )
    for column in layout.schema:
        place = schema.get_field_index(column.name)
        if place < 0 or schema.field(place).type != column.type:
            kind = "missing" if place < 0 else f"of type {schema.field(place).type}"
            raise DamagedFileError(
                f"{path}: the column {column.name} is {kind}, not {column.type}; delete it and run the stage that makes it."
            )


def _require(path: str | os.PathLike, layout: Layout) -> None:
    readable_file(path, f"{layout.name} file", remedy="run the stage that makes it")
