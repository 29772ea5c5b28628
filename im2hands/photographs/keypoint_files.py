"""Keypoints of two hands for one or more pictures, read from any known file: `read_keypoints(path)`.

Whatever the file holds (`keypoint_formats` knows the formats), what is read is in metres and STANDARD order; the frame is the
file's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from im2hands.datasets.external_keypoints import METRES, SMALLEST_HAND
from im2hands.datasets.keypoints import LARGEST_HAND, implausible
from im2hands.geometry.cameras import Camera
from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.model import HandModel
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_formats import ALL_ORDERS, FORMATS, UNNAMED, Hands, of_picture, read_content
from im2hands.photographs.keypoint_layouts.look_alikes import (
    look_like_pixels,
    odd_unit,
    wrong_axes,
    wrong_order,
    wrong_sides,
)
from im2hands.photographs.keypoint_layouts.mano_files import posed
from im2hands.photographs.keypoint_layouts.one_hand import with_side
from im2hands.photographs.landmark_files import GivenHands, PictureLandmarks, check_palm
from im2hands.photographs.plausible_hands import joint_order, units


@dataclass(frozen=True, eq=False)
class KeypointFile:
    """What a file says, by picture.

    hands: left and right (order of `Side.index`), m, STANDARD order; NaN for a missing hand.  landmarks: landmarks of files of
    this format, instead.  format, unit, order: as stated or recognised.  refused: pictures that cannot be used, and why.
    notes: what a user should know of the numbers.
    """

    path: str
    format: str
    hands: Mapping[str, Hands]
    landmarks: Mapping[str, PictureLandmarks]
    unit: str = "m"
    order: str = "standard"
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def pictures(self) -> list[str]:
        """Names of the pictures, in the file's order; UNNAMED if it contains one without name."""
        return [*self.hands, *self.landmarks, *self.refused]

    def of(self, name: str) -> Hands | PictureLandmarks:
        """What the file says of a picture that is not refused."""
        return self.hands[name] if name in self.hands else self.landmarks[name]

    def in_space(self) -> KeypointFile:
        """The same with hands in space where the detector itself places them, in place of landmarks."""
        stated = {name: one.stated for name, one in self.landmarks.items() if one.stated is not None}
        others = {name: one for name, one in self.landmarks.items() if one.stated is None}
        return replace(self, hands={**self.hands, **stated}, landmarks=others)

    def keypoints(
        self,
        names: tuple[str, ...],
        camera: Camera,
        frame: Literal["world", "camera"] = "world",
    ) -> Hands:
        """Both hands (world, m) of a picture, see `given`."""
        return self.given(names, camera, frame).keypoints

    def given(
        self,
        names: tuple[str, ...],
        camera: Camera,
        frame: Literal["world", "camera"] = "world",
        size: tuple[int, int] | None = None,
    ) -> GivenHands:
        """What the file says of a picture that may go by any of `names`; a file without names belongs to every picture.

        frame: frame of the file's 3-D numbers.  camera: camera of the picture.  size: its width and height, px.
        Raises DataError if the file does not know the picture, or its landmarks cannot be placed.
        """
        if frame not in ("world", "camera"):
            raise DataError(f"{self.path}: the frame must be world or camera, not {frame!r}.")
        pictures = self.pictures
        name = UNNAMED if pictures == [UNNAMED] else next((name for name in names if name in pictures), None)
        if name is None:
            raise DataError(
                f"{self.path}: has no entry {' or '.join(dict.fromkeys(names))}; its entries are {', '.join(pictures[:3])}"
                f"{' ...' if len(pictures) > 3 else ''}."
            )
        if name in self.refused:
            raise DataError(self.refused[name])
        if name in self.hands:
            return GivenHands(camera.to_world(self.hands[name]) if frame == "camera" else self.hands[name])
        try:
            return self.landmarks[name].placed(camera, size)
        except DataError as error:
            raise DataError(f"{self.path}: {of_picture(name)}{error}") from None


def read_keypoints(
    path: str | os.PathLike,
    format: str | None = None,
    unit: Literal["m", "mm"] | None = None,
    order: Literal["standard", "interhand", "mano", "biomech"] | None = None,
    swap_sides: bool = False,
    side: Literal["left", "right"] | None = None,
    hand_models: Mapping[Side, HandModel] | None = None,
) -> KeypointFile:
    """The keypoints of a file, or of a folder of files, of any format, after checking them.

    format: a name of FORMATS, recognised from the content; if given, another one is refused, and a bare array is read as one of
    `keypoint_layouts.arrays.ARRAYS`.
    unit: by default recognised from the size of the hands.  order: by default what the file says (`order`), else recognised
    from the lengths of the bones; where those are not clear, STANDARD for `json` and `ply`, refused for `array`.
    swap_sides: for files that call left what is right, as detectors do that take pictures for mirrored.
    side: of files with one hand per picture that do not say which; by default recognised from the way it bends.
    hand_models: for files of MANO's parameters.
    Raises DataError for a missing file, wrong counts, numbers that are not finite, no hand at all, and whatever only looks like
    a format (see `keypoint_layouts.look_alikes`); DamagedFileError if it cannot be read.
    """
    for name, value, allowed in (
        ("format", format, FORMATS),
        ("unit", unit, METRES),
        ("order", order, ALL_ORDERS),
        ("side", side, [one.value for one in SIDES]),
    ):
        if value is not None and value not in allowed:
            raise DataError(f"{path}: {name} {value!r} must be one of {', '.join(allowed)}.")
    said = None if side is None else Side(side)
    recognised, content = read_content(Path(path), format, said)
    if format is not None and recognised != format:
        raise DataError(f"{path}: its format is {recognised}, not {format}; correct the format or leave it out.")
    content = posed(content, hand_models, str(path), said)
    content = with_side(content, said, str(path), recognised)
    facts = {name: value for name, value in vars(content).items() if name not in ("parameters", "one_hand")}
    found = KeypointFile(str(path), recognised, **facts)
    if swap_sides:
        found = _with_sides_swapped(found)
    if not found.landmarks and all(np.isnan(hands).all() for hands in found.hands.values()):
        if found.refused:
            raise DataError(next(iter(found.refused.values())))
        raise DataError(f"{path}: contains no keypoints; give at least one hand of one picture.")
    if found.format != "table":
        found = _without_partial_hands(found)
        found = _in_metres(_in_standard_order(found, order), unit)
        _check_look_alikes(found)
    return found


def _with_sides_swapped(found: KeypointFile) -> KeypointFile:
    landmarks = {
        name: replace(picture, hands={side.other: one for side, one in picture.hands.items()})
        for name, picture in found.landmarks.items()
    }
    return replace(found, hands={name: pair[::-1] for name, pair in found.hands.items()}, landmarks=landmarks)


def with_palm(found: KeypointFile, palm: float) -> KeypointFile:
    """The landmarks of a file with another size of the palm (m). Raises DataError for other files and for no size of a palm."""
    if not found.landmarks:
        raise DataError(
            f"{found.path}: a palm size is only for landmarks, but this file has metric keypoints; leave it out."
        )
    check_palm(palm, f"{found.path}: ")
    landmarks = {name: replace(picture, palm=palm) for name, picture in found.landmarks.items()}
    return replace(found, landmarks=landmarks)


def _given(found: KeypointFile) -> list[tuple[str, Side, Float[np.ndarray, "21 3"]]]:
    """The hands that are there: picture, side, numbers."""
    every = ((name, side, hands[side.index]) for name, hands in found.hands.items() for side in SIDES)
    return [(name, side, hand) for name, side, hand in every if not np.isnan(hand).all()]


def _without_partial_hands(found: KeypointFile) -> KeypointFile:
    """Pictures with a hand of which only a part is given are refused; raises DataError if no other is left."""
    refused = dict(found.refused)
    for name, side, hand in _given(found):
        bad = int((~np.isfinite(hand).all(axis=1)).sum())
        if bad:
            refused[name] = (
                f"{found.path}: {of_picture(name)}{bad} of 21 keypoints of the {side.value} hand are not finite; fill them in, "
                "or write null for a missing hand."
            )
    hands = {name: pair for name, pair in found.hands.items() if name not in refused}
    if refused and not hands and not found.landmarks:
        raise DataError(next(iter(refused.values())))
    return replace(found, hands=hands, refused=refused)


def _in_standard_order(found: KeypointFile, order: str | None) -> KeypointFile:
    if order is not None and found.order and order != found.order:
        raise DataError(f"{found.path}: its order is {found.order}, not {order}; correct one of them.")
    order = order or found.order
    if not order and found.hands:
        recognised = joint_order(np.stack([hand for *_, hand in _given(found)]))
        if recognised is None and found.format == "array":
            raise DataError(
                f"{found.path}: the bone lengths do not show the order of the joints; state one of "
                f"{', '.join(ALL_ORDERS)}."
            )
        order = (recognised or JointOrder.STANDARD).name.lower()
    source = ALL_ORDERS[order or "standard"]
    hands = {name: reorder(pair, source, JointOrder.STANDARD) for name, pair in found.hands.items()}
    return replace(found, hands=hands, order=order)


def _in_metres(found: KeypointFile, unit: str | None) -> KeypointFile:
    if unit is not None and found.unit and unit != found.unit:
        raise DataError(f"{found.path}: its unit is {found.unit}, not {unit}; correct one of them.")
    given = _given(found)
    if not given:
        return found
    stated = unit or found.unit
    pixels = np.flatnonzero(look_like_pixels(np.stack([hand for *_, hand in given])))
    if pixels.size:
        name, side, hand = given[pixels[0]]
        raise DataError(
            f"{found.path}: {of_picture(name)}{side.value} hand{odd_unit(found.format, stated, hand).replace(';', ':', 1)}."
        )
    together = units(np.stack([hand for *_, hand in given])) & ({stated} if stated else set(METRES))
    if not together:
        raise DataError(f"{found.path}: {_odd_sizes(found.format, given, stated)}")
    unit = together.pop()
    hands = {name: pair * METRES[unit] for name, pair in found.hands.items()}
    problem = implausible(np.stack([hand * METRES[unit] for *_, hand in given])[:, None])
    if problem is not None:
        name, side, _ = given[problem[0]]
        raise DataError(
            f"{found.path}: {of_picture(name)}{side.value} hand: {problem[1].split(';')[0]}; correct its numbers."
        )
    return replace(found, hands=hands, unit=unit)


def _odd_sizes(format: str, given: list[tuple[str, Side, np.ndarray]], stated: str) -> str:
    """Which hand has no size of a hand, and what to do."""
    allowed = {stated} if stated else set(METRES)
    for name, side, hand in given:
        if not units(hand[None]) & allowed:
            limits = " and ".join(
                f"{SMALLEST_HAND / x:g} to {LARGEST_HAND / x:g} in {unit}" for unit, x in METRES.items()
            )
            return (
                f"{of_picture(name)}the {side.value} hand measures {np.ptp(hand, axis=0).max():.3g}; hands measure {limits}"
                f"{f', and {stated} was stated' if stated else ''}{odd_unit(format, stated, hand)}: convert the numbers, or "
                "write landmarks with pixels."
            )
    return "some hands are in metres, others in millimetres; convert them to one unit."


def _check_look_alikes(found: KeypointFile) -> None:
    """Raises DataError if the hands of the file as a whole are not what its format says."""
    given = _given(found)
    relative = [
        (name, side, one.relative)
        for name, picture in found.landmarks.items()
        for side, one in picture.hands.items()
        if one.relative is not None
    ]
    problem = (wrong_order(found.format, given) or wrong_axes(found.format, given)) if given else None
    problem = problem or wrong_sides(found.format, [*given, *relative], bool(found.landmarks))
    if problem is not None:
        raise DataError(f"{found.path}: {problem}")
