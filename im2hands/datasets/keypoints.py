"""Keypoints of both hands for every frame of a split, from one source: `data/keypoints/<source>/<split>.parquet`.

World frame, metres, STANDARD order, as predicted: the position of a hand is set where keypoints are used (`aligned`). The
source `model`, the true keypoints, has no file; it is a column of the hand table.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from im2hands.hands.joints import WRIST
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.tables import Layout, Provenance, file_card, read_parquet, write_parquet

KEYPOINTS = Layout(
    "keypoints",
    1,
    pa.schema(
        [
            ("frame_id", pa.int64()),
            ("pair_id", pa.string()),
            ("left", pa.list_(pa.float64(), 63)),
            ("right", pa.list_(pa.float64(), 63)),
            ("usable", pa.bool_()),
            ("reason", pa.string()),
        ]
    ),
)
"""One row per frame of the split, in its order. left, right: null where not usable, then `reason` says why."""

Alignment = Literal["wrist", "camera"]
LARGEST_HAND = 0.5
"""Metres from the wrist: a keypoint further away is in millimetres or broken."""
LARGEST_DISTANCE = 100.0
"""Metres from the origin of the world."""


@dataclass(frozen=True)
class KeypointTable:
    """Keypoints of a split. path: for messages.  source: name of their source.  parameters: how they were made."""

    path: str
    table: pa.Table
    source: str
    parameters: dict[str, Any]

    @classmethod
    def read(cls, path: str | os.PathLike) -> KeypointTable:
        """Raises DataError if usable keypoints are not finite or are no hands in metres."""
        table = read_parquet(path, KEYPOINTS).combine_chunks()
        parameters = file_card(path)["provenance"]["parameters"]
        found = cls(os.fspath(path), table, str(parameters.get("source", "unknown")), parameters)
        usable = found.usable
        problem = implausible(found.keypoints()[usable])
        if problem is not None:
            frame, text = problem
            name = int(np.flatnonzero(usable)[frame])
            raise DataError(f"{path}: keypoints of frame {name}: {text}; make the file again.")
        return found

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def usable(self) -> Bool[np.ndarray, " frames"]:
        return np.array(self.table["usable"].to_pylist(), bool)

    @property
    def reasons(self) -> list[str | None]:
        return self.table["reason"].to_pylist()

    def keypoints(self) -> Float[np.ndarray, "frames 2 21 3"]:
        """Both hands in the order of `Side.index`; NaN where not usable."""
        hands = np.full((2, len(self), 21, 3), np.nan)
        for side in Side:
            column = self.table[side.value].combine_chunks()
            known = column.is_valid().to_numpy(zero_copy_only=False)
            hands[side.index, known] = column.drop_null().flatten().to_numpy().reshape(-1, 21, 3)
        return hands.swapaxes(0, 1)

    def require_frames(self, pair_ids: list[str], frames: str | os.PathLike) -> None:
        """Raises DataError unless the rows match a frame table. pair_ids: pair of each of its rows."""
        if self.table["pair_id"].to_pylist() != pair_ids:
            raise DataError(
                f"{self.path}: its keypoints do not belong to the frames of {frames}; make it again for this split."
            )


def implausible(keypoints: Float[np.ndarray, "frames 2 21 3"]) -> tuple[int, str] | None:
    """The first frame whose keypoints are no two hands in metres, and why; None if all are."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinite and huge ones are what is looked for
        extent = np.linalg.norm(keypoints - keypoints[:, :, WRIST : WRIST + 1], axis=-1).max(axis=(1, 2), initial=0)
    place = np.abs(keypoints).max(axis=(1, 2, 3), initial=0)
    for bad, text in (
        (~np.isfinite(keypoints).all(axis=(1, 2, 3)), "not all are numbers"),
        (extent > LARGEST_HAND, f"a joint is more than {LARGEST_HAND} m from its wrist; are they in millimetres?"),
        (place > LARGEST_DISTANCE, f"a hand is more than {LARGEST_DISTANCE:g} m away; are they in millimetres?"),
    ):
        if bad.any():
            return int(np.flatnonzero(bad)[0]), text
    return None


def judged(
    keypoints: Float[np.ndarray, "frames 2 21 3"], reasons: Sequence[str | None], words: str
) -> list[str | None]:
    """Why frames have no keypoints: the reasons that are known, and those of frames whose keypoints are no two hands in metres.

    words: what such keypoints are said to be.
    """
    found = list(reasons)
    for frame, reason in enumerate(found):
        problem = None if reason else implausible(keypoints[[frame]])
        if problem is not None:
            found[frame] = f"{words}: {problem[1]}"
    return found


def write_keypoints(
    path: str | os.PathLike,
    pair_ids: list[str],
    keypoints: Float[np.ndarray, "frames 2 21 3"],
    reasons: list[str | None],
    provenance: Provenance,
) -> None:
    """Writes the keypoints of all frames of a split.

    keypoints: order of `Side.index`, world, m.  reasons: why a frame has none, None for usable ones, see `judged`.
    provenance: its parameters should name the `source`.
    """
    usable = [reason is None for reason in reasons]
    columns = {
        side.value: [
            hand[side.index].reshape(-1) if good else None for hand, good in zip(keypoints, usable, strict=True)
        ]
        for side in Side
    }
    table = pa.table(
        {
            "frame_id": np.arange(len(pair_ids)),
            "pair_id": pair_ids,
            **columns,
            "usable": usable,
            "reason": pa.array(reasons, pa.string()),
        },
        schema=KEYPOINTS.schema,
    )
    write_parquet(path, table, KEYPOINTS, provenance)


def aligned(
    keypoints: Float[np.ndarray, "*hands 21 3"], true_wrists: Float[np.ndarray, "*hands 3"], alignment: Alignment
) -> Float[np.ndarray, "*hands 21 3"]:
    """Predicted hands moved to their final position (m, world).

    alignment: `wrist` moves the predicted wrist onto the true one, without rotation or scale; `camera` leaves the hand where
    it was predicted.
    """
    if alignment == "camera":
        return keypoints
    if alignment != "wrist":
        raise DataError(f"alignment must be `wrist` or `camera`, not {alignment!r}.")
    return keypoints + (true_wrists - keypoints[..., WRIST, :])[..., None, :]
