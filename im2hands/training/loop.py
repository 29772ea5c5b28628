"""The training loop that all networks share: Lightning steps, validations at fixed steps, resume after a kill.

A Lightning "epoch" is the stretch of `validate_every` steps between two validations. At its end the whole state goes to one
checkpoint file; a run that was killed starts again from there and ends with the same bits as an undisturbed one, because
everything random is a function of (seed, global step) and the data of a step is item `step` of the training dataset.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import Dataset

from im2hands.config.choices import Schedule
from im2hands.io.errors import Im2HandsError
from im2hands.io.progress import progress
from im2hands.training.checkpoints import CheckpointFolder
from im2hands.training.curves import COLUMNS, CurvesLogger
from im2hands.training.determinism import seed_torch
from im2hands.training.interruption import Interruption, TrainingInterruptedError
from im2hands.training.step_data import StepData

CURVE_ROWS_PER_VALIDATION = 10


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to train.

    steps: optimiser steps.  validate_every: steps between validations.  schedule: of the learning rate, constant, half a
    cosine down to zero at the last step, or what the task calls published.  gradient_clip: largest norm, 0 for none.
    weight_average: the weights that are validated and kept are a running mean with this decay, 0 for the last weights.
    precision: `auto` is 32 bits on a CPU and bf16-mixed (16-mixed without bf16 hardware) on a GPU.
    validate_start: the weights before the first step are validated too, and kept if none are better.
    workers: loader processes; they do not change the result.
    """

    steps: int
    validate_every: int
    learning_rate: float
    schedule: Schedule = "constant"
    gradient_clip: float = 0.0
    weight_average: float = 0.0
    precision: str = "auto"
    validate_start: bool = False
    workers: int = 0
    seed: int = 0

    @classmethod
    def of(
        cls, section: Any, seed: int, device: torch.device, threads: int, loaders: int | None = None
    ) -> LoopSettings:
        """From a section of the parameters with the same names.

        threads: of the CPU, for loader processes beside a GPU.  loaders: how many there are in any case.
        """
        beside_gpu = min(4, threads // 2) if device.type == "cuda" else 0
        return cls(
            steps=section.steps,
            validate_every=section.validate_every,
            learning_rate=section.lr,
            schedule=section.schedule,
            gradient_clip=section.gradient_clip,
            weight_average=section.weight_average,
            precision=section.precision,
            validate_start=section.validates_start,
            workers=beside_gpu if loaders is None else loaders,
            seed=seed,
        )

    def learning_rate_at(self, step: int) -> float:
        if self.schedule != "cosine":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def stretch_end(self, step: int) -> int:
        """The step at which the stretch that begins with `step` ends."""
        return min((step // self.validate_every + 1) * self.validate_every, self.steps)

    def precision_on(self, device: torch.device) -> str:
        if self.precision != "auto":
            return self.precision
        if device.type != "cuda":
            return "32"
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"


class NetworkTask(L.LightningModule):
    """A network in training: subclasses say what the loss of a batch is and how samples are scored.

    monitored: the validation score by which the best weights are chosen.  lower_is_better: of that score.
    curve_columns: what curves.csv shows.  Only weights that need a gradient are optimised.
    """

    monitored = "val_iou"
    lower_is_better = False
    curve_columns = COLUMNS

    def __init__(self, network: nn.Module, settings: LoopSettings) -> None:
        super().__init__()
        self.network, self.settings = network, settings
        self.start_step = 0
        self.best: dict[str, Any] | None = None
        self.average: dict[str, Tensor] | None = None
        self.losses: list[Tensor] = []  # of the steps since the last row of the curves
        self._scores: dict[str, list[Tensor]] = {}
        self._weights: dict[str, Tensor] | None = None

    def loss(self, batch: Any) -> Tensor:
        """Scalar loss of a training batch."""
        raise TypeError(f"{type(self).__name__} does not say what its loss is")

    def scores(self, batch: Any) -> dict[str, Tensor]:
        """Scores of every sample of a validation batch, each (samples,); NaN where a sample has none."""
        raise TypeError(f"{type(self).__name__} does not say how samples are scored")

    @property
    def step(self) -> int:
        """Optimiser steps done, those before a resume included."""
        return self.start_step + (self.trainer.global_step if self._trainer is not None else 0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        return torch.optim.Adam(trained, lr=self.settings.learning_rate)

    def published_learning_rate(self, step: int) -> float:
        """Learning rate of the published schedule after `step` steps; constant unless a task has another one."""
        return self.settings.learning_rate

    def learning_rate_at(self, step: int) -> float:
        """Learning rate after `step` steps."""
        published = self.settings.schedule == "published"
        return self.published_learning_rate(step) if published else self.settings.learning_rate_at(step)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        seed_torch(self.settings.seed, "training step", self.step)
        for group in self.optimizers().param_groups:
            group["lr"] = self.learning_rate_at(self.step)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(outputs["loss"].detach())
        self._average_weights()
        interval = max(1, self.settings.validate_every // CURVE_ROWS_PER_VALIDATION)
        if self.step % interval == 0 or self.step == self.settings.stretch_end(self.step - 1):
            self._log_training()

    @torch.no_grad()
    def _average_weights(self) -> None:
        if not self.settings.weight_average:
            return
        if self._weights is None:
            self._weights = self.network.state_dict()  # views, which optimiser and `load_state_dict` change in place
        if self.average is None:
            self.average = {name: tensor.clone() for name, tensor in self._weights.items()}
        share = 1 - min(self.settings.weight_average, self.step / (self.step + 9))  # early means must forget the start
        for name, tensor in self._weights.items():
            if tensor.is_floating_point():
                self.average[name] = self.average[name].to(tensor.device).lerp_(tensor, share)
            else:
                self.average[name] = tensor.clone()

    def _exchange_average(self) -> None:
        """Puts the averaged weights into the network and the network's into their place; twice is nothing."""
        if self.average is not None:
            current = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
            self.network.load_state_dict(self.average)
            self.average = current

    def on_validation_epoch_start(self) -> None:
        self._exchange_average()

    def _log_training(self) -> None:
        mean = torch.stack(self.losses).mean().item()
        self.losses.clear()
        if not math.isfinite(mean):
            raise Im2HandsError(
                f"training: the loss is not a number at step {self.step}; lower the learning rate or clip the gradient."
            )
        self.report({"train_loss": mean, "learning_rate": self.learning_rate_at(self.step - 1)})

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        with torch.autocast(self.device.type, enabled=False):
            for name, values in self.scores(batch).items():
                self._scores.setdefault(name, []).append(values.detach().double().cpu())

    def on_validation_epoch_end(self) -> None:
        means = {name: torch.cat(values).nanmean().item() for name, values in self._scores.items()}
        self._scores.clear()
        self.report(means)
        score = means.get(self.monitored)
        if score is not None and math.isfinite(score) and self._is_best(score):
            weights = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}
            self.best = {"score": score, "step": self.step, "means": means, "weights": weights}
        self._exchange_average()

    def _is_best(self, score: float) -> bool:
        if self.best is None:
            return True
        return score < self.best["score"] if self.lower_is_better else score > self.best["score"]

    def report(self, metrics: Mapping[str, float]) -> None:
        """Numbers of the current step to all loggers."""
        for logger in self.loggers:
            logger.log_metrics(dict(metrics), step=self.step)


class _Resume(L.Callback):
    """Takes the state up when training starts; writes it down at the end of every stretch and when told to stop."""

    def __init__(
        self,
        checkpoints: CheckpointFolder,
        state: Mapping[str, Any] | None,
        curves: CurvesLogger,
        interruption: Interruption,
        label: str,
    ) -> None:
        self.checkpoints, self.state, self.curves = checkpoints, state, curves
        self.interruption, self.label = interruption, label
        self.saved_step = 0 if state is None else state["step"]

    def on_train_start(self, trainer: L.Trainer, task: NetworkTask) -> None:
        self.interruption.listen()
        if self.state is not None:
            task.optimizers().optimizer.load_state_dict(self.state["optimizer"])
            trainer.precision_plugin.load_state_dict(self.state["precision"])
            task.losses = [loss.to(task.device) for loss in self.state.get("losses", [])]

    def on_train_batch_start(self, trainer: L.Trainer, task: NetworkTask, *_: Any) -> None:
        if self.interruption.requested:
            if task.step > self.saved_step:
                self._save(trainer, task, validated=False)
            raise self.interrupted(task)

    def on_validation_batch_start(self, trainer: L.Trainer, task: NetworkTask, *_: Any) -> None:
        if self.interruption.is_overdue:
            raise self.interrupted(task)

    def on_train_epoch_end(self, trainer: L.Trainer, task: NetworkTask) -> None:
        self._save(trainer, task, validated=True)
        self.curves.save()

    def interrupted(self, task: NetworkTask) -> TrainingInterruptedError:
        return TrainingInterruptedError(self.label, task.step, task.settings.steps, self.saved_step)

    def _save(self, trainer: L.Trainer, task: NetworkTask, validated: bool) -> None:
        self.checkpoints.save(
            {
                "step": task.step,
                "steps": task.settings.steps,
                "validated": validated,
                "network": task.network.state_dict(),
                "optimizer": task.optimizers().optimizer.state_dict(),
                "precision": trainer.precision_plugin.state_dict(),
                "best": task.best,
                "average": task.average,
                "losses": task.losses,
                "curves": self.curves.state(),
            }
        )
        self.saved_step = task.step


class _ShowProgress(L.Callback):
    """Rate and time left on the terminal or in the log."""

    def __init__(self, label: str, start: int, steps: int) -> None:
        self._bar: Iterator[int] = iter(progress(range(start, steps), label, unit="step"))

    def on_train_batch_start(self, *_: Any) -> None:
        next(self._bar, None)

    def on_train_end(self, *_: Any) -> None:
        next(self._bar, None)


@dataclass(frozen=True)
class TrainingResult:
    """What a finished training leaves.

    weights: the best by the monitored score, or the last if nothing was scored.  metrics: of these weights.
    """

    weights: dict[str, Tensor]
    metrics: dict[str, Any]
    curves: str


def run_training(
    task: NetworkTask,
    train: Dataset,
    validation: Dataset,
    checkpoints: CheckpointFolder,
    logs: str | os.PathLike,
    device: torch.device,
    label: str,
) -> TrainingResult:
    """Trains to the last step, from the checkpoint if there is one that fits.

    train: item i is the batch of global step i.  validation: item i is a batch; the items are a fixed subset.
    logs: folder for the curves (CSV and TensorBoard).
    Raises Im2HandsError if the loss is no number, TrainingInterruptedError (a SystemExit) after SIGTERM.
    """
    settings, logs = task.settings, Path(logs)
    curves = CurvesLogger(logs / "curves.csv", task.curve_columns)
    state = checkpoints.find(settings.steps, settings.validate_every)
    if state is not None:
        task.start_step, task.best, task.average = state["step"], state["best"], state["average"]
        task.network.load_state_dict(state["network"])
        curves.restore(state["curves"])
    if task.start_step < settings.steps:
        _fit(task, StepData(train, validation, task, device.type == "cuda"), checkpoints, state, curves, device, label)
    return _result(task, curves)


def _fit(
    task: NetworkTask,
    data: StepData,
    checkpoints: CheckpointFolder,
    state: Mapping[str, Any] | None,
    curves: CurvesLogger,
    device: torch.device,
    label: str,
) -> None:
    settings, start = task.settings, task.start_step
    if state is None:
        for left_over in curves.path.parent.glob("events.out.tfevents.*"):
            left_over.unlink()
    board = TensorBoardLogger(curves.path.parent, name="", version="", purge_step=start + 1 if state else None)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings(), Interruption() as interruption:
        warnings.filterwarnings("ignore", module="lightning")
        trainer = L.Trainer(
            max_steps=settings.steps - start,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            precision=settings.precision_on(device),
            gradient_clip_val=settings.gradient_clip or None,
            logger=[curves, board],
            callbacks=[
                _Resume(checkpoints, state, curves, interruption, label),
                _ShowProgress(label, start, settings.steps),
            ],
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=-1 if settings.validate_start and start == 0 else 0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=curves.path.parent,
        )
        trainer.fit(task, data)
    if task.step < settings.steps:
        raise Im2HandsError(
            f"training was interrupted at step {task.step}; run again to go on from the last checkpoint."
        )


def _result(task: NetworkTask, curves: CurvesLogger) -> TrainingResult:
    if task.best is None:
        task._exchange_average()
        weights = {name: tensor.detach().cpu() for name, tensor in task.network.state_dict().items()}
        return TrainingResult(weights, {"step": task.settings.steps}, curves.text())
    metrics = {"step": task.best["step"], "steps": task.settings.steps, **task.best["means"]}
    return TrainingResult(task.best["weights"], metrics, curves.text())
