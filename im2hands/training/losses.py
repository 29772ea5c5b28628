"""Losses of the occupancy networks. Source: HALO (3DV 2021), section 3.4; Im2Hands (CVPR 2023), section 3.4."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.hands.sides import Side


def occupancy_loss(
    occupancy: Mapping[Side, Float[Tensor, "batch n"]], labels: Mapping[Side, Float[Tensor, "batch n"]]
) -> Float[Tensor, ""]:
    """Squared error of occupancies (0 to 1) against labels (0 or 1): a mean per hand, summed over the hands."""
    errors = [torch.mean((occupancy[side] - labels[side].to(occupancy[side])) ** 2) for side in occupancy]
    return torch.stack(errors).sum()
