"""What holds for every training: a stopped run ends with the bits of an undisturbed one, a longer one goes on, other code
starts anew, settings arrive, and a loss that is not a number stops with advice.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from im2hands.datasets.occupancy_items import TrainingSteps
from im2hands.io.errors import ConfigError, Im2HandsError
from im2hands.io.hashing import sha256_file
from im2hands.io.sources import sources
from im2hands.io.stage import stage_main
from im2hands.networks.model_folder import read_model
from im2hands.training import run as run_module
from im2hands.training.frame_steps import FrameSteps
from im2hands.training.halo import HALO
from im2hands.training.initial_occupancy import INITIAL_OCCUPANCY
from im2hands.training.intaghand import INTAGHAND
from im2hands.training.intaghand_items import IntagHandSteps
from im2hands.training.keypoint_inputs import RefinementSteps
from im2hands.training.keypoint_prior import KEYPOINT_PRIOR, PriorSteps
from im2hands.training.keypoint_refinement import KEYPOINT_REFINEMENT
from im2hands.training.refined_occupancy import REFINED_OCCUPANCY
from im2hands.training.run import PROJECT, Recipe, code_of
from tests.training import trained as small
from tests.training.stopping import asked_items, ends_as_preempted, interrupted_at, terminated_at
from tests.training.trained import balls_inputs, curves, outputs, trained


@dataclass(frozen=True)
class Training:
    """steps: the class of its training batches.  stops: steps at which it is stopped.  code: a file that it is made of."""

    recipe: Recipe
    section: dict[str, Any]
    steps: type[Dataset]
    stops: tuple[int, ...] = (1, 3)
    code: str = "im2hands/hands/frames.py"


TRAININGS = {
    "halo": Training(HALO, small.HALO, TrainingSteps, (4, 17), "im2hands/datasets/queries.py"),
    "keypoint_prior": Training(KEYPOINT_PRIOR, small.KEYPOINT_PRIOR, PriorSteps, code="im2hands/hands/skeleton.py"),
    "intaghand": Training(INTAGHAND, small.INTAGHAND, IntagHandSteps, (2,), "im2hands/hands/joints.py"),
    "initial_occupancy": Training(INITIAL_OCCUPANCY, small.INITIAL_OCCUPANCY, FrameSteps),
    "keypoint_refinement": Training(KEYPOINT_REFINEMENT, small.KEYPOINT_REFINEMENT, RefinementSteps),
    "refined_occupancy": Training(REFINED_OCCUPANCY, small.REFINED_OCCUPANCY, FrameSteps),
}


@pytest.fixture(scope="module", params=TRAININGS)
def training(request) -> Training:
    return TRAININGS[request.param]


@pytest.fixture(scope="module")
def inputs(training, balls, two_hands) -> dict[str, Path]:
    return balls_inputs(balls) if training.steps is TrainingSteps else two_hands


@pytest.fixture(scope="module")
def undisturbed(training, inputs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    trained(training.recipe, training.section, inputs, folder)
    return folder


def test_a_stopped_run_ends_with_the_same_bytes(training, inputs, undisturbed, tmp_path, monkeypatch):
    for step in training.stops:
        folder = tmp_path / str(step)
        with monkeypatch.context() as patch:
            interrupted_at(patch, training.steps, step)
            with pytest.raises((ConnectionAbortedError, Im2HandsError)):
                trained(training.recipe, training.section, inputs, folder)
        assert not (folder / "model").exists()
        trained(training.recipe, training.section, inputs, folder)
        assert outputs(folder) == outputs(undisturbed)


def test_a_preempted_run_says_so_and_ends_with_the_same_bytes(
    training, inputs, undisturbed, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        terminated_at(patch, training.steps, 1)
        sentence = ends_as_preempted(lambda: trained(training.recipe, training.section, inputs, tmp_path), capsys)
    assert f"train_{training.recipe.name}: interrupted at step " in sentence
    trained(training.recipe, training.section, inputs, tmp_path)
    assert outputs(tmp_path) == outputs(undisturbed)


def test_a_finished_run_can_be_made_longer(training, inputs, tmp_path, monkeypatch):
    """It goes on where it ended, and ends where one long run ends."""
    shares = ("edge_loss_from", "decoder_from", "coarse_until", "maps_until")
    free = dict.fromkeys(shares, 0.0) if training.recipe is INTAGHAND else {}
    section = training.section | {"schedule": "constant", "validate_every": 2} | free
    trained(training.recipe, section, inputs, tmp_path / "a", steps=2)
    with monkeypatch.context() as patch:
        asked = asked_items(patch, training.steps)
        trained(training.recipe, section, inputs, tmp_path / "a", steps=4)
    assert asked == [2, 3]
    trained(training.recipe, section, inputs, tmp_path / "b", steps=4)
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")


def test_a_longer_run_that_would_have_gone_another_way_says_so(training, inputs, tmp_path, capsys):
    """With a cosine schedule, and where shares of the steps decide what is trained when."""
    schedule = "constant" if training.recipe is INTAGHAND else "cosine"
    for steps in (2, 4):
        trained(training.recipe, training.section, inputs, tmp_path, steps=steps, schedule=schedule)
    assert "belongs to a run of 2 steps, and this run has 4" in capsys.readouterr().err


def test_other_code_starts_anew(training, inputs, undisturbed, tmp_path, monkeypatch, capsys):
    """Code is every file that the stage's rule follows; one of them is edited between a kill and the next start."""
    edited = tmp_path / "project"
    shutil.copytree(PROJECT / "im2hands", edited / "im2hands", ignore=shutil.ignore_patterns("__pycache__"))
    file = edited / training.code
    file.write_text(file.read_text() + "\n# edited\n")
    before, after = code_of(training.recipe), code_of(training.recipe, edited)
    assert [name for name in before if before[name] != after[name]] == [training.code]
    stage = f"stages/train_{training.recipe.name}.py"
    assert {*before, stage, "im2hands/io/stage.py"} >= set(sources(stage, PROJECT))
    with monkeypatch.context() as patch:
        interrupted_at(patch, training.steps, training.stops[-1])
        with pytest.raises((ConnectionAbortedError, Im2HandsError)):
            trained(training.recipe, training.section, inputs, tmp_path / "run")
    assert (tmp_path / "run/checkpoints/last.ckpt").is_file()
    monkeypatch.setattr(run_module, "code_of", lambda recipe: after)
    asked = asked_items(monkeypatch, training.steps)
    trained(training.recipe, training.section, inputs, tmp_path / "run")
    assert "parameters, data or code have changed" in capsys.readouterr().err
    assert asked[0] == 0
    assert outputs(tmp_path / "run") == outputs(undisturbed)


def test_a_loss_that_is_no_number_stops_with_advice(training, inputs, tmp_path):
    """Some steps pass before the loss is looked at; a last step that ruins the weights leaves a model all the same."""
    wrong = {"lr": 1e30, "schedule": "constant"}
    with pytest.raises(Im2HandsError, match=r"not a number at step .*; lower the learning rate"):
        trained(training.recipe, training.section, inputs, tmp_path / "long", **wrong, steps=50, validate_every=50)
    metrics = trained(training.recipe, training.section, inputs, tmp_path / "short", **wrong, steps=1, validate_every=1)
    assert all(np.isfinite(value) for value in metrics.values() if isinstance(value, float))


FROZEN = [name for name, each in TRAININGS.items() if "image_encoder" in each.section]


@pytest.mark.parametrize("training", FROZEN, indirect=True)
def test_a_frozen_encoder_excludes_augmentation(training, inputs, tmp_path):
    with pytest.raises(ConfigError, match=rf"training\.{training.recipe.name}: .*augmentation: false"):
        trained(training.recipe, training.section, inputs, tmp_path, augmentation=True)


def test_the_stage_passes_on_what_it_is_given(training, monkeypatch):
    """Every input, option and key of the section arrives under its name."""
    stage = import_module(f"stages.train_{training.recipe.name}")
    arrived = []
    monkeypatch.setattr(stage, "train", lambda *arguments: arrived.append(arguments) or {})
    files = {field.name: f"a file of {field.name}" for field in fields(training.recipe.inputs)}
    options = {field.name: "published" for field in fields(training.recipe.options)}
    section = training.section | {"gradient_clip": 0.25, "precision": "32"}
    words = ["--params", json.dumps(section), "--checkpoints", "c", "--output", "o", "--seed", "7", "--threads", "3"]
    for name, value in {**files, **options}.items():
        words += [f"--{name.replace('_', '-')}", value]
    stage_main(stage.main, words)
    recipe, params, inputs, run, *rest = arrived[0]
    assert recipe is training.recipe and vars(inputs) == files
    assert params.model_dump() == section
    assert (run.output, run.checkpoints, run.seed, run.threads, run.gpus) == ("o", "c", 7, 3, 0)
    assert [vars(given) for given in rest] == ([options] if options else [])


def test_a_training_starts_from_given_weights(training, inputs, undisturbed, tmp_path):
    """Next to no learning rate keeps them; the card says from which; weights of another size are refused in words."""
    given = undisturbed / "model"
    trained(training.recipe, training.section, inputs, tmp_path, start=str(given), lr=1e-12, steps=1)
    theirs, _ = read_model(given, training.recipe.name)
    ours, card = read_model(tmp_path / "model", training.recipe.name)
    for name, weight in theirs.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):  # of batches, not of steps
            torch.testing.assert_close(ours[name], weight, atol=1e-6, rtol=0)
    assert card.parameters["start_sha256"] == sha256_file(given / "model.safetensors")
    assert curves(tmp_path)[0]["step"] == "0"  # they are validated before the first step
    other = {**json.loads((given / "card.json").read_text())}
    other["architecture"] = {**other["architecture"], "made_up": 7}
    (tmp_path / "other").mkdir()
    shutil.copy(given / "model.safetensors", tmp_path / "other")
    (tmp_path / "other/card.json").write_text(json.dumps(other))
    with pytest.raises(
        ConfigError, match=r"have made_up 7, and params.yaml asks for None; make them equal, or set start"
    ):
        trained(training.recipe, training.section, inputs, tmp_path / "refused", start=str(tmp_path / "other"))


def test_weights_that_no_step_betters_are_kept(training, inputs, undisturbed, tmp_path):
    """One step of a learning rate that ruins them."""
    given = undisturbed / "model"
    metrics = trained(training.recipe, training.section, inputs, tmp_path, start=str(given), lr=3.0, steps=1)
    assert metrics["step"] == 0
    theirs, ours = (read_model(folder, training.recipe.name)[0] for folder in (given, tmp_path / "model"))
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())
