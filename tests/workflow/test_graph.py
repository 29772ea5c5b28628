"""The graph as a newcomer finds it: the whole plan, the profile, the style."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from im2hands.config.choices import SPLITS
from workflow.paths import annotation_folder

ROOT = Path(__file__).parents[2]

PLAN = {
    "write_hand_model": 1,
    "synthesize_dataset": 3,
    "index_frames": 3,
    "fit_hands": 3,
    "normalize_images": 4,
    "gather_images": 3,
    "sample_queries": 3,
    "gather_queries": 2,
    "sample_evaluation_queries": 2,
    "gather_evaluation_queries": 2,
    "train_halo": 1,
    "train_keypoint_prior": 1,
    "train_intaghand": 1,
    "predict_keypoints": 3,
    "perturb_keypoints": 1,
    "apply_keypoint_prior": 2,
    "train_keypoint_refinement": 1,
    "refine_keypoints": 2,
    "train_initial_occupancy": 1,
    "generate_anchors": 3,
    "gather_anchors": 2,
    "train_refined_occupancy": 1,
    "reconstruct": 9,
    "evaluate_keypoints": 6,
    "evaluate": 9,
    "make_tables": 1,
    "make_report": 1,
}


def test_dry_run_in_an_empty_clone_shows_every_job(empty):
    assert empty.plan() == PLAN


def test_plan_follows_the_numbers_of_shards(empty, tmp_path):
    checkout = empty.copy(tmp_path / "copy")
    checkout.change("sample_queries.shards.train", 5)
    checkout.change("reconstruct.shards", 3)
    assert checkout.plan() == PLAN | {"sample_queries": 6, "reconstruct": 27, "evaluate": 27}


def test_published_refinement_takes_keypoints_as_they_are(empty, tmp_path):
    """Without the prior, which is then neither trained nor applied; HALO is given what it would have corrected."""
    checkout = empty.copy(tmp_path / "copy")
    checkout.change("options.keypoint_prior", "published")
    left = {rule: count for rule, count in PLAN.items() if "keypoint_prior" not in rule}
    assert checkout.plan() == left | {"evaluate_keypoints": 4}


def test_own_dataset_replaces_the_synthetic_one(empty, tmp_path):
    """With the top folder of the downloads, and pickled hand models; nothing is synthesized."""
    data, top = tmp_path / "data", "InterHand2.6M_5fps_batch1"
    for split in SPLITS:
        for kind in ("data", "camera", "joint_3d", "MANO_NeuralAnnot"):
            file = data / top / f"annotations/{split}/InterHand2.6M_{split}_{kind}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{}")
    for side in ("RIGHT", "LEFT"):
        (data / f"MANO_{side}.pkl").touch()
    checkout = empty.copy(tmp_path / "copy")
    checkout.change("dataset.root", str(data))
    checkout.change("dataset.hand_model", str(data))
    left = {rule: count for rule, count in PLAN.items() if rule not in ("write_hand_model", "synthesize_dataset")}
    assert checkout.plan() == left
    checkout.run(sys.executable, "-m", "workflow.dvc_stages")
    text = (checkout.path / "dvc.yaml").read_text()
    assert f"${{dataset.root}}/{top}/annotations/train/InterHand2.6M_train_data.json" in text
    assert "synthesize_dataset" not in text


def test_given_weights_take_the_place_of_a_training(empty, tmp_path):
    """Nothing is trained, and nothing is made that only a training needs."""
    checkout = empty.copy(tmp_path / "copy")
    networks = ("halo", "keypoint_prior", "intaghand", "initial_occupancy", "keypoint_refinement", "refined_occupancy")
    for network in networks:
        folder = checkout.path / "given" / network
        folder.mkdir(parents=True)
        for name in ("model.safetensors", "card.json"):
            (folder / name).touch()
        checkout.change(f"training.{network}.weights", f"given/{network}")
    assert {checkout.plan()[f"train_{network}"] for network in networks} == {1}
    printed = checkout.snakemake(
        "--dry-run", "--printshellcmds", "--", "results/im2hands/model/metrics/0000-of-0001.parquet"
    )
    assert "stages.use_given_weights --weights given/refined_occupancy --network refined_occupancy" in printed
    assert "stages.train_" not in printed
    assert "stages.generate_anchors" not in printed


@pytest.mark.parametrize("top", ["", "InterHand2.6M_5fps_batch1", "InterHand2.6M_30fps_batch1"])
def test_annotations_are_found_with_and_without_a_top_folder(tmp_path, top):
    (tmp_path / top / "annotations").mkdir(parents=True)
    assert annotation_folder({"dataset": {"root": str(tmp_path)}}) == (tmp_path / top / "annotations").as_posix()


def test_annotations_of_the_root_come_before_those_of_a_top_folder(tmp_path):
    """As `InterHand26M.open` takes them."""
    for folder in ("annotations", "InterHand2.6M_5fps_batch1/annotations"):
        (tmp_path / folder).mkdir(parents=True)
    assert annotation_folder({"dataset": {"root": str(tmp_path)}}) == (tmp_path / "annotations").as_posix()


def test_every_stage_has_a_target(empty):
    jobs = empty.plan("--", "all_fit_hands")
    assert jobs == {
        "write_hand_model": 1,
        "synthesize_dataset": 3,
        "index_frames": 3,
        "fit_hands": 3,
        "all_fit_hands": 1,
    }


@pytest.mark.parametrize(("limit", "gpus"), [([], 1), (["--resources", "gpu=0"], 0)], ids=["default", "no GPU"])
def test_default_profile_is_used_without_an_option(empty, limit, gpus):
    """It allows one GPU job at a time; a request is capped at the limit, so that 0 on the command line keeps off the GPU."""
    output = empty.snakemake("--dry-run", "--printshellcmds", *limit, "--", "all_train_halo")
    assert "profiles/default" in output
    assert f"--gpus {gpus} " in output


def test_only_the_missing_container_is_criticised(empty):
    """One pip environment serves all rules, so lint's advice on conda does not apply; nothing else may be found."""
    output = empty.snakemake("--lint", check=False)
    findings = re.findall(r"^    \* (.*)$", output, re.MULTILINE)
    assert findings
    assert set(findings) == {"Specify a conda environment or container for each rule.:"}


def test_rule_files_are_formatted():
    command = [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
