"""dvc.yaml is a projection of the Snakefile: same stages, and every file of a rule lies under its stage."""

from __future__ import annotations

import csv
import io
import sys
from collections import defaultdict
from pathlib import Path, PurePosixPath

import pytest
import yaml

from workflow.parameters import READS, dvc_params

pytestmark = pytest.mark.xdist_group("stand-ins")  # one worker makes the finished checkout for all

ROOT = Path(__file__).parents[2]
ELSEWHERE = ("import_keypoints", "import_meshes", "draw_crops")
"""Stages of other configurations: see test_externals.py and test_drawn_crops.py."""


@pytest.fixture(scope="module")
def stages(finished_once):
    """The stages of a finished checkout, whose dvc.yaml was made by the generator that made the committed one."""
    return yaml.safe_load((finished_once[0].path / "dvc.yaml").read_text())["stages"]


@pytest.fixture(scope="module")
def files(finished_once) -> dict[str, tuple[set[str], set[str]]]:
    """Rule -> (inputs, outputs), from Snakemake's own summary of the finished checkout."""
    output = finished_once[0].snakemake("--detailed-summary")
    table = output[output.index("output_file\t") :]
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for row in csv.DictReader(io.StringIO(table), delimiter="\t"):
        if row["rule"]:
            found[row["rule"]][0].update(row["input-file(s)"].split(","))
            found[row["rule"]][1].add(row["output_file"])
    return found


def rules_of(stage) -> set[str]:
    words = stage["cmd"].split()
    named = words[words.index("--allowed-rules") + 1 : words.index("--")]
    return {rule for rule in named if not rule.startswith("all_")}


def places(stage, *keys: str) -> set[str]:
    """Paths under some keys of a DVC stage, with the templates filled in."""
    dataset = yaml.safe_load((ROOT / "params.yaml").read_text())["dataset"]
    entries = [entry for key in keys for entry in stage.get(key, [])]
    return {
        entry.replace("${dataset.root}", dataset["root"]).replace("${dataset.hand_model}", dataset["hand_model"])
        for entry in entries
    }


def lies_under(file: str, folders: set[str]) -> bool:
    return any(str(parent) in folders for parent in [PurePosixPath(file), *PurePosixPath(file).parents])


def test_committed_file_is_the_generated_one(empty):
    empty.run(sys.executable, "-m", "workflow.dvc_stages", "--check")


def test_drift_is_reported(empty, tmp_path):
    checkout = empty.copy(tmp_path / "copy")
    checkout.change("sample_evaluation_queries.shards.train", 1)
    done = checkout.run(sys.executable, "-m", "workflow.dvc_stages", "--check", check=False)
    assert done.returncode == 1
    assert "write it again" in done.stdout


def test_every_rule_belongs_to_one_stage(stages, files):
    owned = [rule for stage in stages.values() for rule in rules_of(stage)]
    assert len(owned) == len(set(owned))
    assert set(owned) == set(files)


def test_outputs_of_a_rule_lie_under_the_outs_of_its_stage(stages, files):
    for name, stage in stages.items():
        outs = places(stage, "outs", "metrics")
        for rule in rules_of(stage):
            assert [file for file in files[rule][1] if not lies_under(file, outs)] == [], name


def test_inputs_of_a_stage_lie_under_its_deps_and_no_dep_is_idle(stages, files):
    for name, stage in stages.items():
        deps, own = places(stage, "deps"), set().union(*(files[rule][1] for rule in rules_of(stage)))
        inputs = set().union(*(files[rule][0] for rule in rules_of(stage))) - own
        assert [file for file in inputs if not lies_under(file, deps)] == [], name
        assert [dep for dep in deps if not any(lies_under(file, {dep}) for file in inputs)] == [], name


def test_outs_of_different_stages_do_not_overlap(stages):
    outs = [out for stage in stages.values() for out in places(stage, "outs", "metrics")]
    for out in outs:
        assert not lies_under(out, set(outs) - {out})


def test_commands_run_one_stage_and_nothing_of_the_machine(stages):
    for name, stage in stages.items():
        assert stage["cmd"].endswith(f"-- all_{name}")
        assert "--cores" not in stage["cmd"]
        assert "--resources" not in stage["cmd"]


def test_params_are_those_of_the_rules(stages):
    assert {name: stage.get("params", []) for name, stage in stages.items()} == {
        name: dvc_params(name) for name in READS if name not in ELSEWHERE
    }


def test_nothing_persists(stages):
    """DVC must delete outs before a stage, else Snakemake could skip it and DVC sign old files."""
    assert "persist" not in (ROOT / "dvc.yaml").read_text()
