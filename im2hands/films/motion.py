"""How a hand moves through a film: parameters of the hand model for every picture, and when the pictures were taken.

Metres, seconds; the frame is that of the film's keypoints (camera axes: x right, y down, z away). Joints in MANO order.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float

from im2hands.hands.sides import Side
from im2hands.io.errors import DataError

NTSC = 1001
"""Rates such as 29.97 are 30000 / 1001."""
IRREGULAR = 0.5
"""Share of a picture's time that a regular film's pictures are off at most."""


@dataclass(frozen=True, eq=False)
class HandMotion:
    """One hand through a film.

    rotations: of every joint relative to its parent, mean pose included, the hand's own side; the first is the root's.
    shape: of the hand model.  wrist: place of the wrist joint.  present: whether the hand is there; elsewhere the other arrays
    are not used.
    """

    side: Side
    rotations: Float[np.ndarray, "pictures 16 3 3"]
    shape: Float[np.ndarray, "10"]
    wrist: Float[np.ndarray, "pictures 3"]
    present: Bool[np.ndarray, " pictures"]

    def held(self) -> HandMotion:
        """The same with every absent picture's pose replaced by the last one before it (the first one, at the start).

        Raises DataError for a hand that is never there.
        """
        if not self.present.any():
            raise DataError(f"the {self.side.value} hand is in no picture of the film.")
        last = np.maximum.accumulate(np.where(self.present, np.arange(len(self.present)), -1))
        last = np.where(last < 0, int(np.flatnonzero(self.present)[0]), last)
        return HandMotion(self.side, self.rotations[last], self.shape, self.wrist[last], self.present)


@dataclass(frozen=True, eq=False)
class FilmClock:
    """times: of every picture, s, ascending from 0.  rate: pictures per second; that of an irregular film is its mean."""

    times: Float[np.ndarray, " pictures"]
    rate: Fraction

    @classmethod
    def regular(cls, pictures: int, rate: Fraction | float) -> FilmClock:
        """Of pictures in equal steps."""
        exact = rate if isinstance(rate, Fraction) else rate_of(rate)
        return cls(np.arange(pictures) / float(exact), exact)

    @property
    def is_regular(self) -> bool:
        """Whether the pictures are where the rate says."""
        return bool(np.abs(self.times * float(self.rate) - np.arange(len(self.times))).max(initial=0) < IRREGULAR)


def rate_of(rate: float) -> Fraction:
    """The rate that a rounded number means: 29.97 is 30000/1001.

    Raises DataError for what is no rate.
    """
    if not (np.isfinite(rate) and 0 < rate <= 10000):
        raise DataError(f"{rate:g} pictures per second is no rate of a film; give a number such as 30 or 29.97.")
    whole = round(rate * NTSC / 1000)
    for exact in (Fraction(round(rate)), Fraction(1000 * whole, NTSC)):
        if abs(float(exact) - rate) < 0.002 and exact > 0:
            return exact
    return Fraction(rate).limit_denominator(NTSC)
