"""What a detector found in every picture of a film: hands in any number, of anybody, with labels that may be wrong.

For single pictures a file with two left hands or two people is refused, because nobody can tell which hand is which. In a film
the pictures before and after tell, so everything that is in the file is read here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from im2hands.geometry.cameras import Camera
from im2hands.hands.sides import SIDES, Side
from im2hands.io.atomic import read_json
from im2hands.io.errors import DataError
from im2hands.photographs.files import Photograph
from im2hands.photographs.keypoint_formats import of_picture
from im2hands.photographs.landmark_files import GivenHands, PictureLandmarks, check_palm, is_landmarks, landmarks_of
from im2hands.photographs.landmarks import FEWEST, Axes
from im2hands.photographs.pixel_files import OPENPOSE_FILE, is_openpose, is_openpose_folder, of_instances, of_people


@dataclass(frozen=True, eq=False)
class Detection:
    """A hand that was found in a picture.

    side: as labelled.  pixels: STANDARD order, NaN where a joint is not seen.  relative, axes: as of `landmarks.Landmarks` and
    `landmarks.place_hand`.  points: camera frame, m, from a source that knows them.  palm: size of the palm (m), if the file
    states it.  person: number of the person in this picture, where the source tells persons apart.
    """

    side: Side
    pixels: Float[np.ndarray, "21 2"]
    relative: Float[np.ndarray, "21 3"] | None = None
    axes: Axes = "camera"
    points: Float[np.ndarray, "21 3"] | None = None
    palm: float | None = None
    person: int | None = None

    @property
    def extent(self) -> float:
        """Longer side of the box around the joints (px)."""
        return float(np.nanmax(np.nanmax(self.pixels, axis=0) - np.nanmin(self.pixels, axis=0)))


DetectionsOf = Callable[[Photograph, Camera], list[Detection]]
"""A picture and its camera -> what was found; raises DataError if nothing can be said about the picture."""


def detections_of_file(path: str, swap_sides: bool = False, palm: float | None = None) -> DetectionsOf | None:
    """Everything that a file of landmarks, of OpenPose (also a folder) or of whole bodies holds; None for other formats.

    swap_sides: for files that call left what is right.  palm: instead of the one in the file.
    Raises DataError for a file that cannot be read.
    """
    if palm is not None:
        check_palm(palm, f"{path}: ")
    entries = _entries(Path(path))
    if entries is None:
        return None
    read: dict[str, list[Detection] | DataError] = {}
    for name, entry in entries:
        try:
            read[name] = [
                replace(one, side=one.side.other if swap_sides else one.side, palm=palm or one.palm)
                for one in _of_entry(entry, f"{path}: {of_picture(name)}")
            ]
        except DataError as error:
            read[name] = error
    if not any(isinstance(found, list) and found for found in read.values()):
        first = next((found for found in read.values() if isinstance(found, DataError)), None)
        raise first or DataError(f"{path}: no picture has a hand with at least {FEWEST} joints.")

    def of(photograph: Photograph, _: Camera) -> list[Detection]:
        found = next((read[name] for name in reversed(photograph.names) if name in read), [])
        if isinstance(found, DataError):
            raise found
        return found

    return of


def detections_of_hands(given: GivenHands, camera: Camera) -> list[Detection]:
    """Hands with metric keypoints as detections; those behind the camera are left out."""
    found = []
    for side in SIDES:
        points = camera.to_camera(given.keypoints[side.index])
        if np.isfinite(points).all() and (points[:, 2] > 0).all():
            pixels = camera.project(given.keypoints[side.index])
            found.append(Detection(side, pixels, points=points))
    return found


def _entries(path: Path) -> list[tuple[str, Mapping[str, Any]]] | None:
    """Name and content of every picture; None if this is none of the formats."""
    if is_openpose_folder(path):
        files = sorted(path.glob(f"*{OPENPOSE_FILE}"))
        return [(file.name.removesuffix(OPENPOSE_FILE), read_json(file, "keypoint file")) for file in files]
    if path.suffix.lower() != ".json" or path.is_dir():
        return None
    content = read_json(path, "keypoint file")
    if isinstance(content, dict) and not _is_picture(content):
        named = list(content.items())
    elif isinstance(content, list) and all(isinstance(one, dict) for one in content):
        named = [(str(one.get("image", one.get("frame_id", ""))), one) for one in content]
    else:
        return None
    return named if named and all(isinstance(one, dict) and _is_picture(one) for _, one in named) else None


def _is_picture(entry: Mapping[str, Any]) -> bool:
    return is_landmarks(entry) or is_openpose(entry) or isinstance(entry.get("instances"), list)


def _of_entry(entry: Mapping[str, Any], where: str) -> Iterator[Detection]:
    """Every hand of a picture with enough joints. Raises DataError for what is no hand at all."""
    if is_landmarks(entry):
        for hand in entry["hands"]:
            yield from _detections(landmarks_of({**entry, "hands": [hand]}, where), None)
    elif is_openpose(entry):
        for person, one in enumerate(entry["people"]):
            yield from _detections(of_people({"people": [one]}, where), person)
    elif not isinstance(entry.get("instances"), list):
        raise DataError(f"{where}has neither hands, people nor instances; correct the file.")
    else:
        for person, one in enumerate(entry["instances"]):
            try:
                yield from _detections(of_instances({"instances": [one]}, where), person)
            except DataError:
                continue  # a person without hands


def _detections(found: PictureLandmarks | None, person: int | None) -> Iterator[Detection]:
    for side, hand in found.hands.items() if found is not None else ():
        seen = np.isfinite(hand.pixels).all(axis=1)
        if seen.sum() >= FEWEST and np.ptp(hand.pixels[seen], axis=0).max() > 0:
            yield Detection(side, hand.pixels, hand.relative, found.axes, None, found.palm, person)
