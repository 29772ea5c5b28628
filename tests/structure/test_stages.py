"""A newcomer finds a stage by its name: rule, stage file and the README's table agree, and every stage runs alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from im2hands.networks.catalogue import NETWORKS
from workflow.trainings import TRAININGS

ROOT = Path(__file__).parents[2]
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")


def rules() -> set[str]:
    text = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    return {*re.findall(r"^\s*rule (\w+):", text, re.MULTILINE), *(f"train_{network}" for network in TRAININGS)}


def test_every_stage_has_its_rule_and_the_reverse():
    """The rules that list shards share one stage, `gather_shards`, trainings with given weights another; ablations run the
    workflow itself again and have none.
    """
    without_gathering = {name for name in rules() if not name.startswith("gather_")} - {"run_ablation", "ablations"}
    assert without_gathering == {name for name in STAGES if not name.startswith("gather_")} - {"use_given_weights"}


def test_every_network_has_its_training():
    """The sections of params.yaml name the networks, workflow/trainings.py says what each reads."""
    assert set(TRAININGS) == set(NETWORKS)


def test_the_readme_lists_every_stage():
    readme = (ROOT / "README.md").read_text()
    for stage in STAGES:
        if not stage.startswith("gather_") and stage != "use_given_weights":
            assert f"| `{stage}` |" in readme, stage


def test_every_stage_explains_itself_alone(tmp_path):
    """Without anything of ours that another stage has imported."""
    modules = [f"stages.{stage}" for stage in STAGES]
    command = [sys.executable, "-m", "tests.structure.alone", str(tmp_path), *modules]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    codes = dict(line.split() for line in run.stdout.splitlines())
    assert codes == dict.fromkeys(modules, "0"), run.stderr
    for module in modules:
        assert "--" in (tmp_path / module).read_text(), module


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_defines_only_main(stage):
    """It reads, calls and writes; what needs a function of its own belongs to the library."""
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text())
    assert ast.get_docstring(tree).startswith(f"Stage `{stage}`")
    defined = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert defined == ["main"]
