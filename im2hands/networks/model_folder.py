"""A model as a folder: `model.safetensors` and `card.json`, which says what the weights are and where they come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from im2hands import __version__
from im2hands.io.atomic import atomic_path, read_json, write_json
from im2hands.io.errors import CheckpointError, DamagedFileError, DataError
from im2hands.io.hashing import sha256_file

WEIGHTS, CARD = "model.safetensors", "card.json"

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class ModelCard:
    """What a reader of the weights must know. Everything is JSON.

    network: which class the weights belong to.  architecture: its arguments.
    origin: `trained`, or `imported` with the file's name and SHA-256.
    parameters, seed, data: what it was trained with; data maps a role to the SHA-256 of the file.
    dataset: name of the data; says so when they are a synthetic stand-in.
    compat: named options that the weights were made for.  metrics: of the validation split.
    licence: what the weights may be used for.
    """

    network: str
    architecture: Mapping[str, Any]
    origin: Mapping[str, Any]
    dataset: str
    licence: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    compat: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


def software_versions() -> dict[str, str]:
    return {"im2hands": __version__, "torch": torch.__version__.split("+")[0]}


def write_model(folder: str | os.PathLike, weights: Mapping[str, Tensor], card: ModelCard) -> None:
    """Writes weights, then the card, which holds their checksum; each file appears whole or not at all."""
    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    checksum = sha256_file(folder / WEIGHTS)
    write_json(folder / CARD, {**asdict(card), "versions": software_versions(), "weights_sha256": checksum})


def read_model(folder: str | os.PathLike, network: str) -> tuple[dict[str, Tensor], ModelCard]:
    """Weights and card of a model of the given network.

    Raises DataError if a file is missing, DamagedFileError if the files are damaged or do not belong together, and
    CheckpointError if the folder holds another network.
    """
    folder = Path(folder)
    content = read_json(folder / CARD, "model card")
    try:
        card = ModelCard(**{name: content[name] for name in ModelCard.__dataclass_fields__})
        expected = content["weights_sha256"]
    except (KeyError, TypeError) as error:
        raise DamagedFileError(
            f"{folder / CARD}: not a model card (no {error}); train or import the model again."
        ) from None
    if card.network != network:
        raise CheckpointError(f"{folder}: holds weights of {card.network}, not of {network}; give the {network} model.")
    if not (folder / WEIGHTS).is_file():
        raise DataError(f"{folder / WEIGHTS}: the weights are missing; train or import the model.")
    if sha256_file(folder / WEIGHTS) != expected:
        raise DamagedFileError(
            f"{folder / WEIGHTS}: the content is not what card.json was written for; train or import the model again."
        )
    try:
        return load_file(folder / WEIGHTS), card
    except (safetensors.SafetensorError, OSError) as error:
        raise DamagedFileError(f"{folder / WEIGHTS}: unreadable ({error}); train or import the model again.") from None


def restored_network(
    folder: str | os.PathLike,
    name: str,
    build: Callable[[dict[str, Tensor], ModelCard], Network],
    device: str | torch.device = "cpu",
) -> tuple[Network, ModelCard]:
    """The network of a model folder, ready to evaluate, and its card.

    name: the kind of network that the folder must hold.  build: an untrained network of the card's architecture and options; it
    gets the weights too, for what only they tell.
    Raises DataError if the folder is missing, CheckpointError if it holds another network or weights that do not fit.
    """
    weights, card = read_model(folder, name)
    try:
        network = build(weights, card)
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder}: the weights do not fit the network that card.json describes ({str(error).splitlines()[0]}); "
            "train or import the model again."
        ) from None
    return network.eval().requires_grad_(False).to(device), card
