"""Initial occupancy against the numbers of the reference network."""

from __future__ import annotations

from pathlib import Path

import pytest

from im2hands.parity.case import GoldenFolder
from im2hands.parity.cases.init_occ import CASE

FOLDER = GoldenFolder(Path(__file__).parents[1] / "golden", (CASE,))


@pytest.fixture(scope="module")
def golden():
    return FOLDER.find(CASE.name)


@pytest.fixture(scope="module")
def comparisons(golden):
    return list(CASE.run(golden, FOLDER))


def test_every_output_agrees(golden, comparisons):
    assert len(comparisons) == 83
    assert not [comparison for comparison in comparisons if not comparison.passed]
    assert golden.unused == []


def test_training_loss_of_the_given_file_is_within_the_reference_noise(comparisons):
    """The tolerance leaves room for other seeds; of this file the loss agrees to 1e-5, which float32 alone would miss."""
    (loss,) = (comparison for comparison in comparisons if comparison.field == "train_loss")
    assert loss.deviation < 1e-5
