"""Keypoints that a user gives for pictures: a file in any format of `keypoint_files`, or a keypoint table of ours.

Their frame is the world that `R` and `t` of the camera start from.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from im2hands.datasets.keypoints import KeypointTable
from im2hands.geometry.cameras import Camera
from im2hands.io.errors import DataError
from im2hands.photographs.cameras import FrameRows
from im2hands.photographs.files import Photograph
from im2hands.photographs.film_table import FilmTable, is_film_table
from im2hands.photographs.keypoint_files import read_keypoints, with_palm
from im2hands.photographs.keypoint_layouts.mano_files import hand_models_of
from im2hands.photographs.landmark_files import GivenHands

KeypointsOf = Callable[[Photograph, Camera, tuple[int, int]], GivenHands]
"""Called with a picture, its camera, and its width and height in pixels."""


def keypoint_source(
    path: str,
    camera: str,
    order: str | None = None,
    unit: str | None = None,
    palm: float | None = None,
    swap_sides: bool = False,
    hand_model: str | os.PathLike | None = None,
) -> KeypointsOf:
    """path, order, unit, swap_sides: as in `read_keypoints`.  hand_model: folder for files of MANO's parameters, or `built-in`.
     palm: palm size for landmarks, m, instead of the one in the file.
    camera: as in `camera_source`; for a keypoint table of the workflow the frame table of its split.
    """
    if is_film_table(path):
        film = FilmTable.read(path)
        return lambda photograph, _camera, _size: film.given((photograph.name, *photograph.names), path)
    found = read_keypoints(path, unit=unit, order=order, swap_sides=swap_sides, hand_models=hand_models_of(hand_model))
    if palm is not None:
        found = with_palm(found, palm)
    if found.format != "table":
        return lambda photograph, seen, size: found.given(photograph.names, seen, size=size)
    table = KeypointTable.read(path)
    if Path(camera).suffix != ".parquet":
        raise DataError(f"{path}: a keypoint table has no file names; give the split's frame table as --camera.")
    rows = FrameRows(camera)
    table.require_frames([rows.table[row].pair_id for row in range(len(rows.table))], camera)
    keypoints = table.keypoints()

    def of(photograph: Photograph, seen: Camera, size: tuple[int, int]) -> GivenHands:
        row = rows.of(photograph)
        if not table.usable[row]:
            raise DataError(f"{path}: has no keypoints for {photograph.file} ({table.reasons[row]}).")
        return GivenHands(keypoints[row])

    return of
