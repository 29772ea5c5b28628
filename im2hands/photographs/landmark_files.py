"""The plain JSON in which any detector can write 2-D and relative 3-D landmarks of a picture.

`{"hands": [{"side": "left", "pixels": [[column, row] x 21], "relative": [[x, y, z] x 21]}, ...]}`, and next to `hands`
the optional settings `palm` and `axes` of `landmarks.place_hand`; all of it in `docs/own-images.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from jaxtyping import Float

from im2hands.geometry.cameras import Camera
from im2hands.hands.sides import Side
from im2hands.io.arrays import number_array
from im2hands.io.errors import DataError
from im2hands.photographs.landmarks import Axes, Landmarks, keypoints_from_landmarks

SHAPES = {"pixels": (21, 2), "relative": (21, 3)}
"""What a hand may have; only `pixels` must be there."""
PALMS = (0.04, 0.15)
"""Sizes of palms, m, from a small child's to more than any."""


@dataclass(frozen=True, eq=False)
class GivenHands:
    """What a user's file says of a picture.

    keypoints: world, m; NaN for a hand that is not there.  sigma, distance: as of `pixel_hands.PixelHands`, where known.
    """

    keypoints: Float[np.ndarray, "2 21 3"]
    sigma: Float[np.ndarray, "2 21"] | None = None
    distance: Float[np.ndarray, "2 3"] | None = None


@dataclass(frozen=True, eq=False)
class PictureLandmarks:
    """The hands of one picture, and how they are to be placed: palm, axes as of `landmarks.place_hand`."""

    hands: Mapping[Side, Landmarks]
    palm: float | None
    axes: Axes

    @property
    def pixels_alone(self) -> bool:
        """Whether a hand has no relative landmarks; then all hands are found from their pixels."""
        return any(one.relative is None for one in self.hands.values())

    def placed(self, camera: Camera) -> GivenHands:
        """The hands (world, m). Raises DataError if a hand cannot be placed before the camera."""
        if self.pixels_alone:
            from im2hands.photographs.pixel_hands import hands_from_pixels

            found = hands_from_pixels({side: one.pixels for side, one in self.hands.items()}, camera, self.palm)
            return GivenHands(found.keypoints, found.sigma, found.distance)
        return GivenHands(keypoints_from_landmarks(self.hands, camera, self.palm, self.axes))


def is_landmarks(entry: Mapping[str, Any]) -> bool:
    """Whether an object of a JSON file is one picture's landmarks."""
    return isinstance(entry.get("hands"), list)


def check_palm(palm: Any, where: str) -> None:
    """Raises DataError unless it is the size of a palm in metres. where: start of the message."""
    if not (isinstance(palm, (int, float)) and not isinstance(palm, bool) and PALMS[0] <= palm <= PALMS[1]):
        raise DataError(f"{where}palm must be a number from {PALMS[0]} to {PALMS[1]} in metres, not {palm!r}.")


def landmarks_of(entry: Mapping[str, Any], where: str) -> PictureLandmarks:
    """The landmarks of one picture. where: start of messages.

    Raises DataError for another structure, two hands of a side, wrong counts or settings, and relative landmarks that are not
    finite.
    """
    palm, axes = entry.get("palm"), entry.get("axes", "camera")
    if palm is not None:
        check_palm(palm, where)
    if axes not in get_args(Axes):
        raise DataError(f"{where}axes must be one of {', '.join(get_args(Axes))}, not {axes!r}.")
    found: dict[Side, Landmarks] = {}
    for number, hand in enumerate(entry["hands"]):
        if not isinstance(hand, dict) or hand.get("side") not in ("left", "right") or hand.get("pixels") is None:
            raise DataError(
                f"{where}hand {number} must have side (left or right), pixels and, where it is known, relative."
            )
        side = Side(hand["side"])
        if side in found:
            raise DataError(
                f"{where}two hands are labelled {side.value}; label one of them {side.other.value}, or leave it out."
            )
        numbers = {
            key: _numbers(hand[key], shape, f"{where}{side.value} hand: {key}")
            for key, shape in SHAPES.items()
            if hand.get(key) is not None
        }
        if not np.isfinite(numbers.get("relative", 0.0)).all():
            raise DataError(
                f"{where}{side.value} hand: relative contains numbers that are not finite; leave the hand out."
            )
        found[side] = Landmarks(**numbers)
    if not found:
        raise DataError(f"{where}there is no hand; leave the picture out.")
    return PictureLandmarks(found, palm, axes)


def _numbers(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        numbers = number_array([[None] * shape[1] if point is None else point for point in value])
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be {shape[0]} points of {shape[1]} numbers ({error}).") from None
    if numbers.shape != shape:
        raise DataError(
            f"{name} must be {shape[0]} points of {shape[1]} numbers, not {' x '.join(map(str, numbers.shape))}."
        )
    return numbers
