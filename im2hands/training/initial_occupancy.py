"""Training of initial occupancy: occupancy of both hands from their keypoints and the photograph.

Starts from HALO's decoders, for both hands, and IntagHand's image encoder. Source: Im2Hands (CVPR 2023), section 3.4: mean
squared error per hand, Adam at a constant 1e-5, 8 frames of 4096 points per hand, best weights by validation IoU at 0.5. A
frozen encoder, other rates and schedules are ours.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from im2hands.config.choices import Behaviour, ImageEncoderMode
from im2hands.datasets import frame_items, occupancy_items, queries, two_hand_item
from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.occupancy_items import LabelledHands
from im2hands.hands.sides import Side
from im2hands.io.errors import CheckpointError
from im2hands.io.hashing import sha256_file
from im2hands.io.threads import threads_for
from im2hands.networks import attention, bone_decoders, image_encoder, initial_occupancy
from im2hands.networks.frame_batches import FrameBatch
from im2hands.networks.halo import HaloNetwork, load_halo
from im2hands.networks.image_encoder import ImageEncoder, ImageFeatures
from im2hands.networks.initial_occupancy import NAME, POINT_FEATURES, EncodedImages, InitialOccupancyNetwork
from im2hands.networks.intaghand import load_intaghand
from im2hands.networks.model_folder import WEIGHTS
from im2hands.training import checkpoints, determinism, frame_steps, frozen_encoder, loop, losses
from im2hands.training.checkpoints import CheckpointFolder, fingerprint, without_length
from im2hands.training.determinism import deterministic_torch, seed_torch
from im2hands.training.frame_steps import FrameSteps, FrameValidation, LabelledFrames
from im2hands.training.frozen_encoder import FrozenEncoder, require_no_augmentation
from im2hands.training.halo import intersection_over_union, upstream_parameters
from im2hands.training.loop import LoopSettings, NetworkTask, run_training
from im2hands.training.losses import occupancy_loss
from im2hands.training.trained_model import write_trained_model

THRESHOLD = 0.5
CPU = torch.device("cpu")
DATA_OPTIONS = ("angle_clamp", "degenerate_hands", "label_rule")
FINEST_MAPS = {"of_heat_maps": (3,), "of_dense_maps": (3,)}
CODE = (
    attention,
    bone_decoders,
    image_encoder,
    initial_occupancy,
    frame_items,
    occupancy_items,
    queries,
    two_hand_item,
    frame_steps,
    frozen_encoder,
    losses,
    checkpoints,
    determinism,
    loop,
    sys.modules[__name__],
)
"""Modules whose text counts as the version of the code: a checkpoint of other code is not taken up."""


class InitialOccupancyTask(NetworkTask):
    """Initial occupancy in training; scores are the IoU of a frame's hands and the loss on the validation points.

    frozen: maps of the training and of the validation frames if the encoder is frozen.
    """

    def __init__(
        self,
        network: InitialOccupancyNetwork,
        settings: LoopSettings,
        frozen: tuple[FrozenEncoder, FrozenEncoder] | None = None,
    ) -> None:
        super().__init__(network, settings)
        self._frozen = frozen

    def loss(self, batch: FrameBatch) -> Tensor:
        return occupancy_loss(self._occupancy(batch), batch.labels)

    def scores(self, batch: FrameBatch) -> dict[str, Float[Tensor, " frames"]]:
        return occupancy_scores(self._occupancy(batch), batch.labels, THRESHOLD)

    def _occupancy(self, batch: FrameBatch) -> dict[Side, Float[Tensor, "frames n"]]:
        encoded = self._encoded(batch)
        return {side: self.network.occupancy(encoded, hand, batch.camera).float() for side, hand in batch.hands.items()}

    def _encoded(self, batch: FrameBatch) -> EncodedImages:
        return self.network.encode_map(
            self.network.image_map(features_of(batch, self.network.image_encoder, self._frozen, self.training))
        )


def features_of(
    batch: FrameBatch, encoder: ImageEncoder, frozen: tuple[FrozenEncoder, FrozenEncoder] | None, training: bool
) -> ImageFeatures:
    """What an image encoder, trained or frozen, sees in a batch of the training or of the validation frames."""
    if frozen is None:
        return encoder(batch.images)
    return frozen[0 if training else 1].features(batch.frame_index)


def occupancy_scores(
    occupancy: Mapping[Side, Float[Tensor, "frames n"]],
    labels: Mapping[Side, Float[Tensor, "frames n"]],
    threshold: float,
) -> dict[str, Float[Tensor, " frames"]]:
    """IoU and loss of every frame, means over its hands."""
    overlaps = [intersection_over_union(occupancy[side] >= threshold, labels[side] > 0.5) for side in occupancy]
    errors = [(occupancy[side] - labels[side]).square().mean(dim=1) for side in occupancy]
    return {"val_iou": torch.stack(overlaps).nanmean(dim=0), "val_loss": torch.stack(errors).sum(dim=0)}


def train_initial_occupancy(
    *,
    train_frames: str | os.PathLike,
    val_frames: str | os.PathLike,
    train_hands: str | os.PathLike,
    val_hands: str | os.PathLike,
    train_images: str | os.PathLike,
    val_images: str | os.PathLike,
    train_queries: str | os.PathLike,
    val_queries: str | os.PathLike,
    halo: str | os.PathLike,
    intaghand: str | os.PathLike,
    output: str | os.PathLike,
    checkpoint_folder: str | os.PathLike,
    logs: str | os.PathLike,
    settings: LoopSettings,
    batch_frames: int,
    points_per_hand: int,
    uniform_share: float,
    validation_frames: int,
    validation_points: int,
    depth_reference: Behaviour = "consistent",
    penetration_frame: Behaviour = "consistent",
    image_encoder: ImageEncoderMode = "trained",
    image_attention: bool = True,
    augmentation: bool = False,
    device: torch.device = CPU,
    threads: int = 1,
) -> dict[str, Any]:
    """Trains, resuming if it was interrupted, and writes the model folder; returns the metrics of the kept weights.

    *_frames, *_hands: tables.  *_images, *_queries: manifests.  halo, intaghand: model folders to start from.
    output: receives model.safetensors, card.json, metrics.json, curves.csv.  checkpoint_folder: resume state.
    image_encoder: `frozen` keeps IntagHand's encoder and makes its maps once per frame.
    image_attention: see InitialOccupancyNetwork.  augmentation: of the training frames.
    Raises DataError if data are missing or do not fit together, ConfigError if settings contradict each other.
    """
    require_no_augmentation(image_encoder, augmentation, "training.initial_occupancy")
    with_images = image_encoder == "trained"
    deterministic_torch(threads if with_images else threads_for(2 * batch_frames * points_per_hand, threads))
    splits = [
        LabelledFrames(FrameSet(frames, hands, images), LabelledHands(points, hands), with_images)
        for frames, hands, images, points in (
            (train_frames, train_hands, train_images, train_queries),
            (val_frames, val_hands, val_images, val_queries),
        )
    ]
    validation = FrameValidation(splits[1], validation_frames, validation_points)
    steps = FrameSteps(splits[0], batch_frames, points_per_hand, uniform_share, settings.seed, augmentation)
    parameters = {
        "batch_frames": batch_frames,
        "points_per_set": dict(steps.counts),
        "validation_frames": len(validation.chosen),
        "validation_points": validation.points_per_hand,
        "image_encoder": image_encoder,
        "augmentation": augmentation,
        **{name: value for name, value in asdict(settings).items() if name not in ("workers", "seed")},
    }
    files = {
        "train_frames": train_frames,
        "val_frames": val_frames,
        "train_hands": train_hands,
        "val_hands": val_hands,
        "train_images": train_images,
        "val_images": val_images,
        "train_queries": train_queries,
        "val_queries": val_queries,
        "halo": Path(halo, WEIGHTS),
        "intaghand": Path(intaghand, WEIGHTS),
    }
    data = {role: sha256_file(path) for role, path in files.items()}
    options = {"depth_reference": depth_reference, "penetration_frame": penetration_frame}

    seed_torch(settings.seed, "initial weights of initial_occupancy")
    network = started_from(halo, intaghand, image_attention, options)
    network.to(device)
    mark = fingerprint(
        {**without_length(parameters), **options, "image_attention": image_attention, "seed": settings.seed}, data, CODE
    )
    checkpoints_of_run = CheckpointFolder(checkpoint_folder, mark)
    frozen = None
    if image_encoder == "frozen":
        network.image_encoder.requires_grad_(False)
        frozen = tuple(FrozenEncoder(network.image_encoder, each.frames, device, maps=FINEST_MAPS) for each in splits)
    task = InitialOccupancyTask(network, settings, frozen)
    result = run_training(task, steps, validation, checkpoints_of_run, logs, device, "train_initial_occupancy")
    made_of = upstream_parameters(train_queries, train_hands)
    metrics = write_trained_model(
        output,
        result,
        network=NAME,
        architecture=network.architecture,
        selection="best validation IoU",
        dataset=str(made_of.get("dataset", "unknown")),
        parameters=parameters,
        seed=settings.seed,
        data=data,
        compat=options | {name: made_of[name] for name in DATA_OPTIONS if name in made_of},
        metrics={"val_frames": len(validation.chosen), "val_set": validation.set_name},
    )
    checkpoints_of_run.finish()
    return metrics


def started_from(
    halo: str | os.PathLike,
    intaghand: str | os.PathLike,
    image_attention: bool = True,
    options: Mapping[str, Behaviour] | None = None,
) -> InitialOccupancyNetwork:
    """A network whose hands both have HALO's field and whose image encoder is IntagHand's.

    Everything else has the published initial values, drawn from torch's generator; what the decoders make of image features,
    which HALO does not have, starts at zero.
    """
    start, (teacher, card) = load_halo(halo)[0], load_intaghand(intaghand)
    network = InitialOccupancyNetwork(
        card.architecture["encoder"], **start.architecture, image_attention=image_attention, **(options or {})
    )
    network.start_as_published()
    network.image_encoder.load_state_dict(teacher.image_encoder.state_dict())
    for decoder in network.decoders.values():
        decoder.load_state_dict(widened(start, POINT_FEATURES))
    return network


def widened(halo: HaloNetwork, features: int) -> dict[str, Tensor]:
    """HALO's decoder weights for decoders that take point features, with zeros for these.

    Raises CheckpointError if the layer that takes them has another place than expected.
    """
    state = dict(halo.decoders.state_dict())
    weight = state["layers.2.weight"]
    if weight.shape[1] != weight.shape[2]:
        raise CheckpointError("HALO's third layer is not square, so that it cannot be widened for point features.")
    state["layers.2.weight"] = F.pad(weight, (0, features))
    return state
