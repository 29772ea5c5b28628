"""What a keypoint file holds, before it is checked, and what readers of all layouts have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from im2hands.hands.sides import SIDES, Side
from im2hands.io.arrays import number_array
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_layouts.mano_parameters import HandParameters
from im2hands.photographs.keypoint_layouts.table import LAYOUTS
from im2hands.photographs.landmark_files import PictureLandmarks

UNNAMED = ""
"""Name of the picture of a file that holds one entry and no name."""
Hands = Float[np.ndarray, "2 21 3"]


@dataclass(frozen=True, eq=False)
class Content:
    """What a file holds, as it is written there.

    hands: picture -> left and right (order of `Side.index`); NaN for a hand that is not there.  landmarks: picture -> these,
    of a detector's file, instead.  parameters: picture -> those of a hand model, instead.  unit, order: those of the format or
    stated in the file, "" if not known.  refused: picture -> why it cannot be used, a sentence with the path; never all of
    them.  one_hand: every picture has one hand, and the file does not say which: it stands on the right.  notes: what a user
    should know of the numbers.
    """

    hands: Mapping[str, Hands] = field(default_factory=dict)
    landmarks: Mapping[str, PictureLandmarks] = field(default_factory=dict)
    unit: str = ""
    order: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Mapping[Side, HandParameters]] = field(default_factory=dict)
    one_hand: bool = False
    notes: tuple[str, ...] = ()


def numbers(value: Any, where: str) -> np.ndarray:
    """Nested lists or an array as float64, null as NaN. Raises DataError that begins with `where` for anything else."""
    try:
        if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
            return value.astype(np.float64)
        return number_array(value.tolist() if isinstance(value, np.ndarray) else value)
    except ValueError as error:
        text = json.dumps(value, default=str)
        raise DataError(
            f"{where}{text[:40]}{' ...' if len(text) > 40 else ''} is not an array of numbers ({error}); correct it."
        ) from None


def shape_text(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape)) or "a single number"


def array_of(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Numbers of this shape; axes of length 1 before it are left out. Raises DataError for another shape."""
    found = numbers(value, where)
    while found.ndim > len(shape) and found.shape[0] == 1:
        found = found[0]
    if found.shape != shape:
        raise DataError(f"{where}is {shape_text(found)}, not {' x '.join(map(str, shape))} numbers; write it so.")
    return found


def nobody() -> Hands:
    """Two hands that are not there."""
    return np.full((2, 21, 3), np.nan)


def pair(hands: Mapping[Side, Float[np.ndarray, "21 3"]]) -> Hands:
    """Both hands, NaN for one that is not given."""
    found = nobody()
    for side, hand in hands.items():
        found[side.index] = hand
    return found


def of_both(points: Float[np.ndarray, "*batch points 3"], layout: str) -> Float[np.ndarray, "*batch 2 21 3"]:
    """Both hands of a layout that has them in one list; order of `Side.index`, the file's unit."""
    one = LAYOUTS[layout]
    found = np.full((*points.shape[:-2], 2, 21, points.shape[-1]), np.nan)
    for place, side in enumerate(one.hands):
        found[..., side.index, :, :] = one.standard(points[..., place * one.second :, :])
    return found


def by_picture(content: Any, is_hand: Any) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Picture and its hands (or persons), of a list of them, of one, or of an object with such a list for every picture.

    In a list they may name their picture as `image`.
    """
    if isinstance(content, Mapping) and is_hand(content):
        content = [content]
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield str(name), [value] if isinstance(value, Mapping) else list(value)
        return
    found: dict[str, list[Mapping[str, Any]]] = {}
    for item in content:
        found.setdefault(str(item.get("image", UNNAMED)), []).append(item)
    yield from found.items()


def holds(content: Any, is_hand: Any) -> bool:
    """Whether `by_picture` can take it apart: at least one hand, and nothing else."""
    if isinstance(content, Mapping):
        if is_hand(content):
            return True
        values = [value for value in content.values() if not (isinstance(value, (list, tuple)) and not value)]
        return (
            bool(values)
            and all(holds(value, is_hand) for value in values if not isinstance(value, str))
            and not any(isinstance(value, str) for value in values)
        )
    return (
        isinstance(content, (list, tuple))
        and bool(content)
        and all(isinstance(item, Mapping) and is_hand(item) for item in content)
    )


def one_of_each_side(sides: list[Side], where: str) -> None:
    """Raises DataError where a side occurs twice."""
    for side in SIDES:
        if sides.count(side) > 1:
            raise DataError(
                f"{where}{sides.count(side)} {side.value} hands; the two hands of a pair belong to one person: leave one of "
                "them in the file, or correct its side."
            )
