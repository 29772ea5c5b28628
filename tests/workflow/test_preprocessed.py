"""Imported folders take the place of the stages that would have made their files."""

from __future__ import annotations

import re
import shutil
import sys

import pytest
import yaml

from tests.datasets.preprocessed_folders import write_halo_folder, write_intaghand_folder
from tests.structure.test_stages import rules
from tests.training.two_hand_frames import make_split
from tests.workflow.checkout import ROOT

REPLACED = {"synthesize_dataset", "draw_crops", "index_frames", "fit_hands", "normalize_images", "gather_images"}
PROFILE = "profiles/preprocessed"


def allowed() -> set[str]:
    return set(yaml.safe_load((ROOT / PROFILE / "config.yaml").read_text())["allowed-rules"])


def test_profile_allows_all_rules_but_the_replaced_ones():
    text = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    gathering = set(re.findall(r"^\s*use rule gather_queries as (\w+) with:", text, re.MULTILINE))
    assert allowed() == {*rules(), *gathering, "all"} - REPLACED
    common = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())
    ours = yaml.safe_load((ROOT / PROFILE / "config.yaml").read_text())
    assert {name: ours[name] for name in common} == common


@pytest.mark.slow
def test_imported_folders_are_what_the_workflow_goes_on_from(empty, tmp_path):
    """The commands of docs/preprocessed-folders.md; the plan begins with evaluation points and training."""
    checkout = empty.copy(tmp_path / "checkout")
    checkout.change("dataset.root", "given")
    for split in ("train", "val", "test"):
        data = make_split(tmp_path / "data", split, poses=2, maps=True)
        write_intaghand_folder(tmp_path / "intaghand", data)
        write_halo_folder(tmp_path / "halo", data)
    command = (sys.executable, "-m", "im2hands.cli", "import-preprocessed")
    checkout.snakemake("--", *(f"data/hand_model/MANO_{side}.npz" for side in ("LEFT", "RIGHT")))
    checkout.run(*command, str(tmp_path / "intaghand"), "--kind", "intaghand")
    checkout.run(sys.executable, "-m", "workflow.dvc_stages")
    plan = checkout.plan("--workflow-profile", PROFILE)
    assert not REPLACED & set(plan)
    assert {"sample_queries", "train_halo", "train_intaghand", "reconstruct", "make_tables"} <= set(plan)
    checkout.run(*command, str(tmp_path / "halo"), "--kind", "halo")
    assert "sample_queries" not in checkout.plan("--workflow-profile", PROFILE)
    shutil.rmtree(checkout.path / "data/images")
    assert "data/images/train/manifest.json" in checkout.snakemake("-n", "--workflow-profile", PROFILE, check=False)
