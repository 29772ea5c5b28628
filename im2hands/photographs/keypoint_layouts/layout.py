"""How a tool writes the points of a hand: their order, unit, axes and what stands for a joint that is not there.

Inside the package a hand has 21 joints in STANDARD order, in metres, with OpenCV's camera axes. A Layout brings the points of
a file there (`standard`) and back (`as_written`); nothing else knows the order of a foreign file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import numpy as np
from jaxtyping import Float

from im2hands.hands.sides import Side

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
"""Lengths that files use, in metres."""
STANDARD_JOINTS = 21


class Axes(Enum):
    """Axes of a file; the value is what x, y and z are multiplied by to get x right, y down, z away from the viewer."""

    CAMERA = (1, 1, 1)
    """OpenCV: x right, y down, z away from the viewer. Also of worlds, whose axes mean nothing in particular."""
    OPENGL = (1, -1, -1)
    """Right-handed, x right, y up, z towards the viewer: OpenGL, WebXR, OpenXR, Ultraleap."""
    UNITY = (1, -1, 1)
    """Left-handed, x right, y up, z away from the viewer."""

    def turned(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Points with these axes in OpenCV's, or the other way round: each is its own inverse."""
        return points * np.array(self.value, np.float64)


class Missing(Enum):
    """What stands in a file for a joint or a hand that is not there."""

    NOTHING = "every joint is there"
    NULL = "null"
    NAN = "NaN"
    ZEROS = "0, 0, 0"
    MINUS_ONE = "-1"
    SCORE = "score 0"
    FLAG = "flag 0"
    ABSENT = "the hand is left out"


@dataclass(frozen=True)
class Layout:
    """One layout of points.

    title: whose it is.  file: form of the file.  points: number per hand (or per body).  joints: point of each STANDARD joint,
    None for one that the layout lacks.  unit: a key of UNITS, `px`, or "" where any is written and the size of hands shows it.
    unit_unsure: the unit is from memory, so that files may also have another one.
    origin: what the coordinates are about; `own` if every hand has its own.  hands: which hands a file holds, in its order;
    empty if each hand says its side.  second: what is added to the numbers of `joints` for the second of `hands`, if both
    stand in one list.  extra: points that no STANDARD joint is -> the joints between which they lie.
    source: where it was read.  unsure: what is from memory or from a comment; such facts are checked by the hands' bones.
    """

    title: str
    file: str
    joints: tuple[int | None, ...] = tuple(range(STANDARD_JOINTS))
    points: int = STANDARD_JOINTS
    unit: str = "m"
    axes: Axes = Axes.CAMERA
    origin: Literal["camera", "world", "own", "picture"] = "camera"
    hands: tuple[Side, ...] = ()
    second: int = 0
    missing: Missing = Missing.NOTHING
    extra: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    source: str = ""
    unsure: str = ""
    unit_unsure: bool = False

    def standard(self, points: Float[np.ndarray, "*batch points axes"]) -> Float[np.ndarray, "*batch 21 axes"]:
        """The joints of one hand in STANDARD order, in the file's unit and OpenCV's axes; NaN for those that are missing."""
        found = np.full((*points.shape[:-2], STANDARD_JOINTS, points.shape[-1]), np.nan)
        for joint, place in enumerate(self.joints):
            if place is not None:
                found[..., joint, :] = points[..., place, :]
        absent = self._absent(found)
        found = self.axes.turned(found) if found.shape[-1] == 3 else found
        return np.where(absent, np.nan, found)

    def as_written(self, hand: Float[np.ndarray, "*batch 21 axes"]) -> Float[np.ndarray, "*batch points axes"]:
        """The points of one hand (m or px, OpenCV's axes) as the file has them; the inverse of `standard`."""
        lengths = 1.0 if self.unit == "px" else UNITS[self.unit or "m"]
        turned = self.axes.turned(hand) if hand.shape[-1] == 3 else hand
        found = np.zeros((*hand.shape[:-2], self.points, hand.shape[-1]))
        for joint, place in enumerate(self.joints):
            if place is not None:
                found[..., place, :] = turned[..., joint, :]
        for place, between in self.extra.items():
            found[..., place, :] = turned[..., list(between), :].mean(axis=-2)
        absent = -1.0 if self.missing is Missing.MINUS_ONE else 0.0 if self.missing is Missing.ZEROS else np.nan
        found = found / lengths
        return np.where(np.isnan(found), absent, found)

    def _absent(self, points: Float[np.ndarray, "*batch 21 axes"]) -> np.ndarray:
        if self.missing is Missing.ZEROS:
            return (points == 0).all(axis=-1, keepdims=True)
        if self.missing is Missing.MINUS_ONE:
            return (points == -1).all(axis=-1, keepdims=True)
        return np.zeros((*points.shape[:-1], 1), bool)

    @property
    def read_unit(self) -> str:
        """The unit that files certainly have, "" if the size of the hands decides."""
        return "" if self.unit_unsure else self.unit

    @property
    def lacks(self) -> tuple[int, ...]:
        """STANDARD joints that the layout does not have."""
        return tuple(joint for joint, place in enumerate(self.joints) if place is None)
