"""Seen joints: one token per joint of both hands, from where its heat map is bright and from what the image shows there.

Every token sees all others, so what one finger hides another explains; together they say the numbers of the start hands
(`networks.start_hands`). Heat maps are logits here: a softmax over the map is where the joint may be. Not published: our
addition. After Hampali et al., Keypoint Transformer (CVPR 2022), in which tokens are keypoints that were found in the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.networks.image_encoder import HEAT_MAPS, ImageFeatures

HEADS, LAYERS, WAVES = 4, 3, 4
LEVELS = 3
"""Levels of the backbone, from the coarsest, that are read where a joint is seen."""
PLACE = 4 + 4 * WAVES
"""Numbers of a place: x, y, spread, brightness, and waves of x and y."""


class SeenJoints(nn.Module):
    """Image features to numbers, which are zero for every image before training.

    channels: of the backbone maps, coarse to fine.  decoder_channels: of the decoders' maps.  width: of a token.
    """

    def __init__(self, channels: Sequence[int], decoder_channels: int, width: int, outputs: int) -> None:
        super().__init__()
        self.look = nn.Linear(sum(channels[:LEVELS]) + 2 * decoder_channels, width)
        self.place = nn.Linear(PLACE, width)
        self.joint = nn.Parameter(torch.randn(HEAT_MAPS, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, HEADS, 2 * width, 0.0, batch_first=True, norm_first=True)
        self.exchange = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(width), enable_nested_tensor=False)
        self.numbers = nn.Linear(HEAT_MAPS * width, outputs)
        nn.init.zeros_(self.numbers.weight)
        nn.init.zeros_(self.numbers.bias)

    def forward(self, features: ImageFeatures) -> Float[Tensor, "batch numbers"]:
        places, trust = seen_places(features.heat_maps.detach())
        maps = [*features.backbone[:LEVELS], features.of_heat_maps[LEVELS - 1], features.of_dense_maps[LEVELS - 1]]
        seen = torch.cat([read_at(each, places) for each in maps], dim=-1)
        tokens = self.look(seen) + self.place(place_code(places, trust)) + self.joint
        return self.numbers(self.exchange(tokens).flatten(1))


def seen_places(
    heat_maps: Float[Tensor, "batch maps side side"],
) -> tuple[Float[Tensor, "batch maps 2"], Float[Tensor, "batch maps 2"]]:
    """Where each joint is seen: the mean of the map's softmax, (x, y) in -1..1 across the crop; and how well.

    The second: standard deviation in half crops, and brightness, the log of the largest share of a cell.
    """
    batch, maps, side, _ = heat_maps.shape
    shares = heat_maps.flatten(2).softmax(-1).view(batch, maps, side, side)
    # Cell h of 64 is at crop pixel 4 h, with no half-cell shift (`datasets.heat_maps`), whose middle is at 4 h + 0.5.
    along = (torch.arange(side, device=heat_maps.device, dtype=heat_maps.dtype) * 2 + 0.25) / side - 1
    by_x, by_y = shares.sum(2), shares.sum(3)
    mean = torch.stack([by_x @ along, by_y @ along], -1)
    square = torch.stack([by_x @ along.square(), by_y @ along.square()], -1)
    spread = (square - mean.square()).sum(-1).clamp_min(1e-6).sqrt()
    return mean, torch.stack([spread, shares.flatten(2).amax(-1).clamp_min(1e-6).log() / 4 + 1], -1)


def read_at(
    maps: Float[Tensor, "batch channels side side"], places: Float[Tensor, "batch n 2"]
) -> Float[Tensor, "batch n channels"]:
    """Maps at places (x, y) in -1..1, between their cells by bilinear weights."""
    return F.grid_sample(maps, places[:, None], padding_mode="border", align_corners=False)[:, :, 0].mT


def place_code(
    places: Float[Tensor, "batch n 2"], trust: Float[Tensor, "batch n 2"]
) -> Float[Tensor, "batch n numbers"]:
    """Places and trust, and waves of the places from a half to four across the crop."""
    waves = torch.cat([torch.pi * 2**power * places for power in range(WAVES)], -1)
    return torch.cat([places, trust, waves.sin(), waves.cos()], -1)
