"""Takes a trained model into the package: `python -m tools.ship_weights models/keypoint_prior`.

Linear maps and kernels are stored in half precision, everything else as it is. An image encoder that equals that of IntagHand,
which is taken first, is stored with IntagHand alone. The card keeps what the training wrote, and says so.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from im2hands.io.hashing import sha256_file
from im2hands.networks.intaghand import NAME as INTAGHAND
from im2hands.networks.model_folder import ENCODER, SHARED_ENCODER, SHIPPED, WEIGHTS, read_model, write_model

LICENCE = "Apache-2.0; trained on hands drawn from the built-in CC0 hand model alone"


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
    if network != INTAGHAND and any(name.startswith(ENCODER) for name in halved):
        shared, _ = read_model(SHIPPED / INTAGHAND, INTAGHAND)
        own = {name: tensor for name, tensor in halved.items() if name.startswith(ENCODER)}
        if all(torch.equal(tensor, shared[name]) for name, tensor in own.items()):
            halved = {name: tensor for name, tensor in halved.items() if name not in own}
            checksum = sha256_file(SHIPPED / INTAGHAND / WEIGHTS)
            origin[SHARED_ENCODER] = {"network": INTAGHAND, "weights_sha256": checksum}
    write_model(SHIPPED / network, halved, replace(card, origin=origin, licence=LICENCE))
    size = sum(tensor.numel() * tensor.element_size() for tensor in halved.values()) / 1e6
    print(f"{SHIPPED / network}: {size:.1f} MB, largest change of a weight {largest:.1e}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
