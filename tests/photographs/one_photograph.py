"""Tiny networks and one photograph with keypoints and camera, for everything that starts from a user's own picture."""

from __future__ import annotations

from pathlib import Path

import torch

from im2hands.networks.initial_occupancy import load_initial_occupancy
from im2hands.networks.model_folder import ModelCard, write_model
from im2hands.networks.refined_occupancy import NAME, OPTIONS, RefinedOccupancyNetwork
from tests.training.occupancy_frames import write_initial, write_queries
from tests.training.two_hand_frames import TwoHandSplit, make_split


def photographs(folder: Path) -> TwoHandSplit:
    """A split of one pose seen by two cameras."""
    return make_split(folder, "test", poses=1)


def write_models(data: TwoHandSplit) -> Path:
    """A folder of models as the workflow leaves it; refined occupancy starts at the initial field."""
    folder = data.folder / "models"
    first, _ = load_initial_occupancy(write_initial(folder / "initial_occupancy", data.hands, write_queries(data)))
    torch.manual_seed(1)
    sizes = {name: value for name, value in first.architecture.items() if name != "encoder"}
    network = RefinedOccupancyNetwork(first.architecture["encoder"], sizes, (8, 12), 1, 8)
    network.start_from_initial(first)
    network.start_as_initial_field()
    compat = dict.fromkeys(OPTIONS, "consistent")
    card = ModelCard(NAME, network.architecture, {"kind": "trained"}, "none", "none", compat=compat)
    write_model(folder / "refined_occupancy", network.state_dict(), card)
    return folder
