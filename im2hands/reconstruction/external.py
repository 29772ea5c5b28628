"""Meshes of any other system, read from a folder, as surfaces that are stored and measured like those of our own methods.

A folder holds a file per hand: `<frame id>_<side>.<obj|ply>`, or the frame's image path without its suffix in place of the id,
`Capture0/ROM04_RT_Occlusion/cam400262/image21684_left.ply`; side is `left` or `right`. Coordinates are those of the world or of
the frame's camera (x right, y down, z forward, as in InterHand2.6M), in metres or millimetres.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import Literal

import numpy as np

from im2hands.datasets.frames import Frame, FrameTable
from im2hands.geometry.inside import inside_mesh
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.mesh_files import read_mesh
from im2hands.hands.sides import Side
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.reconstruction.inputs import NO_VIEW, BoneInputs
from im2hands.reconstruction.surfaces import EMPTY, HandInput, HandSurface

Unit = Literal["m", "mm"]
CoordinateFrame = Literal["world", "camera"]
METRES = {"m": 1.0, "mm": 0.001}
SUFFIXES = (".obj", ".ply")
SMALLEST, LARGEST = 0.04, 0.4
"""Longest side (m) of the box around a hand; a fist is 0.08 m, a stretched hand 0.2 m long."""
NO_FILE = "no mesh file"
UNREADABLE = "unreadable mesh file"
NO_HAND_SIZE = "not as large as a hand"


@dataclass(frozen=True)
class MeshFolder:
    """Where another system's meshes lie, and what their numbers mean. frame: of the coordinates."""

    path: str
    unit: Unit = "m"
    frame: CoordinateFrame = "world"

    def file_of(self, frame: Frame, side: Side) -> Path | None:
        """The mesh file of a hand in a frame; None if there is none. Raises DataError if there are several."""
        found = [path for path in self._names(frame, side) if path.is_file()]
        if len(found) > 1:
            raise DataError(
                f"{self.path}: holds several meshes of the {side.value} hand in frame {frame.frame_id} "
                f"({', '.join(path.name for path in found)}); keep one of them."
            )
        return found[0] if found else None

    def read(self, path: Path, frame: Frame) -> Mesh:
        """A mesh in the world (m). Raises DataError if it is a hand only in another unit, and what `read_mesh` raises."""
        mesh = read_mesh(path)
        size, metres = longest_side(mesh), METRES[self.unit]
        if not plausible(size * metres):
            for unit, factor in METRES.items():
                if plausible(size * factor):
                    raise DataError(
                        f"{path}: the mesh is {size:.4g} long, which is a hand in {unit} and none in {self.unit}; "
                        f"state the unit {unit} for the folder."
                    )
        vertices = mesh.vertices * metres
        return Mesh(vertices if self.frame == "world" else frame.camera.to_world(vertices), mesh.faces)

    def _names(self, frame: Frame, side: Side) -> list[Path]:
        stems = (str(frame.frame_id), PurePosixPath(frame.file_name).with_suffix("").as_posix())
        return [Path(self.path, f"{stem}_{side.value}{suffix}") for stem in stems for suffix in SUFFIXES]


def external_surfaces(folder: MeshFolder, frames: FrameTable, inputs: BoneInputs) -> Iterator[list[HandSurface]]:
    """The surfaces of every pair of `inputs`, in its order.

    frames: all frames of the split.  inputs: of photographs (`bone_inputs` with `from_photographs`) and true keypoints, so that
    the same hands in the same frames are measured as for every other method.
    A hand without file, or whose file is damaged or holds no hand, is yielded without mesh, with the reason. The meshes' fields
    at the evaluation points are their insides by the winding number. Raises DataError at once if the folder holds nothing of
    these hands, and later for a mesh in another unit than stated.
    """
    if folder.unit not in METRES or folder.frame not in ("world", "camera"):
        raise DataError(
            f"{folder.path}: unit {folder.unit!r} and frame {folder.frame!r} must be m or mm, and world or camera."
        )
    if not os.path.isdir(folder.path):
        raise DataError(f"{folder.path}: the folder of external meshes is missing; correct the path.")
    places = {frame_id: row for row, frame_id in enumerate(frames.table["frame_id"].to_pylist())}
    wanted = [hand for view in inputs.views for hand in inputs.hands[view] if hand.frame_ids]
    if not any(folder.file_of(frames[places[hand.frame_ids[0]]], hand.frame.side) for hand in wanted):
        first = f", such as {wanted[0].frame_ids[0]}_{wanted[0].frame.side.value}.ply" if wanted else ""
        raise DataError(
            f"{folder.path}: holds no mesh of the {len(wanted)} evaluated hands; name the files "
            f"<frame id>_<left|right>.<obj|ply>{first}."
        )
    return ([_surface(folder, frames, places, hand) for hand in inputs(view)] for view in inputs.views)


def longest_side(mesh: Mesh) -> float:
    """Longest side of the box around the vertices that faces use; 0 without faces."""
    return 0.0 if mesh.is_empty else float(np.ptp(mesh.vertices[np.unique(mesh.faces)], axis=0).max())


def plausible(size: float) -> bool:
    """Whether something of this size (m) can be a hand."""
    return SMALLEST <= size <= LARGEST


def _surface(folder: MeshFolder, frames: FrameTable, places: dict[int, int], hand: HandInput) -> HandSurface:
    begun = perf_counter()
    if not hand.frame_ids:
        return hand.missing(NO_VIEW)
    frame = frames[places[hand.frame_ids[0]]]
    path = folder.file_of(frame, hand.frame.side)
    if path is None:
        return hand.missing(NO_FILE)
    try:
        mesh = folder.read(path, frame)
    except DamagedFileError:
        return hand.missing(UNREADABLE)
    if not mesh.is_empty and not plausible(longest_side(mesh)):
        return hand.missing(NO_HAND_SIZE)
    read = perf_counter()
    published, uniform = (
        np.zeros(len(points), bool)
        if mesh.is_empty
        else inside_mesh(hand.frame.to_world(points), mesh.vertices, mesh.faces)
        for points in (hand.published_points, hand.uniform_points)
    )
    return HandSurface(
        pair_id=hand.pair_id,
        hand_id=hand.hand_id,
        side=hand.frame.side,
        mesh=Mesh() if mesh.is_empty else mesh,
        failure=EMPTY if mesh.is_empty else None,
        published_field=published,
        uniform_field=uniform,
        extraction_s=read - begun,
        evaluation_points_s=perf_counter() - read,
        frame_ids=hand.frame_ids,
    )
