"""Shards of labelled query points, one row per hand pose: layouts, quantisation and readers.

Points are in palm units (0.4 m) of the hand's palm frame, right-hand space. They are stored as uint16 over a cube whose range
is in the shard's metadata (2e-5 units = 8 micrometres per step by default). Labels belong to the **stored** points: exactly
the points that a reader returns were labelled.

Every point of a set is drawn independently of the others, so any block of a set is a uniform subset without repeats: a
training item reads one contiguous block per set at a random offset.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int16, UInt8, UInt16

from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.manifest import Manifest, ShardSet
from im2hands.io.tables import Layout, ShardReader, as_array

SETS = ("near_surface", "uniform_cube", "uniform_hand")
"""Training sets: normal about the surface; uniform in the published cube around the wrist; uniform around the hand."""

QUERIES = Layout(
    "queries",
    1,
    pa.schema(
        [
            ("hand_id", pa.string()),
            ("side", pa.string()),
            ("points", pa.binary()),
            ("labels", pa.binary()),
            *((f"{name}_{end}", pa.int64()) for name in SETS for end in ("start", "stop")),
            ("label_rule", pa.string()),
            ("conflict_count", pa.int64()),
        ]
    ),
)
"""points: uint16 (n, 3); labels: one bit per point, first point in the highest bit. A set is the points start:stop; starts are
multiples of 8, the points between sets are fillers. conflict_count: points that the two label rules label differently."""

EVALUATION_QUERIES = Layout(
    "evaluation_queries",
    1,
    pa.schema(
        [
            ("hand_id", pa.string()),
            ("side", pa.string()),
            ("published_points", pa.binary()),
            ("published_labels", pa.binary()),
            ("uniform_hand_points", pa.binary()),
            ("uniform_hand_labels", pa.binary()),
            ("surface_points", pa.binary()),
            ("surface_normals", pa.binary()),
            ("label_rule", pa.string()),
            ("conflict_count", pa.int64()),
        ]
    ),
)
"""points: uint16 (n, 3), labels: bits as in QUERIES. published: the first half uniform in the cube, the rest near the surface.
surface_normals: int16 (n, 3), unit vectors times 32767."""

STEPS = 65535
NORMAL_STEPS = 32767


@dataclass(frozen=True)
class Quantisation:
    """The cube [low, high]³ (palm units) over which coordinates are stored as uint16."""

    low: float = -0.65
    high: float = 0.65

    @classmethod
    def of_shard(cls, reader: ShardReader) -> Quantisation:
        """The range in a shard's metadata. Raises DamagedFileError if it has none."""
        try:
            low, high = reader.metadata["range"]
            return cls(float(low), float(high))
        except (KeyError, TypeError, ValueError):
            raise DamagedFileError(
                f"{reader.path}: its metadata do not contain the range of the points; delete this file and run again."
            ) from None

    def stored(self, points: Float[np.ndarray, "*batch 3"]) -> UInt16[np.ndarray, "*batch 3"]:
        """Nearest steps; coordinates outside the cube move to its faces."""
        steps = np.rint((np.asarray(points, np.float64) - self.low) * (STEPS / (self.high - self.low)))
        return np.clip(steps, 0, STEPS).astype(np.uint16)

    def points(self, stored: UInt16[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Palm units, float32: the coordinates that labels belong to."""
        points = stored.astype(np.float32)
        points *= np.float32((self.high - self.low) / STEPS)
        points += np.float32(self.low)
        return points


@dataclass(frozen=True)
class QueryPoints:
    """Points (palm units, float32) and whether each is inside its hand."""

    points: Float[np.ndarray, "points 3"]
    labels: Bool[np.ndarray, " points"]


@dataclass(frozen=True)
class EvaluationSets:
    """What a hand is evaluated with, in palm units: two labelled sets and samples of the true surface with unit normals."""

    published: QueryPoints
    uniform_hand: QueryPoints
    surface_points: Float[np.ndarray, "samples 3"]
    surface_normals: Float[np.ndarray, "samples 3"]


class _HandShards:
    """Rows of all shards of a manifest, found by their number or by their hand_id."""

    layout: Layout

    def __init__(self, path: str | os.PathLike, shards: ShardSet) -> None:
        self.path, self.shards = path, shards
        self._quantisations: dict[str, Quantisation] = {}

    @classmethod
    def read(cls, manifest: str | os.PathLike) -> Self:
        """Opens the shards that a manifest lists. Raises DataError if it is missing, DamagedFileError if it is damaged."""
        return cls(manifest, Manifest.read(manifest).open(cls.layout))

    def __len__(self) -> int:
        return len(self.shards)

    @cached_property
    def hand_ids(self) -> list[str]:
        return self.shards.column("hand_id")

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of every hand_id."""
        return {name: row for row, name in enumerate(self.hand_ids)}

    def row_of(self, hand_id: str) -> int:
        """Raises DataError if the hand has no row."""
        try:
            return self.rows[hand_id]
        except KeyError:
            raise DataError(
                f"{self.path}: has no query points for the hand {hand_id}, so the shards belong to other hands; "
                "run their stage again."
            ) from None

    def _row(self, row: int, columns: list[str] | None = None) -> tuple[dict, Quantisation]:
        reader, local = self.shards.locate(row)
        key = str(reader.path)
        if key not in self._quantisations:
            self._quantisations[key] = Quantisation.of_shard(reader)
        return reader.row(local, columns), self._quantisations[key]


class QuerySet(_HandShards):
    """Training queries of many hands. Picklable: each worker opens the files for itself."""

    layout = QUERIES

    def count(self, row: int, name: str) -> int:
        """Number of points in a set of a hand."""
        content, _ = self._row(row, [f"{name}_start", f"{name}_stop"])
        return content[f"{name}_stop"] - content[f"{name}_start"]

    def points(self, row: int, name: str) -> QueryPoints:
        """A whole set of a hand."""
        content, quantisation = self._row(row, ["points", "labels", f"{name}_start", f"{name}_stop"])
        start, stop = content[f"{name}_start"], content[f"{name}_stop"]
        stored, packed = as_array(content["points"], np.uint16, (-1, 3)), as_array(content["labels"], np.uint8, (-1,))
        return QueryPoints(quantisation.points(stored[start:stop]), _bits(packed, start, stop))

    def block(self, row: int, rng: np.random.Generator, counts: Mapping[str, int]) -> QueryPoints:
        """A random subset of a hand's points: for each named set a block of `counts[name]` points, in the order of `counts`.

        A block starts at a random multiple of 8 and continues at the beginning of the set when it reaches the end; the choice
        depends on nothing but `rng` and the size of the set.  Raises DataError if a set contains fewer points.
        """
        columns = [f"{name}_{end}" for name in counts for end in ("start", "stop")]
        content, quantisation = self._row(row, ["points", "labels", *columns])
        stored, packed = as_array(content["points"], np.uint16, (-1, 3)), as_array(content["labels"], np.uint8, (-1,))
        total = sum(counts.values())
        chosen, labels = np.empty((total, 3), np.uint16), np.empty(total, bool)
        place = 0
        for name, count in counts.items():
            start, stop = content[f"{name}_start"], content[f"{name}_stop"]
            for first, last in self._pieces(row, name, start, stop, count, rng):
                end = place + last - first
                chosen[place:end], labels[place:end] = stored[first:last], _bits(packed, first, last)
                place = end
        return QueryPoints(quantisation.points(chosen), labels)

    def _pieces(
        self, row: int, name: str, start: int, stop: int, count: int, rng: np.random.Generator
    ) -> list[tuple[int, int]]:
        size = stop - start
        if count > size:
            raise DataError(
                f"{self.path}: the hand {self.hand_ids[row]} has {size} {name} points, but {count} are needed; "
                "lower the number of points per hand or raise sample_queries in params.yaml."
            )
        if count == 0:
            return []
        first = start + 8 * int(rng.integers(-(-size // 8)))
        last = first + count
        return [(first, last)] if last <= stop else [(first, stop), (start, start + last - stop)]


class EvaluationQueries(_HandShards):
    """Evaluation points and true surfaces of many hands. Picklable."""

    layout = EVALUATION_QUERIES

    def hand(self, hand_id: str) -> EvaluationSets:
        """Everything about one hand. Raises DataError if it has no row."""
        content, quantisation = self._row(self.row_of(hand_id))

        def points(name: str) -> Float[np.ndarray, "points 3"]:
            return quantisation.points(as_array(content[f"{name}_points"], np.uint16, (-1, 3)))

        def labelled(name: str) -> QueryPoints:
            found = points(name)
            return QueryPoints(found, _bits(as_array(content[f"{name}_labels"], np.uint8, (-1,)), 0, len(found)))

        normals = as_array(content["surface_normals"], np.int16, (-1, 3)).astype(np.float32) / np.float32(NORMAL_STEPS)
        return EvaluationSets(labelled("published"), labelled("uniform_hand"), points("surface"), normals)


def stored_normals(normals: Float[np.ndarray, "samples 3"]) -> Int16[np.ndarray, "samples 3"]:
    """Unit vectors as int16."""
    return np.rint(np.asarray(normals) * NORMAL_STEPS).astype(np.int16)


def _bits(packed: UInt8[np.ndarray, " bytes"], start: int, stop: int) -> Bool[np.ndarray, " points"]:
    """Labels start:stop; start is a multiple of 8."""
    return np.unpackbits(packed[start // 8 : -(-stop // 8)], count=stop - start).view(bool)
