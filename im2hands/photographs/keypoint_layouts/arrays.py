"""Bare arrays: NPY files and lists of numbers in JSON, of both hands or of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_layouts.content import UNNAMED, Content, nobody, numbers, shape_text
from im2hands.photographs.keypoint_layouts.headset_files import DUMPS, OTHER_COUNTS, of_layout
from im2hands.photographs.keypoint_layouts.table import LAYOUTS
from im2hands.photographs.pixel_files import FIRST_OF_HANDS

ARRAYS = (*DUMPS, "freihand")
"""Formats in which a bare array may be read if the user says so."""


def read_array(path: Path, content: Any, wanted: str | None = None, side: Side | None = None) -> tuple[str, Content]:
    """Name of the format and the hands, numbered from 0 unless there is one entry.

    wanted: a name of ARRAYS.  side: of the hands, if every entry is one hand.  Raises DataError for other shapes.
    """
    if isinstance(content, np.ndarray) and content.dtype.kind not in "iuf":
        raise DataError(f"{path}: contains {content.dtype} values, not numbers; write it again.")
    found = numbers(content, f"{path}: ")
    if wanted in ARRAYS:
        return wanted, _of_layout(path, found, wanted, side)
    if side is not None and found.shape[-2:] == (21, 3) and found.ndim in (2, 3):
        return "array", Content(_named(_one_hand(found, side), found.ndim == 2))
    if found.shape[-2:] == (42, 3) and found.ndim in (2, 3):
        found = found.reshape(*found.shape[:-2], 2, 21, 3)[..., ::-1, :, :]
    if found.shape[-3:] != (2, 21, 3) or found.ndim not in (3, 4):
        raise DataError(
            f"{path}: is {shape_text(found)}, not 2 x 21 x 3 (left, right), 42 x 3 (right, left) or a stack of one of them"
            f"{_remedy(found)}."
        )
    return "array", Content(_named(found, found.ndim == 3))


def _remedy(found: np.ndarray) -> str:
    if found.ndim < 2:
        return ""
    count = found.shape[-2]
    if count in FIRST_OF_HANDS:
        return (
            f"; {count} points are a body's: write them as instances with keypoints and keypoint_scores (`wholebody`)"
        )
    if found.shape[-1] == 2:
        return "; with pixels alone, write `landmarks`"
    formats = [name for name in ARRAYS if LAYOUTS[name].points == count]
    if count in OTHER_COUNTS:
        return f"; {count} points are {OTHER_COUNTS[count]}"
    return f"; say what it is, for example --from {formats[0]}" if formats and found.ndim > 2 else ""


def _of_layout(path: Path, found: np.ndarray, name: str, side: Side | None) -> Content:
    layout = LAYOUTS[name]
    one = side or (layout.hands[0] if len(layout.hands) == 1 else None)
    if found.shape[-1:] != (3,) or found.ndim not in (2, 3, 4) or (one is None and found.shape[-3:-2] != (2,)):
        raise DataError(
            f"{path}: is {shape_text(found)}, not {'' if one else '2 x '}{layout.points} x 3"
            f"{'' if one else ' (left, right); of one hand alone, say which (--side)'}, or a stack of that."
        )
    entries = found.reshape(-1, *(() if one else (2,)), *found.shape[-2:])
    hands = np.stack([nobody()] * len(entries)) if len(entries) else np.zeros((0, 2, 21, 3))
    for entry, both in zip(entries, hands, strict=True):
        for which in SIDES if one is None else (one,):
            points = entry if one else entry[which.index]
            if not np.isnan(points).all():
                both[which.index] = of_layout(points, name, which, f"{path}: ")
    alone = found.ndim == (2 if one else 3) and name != "freihand"
    return Content(_named(hands[0] if alone else hands, alone), unit=layout.read_unit, order="standard")


def _one_hand(found: np.ndarray, side: Side) -> np.ndarray:
    both = np.full((*found.shape[:-2], 2, 21, 3), np.nan)
    both[..., side.index, :, :] = found
    return both


def _named(found: np.ndarray, alone: bool) -> dict[str, np.ndarray]:
    return {UNNAMED: found} if alone else {str(place): hands for place, hands in enumerate(found)}
