"""Start hands: both hands' coarse meshes and projections, straight from the coarsest map of the image encoder.

IntagHand's decoder finds hands by attention between mesh and image, which takes hundreds of thousands of photographs to learn.
A start hand is the mean of the training hands plus a weighted sum of their principal components, with weights linear in the
image's 8 x 8 map, where a place in the image is a place in the vector; that is learnt from a hundred photographs, and the
decoder then predicts what is missing. Not published: our addition for small data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.hands.sides import Side

REDUCED_CHANNELS, MAP_SIDE = 16, 8


@dataclass(frozen=True)
class StartStatistics:
    """Of the training hands, left before right.

    mean: coarse meshes in the frame of `networks.intaghand`.  components: principal ones times their standard deviations.
    projection, projection_spread: mean and standard deviation of (scale, shift x, shift y).
    """

    mean: Float[Tensor, "2 nodes 3"]
    components: Float[Tensor, "components 2 nodes 3"]
    projection: Float[Tensor, "3"]
    projection_spread: Float[Tensor, "3"]


class StartHands(nn.Module):
    """The 8 x 8 map to coarse meshes and projections. components: how many.  nodes: of a coarse mesh.

    All numbers that are learnt have mean 0 and spread 1 over the training hands; the statistics are buffers.
    """

    def __init__(self, channels: int, components: int, nodes: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, REDUCED_CHANNELS, 1, bias=False), nn.BatchNorm2d(REDUCED_CHANNELS), nn.ReLU()
        )
        self.weights = nn.Linear(REDUCED_CHANNELS * MAP_SIDE**2, components + 3 * len(Side))
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        self.register_buffer("mean", torch.zeros(2, nodes, 3))
        self.register_buffer("components", torch.zeros(components, 2, nodes, 3))
        self.register_buffer("projection", torch.zeros(3))
        self.register_buffer("projection_spread", torch.ones(3))

    def forward(
        self, coarsest: Float[Tensor, "batch channels 8 8"]
    ) -> Mapping[Side, tuple[Float[Tensor, "batch nodes 3"], Float[Tensor, "batch 3"]]]:
        """Coarse mesh and (scale, shift) of each side."""
        weights = self.weights(self.reduce(coarsest).flatten(1))
        shape, view = weights.split([len(self.components), 3 * len(Side)], dim=1)
        meshes = self.mean + (shape @ self.components.flatten(1)).unflatten(1, self.mean.shape)
        projections = self.projection + self.projection_spread * view.unflatten(1, (len(Side), 3))
        return {side: (meshes[:, side.index], projections[:, side.index]) for side in Side}

    @torch.no_grad()
    def adopt(self, statistics: StartStatistics) -> None:
        """Takes the statistics; an untrained network then predicts the means for every image."""
        for name, value in vars(statistics).items():
            getattr(self, name).copy_(value)
