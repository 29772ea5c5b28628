"""Training of IntagHand: both hands' meshes from one photograph.

Source: IntagHand (CVPR 2022): losses and weights of `intaghand_losses`, Adam at 1e-4 with warm-up and one drop, batches of 64,
200 epochs, turned, scaled, tinted and mirrored images. Backbone weights start at random: no pretrained ones are shipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.config.choices import Behaviour
from im2hands.config.training import IntagHandTraining
from im2hands.datasets.surface_maps import rest_coordinates
from im2hands.datasets.two_hand_item import AugmentationRanges
from im2hands.hands.joints import MIDDLE_BASE, WRIST
from im2hands.hands.model import HandModel
from im2hands.hands.model_files import load_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import ConfigError
from im2hands.networks.hand_graphs import build_hand_graph, smooth_upsampling
from im2hands.networks.image_encoder import ImageFeatures
from im2hands.networks.intaghand import NAME, PUBLISHED_DROPOUT, PUBLISHED_WIDTHS, HandPairPrediction, IntagHandNetwork
from im2hands.networks.model_folder import BUILT_IN, ENCODER
from im2hands.training.curves import COLUMNS
from im2hands.training.intaghand_items import IntagHandBatch, IntagHandSteps, IntagHandValidation, TwoHandFrames
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
from im2hands.training.loop import LoopSettings, NetworkTask
from im2hands.training.run import Data, FrameInputs, Job, Recipe, dataset_of


@dataclass(frozen=True)
class IntagHandInputs(FrameInputs):
    """*_frames, *_hands: tables.  *_images: manifests of crops with masks and dense maps.  hand_model: folder."""

    hand_model: str


@dataclass(frozen=True)
class IntagHandOptions:
    """heat_maps: see `two_hand_item`.  hand_axes: see `TwoHandSample.of_hands`."""

    heat_maps: Behaviour = "consistent"
    hand_axes: Behaviour = "consistent"


class IntagHandTask(NetworkTask):
    """IntagHand in training.

    truths: what the losses need of each hand's model.  steps_per_epoch: epoch length in the published schedule.
    edge_loss_from: share of the steps after which edge lengths count (published: epoch 50 of 200).
    maps_until: share of the steps in which maps alone are trained. Published: 0.
    decoder_from: share of the steps after which the mesh decoder is trained; before, maps and start hands are. Published: 0.
    coarse_until: share of the steps in which the encoder sees images of half the resolution. Published: 0.
    loss_weights: weights of the terms, see `intaghand_losses`.  Start hands learn their projections from true meshes, weighted
    as the 2-D terms are.
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
        coarse_until: float = 0.0,
        maps_until: float = 0.0,
    ) -> None:
        super().__init__(network, settings)
        self.truths = nn.ModuleDict({side.value: truths[side] for side in truths})
        self._loss_weights = {**WEIGHTS, **loss_weights}
        self._steps_per_epoch = steps_per_epoch
        shares = (edge_loss_from, decoder_from, coarse_until, maps_until)
        self._edges_from, self._decoder_from, self._coarse_until, self._maps_until = (
            share * settings.steps for share in shares
        )
        self.register_buffer("_first_upsampling", network.upsampling.weight.detach().clone(), persistent=False)

    def published_learning_rate(self, step: int) -> float:
        return published_learning_rate(step // self._steps_per_epoch) * self.settings.learning_rate / LEARNING_RATE

    def loss(self, batch: IntagHandBatch) -> Tensor:
        features = self._features(batch.images)
        if self.step >= max(self._decoder_from, self._maps_until):
            predicted = self.network.decode(features)
        elif self.network.start_hands is not None and self.step >= self._maps_until:
            predicted = self.network.decode_start(features)
        else:
            return maps_loss(features, batch.maps, self._loss_weights, self.network.heat_maps_are_logits)
        return self._loss(predicted, batch, EDGE_FROM_EPOCH if self.step >= self._edges_from else 0)

    def _features(self, images: Float[Tensor, "frames 3 256 256"]) -> ImageFeatures:
        encoder = self.network.image_encoder
        if self.step >= self._coarse_until or encoder.halves:
            return encoder(images)
        return encoder.seen(F.avg_pool2d(images, 2)).enlarged()

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
        logits = self.network.heat_maps_are_logits
        return (
            projections
            + intaghand_loss(predicted, batch.true, batch.maps, truths, upsampling, epoch, weights, logits)[0]
        )


def scaled_joint_errors(
    predicted: Float[Tensor, "frames 21 3"], true: Float[Tensor, "frames 21 3"]
) -> Float[Tensor, "frames 21"]:
    """Distances of joints about the middle base, the prediction scaled by the ratio of wrist to middle base lengths."""
    predicted, true = (joints - joints[:, MIDDLE_BASE : MIDDLE_BASE + 1] for joints in (predicted, true))
    scale = true[:, WRIST].norm(dim=-1) / predicted[:, WRIST].norm(dim=-1).clamp_min(1e-9)
    return (predicted * scale[:, None, None] - true).norm(dim=-1)


def _data(job: Job) -> Data:
    section, inputs, heat_maps = job.section, job.inputs, job.options["heat_maps"]
    axes = job.options["hand_axes"]
    train = TwoHandFrames(*inputs.of("train"), axes)
    held_out = TwoHandFrames(*inputs.of("val"), axes)
    validation = IntagHandValidation(held_out, section.validation_frames, heat_maps)
    ranges = AugmentationRanges(angle=section.largest_turn) if section.augmentation else None
    steps = IntagHandSteps(train, section.batch_frames, job.seed, ranges, heat_maps)
    return Data(
        steps,
        validation,
        sets=(train, held_out),
        used={
            "batch_frames": steps.batch_frames,
            "steps_per_epoch": steps.steps_per_epoch,
            "validation_frames": len(validation.chosen),
            "augmentation": None if ranges is None else asdict(ranges),
            "loss_weights": {**WEIGHTS, **section.loss_weights.model_dump()},
        },
        metrics={"val_frames": len(validation.chosen)},
        made_of={"dataset": dataset_of(inputs.train_frames)},
    )


def _network(job: Job, data: Data) -> IntagHandNetwork:
    section = job.section
    models = load_hand_models(job.inputs.hand_model)
    network = new_network(
        models,
        section.encoder,
        section.widths,
        section.dropout,
        section.start_components,
        section.joint_width,
        job.options["hand_axes"],
    )
    if section.frozen_blocks and not network.image_encoder.is_lite:
        raise ConfigError(
            f"training.intaghand.frozen_blocks: encoder {section.encoder} has no such blocks; set it to 0, or encoder to "
            "efficientnet_lite2."
        )
    if section.frozen_blocks:
        network.image_encoder.lite.freeze(section.frozen_blocks)
    if section.start == "photographs":
        from im2hands.networks.photograph_weights import load_photograph_weights  # brings timm

        load_photograph_weights(network.image_encoder)
    if section.start_components:
        graphs = {side: network.graph(side) for side in Side}
        turn = section.largest_turn if section.augmentation else 0.0
        network.begin_at(start_statistics(data.sets[0], graphs, section.start_components, turn))
    return network


def _adopt(job: Job, data: Data, network: IntagHandNetwork, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Weights know one mesh: its graph is stored with them. For another one, those of the package give their image encoder."""
    same = all(torch.equal(weights[name], value) for name, value in network.named_buffers() if "vertex_of_node" in name)
    if same:
        network.load_state_dict(weights)
    elif job.section.start == BUILT_IN:
        print(
            f"{job.inputs.hand_model}: has another mesh than the weights of the package; only their image encoder is used"
        )
        network.image_encoder.load_state_dict(
            {name.removeprefix(ENCODER): value for name, value in weights.items() if name.startswith(ENCODER)}
        )
        return {"start_parts": ["image_encoder"]}
    else:
        raise ConfigError(
            f"training.intaghand.start: the weights of {job.section.start} are for hands of another mesh than those of "
            f"{job.inputs.hand_model}; set start to builtin or scratch."
        )
    return {}


def _task(job: Job, data: Data, network: IntagHandNetwork, settings: LoopSettings) -> IntagHandTask:
    section, models = job.section, load_hand_models(job.inputs.hand_model)
    truths = {side: HandTruth(models[side], network.graph(side)) for side in Side}
    return IntagHandTask(
        network,
        settings,
        truths,
        data.steps.steps_per_epoch,
        section.edge_loss_from,
        section.decoder_from,
        section.loss_weights.model_dump(),
        section.coarse_until,
        section.maps_until,
    )


def _depends_on_length(section: IntagHandTraining) -> bool:
    """Shares of the steps decide what is trained when."""
    return max(section.edge_loss_from, section.decoder_from, section.coarse_until, section.maps_until) > 0


def new_network(
    models: Mapping[Side, HandModel],
    encoder: str = "resnet50",
    widths: Sequence[int] = PUBLISHED_WIDTHS,
    dropout: float = PUBLISHED_DROPOUT,
    start_components: int = 0,
    joint_width: int = 0,
    hand_axes: Behaviour = "published",
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
        joint_width=joint_width,
        hand_axes=hand_axes,
    )


INTAGHAND = Recipe(
    NAME,
    IntagHandTraining,
    IntagHandInputs,
    _data,
    _network,
    _task,
    IntagHandOptions,
    hides=("largest_turn",),
    adopt=_adopt,
    depends_on_length=_depends_on_length,
)
