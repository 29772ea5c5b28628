"""The paper preset with published network sizes on a small set in the form of InterHand2.6M: a few steps, end to end."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.workflow.checkout import Checkout
from tests.workflow.conftest import configured

SMALL = Path(__file__).parent / "paper_small.yaml"
SIZES = {
    "halo": ("width",),
    "intaghand": ("encoder", "widths"),
    "keypoint_refinement": ("token_widths", "image_channels"),
    "refined_occupancy": ("anchor_widths", "anchor_blocks", "query_width"),
}
"""Network -> parameters that set its size."""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("paper")]


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout with the paper preset, whose dataset and hand model lie where a user puts InterHand2.6M and MANO."""
    checkout = configured(tmp_path_factory.mktemp("paper") / "checkout")
    checkout.snakemake("--", "all_synthesize_dataset")
    shutil.move(checkout.path / "data/raw/synthetic", checkout.path / "data/raw/InterHand2.6M")
    shutil.move(checkout.path / "data/hand_model", checkout.path / "data/mano")
    for preset in ("paper", str(SMALL)):
        checkout.run(sys.executable, "-m", "im2hands.cli", "configure", preset)
    checkout.run(sys.executable, "-m", "workflow.dvc_stages")
    yield checkout
    shutil.rmtree(checkout.path)  # networks and optimiser states of published size: gigabytes


def test_paper_preset_with_published_sizes_goes_through(paper):
    published = yaml.safe_load((paper.path / "presets/paper.yaml").read_text())
    params = yaml.safe_load((paper.path / "params.yaml").read_text())
    for network, names in SIZES.items():
        for name in names:
            assert params["training"][network][name] == published["training"][network][name], f"{network}.{name}"
    paper.snakemake()
    table = pd.read_parquet(paper.path / "results/tables/shape_given_keypoints.parquet")
    assert set(table["method"]) == {"halo", "initial", "im2hands"}
    assert (paper.path / "results/report.html").is_file()
    assert paper.plan() == {}
