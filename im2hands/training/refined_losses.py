"""Loss and schedule of refined occupancy. Source: Im2Hands (CVPR 2023), section 3.4; published training code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.config.choices import Behaviour
from im2hands.hands.sides import Side

PENETRATION_WEIGHT = 0.001
"""Of the sum, in the published loss."""
PUBLISHED_BATCH, PUBLISHED_QUERIES = 2, 2048
"""With which that weight was chosen; queries per hand."""
LEARNING_RATE, WEIGHT_DECAY = 1e-4, 1e-5
STEP, FACTOR = 5000, 0.2
"""Iterations between drops of the learning rate, and what it is multiplied with."""


def penetration(
    occupancy: Mapping[Side, Float[Tensor, "batch n"]],
    others: Mapping[Side, Float[Tensor, "batch n"]],
    penetration_reduction: Behaviour = "consistent",
) -> Float[Tensor, ""]:
    """How much of the query points both hands claim; goes into the loss with PENETRATION_WEIGHT.

    occupancy: occupancy of each hand at its own query points.  others: `network.penetration`, each hand at the other's points.
    penetration_reduction: "published" sums over batch and queries, so that the term's share of the loss grows with both;
    "consistent" takes the mean per hand, times the published numbers of samples and queries, at which both are equal.
    """
    claimed = [occupancy[side] * others[side.other] for side in occupancy]
    if penetration_reduction == "published":
        return torch.stack([each.sum() for each in claimed]).sum()
    if penetration_reduction == "consistent":
        means = [each.mean() for each in claimed if each.numel()]
        total = torch.stack(means).sum() if means else claimed[0].sum()
        return PUBLISHED_BATCH * PUBLISHED_QUERIES * total
    raise ValueError(f"penetration_reduction must be published or consistent, not {penetration_reduction!r}")


def learning_rate(iteration: int, start: float = LEARNING_RATE) -> float:
    """The rate of an iteration, counted from 1. The published schedule steps before the optimiser does."""
    return start * FACTOR ** (iteration // STEP)


def optimiser(
    parameters: Iterable[torch.nn.Parameter], rate: float = LEARNING_RATE, weight_decay: float = WEIGHT_DECAY
) -> torch.optim.Adam:
    """Adam with the L2 penalty in the gradient; frozen parameters are neither moved nor decayed."""
    return torch.optim.Adam(parameters, lr=rate, weight_decay=weight_decay)
