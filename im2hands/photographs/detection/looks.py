"""Where the palm network looks: at the whole picture in several turns and sizes, closer at its parts, and around a hand.

The network was trained on upright pictures, and on palms that fill a quarter of what it sees; people hold their hands, and
their cameras, otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from im2hands.photographs.detection.crops import Sampler, Square, extent
from im2hands.photographs.detection.networks import PALM_SIZE, HandNetworks
from im2hands.photographs.detection.palms import Palms, decode, distinct, together

LEAST_SCORE = 0.2
MOST_PALMS = 10
QUARTERS = tuple(np.radians((0, 90, 180, 270)))
EIGHTHS = tuple(np.radians(range(0, 360, 45)))
WHOLE_SIZES = (1.0, 1.5)
"""Side of the square in longer sides of the picture: hands that fill the picture are seen smaller."""
CLOSER, PARTS = 0.5, 3
"""Squares of half the picture's longer side, three along each side."""
AROUND_SIZES = (2.0, 3.0)
"""In extents of the hand that is looked around."""


def whole(shape: tuple[int, ...]) -> list[Square]:
    """The whole picture. shape: rows, columns, ..."""
    size = np.array(shape[1::-1], np.float64)
    return [Square((size - 1) / 2, share * float(size.max()), turn) for share in WHOLE_SIZES for turn in QUARTERS]


def closer(shape: tuple[int, ...]) -> list[Square]:
    """Overlapping upright parts of the picture, for hands that are small in it."""
    size = np.array(shape[1::-1], np.float64)
    side = CLOSER * float(size.max())
    along = [np.unique(np.linspace(min(side, one) / 2, max(one - side / 2, one / 2), PARTS)) - 0.5 for one in size]
    return [Square(np.array([column, row]), side) for row in along[1] for column in along[0]]


def around(points: Float[np.ndarray, "21 2"]) -> list[Square]:
    """The surroundings of a hand, in all turns."""
    middle, side = (points.min(axis=0) + points.max(axis=0)) / 2, float(extent(points))
    return [Square(middle, share * side, turn) for share in AROUND_SIZES for turn in EIGHTHS]


def palms_in(sampler: Sampler, squares: Sequence[Square], networks: HandNetworks) -> Palms:
    """The distinct palms in squares of a picture, the best first, at most MOST_PALMS."""
    found = []
    for square in squares:
        raw, score = networks.palms(sampler.draw(square, PALM_SIZE)[None])
        found.append(decode(raw[0], score[0], square, LEAST_SCORE))
    return distinct(together(found))[:MOST_PALMS]
