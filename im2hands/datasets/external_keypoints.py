"""Keypoints of another system, read from one file for the frames of a split and used like our own keypoint sources.

The file is Parquet with the columns `frame_id` or `image`, `left` and `right`, or JSON with a list of objects of these names.
image: the frame's image path as in the dataset.  left, right: 21 x 3 numbers (in Parquet also 63 in a row), null for none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from im2hands.datasets.frames import FrameTable
from im2hands.datasets.keypoints import implausible
from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.sides import SIDES, Side
from im2hands.io.arrays import number_array
from im2hands.io.atomic import read_json
from im2hands.io.errors import DataError
from im2hands.io.tables import read_rows

ORDERS = {"standard": JointOrder.STANDARD, "interhand": JointOrder.INTERHAND, "mano": JointOrder.MANO}
KEYS = {"frame_id": "frame_id", "image": "file_name"}
"""How a row names its frame -> the column of the frame table."""
METRES = {"m": 1.0, "mm": 0.001}
SMALLEST_HAND = 0.03
"""Metres: the longest side of the box around the keypoints of the larger hand of a frame; less is another unit."""
NOT_GIVEN = "not in the external file"
NOT_BOTH = "the external file has no numbers for both hands"


def external_keypoints(
    path: str | os.PathLike,
    frames: FrameTable,
    order: Literal["standard", "interhand", "mano"] = "standard",
    unit: Literal["m", "mm"] = "m",
    frame: Literal["world", "camera"] = "world",
) -> tuple[Float[np.ndarray, "frames 2 21 3"], list[str | None]]:
    """Keypoints of both hands for every frame (order of `Side.index`, world, m, STANDARD), and why a frame has none.

    order, unit, frame: what the numbers of the file are; `camera` is that of each frame.
    Frames without a row, or without two hands in it, have a reason. Rows of other frames are ignored.
    Raises DataError for a missing file, wrong names or shapes, two rows of a frame, no row of any frame, and when no frame
    contains hands in the stated unit; DamagedFileError if it cannot be read.
    """
    for name, value, allowed in (
        ("order", order, ORDERS),
        ("unit", unit, METRES),
        ("frame", frame, ("world", "camera")),
    ):
        if value not in allowed:
            raise DataError(f"{path}: {name} {value!r} must be one of {', '.join(allowed)}.")
    rows = _by_frame(path, _read_rows(Path(path)), frames)
    if not rows:
        raise DataError(f"{path}: no row names one of the {len(frames)} frames; check frame_id or image.")
    keypoints = np.full((len(frames), 2, 21, 3), np.nan)
    reasons: list[str | None] = [NOT_GIVEN] * len(frames)
    for place, row in rows.items():
        hands = np.stack([_hand(path, row, side) for side in SIDES])
        hands = reorder(hands * METRES[unit], ORDERS[order], JointOrder.STANDARD)
        keypoints[place] = frames[place].camera.to_world(hands) if frame == "camera" else hands
        reasons[place] = _problem(hands)
    if not any(reasons[place] is None for place in rows):
        place = next(iter(rows))
        raise DataError(
            f"{path}: no frame has two hands in {unit}; the first, frame {place}: {reasons[place]} Correct the unit or the "
            "numbers."
        )
    keypoints[[reason is not None for reason in reasons]] = np.nan
    return keypoints, reasons


def _problem(hands: Float[np.ndarray, "2 21 3"]) -> str | None:
    if not np.isfinite(hands).all():
        return NOT_BOTH
    found = implausible(hands[None])
    if found is not None:
        return found[1]
    size = np.ptp(hands, axis=1).max()
    return f"the larger hand is {size:.2g} m long; are they in metres?" if size < SMALLEST_HAND else None


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise DataError(f"{path}: the external keypoint file is missing; correct the path.")
    purpose = "external keypoint file"
    rows = read_rows(path, purpose) if path.suffix == ".parquet" else read_json(path, purpose)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: must contain a list of objects with frame_id or image, left and right.")
    return rows


def _by_frame(path: str | os.PathLike, rows: list[dict[str, Any]], frames: FrameTable) -> dict[int, dict[str, Any]]:
    """Place in the frame table -> its row."""
    places = {key: {k: i for i, k in enumerate(frames.table[column].to_pylist())} for key, column in KEYS.items()}
    found: dict[int, dict[str, Any]] = {}
    for number, row in enumerate(rows):
        key = next((key for key in KEYS if row.get(key) is not None), None)
        if key is None or not {"left", "right"} <= set(row):
            raise DataError(f"{path}: row {number} must have frame_id or image, and left and right.")
        if not isinstance(row[key], str if key == "image" else int):
            raise DataError(f"{path}: row {number}: {key} {row[key]!r} must be a whole number or a path.")
        place = places[key].get(row[key])
        if place in found:
            raise DataError(f"{path}: row {number} names {key} {row[key]} again; keep one row per frame.")
        if place is not None:
            found[place] = row
    return found


def _hand(path: str | os.PathLike, row: dict[str, Any], side: Side) -> Float[np.ndarray, "21 3"]:
    if row[side.value] is None:
        return np.full((21, 3), np.nan)
    try:
        numbers = number_array(row[side.value])
        if numbers.shape not in ((21, 3), (63,)):
            raise ValueError
    except (ValueError, TypeError):
        name = next(row[key] for key in KEYS if row.get(key) is not None)
        raise DataError(
            f"{path}: frame {name}: {side.value} must be 21 x 3 numbers or null; write one keypoint for every joint."
        ) from None
    return numbers.reshape(21, 3)
