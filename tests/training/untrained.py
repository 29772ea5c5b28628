"""Model folders of untrained networks, for trainings that start from others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from im2hands.datasets.occupancy_items import LabelledHands
from im2hands.hands.model_files import builtin_hand_models
from im2hands.networks.halo import NAME as HALO
from im2hands.networks.halo import HaloNetwork
from im2hands.networks.hand_graphs import build_hand_graph
from im2hands.networks.intaghand import NAME as INTAGHAND
from im2hands.networks.intaghand import IntagHandNetwork
from im2hands.networks.model_folder import ModelCard, write_model


def write_halo(folder: Path, hands: LabelledHands) -> Path:
    """HALO with a field of soft balls about the bones."""
    torch.manual_seed(0)
    network = HaloNetwork(width=24)
    network.decoders.start_as_balls(hands.bone_centres())
    network.decoders.layers[-1].bias.data += 1
    write_model(folder, network.state_dict(), _card(HALO, network))
    return folder


def write_intaghand(folder: Path) -> Path:
    torch.manual_seed(0)
    graphs = {side: build_hand_graph(np.asarray(model.faces)) for side, model in builtin_hand_models().items()}
    network = IntagHandNetwork(graphs, torch.rand(778, 3), encoder="resnet10_narrow", widths=(8, 8, 8, 8))
    write_model(folder, network.state_dict(), _card(INTAGHAND, network))
    return folder


def _card(name: str, network: HaloNetwork | IntagHandNetwork) -> ModelCard:
    return ModelCard(name, network.architecture, {"kind": "trained"}, "none", "none", metrics={"val_iou": 0.5})
