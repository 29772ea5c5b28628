"""Training of keypoint refinement: better keypoints of both hands from worse ones and the photograph.

Source: Im2Hands (CVPR 2023): IntagHand's image encoder to start from, its predictions as inputs, batches of 32, Adam at a
constant 1e-4, mean squared error in mm² relative to the middle base, best weights by that error in validation. Inputs with
noise, the start as the map that changes nothing and the frozen encoder are ours and train faster.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.config.choices import Behaviour, ImageEncoderMode
from im2hands.datasets import frame_items, two_hand_item
from im2hands.datasets.frame_items import FrameSet
from im2hands.hands import frames as hand_frames
from im2hands.io.hashing import sha256_file
from im2hands.io.tables import file_card
from im2hands.networks import attention, graph_blocks, image_encoder, keypoint_refinement
from im2hands.networks.intaghand import load_intaghand
from im2hands.networks.keypoint_refinement import NAME, KeypointRefinementNetwork
from im2hands.networks.model_folder import WEIGHTS
from im2hands.training import checkpoints, determinism, frozen_encoder, keypoint_inputs, keypoint_losses, loop
from im2hands.training.checkpoints import CheckpointFolder, fingerprint, without_length
from im2hands.training.determinism import deterministic_torch, seed_torch
from im2hands.training.frozen_encoder import FrozenEncoder, require_no_augmentation
from im2hands.training.keypoint_inputs import KeypointBatch, KeypointFrames, RefinementSteps, RefinementValidation
from im2hands.training.keypoint_losses import refinement_loss, refinement_scores
from im2hands.training.loop import LoopSettings, NetworkTask, run_training
from im2hands.training.trained_model import write_trained_model

InitialWeights = Literal["published", "identity"]
CPU = torch.device("cpu")
DROPOUT = {"published": 0.01, "identity": 0.0}
"""By initial weights: dropping a unit that carries a coordinate would move joints by centimetres."""
MAPS = {"backbone": (3,), "of_heat_maps": (3,), "of_dense_maps": (3,)}
"""The encoder's maps that the network looks at, the finest of each kind."""
CODE = (
    attention,
    graph_blocks,
    image_encoder,
    keypoint_refinement,
    hand_frames,
    frame_items,
    two_hand_item,
    keypoint_inputs,
    keypoint_losses,
    frozen_encoder,
    checkpoints,
    determinism,
    loop,
    sys.modules[__name__],
)
"""Modules whose text counts as the version of the code: a checkpoint of other code is not taken up."""


class RefinementTask(NetworkTask):
    """Keypoint refinement in training.

    frozen: maps of the training and of the validation frames if the encoder is frozen.  predicted_share: part of predictions
    among the training inputs.
    Scores: `val_loss`, the loss of predictions and of perturbed keypoints mixed in that proportion (mm²), by which the best
    weights are chosen (with predictions alone the published choice; perturbed ones alone where there is no prediction); mean
    joint distances relative to the middle base (mm) before and after refinement, `val_in_jpe` and `val_jpe` of predictions,
    `val_perturbed_in_jpe` and `val_perturbed_jpe` of perturbed keypoints.
    """

    monitored = "val_loss"
    lower_is_better = True
    curve_columns = ("step", "learning_rate", "train_loss", "val_loss", "val_jpe", "val_perturbed_jpe")

    def __init__(
        self,
        network: KeypointRefinementNetwork,
        settings: LoopSettings,
        predicted_share: float,
        frozen: tuple[FrozenEncoder, FrozenEncoder] | None = None,
    ) -> None:
        super().__init__(network, settings)
        self._share, self._frozen = predicted_share, frozen

    def loss(self, batch: KeypointBatch) -> Tensor:
        return refinement_loss(self.network.refine(self._image_map(batch), batch.given["mixture"]), batch.true)

    def scores(self, batch: KeypointBatch) -> dict[str, Float[Tensor, " frames"]]:
        image = self._image_map(batch)
        of = {
            kind: refinement_scores(self.network.refine(image, given), given, batch.true)
            for kind, given in batch.given.items()
        }
        predicted, perturbed = of["predicted"], of["perturbed"]
        mixed = self._share * predicted["joint_err"] + (1 - self._share) * perturbed["joint_err"]
        return {
            "val_loss": torch.where(mixed.isnan(), perturbed["joint_err"], mixed),
            "val_jpe": predicted["jpe"],
            "val_in_jpe": predicted["in_jpe"],
            "val_perturbed_jpe": perturbed["jpe"],
            "val_perturbed_in_jpe": perturbed["in_jpe"],
        }

    def _image_map(self, batch: KeypointBatch) -> Float[Tensor, "frames channels 64 64"]:
        if self._frozen is None:
            return self.network.image_map(batch.images)
        training, validation = self._frozen
        return self.network.projected((training if self.training else validation).features(batch.frame_index))


def train_keypoint_refinement(
    *,
    train_frames: str | os.PathLike,
    val_frames: str | os.PathLike,
    train_hands: str | os.PathLike,
    val_hands: str | os.PathLike,
    train_images: str | os.PathLike,
    val_images: str | os.PathLike,
    train_predictions: str | os.PathLike,
    val_predictions: str | os.PathLike,
    intaghand: str | os.PathLike,
    output: str | os.PathLike,
    checkpoint_folder: str | os.PathLike,
    logs: str | os.PathLike,
    settings: LoopSettings,
    batch_frames: int,
    validation_frames: int,
    joint_regressors: Behaviour,
    image_encoder: ImageEncoderMode = "frozen",
    initial_weights: InitialWeights = "identity",
    token_widths: Sequence[int] = keypoint_refinement.PUBLISHED_TOKEN_WIDTHS,
    image_channels: int = keypoint_refinement.PUBLISHED_IMAGE_CHANNELS,
    predicted_share: float = 0.5,
    noise_mm: float = 15.0,
    augmentation: bool = False,
    device: torch.device = CPU,
    threads: int = 1,
) -> dict[str, Any]:
    """Trains, resuming if it was interrupted, and writes the model folder; returns the metrics of the kept weights.

    *_frames, *_hands, *_images: frame table, hand table and image manifest of a split.  *_predictions: IntagHand's keypoints of
    these frames.  intaghand: model folder whose image encoder is started from.
    output: receives model.safetensors, card.json, metrics.json, curves.csv.
    checkpoint_folder: resume state.  logs: curves while it runs.
    image_encoder: "trained" is published; "frozen" keeps it, and its maps are made once per frame.
    initial_weights: "published" is random; "identity" starts as the map that changes nothing.
    predicted_share, noise_mm: of the training inputs, see RefinementSteps.
    Raises DataError if data are missing or do not fit together, ConfigError if settings contradict each other.
    """
    require_no_augmentation(image_encoder, augmentation, "training.keypoint_refinement")
    deterministic_torch(threads)
    frozen = image_encoder == "frozen"
    frames, held_out = (
        KeypointFrames(FrameSet(*paths), predictions, with_images=not frozen, predicted_only=predicted_share == 1)
        for *paths, predictions in (
            (train_frames, train_hands, train_images, train_predictions),
            (val_frames, val_hands, val_images, val_predictions),
        )
    )
    validation = RefinementValidation(held_out, validation_frames, settings.seed)
    parameters = {
        "batch_frames": batch_frames,
        "validation_frames": len(validation.chosen),
        "image_encoder": image_encoder,
        "initial_weights": initial_weights,
        "token_widths": list(token_widths),
        "image_channels": image_channels,
        "joint_regressors": joint_regressors,
        "predicted_share": predicted_share,
        "noise_mm": noise_mm,
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
        "train_predictions": train_predictions,
        "val_predictions": val_predictions,
        "intaghand": Path(intaghand, WEIGHTS),
    }
    start, _ = load_intaghand(intaghand)
    data = {role: sha256_file(path) for role, path in files.items()}
    mark = fingerprint({**without_length(parameters), "seed": settings.seed}, data, CODE)
    checkpoints_of_run = CheckpointFolder(checkpoint_folder, mark)

    seed_torch(settings.seed, "initial weights of keypoint refinement")
    network = KeypointRefinementNetwork(
        start.architecture["encoder"], token_widths, image_channels, joint_regressors, DROPOUT[initial_weights]
    )
    network.start_as_published() if initial_weights == "published" else network.start_as_identity()
    network.image_encoder.load_state_dict(start.image_encoder.state_dict())
    encoders = None
    if frozen:
        encoders = tuple(
            FrozenEncoder(network.image_encoder, of.frames, device, maps=MAPS) for of in (frames, held_out)
        )
    task = RefinementTask(network, settings, predicted_share, encoders)
    steps = RefinementSteps(frames, batch_frames, predicted_share, noise_mm, augmentation, settings.seed)
    result = run_training(task, steps, validation, checkpoints_of_run, logs, device, "train_keypoint_refinement")

    made_of = file_card(train_hands)["provenance"]["parameters"]
    metrics = write_trained_model(
        output,
        result,
        network=NAME,
        architecture=network.architecture,
        selection="lowest validation loss",
        dataset=str(made_of.get("dataset", "unknown")),
        parameters=parameters,
        seed=settings.seed,
        data=data,
        compat={"joint_regressors": joint_regressors},
        metrics={
            "val_frames": len(validation.chosen),
            "train_frames_without_prediction": frames.without_prediction,
            "val_frames_without_prediction": held_out.without_prediction,
        },
    )
    checkpoints_of_run.finish()
    return metrics
