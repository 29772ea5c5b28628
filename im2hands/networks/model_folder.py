"""A model as a folder: `model.safetensors` and `card.json`, which describes the weights and their origin."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from im2hands import __version__
from im2hands.io.atomic import atomic_path, read_json, write_json
from im2hands.io.documents import require_object
from im2hands.io.errors import CheckpointError, DamagedFileError, DataError
from im2hands.io.hashing import sha256_file

WEIGHTS, CARD = "model.safetensors", "card.json"
SHIPPED, BUILT_IN, HUB = Path(__file__).parents[1] / "weights", "builtin", "hf:"
ENCODER, SHARED_ENCODER = "image_encoder.", "image_encoder_of"
"""What the names of an image encoder's tensors begin with, and the entry of a card's origin that says which model beside it
stores them: its network, the checksum of its weights, and the parts of this network that have this encoder."""
OBJECTS = ("architecture", "origin", "parameters", "data", "compat", "metrics")
"""Entries of a card that contain names and values."""

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class ModelCard:
    """What a reader of the weights must know. Everything is JSON.

    network: which class the weights belong to.  architecture: its arguments.
    origin: `trained`, or `imported` with the file's name and SHA-256.
    parameters, seed, data: what it was trained with; data maps a role to the SHA-256 of the file.
    dataset: name of the data, which marks a synthetic stand-in.
    compat: named options for which the weights were made.  metrics: metrics on the validation split.
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


def model_root(models: str | os.PathLike) -> Path:
    """The folder that contains one folder per network.

    models: the folder, `builtin` for that of the package, or `hf:OWNER/NAME[@REVISION]` for a repository of the Hugging Face
    Hub with such folders at its top; its cards and safetensors are kept in the hub's cache.
    Raises DataError if the repository can neither be reached nor is in the cache.
    """
    if str(models) == BUILT_IN:
        return SHIPPED
    return _from_hub(str(models)) if str(models).startswith(HUB) else Path(models)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download  # takes a second

    repository, _, revision = name.removeprefix(HUB).partition("@")
    try:
        folder = snapshot_download(repository, revision=revision or None, allow_patterns=[f"*/{CARD}", f"*/{WEIGHTS}"])
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{name}: not to be had ({reason}); download the repository by hand and give its folder."
        ) from None
    return Path(folder)


def built_in(network: str) -> Path:
    """The folder of a network's weights that come with the package."""
    return SHIPPED / network


def software_versions() -> dict[str, str]:
    return {"im2hands": __version__, "torch": torch.__version__.split("+")[0]}


def write_model(folder: str | os.PathLike, weights: Mapping[str, Tensor], card: ModelCard) -> None:
    """Writes the weights, then the card with their checksum; each file appears completely or not at all."""
    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    checksum = sha256_file(folder / WEIGHTS)
    write_json(folder / CARD, {**asdict(card), "versions": software_versions(), "weights_sha256": checksum})


def read_model(folder: str | os.PathLike, network: str) -> tuple[dict[str, Tensor], ModelCard]:
    """Weights and card of a model of the given network.

    Raises DataError if a file is missing, DamagedFileError if the files are damaged or do not belong together, and
    CheckpointError if the folder contains another network.
    """
    folder = Path(folder)
    weights, card, _ = _own_weights(folder, network)
    shared = card.origin.get(SHARED_ENCODER)
    if shared is not None:
        others, _, checksum = _own_weights(folder.parent / shared["network"], shared["network"])
        if checksum != shared["weights_sha256"]:
            raise DamagedFileError(
                f"{folder}: its image encoder is that of {folder.parent / shared['network']}, whose weights are others now; "
                "take both folders from one place."
            )
        encoder = {name: tensor for name, tensor in others.items() if name.startswith(ENCODER)}
        weights |= {part + name: tensor.clone() for part in shared["parts"] for name, tensor in encoder.items()}
        own = {name: value for name, value in card.origin.items() if name != SHARED_ENCODER}
        card = replace(card, origin=own)  # the weights are whole now
    return weights, card


def _own_weights(folder: Path, network: str) -> tuple[dict[str, Tensor], ModelCard, str]:
    """What a folder itself contains: weights, card and the checksum of the weights."""
    card, expected = _read_card(folder / CARD)
    if card.network != network:
        raise CheckpointError(
            f"{folder}: contains weights of {card.network}, not of {network}; give the {network} model."
        )
    if not (folder / WEIGHTS).is_file():
        raise DataError(f"{folder / WEIGHTS}: the weights are missing; train or import the model.")
    if sha256_file(folder / WEIGHTS) != expected:
        raise DamagedFileError(
            f"{folder / WEIGHTS}: the content does not match card.json; train or import the model again."
        )
    try:
        weights = load_file(folder / WEIGHTS)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise DamagedFileError(f"{folder / WEIGHTS}: unreadable ({error}); train or import the model again.") from None
    for name, tensor in weights.items():
        require_finite(folder / WEIGHTS, name, tensor)
    return weights, card, expected


def _read_card(path: Path) -> tuple[ModelCard, str]:
    """The card and the checksum of the weights that it was written for."""
    content = require_object(path, read_json(path, "model card"), "model card")
    for name in (*ModelCard.__dataclass_fields__, "weights_sha256"):
        if name not in content:
            raise DamagedFileError(f"{path}: not a model card ('{name}' is missing); train or import the model again.")
        kind = dict if name in OBJECTS else int | None if name == "seed" else str
        if not isinstance(content[name], kind):
            raise DamagedFileError(
                f"{path}: '{name}' of the model card is a {type(content[name]).__name__}; train or import the model again."
            )
    shared = content["origin"].get(SHARED_ENCODER)
    if shared is not None and not (isinstance(shared, dict) and {"network", "weights_sha256", "parts"} <= {*shared}):
        raise DamagedFileError(
            f"{path}: '{SHARED_ENCODER}' of the model card does not say whose encoder it is; train or import the model again."
        )
    card = ModelCard(**{name: content[name] for name in ModelCard.__dataclass_fields__})
    return card, content["weights_sha256"]


def require_finite(path: str | os.PathLike, name: str, tensor: Tensor) -> None:
    """Raises CheckpointError, which names the tensor, unless it contains plain finite numbers."""
    if tensor.is_complex() or tensor.is_quantized or tensor.is_meta or tensor.layout != torch.strided:
        raise CheckpointError(
            f"{path}: the tensor {name} must contain real numbers, not {tensor.dtype}; train or import the model again."
        )
    if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
        raise CheckpointError(
            f"{path}: the tensor {name} contains NaN or infinite numbers, so its training diverged; use another file."
        )


def restored_network(
    folder: str | os.PathLike,
    name: str,
    build: Callable[[dict[str, Tensor], ModelCard], Network],
    device: str | torch.device = "cpu",
) -> tuple[Network, ModelCard]:
    """The network of a model folder, ready to evaluate, and its card.

    name: the kind of network that the folder must contain.  build: makes an untrained network from the card's architecture and
    options; it also gets the weights, for sizes that are only there.
    Raises DataError if the folder is missing, CheckpointError if it contains another network or weights that do not fit.
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
