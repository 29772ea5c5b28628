"""Draws 21 points with their bones on a picture, so that one look shows whether a detector was right."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

from im2hands.hands.joints import PARENTS
from im2hands.hands.sides import Side
from im2hands.photographs.detection.crops import Picture, extent
from im2hands.photographs.detection.pairing import PairOfHands

COLOURS = {Side.LEFT: (89, 158, 235), Side.RIGHT: (242, 158, 89)}
"""As of the meshes that `reconstruct` makes."""
SHIFT = 4
"""Binary digits of a fraction of a pixel that are drawn."""
THICKNESS = 60
"""Extents of a hand in widths of its bones."""


def drawn(picture: Picture, pair: PairOfHands) -> Picture:
    """The picture with the chosen hands drawn on it, each in the colour of its side; RGB."""
    image = picture.copy()
    for side, hand in pair.hands.items():
        _draw(image, hand.points, COLOURS[side])
    return image


def _draw(image: Picture, points: Float[np.ndarray, "21 2"], colour: tuple[int, int, int]) -> None:
    width = max(1, round(float(extent(points)) / THICKNESS))
    places = np.round(points * (1 << SHIFT)).astype(int)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            cv2.line(image, places[parent].tolist(), places[joint].tolist(), colour, width, cv2.LINE_AA, SHIFT)
    for place in places:
        cv2.circle(image, place.tolist(), (2 * width) << SHIFT, colour, -1, cv2.LINE_AA, SHIFT)
        cv2.circle(image, place.tolist(), (2 * width) << SHIFT, (0, 0, 0), 1, cv2.LINE_AA, SHIFT)
