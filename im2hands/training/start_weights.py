"""Weights that a training starts from, of the same network: those of the package, or those of a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from im2hands.config.training import IntagHandTraining, NetworkTraining
from im2hands.io.errors import ConfigError
from im2hands.networks.model_folder import built_in, read_model


def start_folder(name: str, section: NetworkTraining) -> Path | None:
    """The folder of the weights that the training of a network starts from, if any."""
    if section.start == "scratch" or (isinstance(section, IntagHandTraining) and section.start == "photographs"):
        return None
    return built_in(name) if section.start == "builtin" else Path(section.start)


def weights_to_start_from(network: nn.Module, folder: Path, name: str) -> Mapping[str, Tensor]:
    """The weights of a folder for an untrained network.

    Raises ConfigError if they are of a network of another size, and what `read_model` raises.
    """
    weights, card = read_model(folder, name)
    mine, theirs = dict(network.architecture), dict(card.architecture)
    for key in sorted({*mine, *theirs}):
        if mine.get(key) != theirs.get(key):
            raise ConfigError(
                f"training.{name}: start: the weights of {folder} have {key} {theirs.get(key)}, and params.yaml asks for "
                f"{mine.get(key)}; make them equal, or set start to scratch."
            )
    return weights
