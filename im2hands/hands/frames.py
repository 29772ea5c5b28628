"""Coordinates in which the networks see points of a hand, and the frames of published result files.

Frames: `world` and `camera` in metres; `palm` in units of 0.4 m (see `bone_frames`); the frame of published keypoint refinement
in millimetres. `PalmFrame` is one hand in numpy, as surfaces are extracted and stored; everything else is batched torch and
keeps dtype and device.

Source: Im2Hands (CVPR 2023), section 3; `docs/conventions.md`, "Frames of the networks".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.config.choices import Behaviour
from im2hands.geometry.mesh import Mesh
from im2hands.hands.bone_frames import PALM_UNIT, mirror_left, palm_to_world, world_to_palm
from im2hands.hands.joints import MIDDLE_BASE
from im2hands.hands.sides import Side

MILLIMETRES = 1000.0


@dataclass(frozen=True)
class PalmFrames:
    """Palm frames of a batch of hands. wrist: world, m, not mirrored. sides: one per hand, or one for all."""

    wrist: Float[Tensor, "batch 3"]
    rotation: Float[Tensor, "batch 3 3"]
    sides: Sequence[Side] | Side

    def to_world(self, points: Float[Tensor, "batch n 3"]) -> Float[Tensor, "batch n 3"]:
        """Palm-frame points (palm units) in the world (m)."""
        return palm_to_world(points, self.wrist, self.rotation, self.sides)

    def from_world(self, points: Float[Tensor, "batch n 3"]) -> Float[Tensor, "batch n 3"]:
        """World points (m) in the palm frames (palm units)."""
        return world_to_palm(points, self.wrist, self.rotation, self.sides)


@dataclass(frozen=True, eq=False)
class PalmFrame:
    """The palm frame of one hand. wrist: world, metres.  rotation: world axes to palm axes."""

    side: Side
    wrist: Float[np.ndarray, "3"]
    rotation: Float[np.ndarray, "3 3"]

    def to_palm(self, world: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """World points (m) in palm units."""
        return world_to_palm(world, self.wrist, self.rotation, self.side)

    def to_world(self, palm: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """Palm points (palm units) in the world (m)."""
        return palm_to_world(palm, self.wrist, self.rotation, self.side)

    def mesh_to_world(self, mesh: Mesh) -> Mesh:
        """A mesh of this frame in the world; outside stays outside, also on mirrored (left) hands."""
        return Mesh(self.to_world(mesh.vertices), self.side.mirror_faces(mesh.faces))

    def mesh_to_palm(self, mesh: Mesh) -> Mesh:
        """A mesh of the world in this frame; outside stays outside."""
        return Mesh(self.to_palm(mesh.vertices), self.side.mirror_faces(mesh.faces))


def query_points(
    points: Float[np.ndarray, "points 3"], true: PalmFrame, used: PalmFrame, query_frame: Behaviour
) -> Float[np.ndarray, "points 3"]:
    """Stored query points as the occupancy network must be asked about them.

    points: palm units of the true hand.  used: palm frame of the keypoints that the bone frames come from.
    query_frame: `published` passes the points on unchanged, although the bone frames belong to the palm frame in use;
    `consistent` moves them there through the world. Equal when both frames are.
    """
    if query_frame == "published" or _same(true, used):
        return points
    return used.to_palm(true.to_world(points))


def _same(a: PalmFrame, b: PalmFrame) -> bool:
    return bool(a.side is b.side and np.array_equal(a.wrist, b.wrist) and np.array_equal(a.rotation, b.rotation))


def attention_coordinates(
    camera_points: Float[Tensor, "batch n 3"],
    camera_wrist: Float[Tensor, "batch 3"],
    depth_reference: Behaviour = "consistent",
) -> Float[Tensor, "batch n 3"]:
    """Query coordinates of the initial occupancy network's attention: camera frame (m) with a relative depth.

    depth_reference: "published" subtracts the depth of the first point of the call, so that values depend on order and chunks;
    "consistent" subtracts the wrist's depth.
    """
    depth = camera_points[:, :1, 2] if depth_reference == "published" else camera_wrist[:, None, 2]
    return torch.cat([camera_points[..., :2], (camera_points[..., 2] - depth)[..., None]], -1)


def decoder_coordinates(palm_points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """What published decoders are fed together with `bone_frames.published_decoder_inputs`: points / 0.4."""
    return palm_points / PALM_UNIT


def other_hands_points(
    palm_points: Float[Tensor, "batch n 3"],
    other: PalmFrames,
    this: PalmFrames,
    penetration_frame: Behaviour = "consistent",
) -> Float[Tensor, "batch n 3"]:
    """Points in the other hand's palm frame, as this hand's decoder gets them for the penetration loss (palm units).

    penetration_frame: "published" passes them on unchanged, i.e. in the wrong frame; "consistent" moves them through the world.
    """
    if penetration_frame == "published":
        return palm_points
    return this.from_world(other.to_world(palm_points))


def refinement_coordinates(camera_points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Camera points (m) with y up and z towards the camera, as refined occupancy sees them (before centring)."""
    return camera_points * camera_points.new_tensor([1.0, -1.0, -1.0])


def anchors_centre(anchors: Float[Tensor, "batch n 3"]) -> Float[Tensor, "batch 1 3"]:
    """Centre of the axis-aligned bounding box of all anchors of both hands (n counts both), which is subtracted there."""
    return ((anchors.amin(-2) + anchors.amax(-2)) / 2)[:, None]


def anchors_to_world(
    anchors: Float[Tensor, "batch n 3"], wrist: Float[Tensor, "batch 3"]
) -> Float[Tensor, "batch n 3"]:
    """Stored anchors (mm, relative to the wrist, world axes, not mirrored) in the world (m)."""
    return anchors / MILLIMETRES + wrist[:, None]


def mirrored_wrist(wrist: Float[Tensor, "batch 3"], sides: Sequence[Side] | Side) -> Float[Tensor, "batch 3"]:
    """Wrists as HALO-format files store them in `root_xyz`: those of left hands mirrored. Its own inverse."""
    return mirror_left(wrist[:, None], sides)[:, 0]


@dataclass(frozen=True)
class RefinementKeypoints:
    """Keypoints of a hand pair as published keypoint refinement sees them.

    left, right: STANDARD order, mm, camera axes, relative to the left middle base.  origin: that point in the camera frame, m;
    where it is missing, the mean of the joints that are there.
    """

    left: Float[Tensor, "batch 21 3"]
    right: Float[Tensor, "batch 21 3"]
    origin: Float[Tensor, "batch 1 3"]

    @classmethod
    def of(cls, left: Float[Tensor, "batch 21 3"], right: Float[Tensor, "batch 21 3"]) -> RefinementKeypoints:
        """From keypoints in the camera frame (m), STANDARD order."""
        origin = left[:, MIDDLE_BASE : MIDDLE_BASE + 1]
        origin = torch.where(origin.isnan(), torch.cat([left, right], 1).nanmean(1, keepdim=True), origin)
        return cls((left - origin) * MILLIMETRES, (right - origin) * MILLIMETRES, origin)

    def in_camera(self) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch 21 3"]]:
        """Left and right keypoints back in the camera frame (m)."""
        return self.left / MILLIMETRES + self.origin, self.right / MILLIMETRES + self.origin


def published_initial_mesh(palm_vertices: Float[Tensor, "batch n 3"], palm: PalmFrames) -> Float[Tensor, "batch n 3"]:
    """Vertices as the published initial-occupancy mesh files contain them: mm, relative to the wrist, world axes.

    Triangles of left hands are to be reversed: `Side.mirror_faces`.  The published refined meshes are `palm.to_world`.
    """
    return (palm.to_world(palm_vertices) - palm.wrist[:, None]) * MILLIMETRES
