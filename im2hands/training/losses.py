"""Losses and scores of the occupancy networks. Source: HALO (3DV 2021), section 3.4; Im2Hands (CVPR 2023), section 3.4."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from im2hands.hands.sides import Side


def occupancy_loss(
    occupancy: Mapping[Side, Float[Tensor, "batch n"]], labels: Mapping[Side, Float[Tensor, "batch n"]]
) -> Float[Tensor, ""]:
    """Squared error of occupancies (0 to 1) against labels (0 or 1): a mean per hand, summed over the hands."""
    errors = [torch.mean((occupancy[side] - labels[side].to(occupancy[side])) ** 2) for side in occupancy]
    return torch.stack(errors).sum()


def occupancy_scores(
    occupancy: Mapping[Side, Float[Tensor, "frames n"]],
    labels: Mapping[Side, Float[Tensor, "frames n"]],
    threshold: float,
) -> dict[str, Float[Tensor, " frames"]]:
    """IoU and loss of every frame, means over its hands."""
    overlaps = [intersection_over_union(occupancy[side] >= threshold, labels[side] > 0.5) for side in occupancy]
    errors = [(occupancy[side] - labels[side]).square().mean(dim=1) for side in occupancy]
    return {"val_iou": torch.stack(overlaps).nanmean(dim=0), "val_loss": torch.stack(errors).sum(dim=0)}


def intersection_over_union(
    predicted: Bool[Tensor, "hands points"], true: Bool[Tensor, "hands points"]
) -> Float[Tensor, "hands"]:
    """IoU of every hand; NaN where both are empty."""
    return (predicted & true).sum(dim=1) / (predicted | true).sum(dim=1)
