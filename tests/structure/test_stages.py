"""A newcomer finds a stage by its name: rule, stage file and the README's table agree, and every stage runs alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")


def rules() -> set[str]:
    text = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    return set(re.findall(r"^\s*rule (\w+):", text, re.MULTILINE))


def test_every_stage_has_its_rule_and_the_reverse():
    """The rules that list shards share one stage, `gather_shards`, trainings with given weights another; ablations run the
    workflow itself again and have none.
    """
    without_gathering = {name for name in rules() if not name.startswith("gather_")} - {"run_ablation", "ablations"}
    assert without_gathering == {name for name in STAGES if not name.startswith("gather_")} - {"use_given_weights"}


def test_the_readme_lists_every_stage():
    readme = (ROOT / "README.md").read_text()
    for stage in STAGES:
        if not stage.startswith("gather_") and stage != "use_given_weights":
            assert f"| `{stage}` |" in readme, stage


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_explains_itself_alone(stage):
    run = subprocess.run([sys.executable, "-m", f"stages.{stage}", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert "--" in run.stdout


def test_stages_hold_no_algorithm():
    """A stage reads, calls and writes; what is longer belongs to the library."""
    for stage in STAGES:
        lines = (ROOT / "stages" / f"{stage}.py").read_text().splitlines()
        assert len(lines) < 150, stage
