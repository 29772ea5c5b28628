"""Cameras that a user gives for pictures.

A camera file is a frame table of ours, or JSON with one entry, or one per picture under the picture's name (with or without
suffix): `K` (3 x 3), or `focal` and `princpt` (two numbers each); `R` and `t` (m), world to camera, may be left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from im2hands.datasets.frames import FrameTable
from im2hands.geometry.cameras import Camera, checked_rotation
from im2hands.io.arrays import number_array
from im2hands.io.atomic import read_json
from im2hands.io.errors import DataError
from im2hands.photographs.files import Photograph, exif_focal

AUTO = "auto"
ASSUMED_VIEW = 60.0
"""Degrees along the longer side of a picture whose camera is not known; that of many telephones."""
MOST_PIXELS, FARTHEST = 1e7, 1e4
"""Of a focal length or centre, and of a camera's place (m); numbers beyond them are of a damaged file."""
CameraOf = Callable[[Photograph, tuple[int, ...]], Camera]


def camera_source(text: str) -> CameraOf:
    """text: `auto`, `focal=<pixels>`, a JSON file or a frame table. The result is called with a picture and its shape."""
    if text == AUTO:
        return lambda photograph, shape: _simple(guessed_focal(photograph, shape)[0], shape)
    if text.startswith("focal="):
        try:
            focal = float(text.removeprefix("focal="))
        except ValueError:
            focal = np.nan
        if not (np.isfinite(focal) and focal > 0):
            raise DataError(f"--camera {text}: the focal length must be a positive number of pixels, as in focal=1200.")
        return lambda _, shape: _simple(focal, shape)
    if Path(text).suffix == ".parquet":
        rows = FrameRows(text)
        return lambda photograph, _: rows.table[rows.of(photograph)].camera
    content = read_json(text, "camera file")
    return lambda photograph, _: _camera(_entry(content, photograph, text, {"K", "focal"}), text)


class FrameRows:
    """The rows of a frame table by picture."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path, self.table = path, FrameTable.read(path)
        self.names = [f"/{name}" for name in self.table.table["file_name"].to_pylist()]

    def of(self, photograph: Photograph) -> int:
        """Raises DataError unless the picture's path ends with the file name of exactly one row."""
        whole = photograph.file.resolve().as_posix()
        found = [row for row, name in enumerate(self.names) if whole.endswith(name)]
        if len(found) != 1:
            raise DataError(
                f"{self.path}: {len(found)} rows belong to {photograph.file}; give the frame table of this picture's split."
            )
        return found[0]


def guessed_focal(photograph: Photograph, shape: tuple[int, ...]) -> tuple[float, str]:
    """What `auto` takes for the focal length (pixels), and where it is from."""
    written = exif_focal(photograph.file, shape)
    if written is not None:
        return written, f"{written:.0f} pixels, from the picture's EXIF"
    assumed = max(shape[:2]) / 2 / np.tan(np.radians(ASSUMED_VIEW / 2))
    return assumed, f"{assumed:.0f} pixels, assumed: {ASSUMED_VIEW:.0f} degrees along the longer side"


def _simple(focal: float, shape: tuple[int, ...]) -> Camera:
    rows, columns = shape[:2]
    intrinsics = np.array([[focal, 0, (columns - 1) / 2], [0, focal, (rows - 1) / 2], [0, 0, 1]])
    return Camera(intrinsics, np.eye(3), np.zeros(3))


def _entry(content: Any, photograph: Photograph, path: str, keys: set[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise DataError(f"{path}: must contain an object, not a {type(content).__name__}; see docs/own-images.md.")
    if keys & set(content):
        return content
    for name in photograph.names:
        if isinstance(content.get(name), dict):
            return content[name]
    raise DataError(
        f"{path}: contains neither {' nor '.join(sorted(keys))} nor an entry {photograph.file.name}; add one of them."
    )


def _camera(entry: dict[str, Any], path: str) -> Camera:
    if "K" in entry:
        intrinsics = _numbers(entry["K"], (3, 3), "K", path)
    else:
        focal, centre = (_numbers(entry.get(name), (2,), name, path) for name in ("focal", "princpt"))
        intrinsics = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])
    if not (intrinsics[0, 0] > 0 and intrinsics[1, 1] > 0):
        raise DataError(f"{path}: the focal lengths must be positive.")
    if not np.array_equal(intrinsics[2], [0, 0, 1]) or intrinsics[1, 0] != 0 or np.abs(intrinsics).max() > MOST_PIXELS:
        raise DataError(
            f"{path}: K must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels, with no value above {MOST_PIXELS:g}."
        )
    rotation = checked_rotation(_numbers(entry.get("R", np.eye(3).tolist()), (3, 3), "R", path), f"{path}: R")
    translation = _numbers(entry.get("t", [0.0, 0.0, 0.0]), (3,), "t", path)
    if np.abs(translation).max() > FARTHEST:
        raise DataError(
            f"{path}: t has a value of {np.abs(translation).max():.3g}; it must be in metres, at most {FARTHEST:g}."
        )
    return Camera(intrinsics, rotation, translation)


def _numbers(value: Any, shape: tuple[int, ...], name: str, path: str) -> np.ndarray:
    try:
        found = number_array(value)
    except ValueError:
        found = np.zeros(0)
    if found.shape != shape or not np.isfinite(found).all():
        size = " x ".join(map(str, shape))
        raise DataError(f"{path}: {name} must be {size} finite numbers.")
    return found
