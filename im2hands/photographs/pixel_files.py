"""2-D keypoints as body pose detectors write them: OpenPose's files, and MMPose's predictions of whole bodies.

`openpose`: `<picture>_keypoints.json` with `people`, each with `hand_left_keypoints_2d` and `hand_right_keypoints_2d`, 21 x (x,
y, confidence) in a row, zeros for a joint that is not seen.
`wholebody`: `instances` with `keypoints` (133 x 2) and `keypoint_scores`, left hand 91 to 111, right hand 112 to 132; a list of
frames, or of one picture's instances.

Sources: OpenPose, doc/02_output.md; MMPose, configs/_base_/datasets/coco_wholebody.py and halpe.py. Joints in STANDARD order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from im2hands.hands.sides import SIDES, Side
from im2hands.io.arrays import number_array
from im2hands.io.atomic import read_json
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_layouts.content import UNNAMED, Content, Hands, pair
from im2hands.photographs.landmark_files import PictureLandmarks, require_pixels
from im2hands.photographs.landmarks import FEWEST, Landmarks

OPENPOSE_FILE = "_keypoints.json"
FIRST_OF_HANDS = {133: (91, 112), 134: (92, 113), 136: (94, 115)}
"""Number of joints of a body -> first joint of the left and of the right hand: COCO-WholeBody, its OpenPose form, Halpe."""
LEAST_SCORE = 0.3
"""Scores of whole-body detectors below which a joint counts as not seen (MMPose's own default)."""
Pixels = Float[np.ndarray, "21 2"]


def is_openpose_folder(path: Path) -> bool:
    """Whether a path is a folder of OpenPose's files."""
    return path.is_dir() and next(path.glob(f"*{OPENPOSE_FILE}"), None) is not None


def is_openpose(content: Any) -> bool:
    """Whether the content of a JSON file is OpenPose's."""
    return isinstance(content, dict) and isinstance(content.get("people"), list)


def read_openpose(path: Path) -> Content:
    """The hands of a file or a folder, in space where OpenPose found them so; pictures without hands are left out.

    A file's picture is in its name; a file of another name holds one picture without name.

    Raises DataError if no picture has a hand, and as `of_people`.
    """
    files = sorted(path.glob(f"*{OPENPOSE_FILE}")) if path.is_dir() else [path]
    hands, landmarks = {}, {}
    for file in files:
        content = read_json(file, "keypoint file")
        if not is_openpose(content):
            raise DataError(f"{file}: has no list `people`, so OpenPose did not write it; rename or remove it.")
        name = file.name.removesuffix(OPENPOSE_FILE) if file.name.endswith(OPENPOSE_FILE) else UNNAMED
        in_space = _in_space(content, f"{file}: ")
        seen = None if in_space is not None else of_people(content, f"{file}: ")
        if in_space is not None:
            hands[name] = in_space
        elif seen is not None:
            landmarks[name] = seen
    if not hands and not landmarks:
        raise DataError(
            f"{path}: no hand with at least {FEWEST} joints; run OpenPose with --hand, and look at its pictures."
        )
    return Content(hands, landmarks, "" if hands else "m", "standard")


def _in_space(entry: Mapping[str, Any], where: str) -> Hands | None:
    """The 3-D hands of the only person, in the unit of the user's calibration; None if they are not there or not whole."""
    found = []
    for person in entry["people"]:
        given = {
            side: _numbers(
                person.get(f"hand_{side.value}_keypoints_3d") or [], (-1,), f"{where}hand_{side.value}_keypoints_3d"
            )
            for side in SIDES
            if isinstance(person, dict)
        }
        whole = {side: places.reshape(21, 4) for side, places in given.items() if places.size == 84}
        hands = {side: places[:, :3] for side, places in whole.items() if (places[:, 3] > 0).all()}
        found += [hands] if hands else []
    return pair(found[0]) if len(found) == 1 else None


def of_people(entry: Mapping[str, Any], where: str) -> PictureLandmarks | None:
    """The hands of one picture of OpenPose; None if nobody's are seen. where: start of messages.

    Raises DataError for hands of several people, for other numbers than 21 x 3, and for coordinates that are no pixels.
    """
    people = [
        {side: _openpose_hand(person, side, where) for side in SIDES}
        for person in entry["people"]
        if isinstance(person, dict)
    ]
    return one_person(people, where)


def of_instances(entry: Mapping[str, Any], where: str) -> PictureLandmarks:
    """The hands of one picture of a whole-body detector. Raises DataError as `of_people`, and if nobody's hands are seen."""
    if len(entry["instances"]) == 1 and is_instance(entry["instances"][0]) and np.shape(_points(entry)) == (21, 2):
        return _hand_alone(entry["instances"][0], where)
    people = [dict(_body_hands(instance, where)) for instance in entry["instances"]]
    found = one_person(people, where)
    if found is None:
        raise DataError(f"{where}nobody has a hand with at least {FEWEST} joints; leave the picture out.")
    return found


def _points(entry: Mapping[str, Any]) -> np.ndarray:
    """Keypoints of the only instance, nothing where they are no numbers."""
    try:
        return number_array(entry["instances"][0]["keypoints"])
    except ValueError:
        return np.zeros(0)


def is_instance(entry: Any) -> bool:
    """Whether an object is one body of a picture."""
    return isinstance(entry, dict) and "keypoints" in entry and "keypoint_scores" in entry


def one_person(
    people: list[dict[Side, Pixels]], where: str, size: tuple[int, int] | None = None
) -> PictureLandmarks | None:
    """The hands of the only person that shows any; None if nobody does. size: of the picture, if known.

    Raises DataError for hands of several people.
    """
    seen = [
        {side: pixels for side, pixels in hands.items() if np.isfinite(pixels).all(axis=1).sum() >= FEWEST}
        for hands in people
    ]
    seen = [hands for hands in seen if hands]
    if len(seen) > 1:
        raise DataError(
            f"{where}hands of {len(seen)} people; the two hands of a pair belong to one person: leave one of them in the file."
        )
    return (
        PictureLandmarks({side: Landmarks(pixels) for side, pixels in seen[0].items()}, None, "camera", size)
        if seen
        else None
    )


def _openpose_hand(person: Mapping[str, Any], side: Side, where: str) -> Pixels:
    values = person.get(f"hand_{side.value}_keypoints_2d") or []
    numbers = _numbers(values, (-1,), f"{where}hand_{side.value}_keypoints_2d")
    if numbers.size == 0:
        return np.full((21, 2), np.nan)
    if numbers.size != 63:
        raise DataError(
            f"{where}hand_{side.value}_keypoints_2d has {numbers.size} numbers, not 21 x (x, y, confidence)."
        )
    places = numbers.reshape(21, 3)
    pixels = np.where(places[:, 2:] > 0, places[:, :2], np.nan)
    require_pixels(pixels, where, "run OpenPose with --keypoint_scale 0")
    return pixels


def _hand_alone(instance: Mapping[str, Any], where: str) -> PictureLandmarks:
    """The hand of a detector of single hands, which does not say its side."""
    places, scores = _numbers(instance["keypoints"], (-1, 2), f"{where}keypoints"), instance.get("keypoint_scores", [])
    if len(scores) != len(places):
        raise DataError(f"{where}an instance must have keypoints and keypoint_scores.")
    seen = _numbers(scores, (-1,), f"{where}keypoint_scores")[:, None] >= LEAST_SCORE
    pixels = np.where(seen, places, np.nan)
    require_pixels(pixels, where, "multiply them by its width and height")
    found = one_person([{Side.RIGHT: pixels}], where)
    if found is None:
        raise DataError(f"{where}the hand has fewer than {FEWEST} joints; leave the picture out.")
    return replace(found, one_hand=True)


def _body_hands(instance: Any, where: str) -> Iterator[tuple[Side, Pixels]]:
    if not is_instance(instance):
        raise DataError(f"{where}an instance must have keypoints and keypoint_scores.")
    places = _numbers(instance["keypoints"], (-1, 2), f"{where}keypoints")
    scores = _numbers(instance["keypoint_scores"], (-1,), f"{where}keypoint_scores")
    if len(places) not in FIRST_OF_HANDS or len(scores) != len(places):
        raise DataError(
            f"{where}{len(places)} keypoints and {len(scores)} scores; hands are read of bodies with "
            f"{', '.join(map(str, FIRST_OF_HANDS))} keypoints (COCO-WholeBody, Halpe)."
        )
    for side, first in zip(SIDES, FIRST_OF_HANDS[len(places)], strict=True):
        seen = scores[first : first + 21, None] >= LEAST_SCORE
        pixels = np.where(seen, places[first : first + 21], np.nan)
        require_pixels(pixels, where, "multiply them by its width and height")
        yield side, pixels


def _numbers(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        numbers = number_array(value) if len(value) else np.zeros((0, *shape[1:]))
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be numbers ({error}).") from None
    if numbers.ndim != len(shape) or numbers.shape[1:] != shape[1:] or not np.isfinite(numbers).all():
        raise DataError(
            f"{name} must be finite numbers, {' x '.join('n' if x < 0 else str(x) for x in shape)} of them."
        )
    return numbers
