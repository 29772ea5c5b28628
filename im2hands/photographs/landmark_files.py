"""The plain JSON in which any detector can write 2-D and relative 3-D landmarks of a picture.

`{"hands": [{"side": "left", "pixels": [[column, row] x 21], "relative": [[x, y, z] x 21]}, ...]}`, and next to `hands`
the optional settings `palm` and `axes` of `landmarks.place_hand` and `size`, the width and height of the picture that was
looked at; all of it in `docs/own-images.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
LARGEST_NORMALISED = 2.0
"""Pixels of which none is beyond this are shares of the picture's sides."""
LARGEST_SIDE = 100_000
FARTHEST_RELATIVE = 1e6
"""Of relative points in any unit."""


@dataclass(frozen=True, eq=False)
class GivenHands:
    """What a user's file says of a picture.

    keypoints: world, m; NaN for a hand that is not there.  sigma, distance: as of `pixel_hands.PixelHands`, where known.
    notes: what a detector has to say about the picture.
    """

    keypoints: Float[np.ndarray, "2 21 3"]
    sigma: Float[np.ndarray, "2 21"] | None = None
    distance: Float[np.ndarray, "2 3"] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PictureLandmarks:
    """The hands of one picture, and how they are to be placed: palm, axes as of `landmarks.place_hand`.

    size: width and height of the picture that the detector saw, if known.  normalised: pixels are shares of them.
    stated: where the detector itself places the hands (its camera, m), if it does.  one_hand: there is one hand, and the file
    does not say which: it stands on the right.
    """

    hands: Mapping[Side, Landmarks]
    palm: float | None
    axes: Axes
    size: tuple[int, int] | None = None
    normalised: bool = False
    stated: Float[np.ndarray, "2 21 3"] | None = None
    one_hand: bool = False

    @property
    def pixels_alone(self) -> bool:
        """Whether a hand has no relative landmarks; then all hands are found from their pixels."""
        return any(one.relative is None for one in self.hands.values())

    def placed(self, camera: Camera, size: tuple[int, int] | None = None) -> GivenHands:
        """The hands (world, m). size: width and height of the picture.

        Raises DataError if a hand cannot be placed before the camera, or the detector saw a picture of another size.
        """
        picture = self.in_pixels(size)
        if picture.pixels_alone:
            from im2hands.photographs.pixel_hands import hands_from_pixels

            pixels = {side: one.pixels for side, one in picture.hands.items()}
            found = hands_from_pixels(pixels, camera, picture.palm)
            return GivenHands(found.keypoints, found.sigma, found.distance)
        return GivenHands(keypoints_from_landmarks(picture.hands, camera, picture.palm, picture.axes))

    def in_pixels(self, size: tuple[int, int] | None = None) -> PictureLandmarks:
        """The same with pixels, (0, 0) being the centre of the first one. size, errors: as of `placed`."""
        if size is not None and self.size is not None and tuple(size) != self.size:
            turned = tuple(size) == self.size[::-1]
            raise DataError(
                f"the landmarks are of a picture of {self.size[0]} x {self.size[1]} pixels, but this one has {size[0]} x "
                f"{size[1]}; {'it was looked at before it was turned upright' if turned else 'it was resized or cut'}: run the "
                "detector on the picture as it is displayed."
            )
        if not self.normalised:
            return self
        known = self.size or size
        if known is None:
            raise DataError("the landmarks are shares of the picture; write its size (width, height) next to them.")
        hands = {side: replace(one, pixels=one.pixels * known - 0.5) for side, one in self.hands.items()}
        return replace(self, hands=hands, size=known, normalised=False)


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
        if "relative" in numbers:
            require_finite(numbers["relative"], f"{where}{side.value} hand: relative")
        found[side] = Landmarks(**numbers)
    if not found:
        raise DataError(f"{where}there is no hand; leave the picture out.")
    for side, one in found.items():
        require_pixels(
            one.pixels, f"{where}{side.value} hand: ", "write pixels: x times the width - 0.5, y times the height - 0.5"
        )
    return PictureLandmarks(found, palm, axes, size_of(entry, where))


def size_of(entry: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    """Width and height of the picture that a detector saw, if an object says (`size`). Raises DataError for no such size."""
    size = entry.get("size")
    if size is None:
        return None
    sides = [side for side in size if type(side) is int and 0 < side < LARGEST_SIDE] if isinstance(size, list) else []
    if len(sides) != 2 or len(size) != 2:
        raise DataError(f"{where}size must be the width and height of the picture in pixels, not {str(size)[:40]}.")
    return sides[0], sides[1]


def require_finite(relative: Float[np.ndarray, "joints 3"], name: str) -> None:
    """Raises DataError for relative points that are missing or beyond every unit. name: start of the message."""
    if not np.isfinite(relative).all() or np.abs(relative).max() > FARTHEST_RELATIVE:
        raise DataError(f"{name} contains numbers that are not finite; leave the hand out.")


def require_pixels(pixels: Float[np.ndarray, "*joints 2"], where: str, remedy: str) -> None:
    """Raises DataError for coordinates that are shares of a picture. where, remedy: start and end of the message."""
    if np.isfinite(pixels).any() and np.nanmax(np.abs(pixels)) <= LARGEST_NORMALISED:
        raise DataError(f"{where}the coordinates are not pixels but shares of the picture; {remedy}.")


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
