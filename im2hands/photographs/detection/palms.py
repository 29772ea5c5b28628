"""From the palm network's raw numbers to palms in the picture: anchors, decoding, and the choice among overlapping ones.

Source: the network's anchors are those of MediaPipe's SSD calculators (strides 8, 16, 16, 16; two per place and layer).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Int

from im2hands.photographs.detection.crops import Square
from im2hands.photographs.detection.networks import PALM_SIZE

LAYERS = ((24, 2), (12, 6))
"""Places along a side, and anchors at each place."""
WRIST_POINT, MIDDLE_POINT = 0, 2
"""Of the palm's seven points: wrist, bases of index, middle, ring and little finger, first and second joint of the thumb."""
SAME_PALM = 0.35
"""Mean distance of the points of two palms, in sides of their boxes, below which they are one."""
HAND_SHIFT, HAND_SHARE = 0.5, 2.6
"""From a palm's box to the square of its hand: shift towards the fingers, and side, in sides of the box."""


@dataclass(frozen=True, eq=False)
class Palms:
    """n palms of a picture. side: of their boxes, pixels.  points: pixels.  score: 0 to 1."""

    centre: Float[np.ndarray, "n 2"]
    side: Float[np.ndarray, " n"]
    points: Float[np.ndarray, "n 7 2"]
    score: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, rows: np.ndarray | slice | list[int]) -> Palms:
        return Palms(self.centre[rows], self.side[rows], self.points[rows], self.score[rows])

    def hand_square(self, row: int, share: float = HAND_SHARE, tilt: float = 0.0) -> Square:
        """The square of the hand that belongs to a palm. share: its side, in sides of the palm's box.  tilt: from upright."""
        up = self.points[row, MIDDLE_POINT] - self.points[row, WRIST_POINT]
        turn = float(np.arctan2(up[0], -up[1]))
        shift = HAND_SHIFT * self.side[row] * np.array([np.sin(turn), -np.cos(turn)])
        return Square(self.centre[row] + shift, share * float(self.side[row]), turn + tilt)


@cache
def anchors() -> Float[np.ndarray, "2016 2"]:
    """Middle of every anchor, points of the square."""
    layers = []
    for count, repeats in LAYERS:
        along = (np.arange(count) + 0.5) / count
        grid = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)
        layers.append(grid.repeat(repeats, axis=0))
    return np.concatenate(layers)


def decode(raw: Float[np.ndarray, "2016 18"], score: Float[np.ndarray, " 2016"], square: Square, least: float) -> Palms:
    """The palms with a score of at least `least` that the network sees in a square; many of them overlap."""
    size = raw[:, 2:4].max(axis=1)
    rows = np.flatnonzero((score >= least) & (size > 0) & np.isfinite(raw).all(axis=1))
    offsets = raw[rows].reshape(-1, 9, 2).astype(np.float64) / PALM_SIZE
    middle = anchors()[rows, None]
    # the second of the nine pairs is the size of the box, the others are offsets from the anchor
    places = square.to_picture(middle + offsets[:, [0, 2, 3, 4, 5, 6, 7, 8]])
    sides = square.side * offsets[:, 1].max(axis=1)
    return Palms(places[:, 0], sides, places[:, 1:], score[rows].astype(np.float64))


def together(several: list[Palms]) -> Palms:
    """All palms of several lists."""
    parts = [(one.centre, one.side, one.points, one.score) for one in several]
    return Palms(*map(np.concatenate, zip(*parts, strict=True)))


def distinct(palms: Palms, same: float = SAME_PALM) -> Palms:
    """One palm for every group of equal ones, the best first.

    Two palms are compared by their points, not by the overlap of their boxes: palms of hands that touch overlap and are kept.
    The points of a group are the mean of its palms, weighted by score; its score is the best one.
    """
    order = np.argsort(-palms.score, kind="stable")
    palms = palms[order]
    apart = np.linalg.norm(palms.points[:, None] - palms.points[None], axis=-1).mean(axis=-1)
    close = apart < same * np.maximum(palms.side[:, None], palms.side[None])
    group = groups(close)
    best = np.unique(group)
    weight = np.where(group[None] == best[:, None], palms.score[None], 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    mean = [np.tensordot(weight, numbers, axes=1) for numbers in (palms.centre, palms.side, palms.points)]
    return Palms(*mean, palms.score[best])


def groups(close: Int[np.ndarray, "n n"]) -> Int[np.ndarray, " n"]:
    """For n things, the best first, the one that stands for each: the first that is close to it and stands for itself."""
    leader = np.full(len(close), -1)
    for row in range(len(close)):
        if leader[row] < 0:
            leader[(leader < 0) & close[row]] = row
            leader[row] = row
    return leader
