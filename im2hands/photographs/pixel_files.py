"""2-D keypoints as body pose detectors write them: OpenPose's files, and MMPose's predictions of whole bodies.

`openpose`: `<picture>_keypoints.json` with `people`, each with `hand_left_keypoints_2d` and `hand_right_keypoints_2d`, 21 x (x,
y, confidence) in a row, zeros for a joint that is not seen.
`wholebody`: `instances` with `keypoints` (133 x 2) and `keypoint_scores`, left hand 91 to 111, right hand 112 to 132; a list of
frames, or of one picture's instances.

Sources: OpenPose, doc/02_output.md; MMPose, configs/_base_/datasets/coco_wholebody.py and halpe.py. Joints in STANDARD order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from im2hands.hands.sides import SIDES, Side
from im2hands.io.arrays import number_array
from im2hands.io.atomic import read_json
from im2hands.io.errors import DataError
from im2hands.photographs.landmark_files import PictureLandmarks
from im2hands.photographs.landmarks import FEWEST, Landmarks

OPENPOSE_FILE = "_keypoints.json"
FIRST_OF_HANDS = {133: (91, 112), 134: (92, 113), 136: (94, 115)}
"""Number of joints of a body -> first joint of the left and of the right hand: COCO-WholeBody, its OpenPose form, Halpe."""
LEAST_SCORE = 0.3
"""Scores of whole-body detectors below which a joint counts as not seen (MMPose's own default)."""
LARGEST_NORMALISED = 2.0
Pixels = Float[np.ndarray, "21 2"]


def is_openpose_folder(path: Path) -> bool:
    """Whether a path is a folder of OpenPose's files."""
    return path.is_dir() and next(path.glob(f"*{OPENPOSE_FILE}"), None) is not None


def is_openpose(content: Any) -> bool:
    """Whether the content of a JSON file is OpenPose's."""
    return isinstance(content, dict) and isinstance(content.get("people"), list)


def read_openpose(path: Path) -> dict[str, PictureLandmarks]:
    """Picture -> its hands, of a file or a folder; pictures without hands are left out.

    A file's picture is in its name; a file of another name holds one picture without name.

    Raises DataError if no picture has a hand, and as `of_people`.
    """
    files = sorted(path.glob(f"*{OPENPOSE_FILE}")) if path.is_dir() else [path]
    found = {}
    for file in files:
        content = read_json(file, "keypoint file")
        if not is_openpose(content):
            raise DataError(f"{file}: has no list `people`, so OpenPose did not write it; rename or remove it.")
        hands = of_people(content, f"{file}: ")
        if hands is not None:
            found[file.name.removesuffix(OPENPOSE_FILE) if file.name.endswith(OPENPOSE_FILE) else ""] = hands
    if not found:
        raise DataError(
            f"{path}: no hand with at least {FEWEST} joints; run OpenPose with --hand, and look at its pictures."
        )
    return found


def of_people(entry: Mapping[str, Any], where: str) -> PictureLandmarks | None:
    """The hands of one picture of OpenPose; None if nobody's are seen. where: start of messages.

    Raises DataError for hands of several people, for other numbers than 21 x 3, and for coordinates that are no pixels.
    """
    people = [
        {side: _openpose_hand(person, side, where) for side in SIDES}
        for person in entry["people"]
        if isinstance(person, dict)
    ]
    return _one_person(people, where)


def of_instances(entry: Mapping[str, Any], where: str) -> PictureLandmarks:
    """The hands of one picture of a whole-body detector. Raises DataError as `of_people`, and if nobody's hands are seen."""
    people = [dict(_body_hands(instance, where)) for instance in entry["instances"]]
    found = _one_person(people, where)
    if found is None:
        raise DataError(f"{where}nobody has a hand with at least {FEWEST} joints; leave the picture out.")
    return found


def is_instance(entry: Any) -> bool:
    """Whether an object is one body of a picture."""
    return isinstance(entry, dict) and "keypoints" in entry and "keypoint_scores" in entry


def _one_person(people: list[dict[Side, Pixels]], where: str) -> PictureLandmarks | None:
    """The hands of the only person that shows any."""
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
        PictureLandmarks({side: Landmarks(pixels) for side, pixels in seen[0].items()}, None, "camera")
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
    if np.isfinite(pixels).any() and np.nanmax(np.abs(pixels)) <= LARGEST_NORMALISED:
        raise DataError(f"{where}the coordinates are not pixels; run OpenPose with --keypoint_scale 0.")
    return pixels


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
        yield side, np.where(seen, places[first : first + 21], np.nan)


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
