"""Inputs of the image networks about a pair of hands and its camera, in batches.

Frames: `palm` (1 unit = 0.4 m, see `hands.bone_frames`), `world` and `camera` in metres, pixels of the 256 x 256 crop. A pair
is a dict from side to HandBatch; left and right are data, not two copies of code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.geometry.feature_sampling import to_camera, to_pixels
from im2hands.hands.frames import PalmFrames
from im2hands.hands.sides import Side


@dataclass(frozen=True)
class HandBatch:
    """A batch of hands of one side with their query points; any floating dtype, any device.

    palm: the hands' palm frames; its `sides` is this side.  bone_from_palm: bone frames on palm-frame points.
    bone_lengths: m.  points: queries in the palm frame; there may be none (N = 0).
    """

    side: Side
    palm: PalmFrames
    bone_from_palm: Float[Tensor, "batch 16 4 4"]
    bone_lengths: Float[Tensor, "batch 16"]
    points: Float[Tensor, "batch n 3"]

    def with_points(self, points: Float[Tensor, "batch m 3"]) -> HandBatch:
        """The same hands with other query points (palm units)."""
        return replace(self, points=points)

    def world_points(self) -> Float[Tensor, "batch n 3"]:
        """The query points in the world (m)."""
        return self.palm.to_world(self.points)

    def to(self, target: torch.device | torch.dtype | str) -> HandBatch:
        """The hands on another device or in another floating dtype."""
        palm = PalmFrames(self.palm.wrist.to(target), self.palm.rotation.to(target), self.palm.sides)
        frames, lengths = self.bone_from_palm.to(target), self.bone_lengths.to(target)
        return HandBatch(self.side, palm, frames, lengths, self.points.to(target))


Hands = dict[Side, HandBatch]


@dataclass(frozen=True)
class CameraBatch:
    """One camera per pair of hands. rotation, translation: world to camera, m.  intrinsics: K of the 256 x 256 crop."""

    rotation: Float[Tensor, "batch 3 3"]
    translation: Float[Tensor, "batch 3"]
    intrinsics: Float[Tensor, "batch 3 3"]

    def from_world(self, points: Float[Tensor, "batch n 3"]) -> Float[Tensor, "batch n 3"]:
        """World points (m) in the camera frames (m)."""
        return to_camera(points, self.rotation, self.translation)

    def pixels(self, camera_points: Float[Tensor, "batch n 3"]) -> Float[Tensor, "batch n 2"]:
        """Points of the camera frames (m) in pixels of the crop; those behind the camera land somewhere meaningless."""
        return to_pixels(camera_points, self.intrinsics)

    def to(self, target: torch.device | torch.dtype | str) -> CameraBatch:
        """The cameras on another device or in another floating dtype."""
        return CameraBatch(self.rotation.to(target), self.translation.to(target), self.intrinsics.to(target))


def query_points_in_camera(hand: HandBatch, camera: CameraBatch) -> Float[Tensor, "batch n 3"]:
    """A hand's query points in the camera frame (m)."""
    return camera.from_world(hand.world_points())


def wrist_in_camera(hand: HandBatch, camera: CameraBatch) -> Float[Tensor, "batch 3"]:
    """A hand's wrist in the camera frame (m)."""
    return camera.from_world(hand.palm.wrist[:, None])[:, 0]
