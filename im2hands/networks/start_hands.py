"""Start hands: coarse meshes and projections of both hands, directly from the coarsest map of the image encoder.

IntagHand's decoder finds hands by attention between mesh and image, which takes hundreds of thousands of photographs to learn.
Start hands can be learnt from a hundred. Coefficients that are linear in the 8 x 8 map, in which every image position has its
own entries, give the shape and rotation of a hand; the decoder then predicts what is missing. Not published: our addition for
small data.

A start hand is a valid hand for any coefficients: the mean hand plus bounded amounts of principal components, rotated. Sums
of rotated hands, which an earlier version used, are sticks: the direction of the palm differs so much between photographs that
its mean is not a palm. Where the image does not show the direction, the best guess is still a narrow hand, so a hand may be
narrowed, but to no less than LEAST_WIDTH.

Hand frame: right-hand space, origin at the middle base, x from the wrist towards it, y across the palm towards the index base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.geometry.rotations import rotation_of_axes
from im2hands.hands.sides import SIDES, Side
from im2hands.networks.image_encoder import ImageFeatures
from im2hands.networks.seen_joints import SeenJoints

REDUCED_CHANNELS, MAP_SIDE = 16, 8
MOST_DEVIATIONS = 2.5
"""Bound of components, the right hand's offset and projections, in standard deviations of the training hands."""
LEAST_WIDTH = 0.55
"""Smallest factor on a hand's width and thickness, used where the image does not show which way the palm faces."""
AXES, VIEW, PLACE = 6, 3, 3
"""Numbers of a hand's two axes, of a projection and of the right hand's offset."""


@dataclass(frozen=True)
class StartStatistics:
    """Of the training hands; the hands of either side, left before right, are those of the other one mirrored.

    mean: coarse meshes in the hand frame.  components: principal ones times their standard deviations.
    axes, axes_spread: x and y axis of the hand frame in the mirrored camera frame; mean and standard deviation.
    offset, offset_spread: position of the right middle base relative to the left one, in the frame of `networks.intaghand`.
    projection, projection_spread: of (scale, shift x, shift y).
    """

    mean: Float[Tensor, "2 nodes 3"]
    components: Float[Tensor, "components 2 nodes 3"]
    axes: Float[Tensor, "2 3"]
    axes_spread: Float[Tensor, "2 3"]
    offset: Float[Tensor, "3"]
    offset_spread: Float[Tensor, "3"]
    projection: Float[Tensor, "3"]
    projection_spread: Float[Tensor, "3"]


class StartHands(nn.Module):
    """Image features to coarse meshes and projections.

    channels: of the backbone maps, coarse to fine.  components: number of components.  nodes: number of nodes of a coarse mesh.
    decoder_channels, joint_width: see `SeenJoints`; 0: the 8 x 8 map alone.

    All numbers that are learnt have mean 0 and spread 1 over the training hands; the statistics are buffers.
    """

    def __init__(
        self, channels: Sequence[int], components: int, nodes: int, decoder_channels: int = 0, joint_width: int = 0
    ) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(channels[0], REDUCED_CHANNELS, 1, bias=False), nn.BatchNorm2d(REDUCED_CHANNELS), nn.ReLU()
        )
        count = len(Side) * (AXES + components + VIEW) + PLACE
        self.numbers = nn.Linear(REDUCED_CHANNELS * MAP_SIDE**2, count)
        self.joints = SeenJoints(channels, decoder_channels, joint_width, count) if joint_width else None
        nn.init.zeros_(self.numbers.weight)
        nn.init.zeros_(self.numbers.bias)
        self.register_buffer("mean", torch.zeros(2, nodes, 3))
        self.register_buffer("components", torch.zeros(components, 2, nodes, 3))
        self.register_buffer("axes", torch.eye(3)[:2])
        self.register_buffer("axes_spread", torch.ones(2, 3))
        self.register_buffer("offset", torch.zeros(3))
        self.register_buffer("offset_spread", torch.ones(3))
        self.register_buffer("projection", torch.zeros(3))
        self.register_buffer("projection_spread", torch.ones(3))

    def forward(
        self, features: ImageFeatures
    ) -> Mapping[Side, tuple[Float[Tensor, "batch nodes 3"], Float[Tensor, "batch 3"]]]:
        """Coarse mesh and (scale, shift) of each side."""
        numbers = self.numbers(self.reduce(features.backbone[0]).flatten(1))
        return self.hands(numbers if self.joints is None else numbers + self.joints(features))

    def hands(
        self, numbers: Float[Tensor, "batch numbers"]
    ) -> Mapping[Side, tuple[Float[Tensor, "batch nodes 3"], Float[Tensor, "batch 3"]]]:
        """The same of the numbers alone: those of the left hand, of the right hand, and of the right hand's offset."""
        place = self.offset + self.offset_spread * within(numbers[:, -PLACE:])
        starts = {}
        for side, of_side in zip(SIDES, numbers[:, :-PLACE].chunk(2, 1), strict=True):
            axes, shape, view = of_side.split([AXES, len(self.components), VIEW], dim=1)
            mesh = self.mean[side.index] + torch.tensordot(within(shape), self.components[:, side.index], 1)
            turned = side.mirror_points(mesh @ self.placement(axes.unflatten(1, (2, 3))).mT)
            mesh = turned + place[:, None] if side is Side.RIGHT else turned
            starts[side] = mesh, self.projection + self.projection_spread * within(view)
        return starts

    def placement(self, numbers: Float[Tensor, "batch 2 3"]) -> Float[Tensor, "batch 3 3"]:
        """Hand frame to mirrored camera frame: a rotation of the hand, narrowed by as much as its y axis is short."""
        along, across = (self.axes + self.axes_spread * numbers).unbind(1)
        rotation = rotation_of_axes(along, across)
        seen = (across * rotation[..., 1]).sum(-1, keepdim=True)
        width = LEAST_WIDTH + (1 - LEAST_WIDTH) * seen / torch.hypot(torch.ones_like(seen), seen)
        return rotation * torch.cat([torch.ones_like(width), width, width], -1)[:, None]

    @torch.no_grad()
    def adopt(self, statistics: StartStatistics) -> None:
        """Takes the statistics; an untrained network then predicts the means for every image."""
        for name, value in vars(statistics).items():
            getattr(self, name).copy_(value)


def within(numbers: Float[Tensor, "*batch"], bound: float = MOST_DEVIATIONS) -> Float[Tensor, "*batch"]:
    """Numbers themselves near zero, smoothly kept between -bound and bound."""
    return numbers / torch.hypot(torch.ones_like(numbers), numbers / bound)
