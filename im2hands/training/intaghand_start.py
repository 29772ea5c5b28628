"""Where IntagHand's training starts when it is not to start at random: the mean hands of the training frames.

Random weights put hands of any size anywhere, and scales near zero or below it, from which a short training does not recover.
Not published.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.datasets.occupancy_items import evenly_spaced
from im2hands.datasets.two_hand_item import Augmentation
from im2hands.hands.sides import Side
from im2hands.networks.intaghand import CROP
from im2hands.training.intaghand_items import IntagHandBatch, TwoHandFrames

MOST_FRAMES = 256


@dataclass(frozen=True)
class MeanHands:
    """vertices: of each side, relative to the left middle base.  scale, shift: of the projection, see `intaghand.project`."""

    vertices: dict[Side, Float[Tensor, "778 3"]]
    scale: float
    shift: Float[Tensor, "2"]

    @classmethod
    def of(cls, frames: TwoHandFrames) -> MeanHands:
        """Means over evenly spaced frames as they are, of the vertices and of the projections that fit them best."""
        chosen = evenly_spaced(len(frames), MOST_FRAMES)
        batch = IntagHandBatch.of([frames.item(frame, Augmentation(), "consistent") for frame in chosen])
        placed = {side: batch.true.placed(side) for side in Side}
        fits = [best_projection(placed[side], batch.true.vertices_2d[side]) for side in Side]
        scale, shift = (torch.cat(parts).mean(0) for parts in zip(*fits, strict=True))
        return cls({side: vertices.mean(0) for side, vertices in placed.items()}, scale.item(), shift)


def best_projection(
    points: Float[Tensor, "batch n 3"], pixels: Float[Tensor, "batch n 2"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch 2"]]:
    """Scale and shift of the projection that brings points closest to their pixels, by least squares."""
    flat, half = points[..., :2], CROP / 2
    middle, target = flat.mean(1), pixels.mean(1)
    spread = flat - middle[:, None]
    scale = (spread * (pixels - target[:, None])).sum((1, 2)) / spread.square().sum((1, 2)) / CROP
    return scale, target / half - 1 - 2 * scale[:, None] * middle
