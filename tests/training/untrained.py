"""Model folders of untrained networks, for trainings that start from others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from im2hands.datasets.occupancy_items import LabelledHands
from im2hands.hands.model_files import builtin_hand_models
from im2hands.networks.halo import NAME as HALO
from im2hands.networks.halo import HaloNetwork
from im2hands.networks.hand_graphs import build_hand_graph
from im2hands.networks.initial_occupancy import load_initial_occupancy
from im2hands.networks.intaghand import NAME as INTAGHAND
from im2hands.networks.intaghand import IntagHandNetwork
from im2hands.networks.keypoint_prior import NAME as KEYPOINT_PRIOR
from im2hands.networks.keypoint_prior import KeypointPriorNetwork
from im2hands.networks.model_folder import ModelCard, write_model
from im2hands.networks.refined_occupancy import NAME as REFINED_OCCUPANCY
from im2hands.networks.refined_occupancy import OPTIONS, RefinedOccupancyNetwork


def write_halo(folder: Path, hands: LabelledHands) -> Path:
    """HALO with a field of soft balls about the bones."""
    torch.manual_seed(0)
    network = HaloNetwork(width=24)
    network.decoders.start_as_balls(hands.bone_centres())
    network.decoders.layers[-1].bias.data += 1
    return write_network(folder, HALO, network)


def write_intaghand(folder: Path) -> Path:
    torch.manual_seed(0)
    graphs = {side: build_hand_graph(np.asarray(model.faces)) for side, model in builtin_hand_models().items()}
    network = IntagHandNetwork(graphs, torch.rand(778, 3), encoder="resnet10_narrow", widths=(8, 8, 8, 8))
    return write_network(folder, INTAGHAND, network)


def write_prior(folder: Path) -> Path:
    torch.manual_seed(0)
    network = KeypointPriorNetwork(width=16, blocks=1)
    network.start_from(builtin_hand_models())
    return write_network(folder, KEYPOINT_PRIOR, network)


def write_refined(folder: Path, initial: Path, moved: float = 0.0) -> Path:
    """Refined occupancy at the field of an initial network, whose last layer is moved at random by about `moved`."""
    first, _ = load_initial_occupancy(initial)
    torch.manual_seed(1)
    sizes = {name: value for name, value in first.architecture.items() if name != "encoder"}
    network = RefinedOccupancyNetwork(first.architecture["encoder"], sizes, (8, 12), 1, 8)
    network.start_from_initial(first)
    network.start_as_initial_field()
    weight = network.decoder.last.weight
    weight.data.add_(torch.randn_like(weight), alpha=moved)
    return write_network(folder, REFINED_OCCUPANCY, network, **dict.fromkeys(OPTIONS, "consistent"))


def write_network(folder: Path, name: str, network: nn.Module, **compat: str) -> Path:
    """A model folder as a training writes it."""
    metrics = {"val_iou": 0.5}
    card = ModelCard(name, network.architecture, {"kind": "trained"}, "none", "none", metrics=metrics, compat=compat)
    write_model(folder, network.state_dict(), card)
    return folder
