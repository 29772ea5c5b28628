"""The table of writers: format -> how its files are written, and what a file of it must be called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from im2hands.photographs.keypoint_layouts import picture_writers, space_writers


@dataclass(frozen=True)
class Writer:
    """write: fills a file or folder with pictures.

    needs: `space` for hands in metres, `pixels` for landmarks, `placed` for landmarks or hands before a camera.
    ends: of the file's name, any of them; empty for a folder.
    """

    write: Callable[[Path, Any], None]
    needs: Literal["space", "pixels", "placed"] = "space"
    ends: tuple[str, ...] = (".json",)

    @property
    def folder(self) -> bool:
        return not self.ends


FOLDER: tuple[str, ...] = ()
PICKLE = (".pkl", ".pickle")

WRITERS = {
    "json": Writer(space_writers.write_json_hands, ends=(".json", ".parquet")),
    "array": Writer(space_writers.write_array, ends=(".npy", ".json")),
    "ply": Writer(space_writers.write_ply, ends=FOLDER),
    "landmarks": Writer(picture_writers.write_landmarks, "pixels"),
    "mediapipe": Writer(picture_writers.write_mediapipe, "pixels"),
    "openpose": Writer(picture_writers.write_openpose, "pixels", FOLDER),
    "openpose-3d": Writer(space_writers.write_openpose_3d, ends=FOLDER),
    "wholebody": Writer(picture_writers.write_wholebody, "pixels"),
    "coco": Writer(picture_writers.write_coco, "pixels"),
    "freihand": Writer(space_writers.write_freihand, ends=("_xyz.json",)),
    "ho3d": Writer(space_writers.write_ho3d, ends=FOLDER),
    "dexycb": Writer(space_writers.write_dexycb, ends=FOLDER),
    "dexycb-results": Writer(space_writers.write_dexycb_results, ends=(".txt",)),
    "h2o": Writer(space_writers.write_h2o, ends=FOLDER),
    "interhand": Writer(space_writers.write_interhand),
    "assemblyhands": Writer(space_writers.write_assemblyhands),
    "rhd": Writer(space_writers.write_rhd, ends=PICKLE),
    "arctic": Writer(space_writers.write_arctic, ends=(".npy",)),
    "wilor": Writer(picture_writers.write_wilor, "placed"),
    "mhr70": Writer(picture_writers.write_mhr70, "placed"),
    "ultraleap": Writer(space_writers.write_ultraleap),
    "hand-tracking-sdk": Writer(space_writers.write_stream, ends=(".txt",)),
    "dex-retargeting": Writer(space_writers.write_dex_retargeting),
    **{
        name: Writer(partial(space_writers.write_dump, name=name))
        for name in ("hot3d", "webxr", "openxr", "quest", "soma")
    },
}
"""Name of a format -> its writer."""
_FITTED = "keypoints alone do not give parameters; fit a hand model to the meshes (`fit_hand_model` in Python)"
READ_ONLY = {
    "mano": _FITTED,
    "hands.json": _FITTED,
    "table": "the workflow writes it",
    "film": "im2hands reconstruct writes it for a film",
}
"""Name of a format that has no writer -> why."""
