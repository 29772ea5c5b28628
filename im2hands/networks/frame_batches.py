"""Frames with query points of both hands, as input tensors of the networks. Coordinate frames: see `two_hands`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from im2hands.datasets.frame_items import FrameItem
from im2hands.datasets.queries import QueryPoints
from im2hands.hands.frames import PalmFrames
from im2hands.hands.sides import SIDES, Side
from im2hands.networks.image_encoder import normalise
from im2hands.networks.two_hands import CameraBatch, HandBatch, Hands


@dataclass(frozen=True)
class FrameBatch:
    """Some frames of a set.

    frame_index: places in the set.  images: as the encoder takes them, None where it is frozen.  labels: 1 inside, 0 outside.
    anchors: anchors of both hands, world, m, for refined occupancy.
    """

    frame_index: Integer[Tensor, " frames"]
    images: Float[Tensor, "frames 3 256 256"] | None
    hands: Hands
    camera: CameraBatch
    labels: dict[Side, Float[Tensor, "frames n"]]
    anchors: dict[Side, Float[Tensor, "frames points 3"]] | None = None

    def to(self, device: torch.device, non_blocking: bool = True) -> FrameBatch:
        def moved(tensors: Mapping[Side, Tensor]) -> dict[Side, Tensor]:
            return {side: tensor.to(device, non_blocking=non_blocking) for side, tensor in tensors.items()}

        return replace(
            self,
            images=None if self.images is None else self.images.to(device, non_blocking=non_blocking),
            hands={side: hand.to(device) for side, hand in self.hands.items()},
            camera=self.camera.to(device),
            labels=moved(self.labels),
            anchors=None if self.anchors is None else moved(self.anchors),
        )


def frame_batch(
    items: Sequence[FrameItem],
    points: Sequence[Sequence[QueryPoints]],
    anchors: Sequence[Float[np.ndarray, "2 points 3"]] | None = None,
) -> FrameBatch:
    """Frames as tensors (float32).

    points: for every frame those of its left and its right hand, equally many in all frames.
    """
    queries = {side: [frame[side.index] for frame in points] for side in SIDES}
    return FrameBatch(
        frame_index=torch.tensor([item.frame for item in items]),
        images=None if items[0].image is None else normalise(_stacked([item.image for item in items], np.uint8)),
        hands={side: _hands(items, side, _stacked([each.points for each in queries[side]])) for side in SIDES},
        camera=camera_batch(items),
        labels={side: _stacked([each.labels for each in queries[side]]) for side in SIDES},
        anchors=None if anchors is None else {side: _stacked([each[side.index] for each in anchors]) for side in SIDES},
    )


def camera_batch(items: Sequence[FrameItem]) -> CameraBatch:
    """The cameras of some frames."""
    cameras = [item.camera for item in items]
    return CameraBatch(
        *(_stacked([getattr(one, name) for one in cameras]) for name in ("rotation", "translation", "intrinsics"))
    )


def _hands(items: Sequence[FrameItem], side: Side, points: Float[Tensor, "frames n 3"]) -> HandBatch:
    wrist, rotation, frames, lengths = (
        _stacked([getattr(item, name)[side.index] for item in items])
        for name in ("wrist", "palm_rotation", "bone_from_palm", "bone_lengths")
    )
    return HandBatch(side, PalmFrames(wrist, rotation, side), frames, lengths, points)


def _stacked(arrays: Sequence[np.ndarray], dtype: type = np.float32) -> Tensor:
    return torch.from_numpy(np.stack(arrays).astype(dtype, copy=False))
