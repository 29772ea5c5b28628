"""A small synthetic dataset that the tests of this folder share; made once, to be copied before it is changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from im2hands.datasets.synthetic.dataset import make_dataset
from im2hands.datasets.synthetic.pairs import PairSampler
from im2hands.datasets.synthetic.plan import Settings
from im2hands.hands.model_files import builtin_hand_models

MINI = Settings(
    poses={"train": 4, "val": 1, "test": 2},
    subjects={"train": 1, "val": 1, "test": 1},
    cameras=2,
    scale=1.0,
    supersampling=1,
    jpeg_quality=92,
    seed=20230618,
)


@dataclass(frozen=True)
class Made:
    root: Path
    hand_model: Path
    settings: Settings


@pytest.fixture(scope="session")
def sampler() -> PairSampler:
    return PairSampler(builtin_hand_models())


@pytest.fixture(scope="session")
def mini(tmp_path_factory) -> Made:
    """The mini dataset, made by one process."""
    folder = tmp_path_factory.mktemp("mini")
    make_dataset(folder / "root", folder / "hand_model", MINI, threads=1)
    return Made(folder / "root", folder / "hand_model", MINI)
