"""Takes a trained model into the package: `python -m tools.ship_weights models/keypoint_prior`.

Linear maps and kernels are stored in half precision, everything else as it is. An image encoder that a network of the package
stores already is not stored again, so take the network first from which the others have it. The card keeps what the training
wrote, and says so.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from im2hands.io.hashing import sha256_file
from im2hands.networks.catalogue import NETWORKS
from im2hands.networks.model_folder import ENCODER, SHARED_ENCODER, SHIPPED, WEIGHTS, read_model, write_model

LICENCE = "Apache-2.0; trained on hands drawn from the built-in CC0 hand model alone"
OF_ENCODER = "; its image encoder started from EfficientNet-Lite2's ImageNet weights (Apache-2.0)"


def _parts_with_the_encoder_of(folder: Path, weights: dict[str, torch.Tensor]) -> list[str]:
    """What stands before the names of those image encoders of a network that a folder's file of weights contains exactly."""
    if not (folder / WEIGHTS).is_file():
        return []
    stored = {name: tensor for name, tensor in load_file(folder / WEIGHTS).items() if name.startswith(ENCODER)}
    parts = {name.partition(ENCODER)[0] for name in weights if ENCODER in name}
    return [
        part
        for part in sorted(parts)
        if stored
        and {name for name in weights if _is_of(name, [part])} == {part + name for name in stored}
        and all(torch.equal(weights[part + name], tensor) for name, tensor in stored.items())
    ]


def _is_of(name: str, parts: list[str]) -> bool:
    return any(name.startswith(part + ENCODER) for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="a trained network's folder, named after the network")
    parser.add_argument("--note", default="", help="what the card is to say of the run: command, hours, machine")
    arguments = parser.parse_args()
    network = arguments.model.resolve().name
    weights, card = read_model(arguments.model, network)
    halved = {
        name: tensor.half()
        if name.endswith(".weight") and tensor.ndim >= 2 and not name.startswith("skeleton.")
        else tensor
        for name, tensor in weights.items()
    }
    largest = max(float((halved[name].float() - weights[name].float()).abs().max()) for name in weights)
    origin = {**card.origin, "precision": "half, from single", **({"run": arguments.note} if arguments.note else {})}
    licence = LICENCE + (OF_ENCODER if any(ENCODER in name for name in halved) else "")
    for other in NETWORKS:
        parts = _parts_with_the_encoder_of(SHIPPED / other, halved) if other != network else []
        if parts:
            halved = {name: tensor for name, tensor in halved.items() if not _is_of(name, parts)}
            checksum = sha256_file(SHIPPED / other / WEIGHTS)
            origin[SHARED_ENCODER] = {"network": other, "weights_sha256": checksum, "parts": parts}
            break
    parameters = {
        **card.parameters,
        "start": Path(card.parameters.get("start", "scratch")).name,
    }  # no folder of this machine
    write_model(SHIPPED / network, halved, replace(card, origin=origin, licence=licence, parameters=parameters))
    size = sum(tensor.numel() * tensor.element_size() for tensor in halved.values()) / 1e6
    print(f"{SHIPPED / network}: {size:.1f} MB, largest change of a weight {largest:.1e}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
