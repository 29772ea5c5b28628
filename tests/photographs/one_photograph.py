"""Tiny networks and one photograph with keypoints and camera, for everything that starts from a user's own picture."""

from __future__ import annotations

from pathlib import Path

from tests.training.occupancy_frames import write_initial, write_queries
from tests.training.two_hand_frames import TwoHandSplit, make_split
from tests.training.untrained import write_refined


def photographs(folder: Path) -> TwoHandSplit:
    """A split of one pose seen by two cameras."""
    return make_split(folder, "test", poses=1)


def write_models(data: TwoHandSplit) -> Path:
    """A folder of models as the workflow leaves it; refined occupancy starts at the initial field."""
    folder = data.folder / "models"
    initial = write_initial(folder / "initial_occupancy", data.hands, write_queries(data))
    write_refined(folder / "refined_occupancy", initial)
    return folder
