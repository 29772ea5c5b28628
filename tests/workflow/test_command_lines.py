"""Every rule calls its stage with exactly the arguments that the stage's `main` has."""

from __future__ import annotations

import inspect
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from im2hands.io.stage import arguments_of
from workflow.parameters import READS

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"^Shell command: python -m stages\.(\w+) (.*) > \S+ 2>&1$", re.MULTILINE)
STAGES = [*READS, "gather_shards"]


def main_of(stage: str) -> tuple[set[str], set[str]]:
    """Names of the required and of all arguments of a stage's command line."""
    found = list(arguments_of(import_module(f"stages.{stage}").main))
    required = {name for name, _, default in found if default is inspect.Parameter.empty}
    return required, {name for name, _, _ in found}


@pytest.fixture(scope="module")
def commands(with_externals, empty, tmp_path_factory):
    """Stage -> argument names of each of its commands in a dry run of everything, external methods and drawn crops among it."""
    drawn = empty.copy(tmp_path_factory.mktemp("drawn") / "checkout")
    drawn.change("dataset.root", "drawn")
    output = "".join(one.snakemake("--dry-run", "--printshellcmds") for one in (with_externals, drawn))
    found: dict[str, list[set[str]]] = {}
    for stage, rest in COMMAND.findall(output):
        names = {word[2:].replace("-", "_") for word in shlex.split(rest) if word.startswith("--")}
        found.setdefault(stage, []).append(names)
    return found


def test_every_stage_file_is_run_by_a_rule(commands):
    """Given weights are another graph: see test_graph.py."""
    assert {*commands, "use_given_weights"} == {path.stem for path in (ROOT / "stages").glob("[a-z]*.py")}


@pytest.mark.parametrize("stage", STAGES)
def test_arguments_are_those_of_main(commands, stage):
    required, known = main_of(stage)
    for names in commands[stage]:
        assert required <= names <= known
