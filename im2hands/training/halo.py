"""Training of HALO: occupancy of single hands from keypoints.

Source: HALO (3DV 2021): Adam at 1e-4, 64 hands of 2048 points, mean squared error between the largest bone occupancy and the
label, best weights by validation IoU. The other settings are ours and train faster.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from im2hands.datasets import occupancy_items, queries
from im2hands.datasets.occupancy_items import (
    LabelledHands,
    OccupancyBatch,
    TrainingSteps,
    ValidationBatches,
    points_per_set,
)
from im2hands.io.hashing import sha256_file
from im2hands.io.manifest import Manifest
from im2hands.io.tables import file_card
from im2hands.io.threads import threads_for
from im2hands.networks import bone_decoders, halo
from im2hands.networks.halo import NAME, HaloNetwork
from im2hands.training import checkpoints, determinism, loop
from im2hands.training.checkpoints import CheckpointFolder, fingerprint, without_length
from im2hands.training.determinism import deterministic_torch, seed_torch
from im2hands.training.loop import LoopSettings, NetworkTask, run_training
from im2hands.training.trained_model import write_trained_model

Loss = Literal["mse", "bce"]
InitialWeights = Literal["published", "geometric"]
THRESHOLD = 0.5
CPU = torch.device("cpu")
COMPAT_OPTIONS = ("angle_clamp", "degenerate_hands", "label_rule")
CODE = (bone_decoders, halo, queries, occupancy_items, checkpoints, determinism, loop, sys.modules[__name__])
"""Modules whose text counts as the version of the code: a checkpoint of other code is not taken up."""


class HaloTask(NetworkTask):
    """HALO in training; scores are per-hand IoU and loss on the validation points."""

    def __init__(self, network: HaloNetwork, settings: LoopSettings, loss: Loss) -> None:
        super().__init__(network, settings)
        self._loss = loss

    def loss(self, batch: OccupancyBatch) -> Tensor:
        return self._losses_of(batch)[0].mean()

    def scores(self, batch: OccupancyBatch) -> dict[str, Float[Tensor, "hands"]]:
        losses, logits = self._losses_of(batch)
        overlap = intersection_over_union(logits.sigmoid() >= THRESHOLD, batch.labels > 0.5)
        return {"val_iou": overlap, "val_loss": losses.mean(dim=1)}

    def _losses_of(self, batch: OccupancyBatch) -> tuple[Float[Tensor, "hands points"], Float[Tensor, "hands points"]]:
        logits = self.network.logits(batch.points, batch.bone_from_palm, batch.bone_lengths).float()
        if self._loss == "bce":
            return F.binary_cross_entropy_with_logits(logits, batch.labels, reduction="none"), logits
        return (logits.sigmoid() - batch.labels).square(), logits


def intersection_over_union(
    predicted: Bool[Tensor, "hands points"], true: Bool[Tensor, "hands points"]
) -> Float[Tensor, "hands"]:
    """IoU of every hand; NaN where both are empty."""
    return (predicted & true).sum(dim=1) / (predicted | true).sum(dim=1)


def train_halo(
    *,
    train: str | os.PathLike,
    val: str | os.PathLike,
    train_hands: str | os.PathLike,
    val_hands: str | os.PathLike,
    output: str | os.PathLike,
    checkpoint_folder: str | os.PathLike,
    logs: str | os.PathLike,
    settings: LoopSettings,
    batch_hands: int,
    points_per_hand: int,
    uniform_share: float,
    validation_points: int,
    width: int = bone_decoders.PUBLISHED_WIDTH,
    loss: Loss = "mse",
    initial_weights: InitialWeights = "geometric",
    size_spread: float = 0.0,
    device: torch.device = CPU,
    threads: int = 1,
) -> dict[str, Any]:
    """Trains, resuming if it was interrupted, and writes the model folder; returns the metrics of the kept weights.

    train, val: manifests of query shards.  train_hands, val_hands: the hand tables they were made from.
    output: receives model.safetensors, card.json, metrics.json, curves.csv.
    checkpoint_folder: resume state.  logs: curves while it runs.
    initial_weights: "published" is PyTorch's default for linear layers; "geometric" starts every bone as a soft ball.
    size_spread: of random hand sizes, see TrainingSteps.
    threads: of the CPU at most; small steps use fewer.
    Raises DataError if data are missing or do not fit together.
    """
    points_of_full_width = batch_hands * points_per_hand * width / bone_decoders.PUBLISHED_WIDTH
    deterministic_torch(threads_for(points_of_full_width, threads))
    hands, held_out = LabelledHands(train, train_hands), LabelledHands(val, val_hands)
    counts = points_per_set(hands, points_per_hand, uniform_share)
    validation = ValidationBatches(held_out, validation_points)
    parameters = {
        "batch_hands": batch_hands,
        "points_per_set": dict(counts),
        "width": width,
        "loss": loss,
        "initial_weights": initial_weights,
        "size_spread": size_spread,
        "validation_points": validation.points_per_hand,
        **{name: value for name, value in asdict(settings).items() if name not in ("workers", "seed")},
    }
    files = {"train": train, "val": val, "train_hands": train_hands, "val_hands": val_hands}
    data = {role: sha256_file(path) for role, path in files.items()}
    mark = fingerprint({**without_length(parameters), "seed": settings.seed}, data, CODE)
    checkpoints_of_run = CheckpointFolder(checkpoint_folder, mark)

    seed_torch(settings.seed, "initial weights of halo")
    network = HaloNetwork(width=width)
    if initial_weights == "geometric":
        network.decoders.start_as_balls(hands.bone_centres())
    task = HaloTask(network, settings, loss)
    steps = TrainingSteps(hands, batch_hands, counts, settings.seed, size_spread)
    result = run_training(task, steps, validation, checkpoints_of_run, logs, device, "train_halo")

    made_of = upstream_parameters(train, train_hands)
    metrics = write_trained_model(
        output,
        result,
        network=NAME,
        architecture=task.network.architecture,
        selection="best validation IoU",
        dataset=str(made_of.get("dataset", "unknown")),
        parameters=parameters,
        seed=settings.seed,
        data=data,
        compat={name: made_of[name] for name in COMPAT_OPTIONS if name in made_of},
        metrics={"val_hands": len(validation.chosen), "val_set": validation.set_name},
    )
    checkpoints_of_run.finish()
    return metrics


def upstream_parameters(manifest: str | os.PathLike, hands: str | os.PathLike) -> dict[str, Any]:
    """Parameters with which the queries of a manifest and a hand table were made, from the files' provenance."""
    files = [hands, *(shard.path for shard in Manifest.read(manifest).files[:1])]
    found: dict[str, Any] = {}
    for file in files:
        found |= file_card(file, foreign=True).get("provenance", {}).get("parameters", {})
    return found
