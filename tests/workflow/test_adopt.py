"""What DVC restores, Snakemake accepts after one command, and only then."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

pytestmark = pytest.mark.xdist_group("stand-ins")  # one worker makes the finished checkout for all

ADOPT = (sys.executable, "-m", "workflow.adopt")


@pytest.mark.slow
def test_pull_into_a_new_clone_is_adopted(finished, tmp_path):
    """push to a folder, clone, pull, adopt: neither tool has anything to do."""
    finished.commit_results()
    finished.dvc("remote", "add", "--local", "--default", "store", str(tmp_path / "store"))
    finished.dvc("push")
    clone = type(finished)(tmp_path / "clone")
    finished.run("git", "clone", "--quiet", str(finished.path), str(clone.path))
    clone.dvc("remote", "add", "--local", "--default", "store", str(tmp_path / "store"))
    clone.dvc("pull")
    assert "up to date" in clone.dvc("status")
    assert clone.plan(), "without adopting, Snakemake makes things again; else this test shows nothing"
    assert "Adopted: " in clone.run(*ADOPT).stdout
    assert clone.plan() == {}
    assert "up to date" in clone.dvc("status")
    assert "Running stage" not in clone.dvc("repro")


@pytest.mark.slow
def test_old_results_are_adopted_after_checkout(finished):
    """git checkout of old parameters, dvc checkout of old results: no retraining."""
    params, lock = finished.path / "params.yaml", finished.path / "dvc.lock"
    before = params.read_text(), lock.read_text()
    finished.change("training.halo.lr", 0.5)
    finished.snakemake()
    params.write_text(before[0])
    lock.write_text(before[1])
    finished.dvc("checkout")
    assert "train_halo" in finished.plan()
    finished.run(*ADOPT)
    assert finished.plan() == {}


@pytest.mark.slow
def test_changed_files_are_not_adopted(finished):
    (finished.path / "models/halo/model.safetensors").write_text("something else")
    done = finished.run(*ADOPT, check=False)
    assert done.returncode == 1
    assert "dvc checkout or dvc pull" in done.stdout
    assert "models/halo/model.safetensors" in done.stdout


@pytest.mark.slow
def test_nothing_is_adopted_while_snakemake_runs_or_without_dvc(finished):
    locks = finished.path / ".snakemake/locks"
    locks.mkdir(parents=True, exist_ok=True)
    (locks / "0.input.lock").touch()
    assert "snakemake --unlock" in finished.run(*ADOPT, check=False).stdout
    (locks / "0.input.lock").unlink()
    shutil.rmtree(finished.path / ".dvc")
    done = finished.run(*ADOPT, check=False)
    assert done.returncode == 1
    assert "dvc status failed" in done.stdout


@pytest.mark.slow
def test_a_touch_that_fails_is_said_in_snakemakes_words(finished):
    """What is gone, how it comes back, and never "adopted". Snakemake cannot renew a stamp that is a link to an old file."""
    module = finished.path / "workflow/adopt.py"
    text = module.read_text()
    assert "    _unlink_stamps()\n" in text
    module.write_text(text.replace("    _unlink_stamps()\n", ""))
    stamp = finished.path / "results/halo/model/glb/0000-of-0001/.snakemake_timestamp"
    stamp.unlink()
    old = finished.path / "old-stamp"
    old.touch()
    os.utime(old, (1_000_000_000, 1_000_000_000))
    stamp.symlink_to(old)
    done = finished.run(*ADOPT, check=False)
    assert done.returncode == 1
    assert "Not adopted: snakemake --touch failed:" in done.stdout
    assert "Output results/halo/model/glb/0000-of-0001 has older modification time" in done.stdout
    assert "Finished jobid" not in done.stdout
    assert "Lost: results/halo/model/glb/0000-of-0001" in done.stdout
    assert "dvc checkout restores them" in done.stdout
    assert "Adopted" not in done.stdout
    module.write_text(text)
    finished.dvc("checkout")
    assert "Adopted: " in finished.run(*ADOPT).stdout
    assert finished.plan() == {}
