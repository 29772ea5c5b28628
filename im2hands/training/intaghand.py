"""Training of IntagHand: both hands' meshes from one photograph.

Source: IntagHand (CVPR 2022): losses and weights of `intaghand_losses`, Adam at 1e-4 with warm-up and one drop, batches of 64,
200 epochs, turned, scaled, tinted and mirrored images. Backbone weights start at random: no pretrained ones are shipped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.config.choices import Behaviour
from im2hands.datasets import frame_items, two_hand_item
from im2hands.datasets.surface_maps import rest_coordinates
from im2hands.datasets.two_hand_item import AugmentationRanges
from im2hands.hands.joints import MIDDLE_BASE, WRIST
from im2hands.hands.model import HandModel
from im2hands.hands.model_files import load_hand_models
from im2hands.hands.sides import Side
from im2hands.io.hashing import sha256_file
from im2hands.io.tables import file_card
from im2hands.networks import (
    attention,
    graph_blocks,
    hand_graphs,
    image_encoder,
    intaghand,
    inter_hand_attention,
    start_hands,
)
from im2hands.networks.hand_graphs import build_hand_graph, smooth_upsampling
from im2hands.networks.intaghand import NAME, PUBLISHED_DROPOUT, PUBLISHED_WIDTHS, HandPairPrediction, IntagHandNetwork
from im2hands.training import checkpoints, determinism, intaghand_items, intaghand_losses, intaghand_start, loop
from im2hands.training.checkpoints import CheckpointFolder, fingerprint
from im2hands.training.curves import COLUMNS
from im2hands.training.determinism import deterministic_torch, seed_torch
from im2hands.training.intaghand_items import (
    IntagHandBatch,
    IntagHandSteps,
    IntagHandValidation,
    TwoHandFrames,
)
from im2hands.training.intaghand_losses import (
    EDGE_FROM_EPOCH,
    LEARNING_RATE,
    WEIGHTS,
    HandTruth,
    intaghand_loss,
    maps_loss,
    projection_term,
    published_learning_rate,
    upsampling_term,
    with_given_projection,
)
from im2hands.training.intaghand_start import start_statistics
from im2hands.training.loop import LoopSettings, NetworkTask, run_training
from im2hands.training.trained_model import write_trained_model

CPU = torch.device("cpu")
PUBLISHED_RANGES = AugmentationRanges()
CODE = (
    attention,
    graph_blocks,
    hand_graphs,
    image_encoder,
    inter_hand_attention,
    intaghand,
    start_hands,
    frame_items,
    two_hand_item,
    intaghand_items,
    intaghand_losses,
    intaghand_start,
    checkpoints,
    determinism,
    loop,
    sys.modules[__name__],
)
"""Modules whose text counts as the version of the code: a checkpoint of other code is not taken up."""


class IntagHandTask(NetworkTask):
    """IntagHand in training.

    truths: what the losses need of each hand's model.  steps_per_epoch: of the published schedule.
    edge_loss_from: share of the steps after which edge lengths count (published: epoch 50 of 200).
    decoder_from: share of the steps after which the mesh decoder is trained; before, maps and start hands are. Published: 0.
    loss_weights: of the terms, see `intaghand_losses`.  Start hands learn their projections from true meshes, weighted as the
    2-D terms are.
    Scores: `val_loss` of all terms at any step, by which the best weights are chosen, and `val_mpjpe`, the joint error in
    IntagHand's protocol (mm): regressed joints about the middle base, the prediction scaled to the true length from wrist to
    middle base; early on, hands predicted too small make it large. Millimetres are of a hand whose mean palm is 95 mm long.
    """

    monitored = "val_loss"
    lower_is_better = True
    curve_columns = (*COLUMNS[:4], "val_mpjpe")

    def __init__(
        self,
        network: IntagHandNetwork,
        settings: LoopSettings,
        truths: Mapping[Side, HandTruth],
        steps_per_epoch: int,
        edge_loss_from: float,
        decoder_from: float = 0.0,
        loss_weights: Mapping[str, float] = WEIGHTS,
    ) -> None:
        super().__init__(network, settings)
        self.truths = nn.ModuleDict({side.value: truths[side] for side in truths})
        self._loss_weights = {**WEIGHTS, **loss_weights}
        self._steps_per_epoch = steps_per_epoch
        self._edges_from, self._decoder_from = edge_loss_from * settings.steps, decoder_from * settings.steps
        self.register_buffer("_first_upsampling", network.upsampling.weight.detach().clone(), persistent=False)

    def published_learning_rate(self, step: int) -> float:
        return published_learning_rate(step // self._steps_per_epoch) * self.settings.learning_rate / LEARNING_RATE

    def loss(self, batch: IntagHandBatch) -> Tensor:
        features = self.network.image_encoder(batch.images)
        if self.step >= self._decoder_from:
            predicted = self.network.decode(features)
        elif self.network.start_hands is not None:
            predicted = self.network.decode_start(features)
        else:
            return maps_loss(features, batch.maps, self._loss_weights)
        return self._loss(predicted, batch, EDGE_FROM_EPOCH if self.step >= self._edges_from else 0)

    def scores(self, batch: IntagHandBatch) -> dict[str, Float[Tensor, " frames"]]:
        predicted = self.network(batch.images)
        loss = self._loss(predicted, batch, EDGE_FROM_EPOCH)
        errors = []
        for side, hand in predicted.hands.items():
            regressed = self.truths[side.value].regressor @ hand.vertices
            errors.append(scaled_joint_errors(regressed, batch.joints[:, side.index]).mean(-1))
        return {"val_loss": loss.expand(len(batch.images)), "val_mpjpe": 1000 * torch.stack(errors).mean(0)}

    def _loss(self, predicted: HandPairPrediction, batch: IntagHandBatch, epoch: int) -> Tensor:
        truths = {side: self.truths[side.value] for side in Side}
        upsampling = upsampling_term(self.network.upsampling.weight, self._first_upsampling)
        weights, projections = self._loss_weights, 0.0
        if self.network.start_hands is not None:
            projections = (weights["vertices_2d"] + weights["coarse_2d"]) * projection_term(predicted.hands, batch.true)
            predicted = with_given_projection(predicted)
        return projections + intaghand_loss(predicted, batch.true, batch.maps, truths, upsampling, epoch, weights)[0]


def scaled_joint_errors(
    predicted: Float[Tensor, "frames 21 3"], true: Float[Tensor, "frames 21 3"]
) -> Float[Tensor, "frames 21"]:
    """Distances of joints about the middle base, the prediction scaled by the ratio of wrist to middle base lengths."""
    predicted, true = (joints - joints[:, MIDDLE_BASE : MIDDLE_BASE + 1] for joints in (predicted, true))
    scale = true[:, WRIST].norm(dim=-1) / predicted[:, WRIST].norm(dim=-1).clamp_min(1e-9)
    return (predicted * scale[:, None, None] - true).norm(dim=-1)


def train_intaghand(
    *,
    train_frames: str | os.PathLike,
    val_frames: str | os.PathLike,
    train_hands: str | os.PathLike,
    val_hands: str | os.PathLike,
    train_images: str | os.PathLike,
    val_images: str | os.PathLike,
    hand_model: str | os.PathLike,
    output: str | os.PathLike,
    checkpoint_folder: str | os.PathLike,
    logs: str | os.PathLike,
    settings: LoopSettings,
    batch_frames: int,
    validation_frames: int,
    encoder: str = "resnet50",
    widths: Sequence[int] = PUBLISHED_WIDTHS,
    edge_loss_from: float = 0.25,
    augmentation: AugmentationRanges | None = PUBLISHED_RANGES,
    heat_maps: Behaviour = "consistent",
    start_components: int = 0,
    dropout: float = PUBLISHED_DROPOUT,
    decoder_from: float = 0.0,
    loss_weights: Mapping[str, float] = WEIGHTS,
    device: torch.device = CPU,
    threads: int = 1,
) -> dict[str, Any]:
    """Trains, resuming if it was interrupted, and writes the model folder; returns the metrics of the kept weights.

    *_frames, *_hands: tables.  *_images: manifests of crops with masks and dense maps.  hand_model: folder.
    output: receives model.safetensors (with the graphs), card.json, metrics.json, curves.csv.
    checkpoint_folder: resume state.  encoder, widths, dropout: see IntagHandNetwork.  heat_maps: see `two_hand_item`.
    augmentation: ranges of the images' changes, None for none.  start_components: of start hands (see
    `networks.start_hands`), 0 for none.  decoder_from: see IntagHandTask.  loss_weights: of terms whose weights are not the
    published ones.
    Raises DataError if data are missing or do not fit together.
    """
    deterministic_torch(threads)
    train = TwoHandFrames(train_frames, train_hands, train_images)
    validation = IntagHandValidation(TwoHandFrames(val_frames, val_hands, val_images), validation_frames, heat_maps)
    steps = IntagHandSteps(train, batch_frames, settings.seed, augmentation, heat_maps)
    parameters = {
        "batch_frames": steps.batch_frames,
        "steps_per_epoch": steps.steps_per_epoch,
        "validation_frames": len(validation.chosen),
        "encoder": encoder,
        "widths": list(widths),
        "edge_loss_from": edge_loss_from,
        "augmentation": None if augmentation is None else asdict(augmentation),
        "start_components": start_components,
        "dropout": dropout,
        "decoder_from": decoder_from,
        "loss_weights": {**WEIGHTS, **loss_weights},
        **{name: value for name, value in asdict(settings).items() if name not in ("workers", "seed")},
    }
    files = {
        "train_frames": train_frames,
        "val_frames": val_frames,
        "train_hands": train_hands,
        "val_hands": val_hands,
        "train_images": train_images,
        "val_images": val_images,
    }
    data = {role: sha256_file(path) for role, path in files.items()}
    mark = fingerprint({**parameters, "heat_maps": heat_maps, "seed": settings.seed}, data, CODE)
    checkpoints_of_run = CheckpointFolder(checkpoint_folder, mark)

    models = load_hand_models(hand_model)
    seed_torch(settings.seed, "initial weights of intaghand")
    network = new_network(models, encoder, widths, dropout, start_components)
    if start_components:
        graphs = {side: network.graph(side) for side in Side}
        turn = 0.0 if augmentation is None else augmentation.angle
        network.begin_at(start_statistics(train, graphs, start_components, turn))
    truths = {side: HandTruth(models[side], network.graph(side)) for side in Side}
    task = IntagHandTask(network, settings, truths, steps.steps_per_epoch, edge_loss_from, decoder_from, loss_weights)
    result = run_training(task, steps, validation, checkpoints_of_run, logs, device, "train_intaghand")
    metrics = write_trained_model(
        output,
        result,
        network=NAME,
        architecture=network.architecture,
        selection="lowest validation loss",
        dataset=str(file_card(train_frames)["provenance"]["parameters"].get("dataset", "unknown")),
        parameters=parameters,
        seed=settings.seed,
        data=data,
        compat={"heat_maps": heat_maps},
        metrics={"val_frames": len(validation.chosen)},
    )
    checkpoints_of_run.finish()
    return metrics


def new_network(
    models: Mapping[Side, HandModel],
    encoder: str = "resnet50",
    widths: Sequence[int] = PUBLISHED_WIDTHS,
    dropout: float = PUBLISHED_DROPOUT,
    start_components: int = 0,
) -> IntagHandNetwork:
    """An untrained network for the meshes of these hand models, whose graphs it keeps; start hands are upsampled smoothly."""
    graphs = {side: build_hand_graph(models[side].faces) for side in Side}
    upsampling = None
    if start_components:
        upsampling = smooth_upsampling((graphs[Side.LEFT], graphs[Side.RIGHT]), models[Side.RIGHT].faces)
    return IntagHandNetwork(
        graphs,
        torch.from_numpy(rest_coordinates(models[Side.RIGHT])),
        upsampling,
        encoder,
        widths,
        dropout=dropout,
        start_components=start_components,
    )
