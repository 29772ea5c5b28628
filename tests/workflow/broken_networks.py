"""Networks that say nothing sensible: a trained model folder with other weights, as the workflow reads it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from im2hands.networks.halo import load_halo
from im2hands.networks.initial_occupancy import load_initial_occupancy
from im2hands.networks.intaghand import load_intaghand
from im2hands.networks.keypoint_prior import load_keypoint_prior
from im2hands.networks.keypoint_refinement import load_keypoint_refinement
from im2hands.networks.model_folder import write_model
from im2hands.networks.refined_occupancy import load_refined_occupancy

LOADERS: dict[str, Callable[[Path], tuple[nn.Module, object]]] = {
    "halo": load_halo,
    "keypoint_prior": load_keypoint_prior,
    "intaghand": load_intaghand,
    "initial_occupancy": load_initial_occupancy,
    "keypoint_refinement": load_keypoint_refinement,
    "refined_occupancy": load_refined_occupancy,
}


def _shuffled(weights: Tensor) -> Tensor:
    return weights.flatten()[torch.randperm(weights.numel())].reshape(weights.shape)


def _overflowing(weights: Tensor) -> Tensor:
    return torch.where(torch.rand(weights.shape) < 0.5, -3e38, 3e38)


KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "random": _shuffled,
    "constant": torch.zeros_like,
    "huge": lambda weights: 1e5 * _shuffled(weights),
    "not_finite": _overflowing,
}
"""What becomes of every trained tensor. `not_finite`: finite weights whose sums overflow, so that the output is NaN."""


def break_network(network: str, kind: str, model: Path, output: Path) -> None:
    """Writes the model of folder `model` with other weights to `output`; stored constants such as graphs stay."""
    module, card = LOADERS[network](model)
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(KINDS[kind](parameter))
    shutil.rmtree(output, ignore_errors=True)
    write_model(output, module.state_dict(), replace(card, metrics={}))
