"""Meshes of another system, read from a folder, then stored and evaluated like those of our own methods.

A folder contains a file per hand: `<frame id>_<side>.<obj|ply>`, or the frame's image path without its suffix instead of the
id, `Capture0/ROM04_RT_Occlusion/cam400262/image21684_left.ply`; side is `left` or `right`. The names of our own exports (see
`storage.export_pair`) are understood as well. Coordinates are those of the world or of the frame's camera (x right, y down,
z forward, as in InterHand2.6M), in metres or millimetres.

Meshes with the triangles of the hand model (778 vertices, open at the wrist) are closed as IntagHand's are; others stay as
they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from im2hands.datasets.frames import Frame, FrameTable, pair_id
from im2hands.datasets.keypoints import Alignment, KeypointTable
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.mesh_files import NoTrianglesError, read_mesh
from im2hands.hands.joints import WRIST
from im2hands.hands.model import HandModel
from im2hands.hands.sides import Side
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.reconstruction.failures import Reason
from im2hands.reconstruction.inputs import NO_VIEW, BoneInputs
from im2hands.reconstruction.solid_hands import solid_hand
from im2hands.reconstruction.surfaces import HandInput, HandSurface

Unit = Literal["m", "mm"]
CoordinateFrame = Literal["world", "camera"]
METRES = {"m": 1.0, "mm": 0.001}
SUFFIXES = (".obj", ".ply")
SMALLEST, LARGEST = 0.04, 0.4
"""Longest side (m) of the box around a hand; a fist is 0.08 m, a stretched hand 0.2 m long."""
NO_FILE, UNREADABLE, NO_HAND_SIZE = Reason.NO_FILE.value, Reason.UNREADABLE.value, Reason.NO_HAND_SIZE.value


@dataclass(frozen=True)
class MeshFolder:
    """Folder of another system's meshes and the meaning of their numbers. frame: frame of the coordinates."""

    path: str
    unit: Unit = "m"
    frame: CoordinateFrame = "world"

    def file_of(self, frame: Frame, side: Side) -> Path | None:
        """The mesh file of a hand in a frame; None if there is none. Raises DataError if there are several."""
        found = [path for path in self._names(frame, side) if path.is_file()]
        if len(found) > 1:
            raise DataError(
                f"{self.path}: contains several meshes of the {side.value} hand in frame {frame.frame_id} "
                f"({', '.join(path.name for path in found)}); keep one of them."
            )
        return found[0] if found else None

    def read(self, path: Path, frame: Frame) -> Mesh:
        """A mesh in the world (m). Raises DataError if it is a hand only in another unit, and what `read_mesh` raises."""
        try:
            mesh = read_mesh(path)
        except NoTrianglesError:
            return Mesh()
        size, metres = longest_side(mesh), METRES[self.unit]
        if not plausible(size * metres):
            for unit, factor in METRES.items():
                if plausible(size * factor):
                    raise DataError(
                        f"{path}: the mesh is {size:.4g} long, which is plausible for a hand in {unit} but not in {self.unit}; "
                        f"state the unit {unit} for this system in params.yaml."
                    )
        vertices = mesh.vertices * metres
        return Mesh(vertices if self.frame == "world" else frame.camera.to_world(vertices), mesh.faces)

    def _names(self, frame: Frame, side: Side) -> list[Path]:
        pair = pair_id(frame.capture, frame.frame_idx)
        stems = (
            str(frame.frame_id),
            PurePosixPath(frame.file_name).with_suffix("").as_posix(),
            f"{pair}_frame{frame.frame_id}",
            pair,
        )
        return [Path(self.path, f"{stem}_{side.value}{suffix}") for stem in stems for suffix in SUFFIXES]


@dataclass(frozen=True, eq=False)
class Placement:
    """Where external meshes are placed.

    alignment: see `datasets.keypoints.aligned`.  models: whose joint regressors say where the wrist of a mesh is that has their
    triangles.  keypoints: keypoints of the same system; if given, all meshes use their wrists.
    """

    alignment: Alignment
    models: Mapping[Side, HandModel]
    keypoints: KeypointTable | None = None

    def shift(self, mesh: Mesh, hand: HandInput, path: Path) -> Float[np.ndarray, "3"] | str:
        """How far a mesh (world, m) is to be moved, or why that is not known. Raises DataError if it has no wrist at all."""
        if self.alignment == "camera":
            return np.zeros(3)
        if self.keypoints is not None:
            frame = hand.frame_ids[0]
            reason = self._reasons[frame]
            return (
                Reason.NO_KEYPOINTS.because(reason)
                if reason
                else hand.frame.wrist - self._wrists[frame, hand.frame.side.index]
            )
        model = self.models[hand.frame.side]
        if not has_triangles_of(model, mesh):
            raise DataError(
                f"{path}: must be moved by its wrist but does not have the hand model's triangles; give the system's "
                "keypoints in params.yaml too, or set its alignment to camera."
            )
        regressed = model.regress(torch.from_numpy(mesh.vertices)[None].to(model.dtype))
        return hand.frame.wrist - regressed[0, WRIST].double().numpy()

    @cached_property
    def _reasons(self) -> list[str | None]:
        return self.keypoints.reasons

    @cached_property
    def _wrists(self) -> Float[np.ndarray, "frames 2 3"]:
        return self.keypoints.keypoints()[:, :, WRIST]


def external_surfaces(
    folder: MeshFolder, frames: FrameTable, inputs: BoneInputs, placement: Placement, shard: int = 0, shards: int = 1
) -> Iterator[list[HandSurface]]:
    """The surfaces of every pair of part `shard` of `shards` of `inputs`, in its order.

    frames: all frames of the split.  inputs: of photographs (`bone_inputs` with `from_photographs`) and true keypoints, so that
    the same hands in the same frames are measured as for every other method.
    A hand without file, or whose file is damaged or contains no hand, is yielded without mesh, with the reason. The meshes'
    fields at the evaluation points are their insides by the winding number. Raises DataError at once if the folder contains
    nothing of these hands, and later for a mesh in another unit than stated or without a wrist to place it by.
    """
    if folder.unit not in METRES or folder.frame not in ("world", "camera"):
        raise DataError(
            f"{folder.path}: the unit must be m or mm, not {folder.unit!r}, and the frame world or camera, "
            f"not {folder.frame!r}."
        )
    if not os.path.isdir(folder.path):
        raise DataError(f"{folder.path}: the folder of external meshes is missing; correct the path.")
    wanted = [hand for view in inputs.views for hand in inputs.hands[view] if hand.frame_ids]
    if not any(folder.file_of(frames[hand.frame_ids[0]], hand.frame.side) for hand in wanted):
        first = f", such as {wanted[0].frame_ids[0]}_{wanted[0].frame.side.value}.ply" if wanted else ""
        raise DataError(
            f"{folder.path}: contains no mesh of the {len(wanted)} evaluated hands; name the files "
            f"<frame id>_<left|right>.<obj|ply>{first}."
        )
    part = inputs.shard(shard, shards)
    return ([_surface(folder, frames, placement, hand) for hand in part(view)] for view in part.views)


def has_triangles_of(model: HandModel, mesh: Mesh) -> bool:
    """Whether a mesh has a hand model's vertices and triangles, in any order and direction of the triangles."""
    if len(mesh.vertices) != len(model.template) or len(mesh.faces) != len(model.faces):
        return False
    return np.array_equal(*(np.unique(np.sort(faces, axis=1), axis=0) for faces in (mesh.faces, model.faces)))


def longest_side(mesh: Mesh) -> float:
    """Longest side of the box around the vertices that faces use; 0 without faces."""
    return 0.0 if mesh.is_empty else float(np.ptp(mesh.vertices[np.unique(mesh.faces)], axis=0).max())


def plausible(size: float) -> bool:
    """Whether something of this size (m) can be a hand."""
    return SMALLEST <= size <= LARGEST


def _surface(folder: MeshFolder, frames: FrameTable, placement: Placement, hand: HandInput) -> HandSurface:
    begun = perf_counter()
    reason = hand.rejected or (None if hand.frame_ids else NO_VIEW)
    if reason is not None:
        return hand.missing(reason)
    frame = frames[hand.frame_ids[0]]
    path = folder.file_of(frame, hand.frame.side)
    if path is None:
        return hand.missing(NO_FILE)
    try:
        mesh = folder.read(path, frame)
    except DamagedFileError:
        return hand.missing(UNREADABLE)
    if not mesh.is_empty and not plausible(longest_side(mesh)):
        return hand.missing(NO_HAND_SIZE)
    shift = np.zeros(3) if mesh.is_empty else placement.shift(mesh, hand, path)
    if isinstance(shift, str):
        return hand.missing(shift)
    model = placement.models[hand.frame.side]
    if has_triangles_of(model, mesh):
        mesh = Mesh(model.seal(mesh.vertices), model.sealed_faces)
    return solid_hand(hand, Mesh(mesh.vertices + shift, mesh.faces), perf_counter() - begun)
