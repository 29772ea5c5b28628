"""A film's pictures in order, with their times, cuts, cameras and whatever a detector found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from im2hands.films.detections import Detection
from im2hands.films.film_motion import FilmPicture
from im2hands.films.motion import FilmClock, rate_of
from im2hands.geometry.cameras import Camera
from im2hands.io.errors import DataError, Im2HandsError
from im2hands.photographs.cameras import CameraOf
from im2hands.photographs.files import VIDEOS, Photograph, film_rate

SMALL = (32, 18)
"""Columns and rows of the small pictures that cuts are found in."""
CUT, CUT_RATIO = 20.0, 3.0
"""Mean change (grey levels) at a cut at least, and in changes of its neighbourhood."""
NEIGHBOURS = 6
FindHands = Callable[[Photograph, UInt8[np.ndarray, "rows columns 3"], Camera], list[Detection]]


@dataclass(frozen=True, eq=False)
class Film:
    """pictures, clock: see their classes.  cuts: pictures with which a new scene begins.  problems: pictures in which the
    detector's words could not be used, and why."""

    pictures: list[FilmPicture]
    clock: FilmClock
    cuts: Bool[np.ndarray, " pictures"]
    problems: dict[str, str] = field(default_factory=dict)


def is_film(path: str | os.PathLike) -> bool:
    """Whether a path is named like a video."""
    return Path(path).suffix.lower() in VIDEOS


def read_film(
    path: Path, pictures: Iterable[Photograph], find: FindHands, camera_of: CameraOf, rate: float | None
) -> Film:
    """path: of the video, or a folder of pictures.  find: the hands of a picture.  rate: pictures per second, instead of the
    video's own times.

    A picture of which no hands are known is one without hands. Raises DataError if no rate is known.
    """
    read: list[FilmPicture] = []
    times: list[float | None] = []
    small: list[np.ndarray] = []
    problems: dict[str, str] = {}
    for photograph in pictures:
        image = photograph.read()
        camera = camera_of(photograph, image.shape)
        try:
            found = find(photograph, image, camera)
        except Im2HandsError as error:
            found, problems[photograph.name] = [], str(error)
        read.append(FilmPicture(photograph.name, camera, found))
        times.append(photograph.time)
        small.append(cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), SMALL, interpolation=cv2.INTER_AREA))
    return Film(read, _clock(path, times, rate), found_cuts(np.array(small)), problems)


def _clock(path: Path, times: list[float | None], rate: float | None) -> FilmClock:
    stated = rate if rate is not None else film_rate(path) if is_film(path) else None
    known = np.array([np.nan if time is None else time for time in times])
    usable = rate is None and len(known) > 1 and np.isfinite(known).all() and (np.diff(known) > 0).all()
    if stated is None and usable:
        stated = (len(known) - 1) / (known[-1] - known[0])
    if stated is None:
        raise DataError(f"{path}: how many pictures a second has it? Say so, as in --fps 30.")
    regular = FilmClock.regular(len(times), rate_of(stated))
    if not usable:
        return regular
    exact = FilmClock(known - known[0], regular.rate)
    if exact.is_regular:
        return regular
    return FilmClock(exact.times, rate_of((len(known) - 1) / (known[-1] - known[0])))


def found_cuts(small: UInt8[np.ndarray, "pictures rows columns"]) -> Bool[np.ndarray, " pictures"]:
    """Pictures that differ from the one before by much more than is usual around them."""
    cuts = np.zeros(len(small), bool)
    changes: Float[np.ndarray, " steps"] = np.abs(np.diff(small.astype(float), axis=0)).mean(axis=(1, 2))
    for step, change in enumerate(changes):
        around = np.delete(changes[max(step - NEIGHBOURS, 0) : step + NEIGHBOURS + 1], min(step, NEIGHBOURS))
        cuts[step + 1] = change > CUT and change > CUT_RATIO * np.median(around if len(around) else [0.0])
    return cuts
