"""The training sections of `params.yaml`, one class per network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from im2hands.config.base import Fraction, Section
from im2hands.config.choices import ImageEncoderMode, OccupancyLoss, Schedule

GIVEN_WEIGHTS = "folder of an imported model (im2hands import-weights), used instead of a training; null: train"

ABLE_STARTS = ("identity", "initial_field")
"""Initial weights with which a network returns what it was given."""

START = "weights to start from: builtin (those of the package), scratch, or the folder of a trained model of the same network"


class NetworkTraining(Section):
    """What the trainings of all networks have in common: the loop."""

    weights: str | None = Field(description=GIVEN_WEIGHTS)
    start: str = Field(description=START)
    steps: PositiveInt = Field(description="optimiser steps")
    lr: PositiveFloat = Field(description="learning rate of Adam")
    schedule: Schedule = Field(description="course of the learning rate over the steps")
    weight_average: float = Field(
        ge=0,
        lt=1,
        description="decay of the running mean of the weights that is kept; 0 keeps the last weights, as published",
    )
    validate_every: PositiveInt = Field(description="steps between validations; each also writes a checkpoint")
    gradient_clip: float = Field(ge=0, description="largest norm of the gradient; 0: no clipping")
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"] = Field(
        description="auto: bf16-mixed on a GPU that supports it, otherwise 32"
    )

    @property
    def validates_start(self) -> bool:
        """Whether a network is of use before its first step, so that the weights it starts from may be the best."""
        return self.start not in ("scratch", "photographs") or getattr(self, "initial_weights", None) in ABLE_STARTS


class HaloTraining(NetworkTraining):
    batch_hands: PositiveInt = Field(description="hands per step")
    points_per_hand: PositiveInt = Field(description="query points per hand and step")
    schedule: Literal["constant", "cosine"] = Field(description="course of the learning rate over the steps")
    loss: OccupancyLoss = Field(description="mse of the occupancy (published), or bce of the largest bone logit")
    initial_weights: Literal["published", "geometric"] = Field(
        description="published: random; geometric: every bone starts as a soft ball, which trains many times faster"
    )
    width: PositiveInt = Field(description="width of the bone decoders; 64 is published")
    uniform_share: Fraction = Field(description="share of points drawn uniformly, half from each uniform set")
    size_spread: float = Field(
        ge=0,
        le=0.5,
        description="training hands are scaled at random with this standard deviation of the logarithm; 0 is published",
    )
    validation_points: PositiveInt = Field(description="points per hand of the validation IoU")


class KeypointPriorTraining(NetworkTraining):
    batch_pairs: PositiveInt = Field(description="hand pairs per step, drawn anew")
    width: PositiveInt = Field(description="width of the residual network")
    blocks: PositiveInt = Field(description="blocks of the residual network")
    largest_error_mm: PositiveFloat = Field(
        description="largest standard deviation of the keypoints' errors per coordinate; the actual one is drawn per hand"
    )
    validation_pairs: PositiveInt = Field(description="hand pairs per validation")


class ImageNetworkTraining(NetworkTraining):
    """What the trainings of all image networks have in common."""

    batch_frames: PositiveInt = Field(description="frames, each with both hands, per step")
    augmentation: bool = Field(
        description="IntagHand's random rotation, scaling, colour change and mirroring of frames"
    )
    validation_frames: PositiveInt = Field(description="frames per validation, evenly spaced in the split")


class IntagHandLossWeights(Section):
    """Weights of the terms of IntagHand's loss."""

    vertices: float = Field(ge=0, description="mean error of vertices per coordinate, m; 100 is published")
    joints: float = Field(ge=0, description="the same for joints; 100 is published")
    vertices_2d: float = Field(
        ge=0, description="mean squared error of projected vertices, in half crops; 50 is published"
    )
    normals: float = Field(ge=0, description="component of predicted edges along true normals; 10 is published")
    edges: float = Field(ge=0, description="error of edge lengths, m; 2000 is published")
    coarse: float = Field(ge=0, description="error of the coarse meshes' nodes, m; 100 is published")
    coarse_2d: float = Field(ge=0, description="the same for projected nodes, in half crops; 50 is published")
    masks: float = Field(ge=0, description="hand masks; 500 is published")
    dense_maps: float = Field(ge=0, description="maps of rest-pose coordinates; 30 is published")
    heat_maps: float = Field(ge=0, description="keypoint heat maps; 100 is published")


ImageEncoderName = Literal[
    "resnet10_narrow",
    "efficientnet_lite2",
    "efficientnet_lite2_half",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
]


class IntagHandTraining(ImageNetworkTraining):
    start: str = Field(
        description=f"{START}; photographs: scratch with an encoder efficientnet_lite2 whose weights have seen ImageNet, from "
        "the package of the extra `pretrain`"
    )
    encoder: ImageEncoderName = Field(
        description="image encoder; all image networks use it and start from its trained weights; resnet50 is published"
    )
    frozen_blocks: int = Field(
        ge=0,
        le=7,
        description="blocks of an encoder efficientnet_lite2, from the image on, that keep the weights they start with: less "
        "time and memory a step; 0 trains all",
    )
    widths: list[PositiveInt] = Field(
        min_length=4,
        max_length=4,
        description="vertex features before and after each level; 512 256 128 64 is published",
    )
    edge_loss_from: Fraction = Field(
        description="share of the steps after which the edge length term is used; 0.25 (epoch 50 of 200) is published"
    )
    start_components: int = Field(
        ge=0,
        description="principal components of start hands, for short trainings on few photographs; 0, none, is published",
    )
    joint_width: int = Field(
        ge=0,
        multiple_of=4,
        description="width of the tokens of joints as heat maps show them, of which start hands are made too; heat maps are "
        "then trained by cross entropy; a multiple of 4, 0, none, is published",
    )
    largest_turn: float = Field(
        ge=0, le=180, description="largest rotation of images in augmentation, degrees; 90 is published"
    )
    dropout: float = Field(ge=0, lt=1, description="dropout in the mesh decoder; 0.05 is published")
    maps_until: Fraction = Field(
        description="share of the steps that train the maps alone: hands that are still guesses disturb them; 0 is published"
    )
    decoder_from: Fraction = Field(
        description="share of the steps that train maps and start hands without the mesh decoder; 0 is published"
    )
    coarse_until: Fraction = Field(
        description="share of the steps in which images have half the resolution, at a third of the time; 0 is published"
    )
    loss_weights: IntagHandLossWeights = Field(description="weights of the terms of the loss")


class InitialOccupancyTraining(ImageNetworkTraining):
    points_per_hand: PositiveInt = Field(description="query points per hand and step")
    uniform_share: Fraction = Field(description="share of points drawn uniformly, half from each uniform set")
    image_encoder: ImageEncoderMode = Field(
        description="frozen: keeps IntagHand's encoder and computes its maps once per frame; trained is published"
    )
    image_attention: bool = Field(description="whether query points attend to the image; false is an ablation")
    validation_points: PositiveInt = Field(description="points per hand of the validation IoU")


class KeypointRefinementTraining(ImageNetworkTraining):
    image_encoder: ImageEncoderMode = Field(
        description="frozen: keeps IntagHand's encoder and computes its maps once per frame; trained is published"
    )
    initial_weights: Literal["published", "identity"] = Field(
        description="published: random; identity: the network starts as the identity"
    )
    token_widths: list[PositiveInt] = Field(
        description="widths of image tokens, one per layer; 64 82 96 112 is published"
    )
    image_channels: PositiveInt = Field(
        description="channels of the image map to which joints attend; 256 is published"
    )
    view_width: PositiveInt = Field(
        multiple_of=4,
        description="numbers of a joint's token, with options.joint_views consistent; no token_widths then",
    )
    view_layers: PositiveInt = Field(description="layers in which these tokens attend to each other")
    predicted_share: Fraction = Field(
        description="share of IntagHand's predictions in the training inputs; the rest are true keypoints with noise"
    )
    noise_mm: float = Field(
        ge=0, description="largest standard deviation of this noise per coordinate; the actual one is drawn per hand"
    )
    draws_per_frame: PositiveInt = Field(description="inputs that are drawn for every frame of a step; 1 is published")


class RefinedOccupancyTraining(ImageNetworkTraining):
    points_per_hand: PositiveInt = Field(description="query points per hand and step")
    uniform_share: Fraction = Field(description="share of points drawn uniformly, half from each uniform set")
    image_encoder: ImageEncoderMode = Field(
        description="frozen: keeps the initial network's encoder and computes its maps once per frame; trained is published"
    )
    initial_weights: Literal["published", "initial_field"] = Field(
        description="published: random; initial_field: the network starts by returning the initial occupancy"
    )
    anchor_widths: list[PositiveInt] = Field(
        min_length=2, max_length=2, description="widths of the anchor encoder; 120 256 is published"
    )
    anchor_blocks: PositiveInt = Field(
        description="blocks of the anchor encoder in which all anchors of a hand attend to each other; 3 is published"
    )
    query_width: PositiveInt = Field(description="width of the attention from queries to anchors; 200 is published")
    shared_statistics: bool = Field(
        description="whether anchors of both hands share batch statistics in training; false, hand after hand, is published"
    )
    weight_decay: float = Field(ge=0, description="weight decay of Adam; 0.00001 is published")
    penetration_weight: float = Field(ge=0, description="weight of the penetration loss; 0.001 is published")
    context: bool = Field(
        description="whether the hands' codes attend to each other and to the image; false is an ablation"
    )
    validation_points: PositiveInt = Field(description="points per hand of the validation IoU")


class Training(Section):
    """One section per network; its title is how messages and the report call the network."""

    halo: HaloTraining = Field(title="HALO", description="occupancy from keypoints, without the image (HALO)")
    keypoint_prior: KeypointPriorTraining = Field(
        title="Keypoint prior", description="likelier keypoints from keypoints alone"
    )
    intaghand: IntagHandTraining = Field(title="IntagHand", description="both hands' meshes from the image (IntagHand)")
    initial_occupancy: InitialOccupancyTraining = Field(
        title="Initial occupancy", description="occupancy from keypoints and the image"
    )
    keypoint_refinement: KeypointRefinementTraining = Field(
        title="Keypoint refinement", description="better keypoints from keypoints and the image"
    )
    refined_occupancy: RefinedOccupancyTraining = Field(
        title="Refined occupancy (Im2Hands)", description="occupancy of two hands that see each other (Im2Hands)"
    )
