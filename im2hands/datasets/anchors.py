"""Anchors: points on the initial surfaces of both hands of every usable frame, the input of refined occupancy.

World frame, metres, hands not mirrored. A frame has several draws of the same number of points, so that training sees
different points of a surface each time it sees the frame.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.manifest import Manifest
from im2hands.io.tables import Layout, as_array, flat

ANCHORS = Layout(
    "anchors",
    1,
    pa.schema(
        [
            ("frame_id", pa.int64()),
            ("draws", pa.int64()),
            *((side.value, pa.list_(pa.float32())) for side in SIDES),
            *((f"{side.value}_reason", pa.string()) for side in SIDES),
        ]
    ),
)
"""One row per usable frame. left, right: (draws, points, 3), row-major. left_reason, right_reason: why the hand has no surface,
null where it has one; the points are then drawn around its bones."""


def anchors_row(
    frame_id: int, anchors: Mapping[Side, Float[np.ndarray, "draws points 3"]], reasons: Mapping[Side, str | None]
) -> dict:
    """A row of ANCHORS."""
    row = {"frame_id": frame_id, "draws": len(anchors[Side.LEFT])}
    for side in Side:
        row |= {side.value: flat(anchors[side].astype(np.float32)), f"{side.value}_reason": reasons[side]}
    return row


class AnchorSet:
    """The anchors of a split by frame id. Picklable: shards are opened where they are used."""

    def __init__(self, manifest: str | os.PathLike) -> None:
        """manifest: manifest file of the shard folder. Raises DataError if it is missing, DamagedFileError if it is damaged."""
        self.path = manifest
        self._shards = Manifest.read(manifest).open(ANCHORS)

    def __len__(self) -> int:
        return len(self._shards)

    @cached_property
    def rows(self) -> dict[int, int]:
        """Row of every frame id."""
        return {frame: row for row, frame in enumerate(self._shards.column("frame_id"))}

    @property
    def per_pose(self) -> int | None:
        """How many frames of every pose have anchors; None: all."""
        return self._shards.readers[0].metadata["provenance"]["parameters"].get("frames_per_pose")

    def require(self, frame_ids: list[int]) -> None:
        """Raises DataError unless every one of the frames has anchors."""
        missing = [frame for frame in frame_ids if frame not in self.rows]
        if missing:
            raise DataError(
                f"{self.path}: has no anchors for frame {missing[0]} ({len(missing)} missing), so it belongs to other frames: "
                "run generate_anchors again."
            )

    def draws(self, frame_id: int) -> int:
        """How many draws a frame has."""
        return self._row(frame_id, ["draws"])["draws"]

    def anchors(self, frame_id: int, draw: int) -> Float[np.ndarray, "2 points 3"]:
        """One draw of both hands in the order of `Side.index`, world, m. Raises IndexError if there is no such draw."""
        row = self._row(frame_id, ["draws", Side.LEFT.value, Side.RIGHT.value])
        if not 0 <= draw < row["draws"]:
            raise IndexError(f"draw {draw} of {row['draws']}")
        hands = (as_array(row[side.value], np.float32, (row["draws"], -1, 3)) for side in SIDES)
        return np.stack([hand[draw] for hand in hands])

    def reasons(self, frame_id: int) -> dict[Side, str | None]:
        """Why a hand has no surface, None where it has one."""
        row = self._row(frame_id, [f"{side.value}_reason" for side in Side])
        return {side: row[f"{side.value}_reason"] for side in Side}

    def _row(self, frame_id: int, columns: list[str]) -> dict:
        if frame_id not in self.rows:
            self.require([frame_id])
        row = self._shards.row(self.rows[frame_id], columns)
        if row.get("draws", 1) < 1:
            raise DamagedFileError(f"{self.path}: frame {frame_id} has no draw; delete the folder and run again.")
        return row
