"""Training of refined occupancy: occupancy of both hands that see each other, on top of a frozen initial network.

Source: Im2Hands (CVPR 2023), section 3.4: squared error and penetration, batches of 2 frames with 2048 points and 512 anchors
per hand, Adam with an L2 penalty, best weights by validation IoU at 0.45; schedule and weights in `refined_losses`. A frozen
encoder, smaller networks and the start from the initial field are ours.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.config.choices import Behaviour, ImageEncoderMode
from im2hands.datasets import anchors, frame_items, occupancy_items, queries, two_hand_item
from im2hands.datasets.anchors import AnchorSet
from im2hands.datasets.frame_items import MIRROR, FrameItem, FrameSet
from im2hands.datasets.occupancy_items import LabelledHands
from im2hands.geometry import feature_sampling, furthest_points, neighbours
from im2hands.hands.sides import Side
from im2hands.io.errors import ConfigError
from im2hands.io.hashing import sha256_file
from im2hands.io.threads import threads_for
from im2hands.networks import (
    attention,
    bone_decoders,
    cross_attention,
    image_encoder,
    initial_occupancy,
    point_transformer,
    refined_occupancy,
    vector_attention,
)
from im2hands.networks.frame_batches import FrameBatch
from im2hands.networks.initial_occupancy import load_initial_occupancy
from im2hands.networks.model_folder import WEIGHTS
from im2hands.networks.refined_occupancy import LEVEL, NAME, EncodedPair, RefinedOccupancyNetwork
from im2hands.training import checkpoints, determinism, frame_steps, frozen_encoder, loop, losses, refined_losses
from im2hands.training.checkpoints import CheckpointFolder, fingerprint, without_length
from im2hands.training.curves import COLUMNS
from im2hands.training.determinism import deterministic_torch, seed_torch
from im2hands.training.frame_steps import FrameSteps, FrameValidation, LabelledFrames
from im2hands.training.frozen_encoder import FrozenEncoder, require_no_augmentation
from im2hands.training.halo import upstream_parameters
from im2hands.training.initial_occupancy import DATA_OPTIONS, THRESHOLD, features_of, occupancy_scores
from im2hands.training.loop import LoopSettings, NetworkTask, run_training
from im2hands.training.losses import occupancy_loss
from im2hands.training.refined_losses import PENETRATION_WEIGHT, WEIGHT_DECAY, learning_rate, optimiser, penetration
from im2hands.training.trained_model import write_trained_model

InitialWeights = Literal["published", "initial_field"]
CPU = torch.device("cpu")
MAPS = {"of_heat_maps": (0, 3), "of_dense_maps": (0, 3)}
"""The encoder's maps that the network looks at: the coarsest and the finest of both decoders."""
CODE = (
    anchors,
    attention,
    bone_decoders,
    cross_attention,
    image_encoder,
    initial_occupancy,
    point_transformer,
    refined_occupancy,
    vector_attention,
    feature_sampling,
    furthest_points,
    neighbours,
    frame_items,
    occupancy_items,
    queries,
    two_hand_item,
    frame_steps,
    frozen_encoder,
    losses,
    refined_losses,
    checkpoints,
    determinism,
    loop,
    sys.modules[__name__],
)
"""Modules whose text counts as the version of the code: a checkpoint of other code is not taken up."""


class RefinedOccupancyTask(NetworkTask):
    """Refined occupancy in training.

    penetration_weight, penetration_reduction: see `refined_losses.penetration`.  weight_decay: of Adam.
    frozen: maps of the training and of the validation frames if the image encoder is frozen.
    Scores: IoU of a frame's hands at the published level, the loss without penetration, and `val_initial_iou`, that of the
    initial network at its own level on the same points.
    """

    curve_columns = (*COLUMNS, "val_initial_iou")

    def __init__(
        self,
        network: RefinedOccupancyNetwork,
        settings: LoopSettings,
        penetration_weight: float = PENETRATION_WEIGHT,
        penetration_reduction: Behaviour = "consistent",
        weight_decay: float = WEIGHT_DECAY,
        frozen: tuple[FrozenEncoder, FrozenEncoder] | None = None,
    ) -> None:
        super().__init__(network, settings)
        self._penetration_weight, self._penetration_reduction = penetration_weight, penetration_reduction
        self._weight_decay, self._frozen = weight_decay, frozen

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        return optimiser(trained, self.settings.learning_rate, self._weight_decay)

    def published_learning_rate(self, step: int) -> float:
        return learning_rate(step + 1, self.settings.learning_rate)

    def train(self, mode: bool = True) -> RefinedOccupancyTask:
        """As for every module, but a frozen encoder keeps evaluating."""
        super().train(mode)
        if self._frozen is not None:
            self.network.image_encoder.eval()
        return self

    def loss(self, batch: FrameBatch) -> Tensor:
        encoded = self._encoded(batch)
        occupancy = self._occupancy(encoded, batch)
        loss = occupancy_loss(occupancy, batch.labels)
        if self._penetration_weight:
            others = self.network.penetration_logits(encoded, batch.hands, batch.camera)
            others = {side: torch.sigmoid(logits.float()) for side, logits in others.items()}
            claimed = penetration(occupancy, others, self._penetration_reduction)
            loss = loss + self._penetration_weight * claimed
        return loss

    def scores(self, batch: FrameBatch) -> dict[str, Float[Tensor, " frames"]]:
        encoded, initial = self._encoded(batch), self.network.initial
        before = {side: initial.occupancy(encoded.initial, hand, batch.camera) for side, hand in batch.hands.items()}
        of_initial = occupancy_scores(before, batch.labels, THRESHOLD)
        scores = occupancy_scores(self._occupancy(encoded, batch), batch.labels, LEVEL)
        return scores | {"val_initial_iou": of_initial["val_iou"]}

    def _occupancy(self, encoded: EncodedPair, batch: FrameBatch) -> dict[Side, Float[Tensor, "frames n"]]:
        logits = {side: self.network.logits(encoded, hand, batch.camera) for side, hand in batch.hands.items()}
        return {side: torch.sigmoid(each.float()) for side, each in logits.items()}

    def _encoded(self, batch: FrameBatch) -> EncodedPair:
        network = self.network
        if self._frozen is None:
            return network.encode(batch.images, batch.anchors, batch.camera)
        features = features_of(batch, network.image_encoder, self._frozen, self.training)
        with torch.no_grad():
            initial = network.initial.encode_map(network.initial.image_map(features))
        return network.encode_features(features, initial, batch.anchors, batch.camera)


class StoredAnchors:
    """Anchors of the frames of a set: in training one of the stored draws, else the first."""

    def __init__(self, frames: FrameSet, manifest: str | os.PathLike) -> None:
        """manifest: of ANCHORS shards. Raises DataError if a frame has none."""
        self.frames, self.stored = frames, AnchorSet(manifest)
        self.stored.require([int(frame_id) for frame_id in frames.frame_ids])

    def __call__(self, item: FrameItem, random: np.random.Generator | None) -> Float[np.ndarray, "2 points 3"]:
        """World, m, in the order of `Side.index`; of a mirrored item those of the mirrored world."""
        frame_id = int(self.frames.frame_ids[item.frame])
        draw = 0 if random is None else int(random.integers(self.stored.draws(frame_id)))
        drawn = self.stored.anchors(frame_id, draw)
        return (drawn[::-1] @ MIRROR).astype(drawn.dtype) if item.mirrored else drawn


def train_refined_occupancy(
    *,
    train_frames: str | os.PathLike,
    val_frames: str | os.PathLike,
    train_hands: str | os.PathLike,
    val_hands: str | os.PathLike,
    train_images: str | os.PathLike,
    val_images: str | os.PathLike,
    train_queries: str | os.PathLike,
    val_queries: str | os.PathLike,
    train_anchors: str | os.PathLike,
    val_anchors: str | os.PathLike,
    initial: str | os.PathLike,
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
    penetration_context: Behaviour = "consistent",
    penetration_reduction: Behaviour = "consistent",
    fps_dead_ball: Behaviour = "consistent",
    feature_lookup: Behaviour = "consistent",
    image_encoder: ImageEncoderMode = "trained",
    initial_weights: InitialWeights = "published",
    anchor_widths: Sequence[int] = refined_occupancy.PUBLISHED_ANCHOR_WIDTHS,
    anchor_blocks: int = refined_occupancy.PUBLISHED_ANCHOR_BLOCKS,
    query_width: int = refined_occupancy.PUBLISHED_QUERY_WIDTH,
    context: bool = True,
    shared_statistics: bool = False,
    weight_decay: float = WEIGHT_DECAY,
    penetration_weight: float = PENETRATION_WEIGHT,
    augmentation: bool = False,
    device: torch.device = CPU,
    threads: int = 1,
) -> dict[str, Any]:
    """Trains, resuming if it was interrupted, and writes the model folder; returns the metrics of the kept weights.

    *_frames, *_hands: tables.  *_images, *_queries, *_anchors: manifests.  initial: model folder of the frozen network, whose
    image encoder and projection also start this network's own.
    output: receives model.safetensors, card.json, metrics.json, curves.csv.  checkpoint_folder: resume state.
    depth_reference .. feature_lookup, anchor_widths .. shared_statistics: see RefinedOccupancyNetwork.
    image_encoder: `frozen` keeps the initial network's encoder and makes its maps once per frame.
    initial_weights: "published" is random; "initial_field" starts by passing the initial occupancy on.
    augmentation: of the training frames.
    Raises DataError if data are missing or do not fit together, ConfigError if settings contradict each other.
    """
    require_no_augmentation(image_encoder, augmentation, "training.refined_occupancy")
    deterministic_torch(
        threads if image_encoder == "trained" else threads_for(4 * batch_frames * points_per_hand, threads)
    )
    first, _ = load_initial_occupancy(initial)
    if first.depth_reference != depth_reference:
        raise ConfigError(
            f"{initial}: was trained with depth_reference {first.depth_reference} and cannot be asked otherwise; "
            f"set options.depth_reference: {first.depth_reference} in params.yaml."
        )
    splits = []
    for frames, hands, images, points, drawn in (
        (train_frames, train_hands, train_images, train_queries, train_anchors),
        (val_frames, val_hands, val_images, val_queries, val_anchors),
    ):
        of_split = FrameSet(frames, hands, images)
        labelled = LabelledHands(points, hands)
        splits.append(LabelledFrames(of_split, labelled, image_encoder == "trained", StoredAnchors(of_split, drawn)))
    validation = FrameValidation(splits[1], validation_frames, validation_points)
    steps = FrameSteps(splits[0], batch_frames, points_per_hand, uniform_share, settings.seed, augmentation)
    options: dict[str, Behaviour] = {
        "depth_reference": depth_reference,
        "penetration_frame": penetration_frame,
        "penetration_context": penetration_context,
        "fps_dead_ball": fps_dead_ball,
        "feature_lookup": feature_lookup,
    }
    parameters = {
        "batch_frames": batch_frames,
        "points_per_set": dict(steps.counts),
        "validation_frames": len(validation.chosen),
        "validation_points": validation.points_per_hand,
        "image_encoder": image_encoder,
        "initial_weights": initial_weights,
        "shared_statistics": shared_statistics,
        "weight_decay": weight_decay,
        "penetration_weight": penetration_weight,
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
        "train_anchors": train_anchors,
        "val_anchors": val_anchors,
        "initial": Path(initial, WEIGHTS),
    }
    data = {role: sha256_file(path) for role, path in files.items()}

    seed_torch(settings.seed, "initial weights of refined_occupancy")
    architecture = dict(first.architecture)
    network = RefinedOccupancyNetwork(
        architecture.pop("encoder"),
        architecture,
        anchor_widths,
        anchor_blocks,
        query_width,
        context,
        shared_statistics,
        **options,
    )
    network.start_as_published()
    network.start_from_initial(first)
    if initial_weights == "initial_field":
        network.start_as_initial_field()
    network.to(device)
    compat = {**options, "penetration_reduction": penetration_reduction}
    mark = fingerprint(
        {**without_length(parameters), **compat, **network.architecture, "seed": settings.seed}, data, CODE
    )
    checkpoints_of_run = CheckpointFolder(checkpoint_folder, mark)
    frozen = None
    if image_encoder == "frozen":
        network.image_encoder.requires_grad_(False)
        frozen = tuple(FrozenEncoder(network.image_encoder, each.frames, device, maps=MAPS) for each in splits)
    task = RefinedOccupancyTask(network, settings, penetration_weight, penetration_reduction, weight_decay, frozen)
    result = run_training(task, steps, validation, checkpoints_of_run, logs, device, "train_refined_occupancy")
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
        compat=compat | {name: made_of[name] for name in DATA_OPTIONS if name in made_of},
        metrics={"val_frames": len(validation.chosen), "val_set": validation.set_name},
    )
    checkpoints_of_run.finish()
    return metrics
