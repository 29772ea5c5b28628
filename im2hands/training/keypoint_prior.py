"""Training of the keypoint prior: hands and detectors' errors are drawn as it goes, so that no step sees a hand twice.

Needs no photograph, only the hand model. The best weights are those with the smallest error of joints about the middle base on
pairs that are drawn once, with the same kinds of errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from im2hands.config.training import KeypointPriorTraining
from im2hands.datasets.keypoint_errors import with_errors
from im2hands.datasets.synthetic.hand_crowd import CrowdSampler, HandCrowd
from im2hands.hands.joints import MIDDLE_BASE, WRIST
from im2hands.hands.model_files import builtin_hand_models, load_hand_models
from im2hands.io.hashing import digest, seed_of
from im2hands.networks.keypoint_prior import NAME, KeypointPriorNetwork, LikelyHands
from im2hands.training.loop import LoopSettings, NetworkTask
from im2hands.training.run import Data, Job, Recipe

VALIDATION_BATCH_PAIRS = 64
ROTATION_WEIGHT, SHAPE_WEIGHT, SIGMA_WEIGHT = 0.05, 0.02, 0.1
"""Of squared differences of rotation matrices, of squared shape numbers and of the sigmas' likelihood, against centimetres."""
MOST_UNLIKELY = 50.0
"""Negative log likelihoods are cut off here: hands without any joint would outweigh all others."""
RADIUS_90 = 2.5003
"""Radius of the sphere that holds 90 % of a normal distribution in three dimensions, in standard deviations."""
CENTIMETRES = 100
MILLIMETRES = 1000


@dataclass(frozen=True)
class KeypointPriorInputs:
    """hand_model: its folder."""

    hand_model: str


@dataclass(frozen=True)
class PriorBatch:
    """true: the pairs.  keypoints, sigma: what a detector makes of them, see GivenKeypoints."""

    true: HandCrowd
    keypoints: Float[Tensor, "pairs 2 21 3"]
    sigma: Float[Tensor, "pairs 2 21"]

    def to(self, device: torch.device, non_blocking: bool = True) -> PriorBatch:
        return self._with(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PriorBatch:
        return self._with(Tensor.pin_memory)

    def _with(self, moved) -> PriorBatch:
        true = HandCrowd(**{name: moved(tensor) for name, tensor in vars(self.true).items()})
        return PriorBatch(true, moved(self.keypoints), moved(self.sigma))


class PriorSteps(Dataset):
    """Item i is the batch of global step i, a function of (seed, i). largest_mm: of errors per coordinate."""

    def __init__(self, sampler: CrowdSampler, pairs: int, largest_mm: float, seed: int) -> None:
        self.sampler, self.pairs, self.largest_mm, self.seed = sampler, pairs, largest_mm, seed

    def __getitem__(self, step: int) -> PriorBatch:
        return drawn(self.sampler, self.pairs, self.largest_mm, seed_of(self.seed, "keypoint prior", step))


class PriorValidation(Dataset):
    """Fixed batches of at least `pairs` pairs."""

    def __init__(self, sampler: CrowdSampler, pairs: int, largest_mm: float, seed: int) -> None:
        self.sampler, self.largest_mm, self.seed = sampler, largest_mm, seed
        self.batches = -(-pairs // VALIDATION_BATCH_PAIRS)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> PriorBatch:
        if not 0 <= index < self.batches:
            raise IndexError(f"validation batch {index} of {self.batches}")
        seed = seed_of(self.seed, "validation of the keypoint prior", index)
        return drawn(self.sampler, VALIDATION_BATCH_PAIRS, self.largest_mm, seed)


def drawn(sampler: CrowdSampler, pairs: int, largest_mm: float, seed: list[int]) -> PriorBatch:
    """Random pairs and what a detector makes of them."""
    rng = np.random.default_rng(seed)
    true = sampler.draw(rng, pairs)
    given = with_errors(true.keypoints.double().numpy(), rng, largest_mm)
    return PriorBatch(true, torch.from_numpy(given.keypoints).float(), torch.from_numpy(given.sigma).float())


class PriorTask(NetworkTask):
    """The prior in training.

    Scores: mean distance of joints that are given, about the middle base, before and after (mm); that of missing joints of
    hands that are not missing altogether; and the share of given joints within the sphere that should hold 90 % of them.
    """

    monitored = "val_jpe"
    lower_is_better = True
    curve_columns = ("step", "learning_rate", "train_loss", "val_in_jpe", "val_jpe", "val_missing_jpe", "val_in_90")

    def loss(self, batch: PriorBatch) -> Tensor:
        return prior_loss(self.network(batch.keypoints, batch.sigma), batch.true)

    def scores(self, batch: PriorBatch) -> dict[str, Float[Tensor, " pairs"]]:
        found, true = self.network(batch.keypoints, batch.sigma), batch.true.keypoints
        given = _about(batch.keypoints, MIDDLE_BASE) - _about(true, MIDDLE_BASE)
        error = (_about(found.keypoints, MIDDLE_BASE) - _about(true, MIDDLE_BASE)).norm(dim=-1) * MILLIMETRES
        inside = (found.keypoints - true).norm(dim=-1) < RADIUS_90 * found.sigma
        seen = batch.keypoints.isfinite().all(-1)
        missing = ~seen & seen.any(-1, keepdim=True)
        return {
            "val_jpe": torch.where(seen, error, torch.nan).nanmean(dim=(1, 2)),
            "val_missing_jpe": torch.where(missing, error, torch.nan).nanmean(dim=(1, 2)),
            "val_in_jpe": given.norm(dim=-1).nanmean(dim=(1, 2)) * MILLIMETRES,
            "val_in_90": torch.where(seen, inside.to(true), torch.nan).nanmean(dim=(1, 2)),
        }


def prior_loss(found: LikelyHands, true: HandCrowd) -> Float[Tensor, ""]:
    """Distances of joints (cm) in space, about the middle base and about the wrist; rotations, shape and sigmas beside them."""
    distance = sum(
        (_about(found.keypoints, joint) - _about(true.keypoints, joint)).norm(dim=-1).mean()
        for joint in (None, MIDDLE_BASE, WRIST)
    )
    turns = (found.rotations[:, :, 1:] - true.rotations[:, :, 1:]).square().sum(dim=(-1, -2)).mean()
    shape = (found.shape - true.shape).square().mean()
    squares = (found.keypoints - true.keypoints).square().sum(-1).detach()
    unlikely = squares / (2 * found.sigma.square()) + 3 * (CENTIMETRES * found.sigma).log()
    sigmas = unlikely.clamp_max(MOST_UNLIKELY).mean()
    return CENTIMETRES * distance + ROTATION_WEIGHT * turns + SHAPE_WEIGHT * shape + SIGMA_WEIGHT * sigmas


def _about(keypoints: Float[Tensor, "pairs 2 21 3"], joint: int | None) -> Float[Tensor, "pairs 2 21 3"]:
    return keypoints if joint is None else keypoints - keypoints[:, :, joint : joint + 1]


def _data(job: Job) -> Data:
    section, models = job.section, load_hand_models(job.inputs.hand_model)
    sampler = CrowdSampler(models)
    return Data(
        PriorSteps(sampler, section.batch_pairs, section.largest_error_mm, job.seed),
        PriorValidation(sampler, section.validation_pairs, section.largest_error_mm, job.seed),
        sets=(models, models),
        used={"hand_model": _digest(sampler)},
        made_of={"dataset": f"hands drawn from {_name_of(sampler)}"},
    )


def _name_of(sampler: CrowdSampler) -> str:
    built_in = _digest(CrowdSampler(builtin_hand_models())) == _digest(sampler)
    return "the built-in hand model" if built_in else "the user's hand model (its licence holds for the weights too)"


def _digest(sampler: CrowdSampler) -> str:
    return digest([tensor.tolist() for tensor in sampler.skeleton.state_dict().values()])[:16]


def _network(job: Job, data: Data) -> KeypointPriorNetwork:
    section = job.section
    network = KeypointPriorNetwork(section.width, section.blocks)
    network.start_from(data.sets[0])
    return network


def _adopt(job: Job, data: Data, network: KeypointPriorNetwork, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Weights are of any hand model; the hands that come out are of the user's."""
    network.load_state_dict(weights)
    network.start_from(data.sets[0])
    return {}


def _task(job: Job, data: Data, network: KeypointPriorNetwork, settings: LoopSettings) -> PriorTask:
    return PriorTask(network, settings)


KEYPOINT_PRIOR = Recipe(
    NAME,
    KeypointPriorTraining,
    KeypointPriorInputs,
    _data,
    _network,
    _task,
    hides=("width", "blocks"),
    adopt=_adopt,
)
