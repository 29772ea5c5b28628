"""Training of HALO: occupancy of single hands from keypoints.

Source: HALO (3DV 2021): Adam at 1e-4, 64 hands of 2048 points, mean squared error between the largest bone occupancy and the
label, best weights by validation IoU. The other settings are ours and train faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from im2hands.config.choices import OccupancyLoss
from im2hands.config.training import HaloTraining
from im2hands.datasets.occupancy_items import (
    LabelledHands,
    OccupancyBatch,
    TrainingSteps,
    ValidationBatches,
    points_per_set,
)
from im2hands.networks.halo import NAME, HaloNetwork
from im2hands.training.loop import LoopSettings, NetworkTask
from im2hands.training.losses import intersection_over_union
from im2hands.training.run import Data, Job, Recipe, upstream_parameters

THRESHOLD = 0.5


@dataclass(frozen=True)
class HaloInputs:
    """train, val: manifests of query shards.  train_hands, val_hands: the hand tables that they were made from."""

    train: str
    val: str
    train_hands: str
    val_hands: str


class HaloTask(NetworkTask):
    """HALO in training; scores are per-hand IoU and loss on the validation points."""

    def __init__(self, network: HaloNetwork, settings: LoopSettings, loss: OccupancyLoss) -> None:
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


def _data(job: Job) -> Data:
    section, inputs = job.section, job.inputs
    hands, held_out = LabelledHands(inputs.train, inputs.train_hands), LabelledHands(inputs.val, inputs.val_hands)
    counts = points_per_set(hands, section.points_per_hand, section.uniform_share)
    validation = ValidationBatches(held_out, section.validation_points)
    return Data(
        TrainingSteps(hands, section.batch_hands, counts, job.seed, section.size_spread),
        validation,
        sets=(hands, held_out),
        used={"points_per_set": dict(counts), "validation_points": validation.points_per_hand},
        metrics={"val_hands": len(validation.chosen), "val_set": validation.set_name},
        made_of=upstream_parameters(inputs.train, inputs.train_hands),
    )


def _network(job: Job, data: Data) -> HaloNetwork:
    network = HaloNetwork(width=job.section.width)
    if job.section.initial_weights == "geometric":
        network.decoders.start_as_balls(data.sets[0].bone_centres())
    return network


def _task(job: Job, data: Data, network: HaloNetwork, settings: LoopSettings) -> HaloTask:
    return HaloTask(network, settings, job.section.loss)


HALO = Recipe(NAME, HaloTraining, HaloInputs, _data, _network, _task, hides=("points_per_hand", "uniform_share"))
