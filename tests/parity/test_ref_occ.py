"""Refined occupancy against the numbers of the reference network."""

from __future__ import annotations

from pathlib import Path

import pytest

from im2hands.parity.case import GoldenFolder
from im2hands.parity.cases.ref_occ import CASE

FOLDER = GoldenFolder(Path(__file__).parents[1] / "golden", (CASE,))


@pytest.mark.slow
def test_every_output_agrees():
    golden = FOLDER.find(CASE.name)
    comparisons = list(CASE.run(golden, FOLDER))
    assert len(comparisons) == 140
    assert not [comparison for comparison in comparisons if not comparison.passed]
    assert golden.unused == []
