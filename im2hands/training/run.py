"""One training for every network: a `Recipe` states what is specific to a network, `train` does the rest.

`train` reads the data, seeds and builds the network, continues from the last matching checkpoint, and writes the model folder
with its card.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from im2hands.config.base import Section
from im2hands.config.choices import Behaviour
from im2hands.io.hashing import sha256_file
from im2hands.io.manifest import Manifest
from im2hands.io.sources import sources
from im2hands.io.tables import file_card
from im2hands.networks.model_folder import WEIGHTS
from im2hands.training.checkpoints import CheckpointFolder, fingerprint
from im2hands.training.determinism import deterministic_torch, seed_torch
from im2hands.training.gpu import claim_device
from im2hands.training.loop import LoopSettings, NetworkTask, run_training
from im2hands.training.start_weights import start_folder, weights_to_start_from
from im2hands.training.step_threads import step_threads
from im2hands.training.trained_model import write_trained_model

PROJECT = Path(__file__).resolve().parents[2]
DATA_OPTIONS = ("angle_clamp", "degenerate_hands", "label_rule")
"""Named options that decide what the hands and their labels are; the card says how the data were made."""


@dataclass(frozen=True)
class Run:
    """Where and with what a training runs; decides nothing about its result but through the seed.

    output: receives model.safetensors, card.json, metrics.json, curves.csv.  checkpoints: resume state.
    logs: curves while it runs; by default logs/training/NETWORK.  threads: CPU threads at most; small steps use fewer.
    loaders: processes that prepare batches; by default none on the CPU and up to four with a GPU.
    """

    output: str | os.PathLike
    checkpoints: str | os.PathLike
    seed: int
    gpus: int = 0
    threads: int = 1
    logs: str | os.PathLike | None = None
    loaders: int | None = None


@dataclass(frozen=True)
class FrameInputs:
    """What every training on photographs reads of a split. *_frames, *_hands: tables.  *_images: manifests."""

    train_frames: str
    val_frames: str
    train_hands: str
    val_hands: str
    train_images: str
    val_images: str

    def of(self, split: str) -> tuple[str, str, str]:
        """Frame table, hand table and image manifest of a split, `train` or `val`."""
        return tuple(getattr(self, f"{split}_{kind}") for kind in ("frames", "hands", "images"))


@dataclass(frozen=True)
class Job:
    """What the parts of a recipe are given.

    section: section of params.yaml.  inputs: files and folders, an instance of the recipe's `inputs`.  options: named option ->
    behaviour.
    """

    section: Any
    inputs: Any
    options: Mapping[str, Behaviour]
    seed: int
    device: torch.device


@dataclass(frozen=True)
class Data:
    """The data of a training.

    steps: item i is the batch of global step i.  validation: item i is a batch; the items are a fixed subset.
    sets: the training and the validation set, for networks or tasks that need them.
    used: for the card, parameters that the data changed or added.  metrics: facts in addition to the scores.
    made_of: parameters of the stages that made the data.
    """

    steps: Dataset
    validation: Dataset
    sets: tuple[Any, Any] | None = None
    used: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    made_of: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NoOptions:
    """Of a network that no named option changes."""


def adopt_all(job: Job, data: Data, network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Every weight, as it is."""
    network.load_state_dict(weights)
    return {}


@dataclass(frozen=True)
class Recipe:
    """What is one network's own.

    name: as in params.yaml and the catalogue.  section: its class.  inputs: a dataclass of paths; what is a folder is that of
    a trained network.
    data: reads the inputs.  network: an untrained one; torch is seeded.  task: losses and scores.
    options: a dataclass of the named options that affect the training, in addition to those that affected the data.
    hides: parameters that the card does not list, since it lists what became of them, or the architecture does.
    adopt: gives a network the weights that it starts from; returns what the card should say of it. Raises ConfigError if they
    do not fit the data.
    depends_on_length: whether a run of more steps would differ from the start, apart from a cosine schedule.
    """

    name: str
    section: type[Section]
    inputs: type
    data: Callable[[Job], Data]
    network: Callable[[Job, Data], nn.Module]
    task: Callable[[Job, Data, nn.Module, LoopSettings], NetworkTask]
    options: type = NoOptions
    hides: tuple[str, ...] = ()
    adopt: Callable[[Job, Data, nn.Module, Mapping[str, Tensor]], Mapping[str, Any]] = adopt_all
    depends_on_length: Callable[[Any], bool] = lambda section: False


def train(recipe: Recipe, section: Section, inputs: Any, run: Run, options: Any = None) -> dict[str, Any]:
    """Trains, resuming if it was interrupted, and writes the model folder; returns the metrics of the kept weights.

    Raises DataError if data are missing or do not fit together, ConfigError if parameters contradict each other.
    """
    device = claim_device(run.gpus)
    deterministic_torch(step_threads(section, run.threads))
    settings = LoopSettings.of(section, run.seed, device, run.threads, run.loaders)
    job = Job(section, inputs, vars(options or recipe.options()), run.seed, device)
    data = recipe.data(job)
    read = {role: sha256_file(path) for role, path in files_of(inputs).items()}

    seed_torch(run.seed, f"initial weights of {recipe.name}")
    network = recipe.network(job, data)
    start = start_folder(recipe.name, section)
    if start is not None:
        used = recipe.adopt(job, data, network, weights_to_start_from(network, start, recipe.name))
        data = replace(data, used={**data.used, "start_sha256": sha256_file(start / WEIGHTS), **used})
    network.to(device)
    parameters = parameters_of(recipe, section, data)
    checkpoints = CheckpointFolder(run.checkpoints, mark_of(recipe, job, data, read))
    task = recipe.task(job, data, network, settings)
    logs = run.logs or f"logs/training/{recipe.name}"
    result = run_training(task, data.steps, data.validation, checkpoints, logs, device, f"train_{recipe.name}")
    metrics = write_trained_model(
        run.output,
        result,
        network=recipe.name,
        architecture=network.architecture,
        selection="lowest validation loss" if task.lower_is_better else "best validation IoU",
        dataset=str(data.made_of.get("dataset", "unknown")),
        parameters=parameters,
        seed=run.seed,
        data=read,
        compat={**job.options, **{name: data.made_of[name] for name in DATA_OPTIONS if name in data.made_of}},
        metrics=data.metrics,
    )
    checkpoints.finish()
    return metrics


def files_of(inputs: Any) -> dict[str, Path]:
    """Role -> the file that determines what a training reads there; for a network's folder, its weights.

    The folder of the hand model is left out: what is trained on are hands that were made of it.
    """
    paths = {role: Path(path) for role, path in vars(inputs).items() if path is not None}
    files = {role: path / WEIGHTS if (path / WEIGHTS).is_file() else path for role, path in paths.items()}
    return {role: file for role, file in files.items() if not file.is_dir()}


def parameters_of(recipe: Recipe, section: Section, data: Data) -> dict[str, Any]:
    """The parameters of a card: those of the section as they were used."""
    found = section.model_dump(exclude={"weights", *recipe.hides})
    found["learning_rate"] = found.pop("lr")
    return found | dict(data.used)


def mark_of(recipe: Recipe, job: Job, data: Data, read: Mapping[str, str]) -> str:
    """The fingerprint of a run: a checkpoint with another one is not used.

    The number of steps is not part of it, so that a finished run can be made longer, unless the run depends on it from its
    start. The code is every module that the recipe imports, as for the rule of its stage.
    """
    section = job.section
    parameters = section.model_dump(exclude={"weights"}) | dict(data.used)
    if section.schedule != "cosine" and not recipe.depends_on_length(section):
        del parameters["steps"]
    return fingerprint({**parameters, **job.options, "seed": job.seed}, read, code_of(recipe))


def code_of(recipe: Recipe, project: Path = PROJECT) -> dict[str, str]:
    """Path -> SHA-256 of every file of the project that the recipe is made of. project: the folder that contains `im2hands`."""
    start = Path(inspect.getfile(recipe.network)).resolve().relative_to(PROJECT)
    return {file: sha256_file(project / file) for file in sources(start.as_posix(), project)}


def dataset_of(table: str | os.PathLike) -> str:
    """The name of the dataset that a table of ours was made from, `unknown` if it does not say so."""
    return file_card(table)["provenance"]["parameters"].get("dataset", "unknown")


def upstream_parameters(manifest: str | os.PathLike, hands: str | os.PathLike) -> dict[str, Any]:
    """Parameters with which the queries of a manifest and a hand table were made, from the files' provenance."""
    files = [hands, *(shard.path for shard in Manifest.read(manifest).files[:1])]
    found: dict[str, Any] = {}
    for file in files:
        found |= file_card(file, foreign=True).get("provenance", {}).get("parameters", {})
    return found
