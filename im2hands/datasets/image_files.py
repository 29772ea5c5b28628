"""Image files of a dataset: finding them, checking that they are intact and of the announced size, and the test for black
images.

OpenCV decodes damaged JPEG files without an error, so the end marker is checked and the decoder's warnings are caught.
Cameras refer to the stored pixels. OpenCV rotates an image if its EXIF data say so, so such images are refused.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image as Picture

from im2hands.datasets.audit import Finding, Reason, Unusable
from im2hands.geometry.cameras import Affine
from im2hands.io.errors import DataError
from im2hands.io.limits import LARGEST_PICTURE, read_content

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
DAMAGE_WORDS = ("corrupt", "premature", "error", "truncated", "bad ", "crc")
LOG_PREFIX = re.compile(r"^\[[^]]*\] *(global )?")
"""Level, thread and time that OpenCV puts before its messages: cut, so that equal damage gives equal text."""
SUFFIXES = (".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG")
"""Endings under which the picture of an announced name may lie."""
EXIF_ORIENTATION, UPRIGHT, TURNED = 0x0112, 1, range(2, 9)
"""Tag of EXIF, and its values: 2 to 8 are quarter turns and mirror images."""
MOST_PIXELS = 250_000_000
"""Of a picture: the largest sensors of telephones have 200 million."""
CERTAINTY_FACTOR = 2.0
"""The mean of a reduced image decides alone if it is this many times above or below the limit (see `inspect_image`)."""


def read_image(path: str | os.PathLike, mode: int = cv2.IMREAD_COLOR) -> UInt8[np.ndarray, "rows columns 3"]:
    """The whole image, BGR. mode: of OpenCV's decoder.  Raises Unusable (reason IMAGE_MISSING or IMAGE_UNREADABLE)."""
    return _decode(_read_whole(Path(path)), mode)


def find_image(folder: str | os.PathLike, name: str) -> Path:
    """The file with the announced name, or the only file in its folder with that name and another ending (.png for .jpg).

    The announced path if there is none or more than one.
    """
    path = Path(folder, name)
    if not path.is_file():
        others = [other for suffix in SUFFIXES if (other := path.with_suffix(suffix)).is_file()]
        others = [one for one in others if not one.samefile(others[0])] + others[:1]
        if len(others) == 1:
            return others[0]
    return path


def inspect_image(path: str | os.PathLike, min_mean: float, width: int, height: int) -> Finding | None:
    """None if a frame's image is there, whole, of the announced size and not black; otherwise what is wrong.

    min_mean: grey levels; an image is black if its mean over all pixels and channels is below it (IntagHand: 10).
    The mean is first taken from a decoding at an eighth of the size, which for JPEG reads the block averages only.
    It differs from the full one by clipping and by cut-off blocks at the border, so where it lies within a factor of
    two of the limit the image is decoded in full: only the full mean decides there.
    An image that was resized as a whole is IMAGE_SCALED, and can be used with intrinsics scaled to `image_size`.
    """
    try:
        content = _read_whole(Path(path))
        reduced = _decode(content, cv2.IMREAD_REDUCED_COLOR_8)
        mean = float(reduced.mean())
        if min_mean / CERTAINTY_FACTOR < mean < min_mean * CERTAINTY_FACTOR:
            mean = float(_decode(content, cv2.IMREAD_COLOR).mean())
        if mean < min_mean:
            return Finding(Reason.BLACK_IMAGE, "mean over pixels and channels, grey levels", mean)
        return _compare_size(_stored(content), (width, height))
    except Unusable as damage:
        return damage.finding


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(width, height) of the stored image, pixels. Raises Unusable (IMAGE_MISSING or IMAGE_UNREADABLE)."""
    return _stored(_read_whole(Path(path))).size


class _Stored(NamedTuple):
    """What an image's header says. orientation: of EXIF, 1 for upright."""

    size: tuple[int, int]
    orientation: int


def _stored(content: bytes) -> _Stored:
    try:
        with warnings.catch_warnings(action="ignore"), Picture.open(io.BytesIO(content)) as picture:
            size = picture.size
            exif = picture.getexif() if "exif" in picture.info or picture.format == "TIFF" else {}
            return _Stored(size, exif.get(EXIF_ORIENTATION, UPRIGHT))
    except (
        Exception
    ):  # Pillow raises whatever its parsers meet in odd headers; OpenCV may read the picture all the same
        rows, columns = _decode(content, cv2.IMREAD_COLOR).shape[:2]
        return _Stored((columns, rows), UPRIGHT)


def _compare_size(stored: _Stored, announced: tuple[int, int]) -> Finding | None:
    """None for an image of the announced size; otherwise whether it was resized, turned or is another one."""
    (columns, rows), (width, height) = stored.size, announced
    if stored.orientation in TURNED:
        return Finding(Reason.IMAGE_TURNED, f"its EXIF orientation is {stored.orientation}")
    if (columns, rows) == (width, height):
        return None
    found = f"announced {width} x {height}, found {columns} x {rows}"
    if is_resized(stored.size, announced):
        return Finding(Reason.IMAGE_SCALED, f"{found}; intrinsics scaled by", columns / width)
    if (columns, rows) == (height, width):
        return Finding(Reason.IMAGE_SIDES_EXCHANGED, found)
    return Finding(Reason.IMAGE_SIZE_DIFFERS, found)


def is_resized(size: tuple[int, int], original: tuple[int, int]) -> bool:
    """Whether one factor, with rounding to whole pixels in either direction, makes `size` of `original`."""
    ranges = [((now - 1) / was, (now + 1) / was) for now, was in zip(size, original, strict=True)]
    return max(low for low, _ in ranges) < min(high for _, high in ranges)


def resizing(size: tuple[int, int], original: tuple[int, int]) -> Affine:
    """The map from pixels of the original to those of the resized image, whose outer borders coincide."""
    x, y = (now / was for now, was in zip(size, original, strict=True))
    return np.array([[x, 0.0, (x - 1) / 2], [0.0, y, (y - 1) / 2]])


def announced_size(content: bytes) -> tuple[int, int] | None:
    """Columns and rows that an image's header announces; None if Pillow knows no such header."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
            return image.size
    except Image.DecompressionBombError as error:
        raise Unusable(Reason.IMAGE_UNREADABLE, f"too large: {error}") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, TypeError, KeyError, OverflowError):
        return None


def _check_announced(content: bytes) -> None:
    """Before it is decoded: a small file may announce more pixels than there is memory."""
    size = announced_size(content)
    if size is not None and size[0] * size[1] > MOST_PIXELS:
        raise Unusable(
            Reason.IMAGE_UNREADABLE, f"its header announces {size[0]} x {size[1]} pixels, more than {MOST_PIXELS:,}"
        )


def _read_whole(path: Path) -> bytes:
    if not path.exists():
        raise Unusable(Reason.IMAGE_MISSING, "no such file")
    try:
        content = read_content(path, "image", LARGEST_PICTURE)
    except DataError as error:
        raise Unusable(Reason.IMAGE_UNREADABLE, f"cannot be read: {error}") from None
    if content[:2] == JPEG_START and not content.rstrip(b"\x00").endswith(JPEG_END):
        raise Unusable(Reason.IMAGE_UNREADABLE, "truncated: the JPEG end marker is missing")
    return content


def _decode(content: bytes, mode: int) -> UInt8[np.ndarray, "rows columns 3"]:
    if not content:
        raise Unusable(Reason.IMAGE_UNREADABLE, "the file is empty")
    _check_announced(content)
    with decoder_output() as printed:
        try:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), mode)
        except cv2.error as error:
            raise Unusable(Reason.IMAGE_UNREADABLE, f"does not decode: {' '.join(str(error).split())}") from None
    text = printed[0] if printed else ""
    if image is None:
        raise Unusable(Reason.IMAGE_UNREADABLE, f"does not decode {text}".strip())
    if any(word in text.lower() for word in DAMAGE_WORDS):
        raise Unusable(Reason.IMAGE_UNREADABLE, f"damaged: {text}")
    return image


@contextmanager
def decoder_output() -> Iterator[list[str]]:
    """Catches what the C decoders print while the block runs; afterwards the list contains the lines.

    The process's error output is redirected meanwhile: meant for worker processes and single-threaded stages.
    """
    lines: list[str] = []
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield lines
            finally:
                os.dup2(saved, 2)
                file.seek(0)
                lines += [LOG_PREFIX.sub("", line) for line in file.read().decode(errors="replace").splitlines()]
    finally:
        os.close(saved)
