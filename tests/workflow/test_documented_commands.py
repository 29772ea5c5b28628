"""Commands of the documents that only plan or compare are run unchanged."""

from __future__ import annotations

import shlex
import shutil
import sys

import pytest

from tests.documents.commands import register

HERE = "tests/workflow/test_documented_commands.py::test_snakemake_plans"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stand-ins")]


@pytest.mark.parametrize("command", [command for command, runner in register().items() if runner == HERE])
def test_snakemake_plans(finished_once, command):
    words = shlex.split(command.replace(" N", " 3"))[1:]
    printed = finished_once[0].snakemake("--dry-run", *words)
    assert "Nothing to be done" in printed, printed


def test_dvc_compares_runs(finished):
    finished.commit_results()
    finished.change("training.halo.lr", 0.5)
    assert "training.halo.lr" in finished.dvc("params", "diff")
    finished.dvc("metrics", "diff")
    assert "index.html" in finished.dvc("plots", "show")


def test_dvc_works_without_git(finished):
    shutil.rmtree(finished.path / ".git")
    finished.dvc("config", "core.no_scm", "true")
    finished.run(sys.executable, "-m", "workflow.record")
    assert "up to date" in finished.dvc("status")
