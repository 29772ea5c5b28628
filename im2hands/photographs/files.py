"""A user's own photographs: image files of any depth, folders of them, and the frames of videos, as 8-bit RGB.

Pixels are those of the displayed picture: the EXIF orientation is applied, and cameras and keypoints refer to the result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from im2hands.datasets.audit import Unusable
from im2hands.datasets.image_files import MOST_PIXELS, decoder_output, read_image
from im2hands.io.errors import DataError
from im2hands.io.limits import readable_file

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
LONGEST_SIDE = 32766
"""Pixels; OpenCV's warps take no longer ones."""
FASTEST_FILM = 10000.0
"""Pictures per second; headers of more are wrong."""
EXIF_FOLDER, EXIF_FOCAL_35MM = 0x8769, 0xA405
FILM_DIAGONAL_MM = 43.27

Image = UInt8[np.ndarray, "rows columns 3"]


@dataclass(frozen=True)
class Photograph:
    """A picture that is read on demand.

    name: name of its results.  file: its source file.  number, time: of a video's frame, the time in seconds.
    """

    name: str
    file: Path
    read: Callable[[], Image]
    number: int | None = None
    time: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What a camera or keypoint file may call it."""
        of_frame = () if self.number is None else (str(self.number), f"{self.file.stem}_{self.number:012d}")
        return self.file.name, self.file.stem, self.name, *of_frame


def photographs(paths: Sequence[str | os.PathLike]) -> Iterator[Photograph]:
    """The pictures of files, folders (not those below them) and videos, in order; equal names get a number.

    Raises DataError for a path that is missing, of an unknown kind, or a folder or video without pictures.
    """
    seen: dict[str, int] = {}
    for photograph in _all(paths):
        count = seen[photograph.name] = seen.get(photograph.name, 0) + 1
        name = photograph.name if count == 1 else f"{photograph.name}-{count}"
        yield replace(photograph, name=name)


def number_of_photographs(paths: Sequence[str | os.PathLike]) -> int:
    """How many pictures `photographs` gives; for videos what their header says. For progress."""
    count = 0
    for path in map(Path, paths):
        if path.is_dir():
            count += sum(file.suffix.lower() in IMAGES for file in path.iterdir())
        elif path.suffix.lower() in VIDEOS:
            with decoder_output():
                count += max(int(cv2.VideoCapture(os.fspath(path)).get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        else:
            count += 1
    return count


def film_rate(path: str | os.PathLike) -> float | None:
    """Pictures per second that the header of a video states; None if it states none."""
    with decoder_output():
        rate = float(cv2.VideoCapture(os.fspath(path)).get(cv2.CAP_PROP_FPS))
    return rate if np.isfinite(rate) and 0 < rate < FASTEST_FILM else None


def _all(paths: Sequence[str | os.PathLike]) -> Iterator[Photograph]:
    for path in map(Path, paths):
        suffix = path.suffix.lower()
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES)
            if not files:
                raise DataError(f"{path}: the folder contains no pictures ({', '.join(IMAGES)}).")
            yield from (Photograph(file.stem, file, partial(read_photograph, file)) for file in files)
        elif not path.exists():
            raise DataError(f"{path}: no such image, folder or video.")
        elif suffix in VIDEOS:
            yield from _video(path)
        elif suffix in IMAGES:
            yield Photograph(path.stem, path, partial(read_photograph, path))
        else:
            raise DataError(f"{path}: neither an image ({', '.join(IMAGES)}) nor a video ({', '.join(VIDEOS)}).")


def read_photograph(path: str | os.PathLike) -> Image:
    """The whole picture, upright. 16-bit values are divided by 257; grey becomes RGB; transparency is dropped.

    Raises DataError if it is missing, damaged, truncated, of floating point or too large.
    """
    try:
        image = read_image(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except Unusable as unusable:
        raise DataError(f"{path}: the image cannot be used: {unusable.finding.detail}.") from None
    if image.dtype == np.uint16:
        image = np.round(image / 257).astype(np.uint8)
    if image.dtype != np.uint8:
        raise DataError(f"{path}: the image has {image.dtype} values; save it with 8 or 16 bits.")
    if max(image.shape) > LONGEST_SIDE:
        raise DataError(f"{path}: one side has {max(image.shape)} pixels; make it smaller than {LONGEST_SIDE}.")
    return np.ascontiguousarray(image[..., ::-1])


def exif_focal(path: str | os.PathLike, shape: tuple[int, ...]) -> float | None:
    """Focal length in pixels of a picture of that shape, as its file says; None if it does not, or for a video.

    The tag is the 35 mm equivalent, which refers to the diagonal (43.27 mm) of the picture: one that was cut out of another is
    taken for one of a longer lens (Exif 2.3, FocalLengthIn35mmFilm; CIPA DCG-001).
    """
    from PIL import Image as Picture
    from PIL import UnidentifiedImageError

    if Path(path).suffix.lower() not in IMAGES:
        return None
    try:
        with Picture.open(path) as image:
            equivalent = float(image.getexif().get_ifd(EXIF_FOLDER).get(EXIF_FOCAL_35MM, 0))
    except (OSError, UnidentifiedImageError, Picture.DecompressionBombError, SyntaxError, TypeError, ValueError):
        return None
    if not (np.isfinite(equivalent) and equivalent > 0):
        return None
    return float(equivalent / FILM_DIAGONAL_MM * np.hypot(*shape[:2]))


def _video(path: Path) -> Iterator[Photograph]:
    with decoder_output():
        video = cv2.VideoCapture(os.fspath(readable_file(path, "video")))
    try:
        number = 0
        if video.get(cv2.CAP_PROP_FRAME_WIDTH) * video.get(cv2.CAP_PROP_FRAME_HEIGHT) > MOST_PIXELS:
            raise DataError(
                f"{path}: the video announces frames of more than {MOST_PIXELS:,} pixels; make them smaller."
            )
        while True:
            found, image = video.read()
            if not found:
                break
            rgb = np.ascontiguousarray(image[..., ::-1])
            time = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            yield Photograph(f"{path.stem}-{number:06d}", path, partial(np.asarray, rgb), number, time)
            number += 1
    finally:
        video.release()
    if not number:
        raise DataError(f"{path}: OpenCV cannot read any frame of this video; convert it to H.264 in an .mp4 file.")
