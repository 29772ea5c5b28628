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
from im2hands.photographs.keypoint_layouts.table import TIPS_FIRST, WRIST_THEN_TIPS
from im2hands.photographs.keypoint_layouts.tool_files import OTHER_COUNTS
from im2hands.photographs.landmark_files import require_pixels
from im2hands.photographs.pixel_files import FIRST_OF_HANDS, one_person

ORDERS = (tuple(range(21)), WRIST_THEN_TIPS, TIPS_FIRST)
"""Orders that sets of hands have."""
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
    named = {one["id"]: one for one in images if isinstance(one, Mapping) and "id" in one}
    people: dict[str, list[dict[Side, Pixels]]] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    refused: dict[str, str] = {}
    unknown: set[str] = set()
    order = _likely_order(annotations)
    for annotation in annotations:
        if not isinstance(annotation, Mapping) or not _has_keypoints(annotation):
            continue
        image = named.get(annotation.get("image_id"), {})
        name = str(image.get("file_name", annotation.get("image_id")))
        where = f"{path}: picture {name}: "
        try:
            hands, known = _hands(annotation, where, order)
        except DataError as error:
            refused[name] = str(error)
            continue
        unknown |= set() if known else {name}
        sizes[name] = (image["width"], image["height"]) if {"width", "height"} <= set(image) else None
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
        return {Side.RIGHT: points[:21][list(order)], Side.LEFT: points[21:][list(order)]}, True
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
    """The order in which single hands of the file have the shortest bones in the picture, all bones together."""
    every = [
        places[first : first + 21, :2]
        for one in annotations
        if isinstance(one, Mapping) and "keypoints" in one and "lefthand_kpts" not in one
        for places in [_triples(one["keypoints"])]
        for first in range(0, len(places), 21)
        if len(places) in (21, 42) and (places[first : first + 21, 2] > 0).all()
    ]
    if not every:
        return ORDERS[0] if not _of_two_hands(annotations) else TIPS_FIRST
    hands = np.stack(every)
    return min(ORDERS, key=lambda order: _bone_lengths(hands[:, order]))


def _of_two_hands(annotations: list[Any]) -> bool:
    return any(isinstance(one, Mapping) and np.size(one.get("keypoints", ())) == 126 for one in annotations)


def _triples(value: Any) -> np.ndarray:
    flat = np.array(value, dtype=object).ravel()
    good = flat.size % 3 == 0 and all(isinstance(one, (int, float)) for one in flat)
    return flat.astype(np.float64).reshape(-1, 3) if good else np.zeros((0, 3))


def _bone_lengths(hands: Float[np.ndarray, "hands 21 2"]) -> float:
    bones = np.linalg.norm(hands[:, 1:] - hands[:, PARENTS[1:]], axis=2).sum(axis=1)
    extent = np.ptp(hands, axis=1).max(axis=1)
    return float(np.median(bones / np.maximum(extent, 1e-9)))
