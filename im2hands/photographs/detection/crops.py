"""Turned squares of a picture: what the networks look at, and the way of their points back into the picture.

Pixels are (column, row), the centre of the first pixel is (0, 0). A square's points are from (0, 0), its upper left corner,
to (1, 1), its lower right one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from im2hands.geometry.cameras import Affine
from im2hands.hands.joints import MIDDLE_BASE, WRIST

Picture = UInt8[np.ndarray, "rows columns 3"]


@dataclass(frozen=True, eq=False)
class Square:
    """A square of a picture.

    centre: pixels.  side: pixels.  turn: radians; by so much its upright stands clockwise of the picture's.
    """

    centre: Float[np.ndarray, "2"]
    side: float
    turn: float = 0.0

    @property
    def rotation(self) -> Float[np.ndarray, "2 2"]:
        """From directions of the square to directions of the picture."""
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        return np.array([[cosine, -sine], [sine, cosine]])

    def to_picture(self, points: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Points of the square as pixels of the picture."""
        return (points - 0.5) @ self.rotation.T * self.side + self.centre

    def from_picture(self, pixels: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Pixels of the picture as points of the square."""
        return (pixels - self.centre) @ self.rotation / self.side + 0.5

    def turned_back(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """3-D points in the axes of the square (x right, y down, z away) in those of the picture."""
        return np.concatenate([points[..., :2] @ self.rotation.T, points[..., 2:]], axis=-1)

    def affine(self, size: int) -> Affine:
        """Map from pixels of the picture to pixels of the square drawn with `size` pixels a side."""
        linear = self.rotation.T * (size / self.side)
        return np.column_stack([linear, size / 2 - 0.5 - linear @ self.centre])


def upright_square(points: Float[np.ndarray, "21 2"], share: float) -> Square:
    """The square around a hand in which it stands upright, from the wrist to the base of the middle finger.

    points: pixels, STANDARD order.  share: side of the square, in sides of the upright box around the points.
    """
    up = points[MIDDLE_BASE] - points[WRIST]
    axes = Square(np.zeros(2), 1.0, float(np.arctan2(up[0], -up[1])))
    inside = axes.from_picture(points)
    low, high = inside.min(axis=0), inside.max(axis=0)
    return Square(axes.to_picture((low + high) / 2), share * float((high - low).max()), axes.turn)


def extent(points: Float[np.ndarray, "*hands 21 2"]) -> Float[np.ndarray, "*hands"]:
    """Longer side of the box around a hand's points."""
    return np.ptp(points, axis=-2).max(axis=-1)


class Sampler:
    """Draws squares of one picture; large ones from a reduced picture, so that a small drawing has no false detail."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture

    @cached_property
    def _halves(self) -> list[Picture]:
        """The picture, and its halves down to where no side has 64 pixels."""
        found = [self.picture]
        while min(found[-1].shape[:2]) >= 128:
            rows, columns = found[-1].shape[:2]
            found.append(cv2.resize(found[-1], (columns // 2, rows // 2), interpolation=cv2.INTER_AREA))
        return found

    def draw(self, square: Square, size: int, repeat_border: bool = False) -> UInt8[np.ndarray, "size size 3"]:
        """The square with `size` pixels a side. repeat_border: continue the picture beyond its borders; otherwise black."""
        steps = int(np.clip(np.floor(np.log2(max(square.side / size, 1.0))), 0, len(self._halves) - 1))
        reduced = self._halves[steps]
        scale = np.array(reduced.shape[1::-1]) / self.picture.shape[1::-1]
        affine = square.affine(size)
        # a pixel of the reduced picture is a block of the whole one; both begin at the same corner
        offset = affine[:, 2] + affine[:, :2] @ (0.5 / scale - 0.5)
        border = cv2.BORDER_REPLICATE if repeat_border else cv2.BORDER_CONSTANT
        reduced_affine = np.column_stack([affine[:, :2] / scale, offset])
        return cv2.warpAffine(reduced, reduced_affine, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
