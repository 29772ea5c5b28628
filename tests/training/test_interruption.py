"""SIGTERM: exit code 143, one sentence, and the same command ends with the bits of an undisturbed training.

The same of the other networks: `test_every_training.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal

import pytest

from im2hands.datasets.occupancy_items import TrainingSteps
from im2hands.training import interruption
from im2hands.training.halo import HaloTask
from tests.training.stopping import asked_items, ends_as_preempted, terminated_at
from tests.training.test_train_halo import run
from tests.training.trained import outputs


@pytest.mark.parametrize("index", [1, 9, 17])
def test_the_step_at_hand_is_saved(balls, undisturbed_halo, tmp_path, monkeypatch, capsys, index):
    """Whichever step the signal meets, none is done twice and none is left out, in curves, averages and weights."""
    with monkeypatch.context() as patched:
        terminated_at(patched, TrainingSteps, index)
        sentence = ends_as_preempted(lambda: run(balls, tmp_path), capsys)
    step = int(
        re.search(
            r"train_halo: interrupted at step (\d+) of 25; run the same command to continue from there\.$", sentence
        )[1]
    )
    assert index - 2 <= step <= index + 1
    assert not (tmp_path / "model").exists()
    asked = asked_items(monkeypatch, TrainingSteps)
    run(balls, tmp_path)
    assert asked == list(range(step, 25))
    assert outputs(tmp_path) == outputs(undisturbed_halo)


def test_loader_processes_outlive_the_signal(balls, undisturbed_halo, tmp_path, monkeypatch, capsys):
    """`scancel` signals every process of a job; the death of a loader would break off the step that is to be saved."""
    started = HaloTask.on_train_batch_start

    def signal_all(self, batch, index):
        if self.step == 4:
            loaders = multiprocessing.active_children()
            assert len(loaders) == 2
            for process in loaders:
                process.terminate()
            os.kill(os.getpid(), signal.SIGTERM)
        return started(self, batch, index)

    with monkeypatch.context() as patched:
        patched.setattr(HaloTask, "on_train_batch_start", signal_all)
        sentence = ends_as_preempted(lambda: run(balls, tmp_path, loaders=2), capsys)
    assert "interrupted at step 5 of 25; run the same command to continue from there" in sentence
    run(balls, tmp_path)
    assert outputs(tmp_path) == outputs(undisturbed_halo)


@pytest.mark.parametrize(("patience", "saved"), [(60, 20), (-1, 10)])
def test_a_validation_may_end_if_it_is_quick(balls, undisturbed_halo, tmp_path, monkeypatch, capsys, patience, saved):
    """Once it is done its whole stretch is saved; one that takes too long is given up, and the last checkpoint stands."""
    begun = HaloTask.on_validation_epoch_start

    def signal_self(self):
        if self.step == 20:
            os.kill(os.getpid(), signal.SIGTERM)
        begun(self)

    with monkeypatch.context() as patched:
        patched.setattr(HaloTask, "on_validation_epoch_start", signal_self)
        patched.setattr(interruption, "PATIENCE_S", patience)
        sentence = ends_as_preempted(lambda: run(balls, tmp_path), capsys)
    begins = "to continue from there" if saved == 20 else "to continue from step 10"
    assert f"interrupted at step 20 of 25; run the same command {begins}." in sentence
    run(balls, tmp_path)
    assert outputs(tmp_path) == outputs(undisturbed_halo)


def test_a_signal_after_the_last_step_changes_nothing(balls, undisturbed_halo, tmp_path, monkeypatch):
    """All is computed: the outputs are written and the exit code is 0."""
    ended = HaloTask.on_validation_epoch_end

    def signal_self(self):
        ended(self)
        if self.step == 25:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(HaloTask, "on_validation_epoch_end", signal_self)
    run(balls, tmp_path)
    assert outputs(tmp_path) == outputs(undisturbed_halo)


# ---- longer and shorter runs


def test_a_longer_cosine_run_is_another_run_and_says_so(balls, tmp_path, capsys):
    """Its learning rates differ from the first step on."""
    run(balls, tmp_path / "a", steps=20)
    run(balls, tmp_path / "a", steps=30)
    assert "belongs to a run of 20 steps, and this run has 30" in (said := capsys.readouterr().err)
    assert "would not equal one long run" in said
    run(balls, tmp_path / "b", steps=30)
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")


def test_a_run_that_ended_between_validations_is_not_made_longer(balls, tmp_path, capsys):
    """It was validated where a long run is not: another best step, another row of the curves."""
    run(balls, tmp_path / "a", steps=25, schedule="constant")
    run(balls, tmp_path / "a", steps=30, schedule="constant")
    assert "validated at its last step, 25, which is not a multiple of 10" in capsys.readouterr().err
    run(balls, tmp_path / "b", steps=30, schedule="constant")
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")


def test_a_run_made_shorter_after_an_interruption(balls, tmp_path, monkeypatch, capsys):
    """The state of step 15 has not been validated, so it cannot be the end of a run of 15 steps."""
    settings = {"steps": 30, "schedule": "constant"}
    with monkeypatch.context() as patched:
        terminated_at(patched, TrainingSteps, 15)
        sentence = ends_as_preempted(lambda: run(balls, tmp_path / "a", **settings), capsys)
    step = int(re.search(r"at step (\d+)", sentence)[1])
    run(balls, tmp_path / "a", steps=step, schedule="constant")
    assert f"was not validated at step {step}" in capsys.readouterr().err
    run(balls, tmp_path / "b", steps=step, schedule="constant")
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")
