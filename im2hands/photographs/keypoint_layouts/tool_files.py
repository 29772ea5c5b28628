"""Readers of what detectors and trackers write, hand by hand: MediaPipe, WiLoR, SAM 3D Body, Ultraleap, streams.

Most of them have no file of their own: what is read is their result as JSON, pickle or NPZ. Sources: `table`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.io.limits import LARGEST_DOCUMENT, read_text
from im2hands.photographs.keypoint_layouts.content import (
    Content,
    Hands,
    array_of,
    by_picture,
    holds,
    nobody,
    numbers,
    of_both,
    one_of_each_side,
    pair,
)
from im2hands.photographs.keypoint_layouts.dataset_files import first_line
from im2hands.photographs.keypoint_layouts.headset_files import OTHER_COUNTS
from im2hands.photographs.keypoint_layouts.mano_parameters import HandParameters, hand_parameters
from im2hands.photographs.keypoint_layouts.table import LAYOUTS
from im2hands.photographs.landmark_files import PictureLandmarks, require_finite, size_of
from im2hands.photographs.landmarks import Landmarks
from im2hands.photographs.plausible_hands import OTHER_SIDE, bend_to_the_back

OWN_CAMERA = "distances are those of the detector's own focal length; with pixels and a camera they are found anew"


RESULT_KEYS = {
    "sides": ("handedness", "handednesses", "multi_handedness", "multiHandedness"),
    "pixels": ("hand_landmarks", "landmarks", "handLandmarks", "multi_hand_landmarks", "multiHandLandmarks"),
    "world": ("hand_world_landmarks", "worldLandmarks", "handWorldLandmarks", "multi_hand_world_landmarks"),
}
"""What MediaPipe's interfaces for Python and JavaScript, new and old, call the parts of a result."""


def is_mediapipe(entry: Mapping[str, Any]) -> bool:
    """Whether an object is MediaPipe's result for a picture."""
    return _part(entry, "sides") is not None and (_part(entry, "pixels") or _part(entry, "world")) is not None


def _part(entry: Mapping[str, Any], name: str) -> Any:
    return next((entry[key] for key in RESULT_KEYS[name] if isinstance(entry.get(key), list)), None)


def of_mediapipe(entry: Mapping[str, Any], where: str) -> PictureLandmarks:
    """Normalised landmarks become pixels when the picture, or `size` (width, height), is known."""
    sides = [_handedness(one, where) for one in _part(entry, "sides")]
    seen, world = _part(entry, "pixels"), _part(entry, "world")
    if seen is None:
        raise DataError(
            f"{where}there are world landmarks alone, whose origin is each hand's own; write hand_landmarks too."
        )
    if len(seen) != len(sides) or (world is not None and len(world) != len(sides)):
        raise DataError(f"{where}{len(sides)} sides for {len(seen)} hands; write the whole result.")
    one_of_each_side(sides, where)
    if not sides:
        raise DataError(f"{where}there is no hand; leave the picture out.")
    hands = {}
    for number, side in enumerate(sides):
        places = _marks(seen[number], f"{where}{side.value} hand: landmarks ")
        relative = None if world is None else _marks(world[number], f"{where}{side.value} hand: world landmarks ")
        if relative is not None:
            require_finite(relative, f"{where}{side.value} hand: the world landmarks")
        hands[side] = Landmarks(places[:, :2], relative)
    most = max(float(np.abs(one.pixels).max()) for one in hands.values())
    if most > 5:
        raise DataError(f"{where}landmarks reach {most:.0f}; MediaPipe's are from 0 to 1. Write pixels as `landmarks`.")
    return PictureLandmarks(hands, None, "ray", size_of(entry, where), normalised=True)


def _handedness(value: Any, where: str) -> Side:
    one = value[0] if isinstance(value, list) and value else value
    one = one.get("classification", [one])[0] if isinstance(one, Mapping) else one
    keys = ("category_name", "categoryName", "label", "display_name", "displayName")
    said = next((one[key] for key in keys if one.get(key)), None) if isinstance(one, Mapping) else one
    if str(said).lower() not in ("left", "right"):
        raise DataError(f"{where}handedness {str(said)[:40]!r} must be Left or Right.")
    return Side(str(said).lower())


def _marks(value: Any, where: str) -> Float[np.ndarray, "21 3"]:
    value = value.get("landmark") if isinstance(value, Mapping) else value
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        value = [[one.get(axis) for axis in "xyz"] for one in value]
    if isinstance(value, list) and len(value) in OTHER_COUNTS:
        raise DataError(f"{where}are {len(value)} points: {OTHER_COUNTS[len(value)]}.")
    return array_of(value, (21, 3), where)


def _is_wilor_hand(item: Mapping[str, Any]) -> bool:
    return "is_right" in item and ("wilor_preds" in item or "pred_keypoints_3d" in item)


def is_wilor(content: Any, path: Path) -> bool:
    """Dictionaries of HaMeR's and WiLoR's kind, one per hand."""
    return holds(content, _is_wilor_hand)


def read_wilor(content: Any, path: Path) -> Content:
    """Pixels with relative points where there are pixels, so that the user's camera counts; points before their camera else."""
    hands, landmarks, refused, flipped = {}, {}, {}, False
    for name, items in by_picture(content, _is_wilor_hand):
        where = f"{path}: {f'picture {name}: ' if name else ''}"
        try:
            sides = [_is_right(item, where) for item in items]
            one_of_each_side(sides, where)
            made = {side: _wilor_hand(item, side, where) for side, item in zip(sides, items, strict=True)}
            flipped |= any(one[2] for one in made.values())
            stated = pair({side: one[0] for side, one in made.items()})
            if not made:
                raise DataError(f"{where}there is no hand; leave the picture out.")
            if all(one[1].pixels is not None for one in made.values()):
                landmarks[name] = PictureLandmarks(
                    {side: one[1] for side, one in made.items()}, None, "ray", stated=stated
                )
            else:
                hands[name] = stated
        except DataError as error:
            refused[name] = str(error)
    notes = ("left hands were in right-hand space, as HaMeR and WiLoR give them; x was negated",) if flipped else ()
    return Content(hands, landmarks, "m", "standard", refused, notes=(OWN_CAMERA, *notes))


def _is_right(item: Mapping[str, Any], where: str) -> Side:
    value = numbers(item["is_right"], f"{where}is_right ").ravel() if not isinstance(item["is_right"], bool) else None
    right = item["is_right"] if value is None else value[0] if value.size == 1 else np.nan
    if right not in (0, 1):
        raise DataError(f"{where}is_right must be 0 or 1.")
    return Side.RIGHT if right else Side.LEFT


def _wilor_hand(item: Mapping[str, Any], side: Side, where: str) -> tuple[np.ndarray, Landmarks, bool]:
    """Keypoints before the detector's camera, landmarks, and whether x had to be negated."""
    given = item.get("wilor_preds", item)
    for key in ("pred_keypoints_3d", "pred_cam_t_full"):
        if not isinstance(given, Mapping) or given.get(key) is None:
            raise DataError(f"{where}the {side.value} hand has no {key}; write the whole result.")
    points = array_of(given["pred_keypoints_3d"], (21, 3), f"{where}pred_keypoints_3d ")
    require_finite(points, f"{where}pred_keypoints_3d")
    flipped = side is Side.LEFT and bool(bend_to_the_back(points[None], side)[0] > OTHER_SIDE)
    points = side.mirror_points(points) if flipped else points
    pixels = given.get("pred_keypoints_2d")
    pixels = None if pixels is None else array_of(pixels, (21, 2), f"{where}pred_keypoints_2d ")
    place = array_of(given["pred_cam_t_full"], (3,), f"{where}pred_cam_t_full ")
    return points + place, Landmarks(pixels, points), flipped


def _is_parameter_hand(item: Mapping[str, Any]) -> bool:
    return "is_right" in item and isinstance(item.get("mano"), Mapping)


def is_hands_json(content: Any, path: Path) -> bool:
    """Lists of hands with MANO's parameters, as of NVIDIA's video_to_data."""
    return holds(content, _is_parameter_hand)


def read_hands_json(content: Any, path: Path) -> Content:
    """Parameters of a hand model; left hands are in right-hand space."""
    parameters: dict[str, dict[Side, HandParameters]] = {}
    refused = {}
    for name, items in by_picture(content, _is_parameter_hand):
        where = f"{path}: {f'picture {name}: ' if name else ''}"
        try:
            sides = [_is_right(item, where) for item in items]
            one_of_each_side(sides, where)
            parameters[name] = {side: _of_item(item, side, where) for side, item in zip(sides, items, strict=True)}
        except DataError as error:
            refused[name] = str(error)
    return Content(unit="m", order="standard", refused=refused, parameters=parameters, notes=(OWN_CAMERA,))


def _of_item(item: Mapping[str, Any], side: Side, where: str) -> HandParameters:
    camera = item.get("camera") if isinstance(item.get("camera"), Mapping) else {}
    place = array_of(camera.get("pred_cam_t_full", [0, 0, 0]), (3,), f"{where}pred_cam_t_full ")
    return hand_parameters(
        {**item["mano"], "trans": place}, f"{where}{side.value} hand: ", flat=True, mirrored=side is Side.LEFT
    )


def _is_body(item: Mapping[str, Any]) -> bool:
    return "pred_keypoints_3d" in item and "is_right" not in item


def is_mhr70(content: Any, path: Path) -> bool:
    """Dictionaries of SAM 3D Body, one per person."""
    return holds(content, _is_body)


def read_mhr70(content: Any, path: Path) -> Content:
    """Both hands of the one person of each picture."""
    hands, landmarks, refused = {}, {}, {}
    for name, people in by_picture(content, _is_body):
        where = f"{path}: {f'picture {name}: ' if name else ''}"
        try:
            if len(people) != 1:
                raise DataError(f"{where}hands of {len(people)} people; leave one of them in the file.")
            points = array_of(people[0]["pred_keypoints_3d"], (70, 3), f"{where}pred_keypoints_3d ")
            both = of_both(points, "mhr70")
            stated = both + array_of(people[0].get("pred_cam_t"), (3,), f"{where}pred_cam_t ")
            known = [side for side in SIDES if np.isfinite(both[side.index]).all()]
            pixels = people[0].get("pred_keypoints_2d")
            if pixels is None:
                hands[name] = stated
                continue
            seen = of_both(array_of(pixels, (70, 2), f"{where}pred_keypoints_2d "), "mhr70")
            for side in known:
                require_finite(both[side.index], f"{where}pred_keypoints_3d")
            marks = {side: Landmarks(seen[side.index], both[side.index]) for side in known}
            landmarks[name] = PictureLandmarks(marks, None, "camera", stated=stated)
        except DataError as error:
            refused[name] = str(error)
    return Content(hands, landmarks, "m", "standard", refused, notes=(OWN_CAMERA,))


def is_ultraleap(entry: Mapping[str, Any]) -> bool:
    """Whether an object is a frame of Ultraleap's hands."""
    hands = entry.get("hands")
    return (
        isinstance(hands, list)
        and bool(hands)
        and all(isinstance(hand, Mapping) and ("digits" in hand or "fingers" in hand) for hand in hands)
    )


def of_ultraleap(entry: Mapping[str, Any], where: str) -> Hands:
    """The hands of a frame (mm). The metacarpal of the thumb has no length; its start is the proximal bone's."""
    sides = [
        Side(said) if (said := str(hand.get("type")).lower()) in ("left", "right") else None for hand in entry["hands"]
    ]
    if None in sides:
        raise DataError(f"{where}every hand must have type, left or right.")
    one_of_each_side(sides, where)
    layout = LAYOUTS["ultraleap"]
    found = nobody()
    for hand, side in zip(entry["hands"], sides, strict=True):
        try:
            digits = [digit["bones"] for digit in hand.get("digits", hand.get("fingers"))]
            points = [_vector(hand["arm"]["next_joint"])]
            for bones in digits:
                points += [_vector(bones[k]["prev_joint"]) for k in (1, 2, 3)] + [_vector(bones[3]["next_joint"])]
        except (KeyError, TypeError, IndexError) as error:
            raise DataError(f"{where}the {side.value} hand lacks {error}; write arm and 5 digits of 4 bones.") from None
        found[side.index] = layout.standard(array_of(points, (21, 3), f"{where}{side.value} hand "))
    return found


def _vector(value: Any) -> list[Any]:
    return [value[axis] for axis in "xyz"] if isinstance(value, Mapping) else list(value)


LINE = re.compile(r"\s*(Left|Right)\s+(wrist|landmarks)\b([^:]*):(.*)", re.IGNORECASE)


def is_stream(path: Path) -> bool:
    """A text file that begins with a line of Hand Tracking Streamer."""
    return path.is_file() and LINE.match(first_line(path)) is not None


def read_stream(path: Path) -> Content:
    """A picture per frame, named by its number (`f=`), or counted where lines have none."""
    layout = LAYOUTS["hand-tracking-sdk"]
    hands: dict[str, Hands] = {}
    wrists: dict[Side, np.ndarray] = {}
    counted = dict.fromkeys(SIDES, 0)
    for number, line in enumerate(read_text(path, "keypoint file", LARGEST_DOCUMENT).splitlines(), 1):
        if not line.strip():
            continue
        side, kind, tags, values = _stream_line(line, f"{path}: line {number} ")
        if kind == "wrist":
            wrists[side] = values[:3]
            continue
        frame = re.search(r"\bf=(\d+)", tags)
        name = frame[1] if frame else str(counted[side])
        counted[side] += 1
        if side not in wrists:
            raise DataError(
                f"{path}: line {number}: landmarks of the {side.value} hand without its wrist; record both."
            )
        hands.setdefault(name, nobody())[side.index] = layout.standard(values.reshape(21, 3) + wrists[side])
    return Content(hands, order="standard")


def _stream_line(line: str, where: str) -> tuple[Side, str, str, np.ndarray]:
    parts = LINE.match(line)
    if parts is None:
        raise DataError(f"{where}is no line of Hand Tracking Streamer; remove it.")
    side, kind, tags, rest = Side(parts[1].lower()), parts[2].lower(), parts[3], parts[4]
    try:
        values = np.array([float(word) for word in rest.replace(",", " ").split()])
    except ValueError as error:
        raise DataError(f"{where}must have numbers ({error}).") from None
    if values.size != (7 if kind == "wrist" else 63):
        raise DataError(f"{where}has {values.size} numbers; a wrist has 7, landmarks have 63.")
    return side, kind, tags, values
