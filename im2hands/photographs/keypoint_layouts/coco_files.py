"""Keypoints in COCO's form, as COCO-WholeBody, Halpe and MMPose's sets of hands have them: images, annotations, categories.

An annotation has `lefthand_kpts` and `righthand_kpts`, or `keypoints` of a whole body (133, 134, 136), of both hands (42) or of
one (21): x, y and a flag or score in a row. MMPose's result files are the list of annotations alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from im2hands.hands.joints import PARENTS
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_layouts.content import Content, numbers
from im2hands.photographs.keypoint_layouts.headset_files import OTHER_COUNTS
from im2hands.photographs.keypoint_layouts.table import TIPS_FIRST, WRIST_THEN_TIPS
from im2hands.photographs.landmark_files import require_pixels, size_of
from im2hands.photographs.pixel_files import FIRST_OF_HANDS, one_person
from im2hands.photographs.plausible_hands import mean_bones

ORDERS = (tuple(range(21)), WRIST_THEN_TIPS)
"""Orders of sets of single hands."""
MANY = 10
"""Hands from where on their bones show the order: of the built-in hands' poses, 87 % do alone, and 20 together always did."""
SIDE_KEYS = ("hand_type", "handedness", "side", "hand_side")
Pixels = Float[np.ndarray, "21 2"]


def is_coco(content: Any, path: Path) -> bool:
    """A file with annotations of images, or a list of such annotations."""
    if isinstance(content, Mapping):
        return isinstance(content.get("annotations"), list) and isinstance(content.get("images"), list)
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(one, Mapping) and "image_id" in one and _has_keypoints(one) for one in content)
    )


def _has_keypoints(annotation: Mapping[str, Any]) -> bool:
    return bool({"keypoints", "lefthand_kpts"} & set(annotation))


def read_coco(content: Any, path: Path) -> Content:
    """Pixels of each picture. Raises DataError if no picture can be used."""
    annotations = content if isinstance(content, list) else content["annotations"]
    images = [] if isinstance(content, list) else content["images"]
    named = {str(one["id"]): one for one in images if isinstance(one, Mapping) and "id" in one}
    people: dict[str, list[dict[Side, Pixels]]] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    refused: dict[str, str] = {}
    unknown: set[str] = set()
    order = _likely_order(annotations)
    for annotation in annotations:
        if not isinstance(annotation, Mapping) or not _has_keypoints(annotation):
            continue
        image = named.get(str(annotation.get("image_id")), {})
        name = str(image.get("file_name", annotation.get("image_id")))
        where = f"{path}: picture {name}: "
        try:
            hands, known = _hands(annotation, where, order)
            sizes[name] = _size(image, where)
        except DataError as error:
            refused[name] = str(error)
            continue
        unknown |= set() if known else {name}
        sizes[name] = (
            size_of({"size": [image["width"], image["height"]]}, where) if {"width", "height"} <= set(image) else None
        )
        before = people.setdefault(name, [])
        if len(hands) == 1 and before and not set(hands) & set(before[-1]) and _is_one_hand(annotation):
            before[-1].update(hands)
        else:
            before.append(hands)
    landmarks = {}
    for name, found in people.items():
        if name in refused:
            continue
        try:
            picture = one_person(found, f"{path}: picture {name}: ", sizes[name])
        except DataError as error:
            refused[name] = str(error)
            continue
        if picture is not None:
            landmarks[name] = replace(picture, one_hand=name in unknown)
    if not landmarks:
        raise DataError(next(iter(refused.values()), f"{path}: no picture has a hand with enough keypoints."))
    return Content({}, landmarks, "m", "standard", refused)


def _size(image: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    return size_of({"size": [image["width"], image["height"]]}, where) if {"width", "height"} <= set(image) else None


def _is_one_hand(annotation: Mapping[str, Any]) -> bool:
    return "keypoints" in annotation and np.size(annotation["keypoints"]) == 63 and "lefthand_kpts" not in annotation


def _hands(annotation: Mapping[str, Any], where: str, order: tuple[int, ...]) -> tuple[dict[Side, Pixels], bool]:
    """The hands of an annotation, and whether their sides are known."""
    if "lefthand_kpts" in annotation:
        return {one: _pixels(annotation.get(f"{one.value}hand_kpts"), 21, where) for one in SIDES}, True
    flat = numbers(annotation["keypoints"], f"{where}keypoints ")
    count = flat.size // 3
    if flat.size != 3 * count or count in OTHER_COUNTS or count not in (21, 42, *FIRST_OF_HANDS):
        what = OTHER_COUNTS.get(count, "no hands that are known")
        raise DataError(f"{where}{count} keypoints are {what}; hands have 21, 42, or are part of 133, 134, 136.")
    points = _pixels(flat, count, where)
    if count == 42:  # MMPose's InterHand2.6M: right hand first
        return {Side.RIGHT: points[:21][list(TIPS_FIRST)], Side.LEFT: points[21:][list(TIPS_FIRST)]}, True
    if count == 21:
        said = next((str(annotation[key]).lower() for key in SIDE_KEYS if key in annotation), None)
        known = said in ("left", "right")
        return {Side(said) if known else Side.RIGHT: points[list(order)]}, known
    firsts = zip(SIDES, FIRST_OF_HANDS[count], strict=True)
    return {one: points[first : first + 21] for one, first in firsts}, True


def _pixels(value: Any, count: int, where: str) -> Float[np.ndarray, "points 2"]:
    flat = numbers([] if value is None else value, f"{where}keypoints ")
    if flat.size == 0:
        return np.full((count, 2), np.nan)
    if flat.size != 3 * count:
        raise DataError(f"{where}{flat.size} numbers are not {count} x (x, y, flag); make the file again.")
    places = flat.reshape(count, 3)
    pixels = np.where(places[:, 2:] > 0, places[:, :2], np.nan)
    require_pixels(pixels, where, "multiply them by its width and height")
    return pixels


def _likely_order(annotations: list[Any]) -> tuple[int, ...]:
    """The order of single hands: that of RHD if its bones look more like a hand's in many pictures, or else the usual one."""
    every = [places[:, :2] for one in annotations for places in [_one_hand(one)] if len(places)]
    if len(every) < MANY:
        return ORDERS[0]
    hands = np.stack(every)
    return min(ORDERS, key=lambda order: _odd_lengths(hands[:, order]))


def _one_hand(annotation: Any) -> np.ndarray:
    """21 x (x, y, flag) of an annotation in which every joint of one hand is seen; nothing of others."""
    value = annotation.get("keypoints") if isinstance(annotation, Mapping) else None
    flat = np.array([] if value is None or "lefthand_kpts" in annotation else value, dtype=object).ravel()
    if flat.size != 63 or not all(isinstance(one, (int, float)) for one in flat):
        return np.zeros((0, 3))
    places = flat.astype(np.float64).reshape(21, 3)
    return places if (places[:, 2] > 0).all() else np.zeros((0, 3))


def _odd_lengths(hands: Float[np.ndarray, "hands 21 2"]) -> float:
    """How far bones in pictures are from the lengths of the mean hand's, as shares of all of them; median."""
    bones = np.linalg.norm(hands[:, 1:] - hands[:, PARENTS[1:]], axis=2)
    mean = mean_bones()[0]
    shares = bones / np.maximum(bones.mean(axis=1, keepdims=True), 1e-9)
    return float(np.median(np.abs(shares - mean / mean.mean()).mean(axis=1)))
