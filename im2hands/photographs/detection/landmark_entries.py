"""What the detector found, as landmarks: for our own fit, and as an entry of the JSON file that `landmark_files` reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from im2hands.geometry.cameras import Camera
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.photographs.detection.detector import HandDetector
from im2hands.photographs.detection.hands import FoundHand
from im2hands.photographs.detection.networks import LiteRtNetworks
from im2hands.photographs.detection.pairing import PairOfHands, score
from im2hands.photographs.files import Photograph
from im2hands.photographs.landmark_files import GivenHands, PictureLandmarks, check_palm
from im2hands.photographs.landmarks import Landmarks

DETECTED = "detect"
"""In the place of a keypoint file: find the hands."""
AXES = "ray"
"""Of the network's points in space: it looks at a crop, so their z is the direction in which the hand is seen."""
NAME = "Google's palm and hand-landmark networks (MediaPipe 0.10.21)"


def world_of(hand: FoundHand, side: Side) -> Float[np.ndarray, "21 3"] | None:
    """The hand's points in space; None if the network took it for the other side, so that they bend the wrong way."""
    return hand.relative if hand.of(side) >= 0.5 else None


def landmarks_of_pair(pair: PairOfHands, palm: float | None = None) -> PictureLandmarks:
    """The pixels alone: a fit of the hand model to them is nearer to the truth than the network's own points in space.

    palm: size of the palm, m, see `landmarks.palm_size`.  Raises DataError if no hand was found.
    """
    if not pair.hands:
        raise DataError("no hand was found; give a keypoint file, or a larger picture of the hands.")
    return PictureLandmarks({side: Landmarks(hand.points) for side, hand in pair.hands.items()}, palm, AXES)


def entry_of_pair(pair: PairOfHands, shape: tuple[int, ...], every_hand: bool = False) -> dict[str, Any]:
    """The entry of one picture in a landmark file. shape: rows, columns, ...

    every_hand: also the hands that were not chosen, labelled as they look, for films in which the right ones are found later.
    """
    hands = [(side, hand) for side, hand in pair.hands.items()]
    if every_hand:
        hands += [(max(Side, key=hand.of), hand) for hand in pair.others]
    return {
        "size": [int(shape[1]), int(shape[0])],
        "axes": AXES,
        "hands": [_entry(hand, side) for side, hand in hands],
        "notes": list(pair.notes),
        "detector": NAME,
    }


def _entry(hand: FoundHand, side: Side) -> dict[str, Any]:
    world = world_of(hand, side)
    entry = {
        "side": side.value,
        "pixels": np.round(hand.points, 2).tolist(),
        "world": None if world is None else np.round(world, 5).tolist(),
        "score": round(score(hand), 3),
        "side_score": round(hand.of(side), 3),
    }
    return {key: value for key, value in entry.items() if value is not None}


def detected_keypoints(
    networks: Path | None = None, palm: float | None = None
) -> Callable[[Photograph, Camera], GivenHands]:
    """Called with a picture and its camera: the hands that are found in it (world, m), with the detector's notes.

    networks: folder of the network files, see `network_files`.  palm: as of `landmarks_of_pair`.
    Raises DataError, also when called, as `LiteRtNetworks`, `landmarks_of_pair` and `PictureLandmarks.placed` do.
    """
    if palm is not None:
        check_palm(palm, "--palm: ")
    detector = HandDetector(LiteRtNetworks(networks))

    def of(photograph: Photograph, camera: Camera, *_: Any) -> GivenHands:
        pair = detector(photograph.read())
        return replace(landmarks_of_pair(pair, palm).placed(camera), notes=pair.notes)

    return of
