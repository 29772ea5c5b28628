"""Training learns, and a killed one ends with the bits of an undisturbed one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from im2hands.datasets.occupancy_items import TrainingSteps
from im2hands.networks.halo import load_halo
from im2hands.training.halo import HALO
from tests.training import trained as small
from tests.training.conftest import write_split
from tests.training.stopping import asked_items, stopped_at
from tests.training.trained import balls_inputs, curves, outputs, trained

ROOT = Path(__file__).parents[2]


def run(balls: Path, folder: Path, **changes) -> dict:
    """Trains in `folder` for 25 steps, validating every 10."""
    return trained(HALO, small.HALO, balls_inputs(balls), folder, **changes)


def test_outputs(undisturbed_halo):
    card = json.loads((undisturbed_halo / "model/card.json").read_text())
    metrics = json.loads((undisturbed_halo / "model/metrics.json").read_text())
    assert card["dataset"] == "balls"
    assert card["compat"] == {"angle_clamp": "consistent", "label_rule": "consistent"}
    assert card["metrics"] == metrics
    assert set(metrics) == {"step", "steps", "val_iou", "val_loss", "val_hands", "val_set"}
    network, _ = load_halo(undisturbed_halo / "model")
    assert network.architecture["width"] == 8
    assert [p.name for p in (undisturbed_halo / "checkpoints").iterdir()] == ["finished.ckpt"]
    assert list((undisturbed_halo / "logs").glob("events.out.tfevents.*"))
    assert [int(row["step"]) for row in curves(undisturbed_halo)] == list(range(1, 26))


def test_training_is_repeatable(balls, undisturbed_halo, tmp_path):
    """Two loader processes or none, global generators used or not: the same bytes in every output."""
    torch.rand(3)
    run(balls, tmp_path, loaders=2)
    assert outputs(tmp_path) == outputs(undisturbed_halo)


def test_it_fits_one_shape_closely(tmp_path):
    """Overfits equal balls; of the pieces of a training (labels, frames, loss, score, best weights) none may be wrong."""
    for split in ("train", "val"):
        write_split(tmp_path, split, 4, radii=(0.2, 0.2))
    metrics = run(tmp_path, tmp_path, steps=200, validate_every=100, width=16)
    assert metrics["val_iou"] > 0.9


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_both_losses_and_both_initialisations_fall(balls, tmp_path, loss):
    run(balls, tmp_path, loss=loss, initial_weights="published", steps=60, validate_every=30)
    losses = [float(row["train_loss"]) for row in curves(tmp_path) if row["train_loss"]]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("step", [10, 24])
def test_interrupted_training_ends_with_the_same_bits(balls, undisturbed_halo, tmp_path, monkeypatch, step):
    """At a validation and at the last step; others: test_every_training.py."""
    stopped_at(monkeypatch, TrainingSteps, step, lambda: run(balls, tmp_path))
    assert not (tmp_path / "model").exists()
    run(balls, tmp_path)
    assert outputs(tmp_path) == outputs(undisturbed_halo)


def test_averaged_weights_are_kept_and_training_goes_on_with_its_own(balls, tmp_path):
    """The average changes what is kept, never the course of the training."""
    for decay in (0.0, 0.9):
        run(balls, tmp_path / str(decay), weight_average=decay)
    rows = [curves(tmp_path / decay) for decay in ("0.0", "0.9")]
    assert [row["train_loss"] for row in rows[0]] == [row["train_loss"] for row in rows[1]]
    assert [row["val_loss"] for row in rows[0]] != [row["val_loss"] for row in rows[1]]


def test_half_written_checkpoint_is_not_taken(balls, undisturbed_halo, tmp_path, monkeypatch, capsys):
    stopped_at(monkeypatch, TrainingSteps, 17, lambda: run(balls, tmp_path))
    last = tmp_path / "checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:2000])
    (tmp_path / "checkpoints/.last.x.part.ckpt").write_bytes(b"left over")
    run(balls, tmp_path)
    assert "The training starts from the beginning" in capsys.readouterr().err
    assert outputs(tmp_path) == outputs(undisturbed_halo)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["finished.ckpt"]


def test_checkpoint_of_other_parameters_is_not_taken(balls, undisturbed_halo, tmp_path, monkeypatch, capsys):
    stopped_at(monkeypatch, TrainingSteps, 17, lambda: run(balls, tmp_path, lr=1e-3))
    run(balls, tmp_path)
    assert "parameters, data or code have changed" in capsys.readouterr().err
    assert outputs(tmp_path) == outputs(undisturbed_halo)


def test_finished_training_is_trained_anew_when_forced(balls, undisturbed_halo, tmp_path, monkeypatch):
    """Its archived state must not make a forced run return the old model at once."""
    run(balls, tmp_path)
    asked = asked_items(monkeypatch, TrainingSteps)
    run(balls, tmp_path)
    assert asked == list(range(25))
    assert outputs(tmp_path) == outputs(undisturbed_halo)


PARAMS = small.HALO | {"steps": 120, "gradient_clip": 1.0}


def stage(balls: Path, folder: Path) -> list[str]:
    arguments = {name.replace("_", "-"): path for name, path in balls_inputs(balls).items()} | {
        "checkpoints": folder / "checkpoints",
        "output": folder / "model",
        "logs": folder / "logs",
        "seed": 1,
        "params": json.dumps(PARAMS),
    }
    command = [sys.executable, "-m", "stages.train_halo"]
    return command + [str(word) for name, value in arguments.items() for word in (f"--{name}", value)]


@pytest.mark.slow
def test_killed_process_ends_with_the_same_bytes(balls, tmp_path):
    """kill -9 as soon as checkpoints appear, twice, then SIGTERM as of a preempted job, then to the end."""
    subprocess.run(stage(balls, tmp_path / "whole"), cwd=ROOT, check=True, capture_output=True)
    last = tmp_path / "killed/checkpoints/last.ckpt"
    for kind in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        before = last.stat().st_mtime_ns if last.exists() else 0
        process = subprocess.Popen(stage(balls, tmp_path / "killed"), cwd=ROOT, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not (last.exists() and last.stat().st_mtime_ns > before):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(process.pid, kind)
        said = process.communicate()[1]
        assert not (tmp_path / "killed/model").exists()
    assert process.returncode == 143
    assert re.findall(
        r"train_halo: interrupted at step \d+ of 120; run the same command to continue from there\.", said
    )
    assert "Traceback" not in said
    subprocess.run(stage(balls, tmp_path / "killed"), cwd=ROOT, check=True, capture_output=True)
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32", "auto", "16-mixed"])
def test_training_on_a_gpu(balls, tmp_path, precision):
    settings = {"steps": 200, "validate_every": 100, "lr": 1e-2, "width": 16, "precision": precision}
    metrics = run(balls, tmp_path, gpus=1, loaders=2, **settings)
    assert metrics["val_iou"] > 0.85
