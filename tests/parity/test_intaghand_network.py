"""IntagHand's graphs, blocks, network and losses against the numbers of the reference."""

from __future__ import annotations

from pathlib import Path

from im2hands.parity.case import GoldenFolder
from im2hands.parity.cases import mano_forward
from im2hands.parity.cases.intaghand_network import CASE

FOLDER = GoldenFolder(Path(__file__).parents[1] / "golden", (CASE, mano_forward.CASE))


def test_every_output_agrees():
    golden = FOLDER.find(CASE.name)
    comparisons = list(CASE.run(golden, FOLDER))
    assert len(comparisons) == 71
    assert not [comparison for comparison in comparisons if not comparison.passed]
    assert golden.unused == ["loss_rng", "mano_model_seed"]
