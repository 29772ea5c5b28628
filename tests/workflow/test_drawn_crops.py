"""With dataset.root: drawn, crops take the place of a dataset: the plan, dvc.yaml, and a training on them."""

from __future__ import annotations

import json
import sys

import pytest
import yaml

from tests.workflow.checkout import Checkout
from tests.workflow.conftest import configured
from tests.workflow.test_graph import PLAN
from workflow.parameters import dvc_params
from workflow.paths import SHIPPED

REPLACED = {"synthesize_dataset", "index_frames", "fit_hands", "normalize_images", "gather_images"}


@pytest.fixture(scope="module")
def drawn(empty, tmp_path_factory) -> Checkout:
    checkout = empty.copy(tmp_path_factory.mktemp("drawn") / "checkout")
    checkout.change("dataset.root", "drawn")
    return checkout


def test_crops_take_the_place_of_a_dataset(drawn):
    assert drawn.plan() == {rule: count for rule, count in PLAN.items() if rule not in REPLACED} | {"draw_crops": 3}


def test_dvc_follows(drawn):
    drawn.run(sys.executable, "-m", "workflow.dvc_stages")
    stages = yaml.safe_load((drawn.path / "dvc.yaml").read_text())["stages"]
    assert not REPLACED & set(stages)
    stage = stages["draw_crops"]
    assert stage["outs"] == ["data/frames", "data/hands", "data/images"]
    assert stage["params"] == dvc_params("draw_crops")
    assert "im2hands/datasets/synthetic/crops.py" in stage["deps"]
    assert "data/hands/train.parquet" in stages["sample_queries"]["deps"]


@pytest.mark.parametrize("preset", ["pretrain", "pretrain-gpu"])
def test_the_presets_plan_every_training(empty, tmp_path, preset):
    checkout = empty.copy(tmp_path / "copy")
    checkout.run(sys.executable, "-m", "im2hands.cli", "configure", preset)
    plan = checkout.plan()
    assert plan["draw_crops"] == 3
    assert {rule for rule in plan if rule.startswith("train_")} == {rule for rule in PLAN if rule.startswith("train_")}


def test_another_hand_model_is_refused(drawn, tmp_path):
    checkout = drawn.copy(tmp_path / "copy")
    checkout.change("dataset.hand_model", "data/mano")
    assert "crops are drawn of the built-in hand alone" in checkout.snakemake("-n", check=False)


def test_weights_of_the_package_are_inputs_of_a_training_that_may_start_from_them(drawn):
    stages = yaml.safe_load((drawn.path / "dvc.yaml").read_text())["stages"]
    for network, stored in SHIPPED.items():
        for folder in stored:
            assert f"im2hands/weights/{folder}/model.safetensors" in stages[f"train_{network}"]["deps"]


@pytest.mark.slow
def test_intaghand_trains_on_drawn_crops(tmp_path):
    """One person a split; a second run has nothing to do, another number of persons draws only the new ones."""
    checkout = configured(tmp_path / "checkout")
    checkout.change("dataset.root", "drawn")
    checkout.change("draw_crops.persons", {"train": 1, "val": 1, "test": 1})
    checkout.change("training.intaghand.joint_width", 16)
    checkout.snakemake("--", "models/intaghand/card.json")
    assert json.loads((checkout.path / "models/intaghand/card.json").read_text())["dataset"] == "drawn crops"
    assert "Nothing to be done" in checkout.snakemake("--", "models/intaghand/card.json")
    first = checkout.path / "data/images/train/person-000000.arrow"
    before = first.stat().st_mtime_ns
    checkout.change("draw_crops.persons.train", 2)
    jobs, causes = checkout.plan_and_causes("--", "data/images/train/manifest.json")
    assert (jobs, causes) == ({"draw_crops": 1}, {"draw_crops"})
    checkout.snakemake("--", "data/images/train/manifest.json")
    assert first.stat().st_mtime_ns == before
    assert (first.parent / "person-000001.arrow").is_file()
