"""DVC as the one who starts things: from nothing, and an experiment. Each stage runs its own rules and no others."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.workflow.checkout import Checkout, make_checkout
from tests.workflow.test_params import stages_before

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stand-ins")]


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


def stages_of(checkout: Checkout) -> dict[str, Any]:
    return yaml.safe_load((checkout.path / "dvc.yaml").read_text())["stages"]


def test_repro_from_nothing_satisfies_snakemake(tmp_path):
    checkout = make_checkout(tmp_path / "checkout", fake_stages=True)
    output = checkout.dvc("repro")
    assert set(stages_run(output)) == set(stages_of(checkout))
    assert "Recorded in dvc.lock" not in output, "inside DVC, DVC records"
    assert checkout.plan() == {}
    assert "up to date" in checkout.dvc("status")


def test_experiment_runs_what_depends_on_its_parameter(finished):
    finished.run("git", "config", "user.name", "t")
    finished.run("git", "config", "user.email", "t@example.org")
    finished.run("git", "add", "dvc.lock")
    finished.run("git", "commit", "--quiet", "--message", "results")
    output = finished.dvc("exp", "run", "--set-param", "training.halo.lr=0.5")
    before = stages_before(stages_of(finished))
    assert set(stages_run(output)) == {"train_halo"} | {stage for stage in before if "train_halo" in before[stage]}
    assert finished.plan() == {}
