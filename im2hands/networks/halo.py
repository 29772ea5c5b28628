"""HALO: occupancy of a hand from its keypoints alone (HALO, 3DV 2021).

Everything is in the palm frame (1 unit = 0.4 m, right-hand space); `hands.bone_frames` makes the bone frames from keypoints.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.networks.bone_decoders import (
    PUBLISHED_LENGTH_HIDDEN,
    PUBLISHED_TRANSLATION_CODE,
    PUBLISHED_WIDTH,
    BoneDecoders,
)
from im2hands.networks.model_folder import ModelCard, restored_network

NAME = "halo"


class HaloNetwork(nn.Module):
    """Sixteen bone decoders; a point is in the hand if it is in any of its parts.

    Arguments: see BoneDecoders; the defaults are the published sizes.
    """

    def __init__(
        self,
        width: int = PUBLISHED_WIDTH,
        length_hidden: int = PUBLISHED_LENGTH_HIDDEN,
        translation_code: int = PUBLISHED_TRANSLATION_CODE,
    ) -> None:
        super().__init__()
        self.architecture: dict[str, Any] = {
            "width": width,
            "length_hidden": length_hidden,
            "translation_code": translation_code,
        }
        self.decoders = BoneDecoders(**self.architecture)

    def forward(
        self,
        points: Float[Tensor, "batch points 3"],
        bone_from_palm: Float[Tensor, "batch 16 4 4"],
        bone_lengths: Float[Tensor, "batch 16"],
    ) -> Float[Tensor, "batch points 16"]:
        """Logit of every point for every bone. Points in palm units, lengths in metres."""
        return self.decoders(points, bone_from_palm, bone_lengths)

    def logits(
        self,
        points: Float[Tensor, "batch points 3"],
        bone_from_palm: Float[Tensor, "batch 16 4 4"],
        bone_lengths: Float[Tensor, "batch 16"],
    ) -> Float[Tensor, "batch points"]:
        """Logit of every point's strongest bone: `forward(...).amax(-1)`, cheaper."""
        return self.decoders.strongest(points, bone_from_palm, bone_lengths)

    def occupancy(
        self,
        points: Float[Tensor, "batch points 3"],
        bone_from_palm: Float[Tensor, "batch 16 4 4"],
        bone_lengths: Float[Tensor, "batch 16"],
    ) -> Float[Tensor, "batch points"]:
        """Between 0 (outside) and 1 (inside the hand); the surface is at 0.5."""
        return torch.sigmoid(self.logits(points, bone_from_palm, bone_lengths))


def load_halo(folder: str | os.PathLike, device: str | torch.device = "cpu") -> tuple[HaloNetwork, ModelCard]:
    """The network of a model folder, ready to evaluate, and its card.

    Raises DataError if the folder is missing, CheckpointError if it contains another network.
    """
    return restored_network(folder, NAME, lambda weights, card: HaloNetwork(**card.architecture), device)
