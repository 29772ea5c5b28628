"""Training of keypoint refinement: better keypoints of both hands from worse ones and the photograph.

Source: Im2Hands (CVPR 2023): IntagHand's image encoder to start from, its predictions as inputs, batches of 32, Adam at a
constant 1e-4, mean squared error in mm² relative to the middle base, best weights by that error in validation. Inputs with
noise, the start as the map that changes nothing and the frozen encoder are ours and train faster.

Joint views (`networks.view_refinement`) have the same inputs, but hands where they were predicted; of every frame several,
since encoding an image takes longer than refining its keypoints; and the mean distance as loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.config.choices import Behaviour
from im2hands.config.training import KeypointRefinementTraining
from im2hands.datasets.frame_items import FrameSet
from im2hands.hands.frames import RefinementKeypoints
from im2hands.io.errors import ConfigError
from im2hands.networks.intaghand import load_intaghand
from im2hands.networks.keypoint_prior import KeypointPriorNetwork, load_keypoint_prior
from im2hands.networks.keypoint_refinement import BY_VIEWS, NAME, KeypointRefinementNetwork, RefinementNetwork
from im2hands.networks.view_refinement import SeenCrops, ViewRefinementNetwork
from im2hands.training.determinism import seed_torch
from im2hands.training.frozen_encoder import FrozenEncoder, features_of, frozen_encoders, require_no_augmentation
from im2hands.training.keypoint_inputs import KeypointBatch, KeypointFrames, RefinementSteps, RefinementValidation
from im2hands.training.keypoint_losses import distance_loss, refinement_loss, refinement_scores, wrist_scores
from im2hands.training.loop import LoopSettings, NetworkTask
from im2hands.training.run import Data, FrameInputs, Job, Recipe, dataset_of

DROPOUT = {"published": 0.01, "identity": 0.0}
"""By initial weights: dropping a unit that carries a coordinate would move joints by centimetres."""
MAPS = {"backbone": (3,), "of_heat_maps": (3,), "of_dense_maps": (3,)}
"""The encoder's maps that the published network looks at, the finest of each kind."""
VIEWED_MAPS = {"of_heat_maps": (3,), "of_dense_maps": (3,)}
"""Those that joint views need."""
DETECTOR_SHARE = 0.3
"""Part of the perturbed keypoints that get a detector's errors, if there is the prior, which fills in missing joints."""


@dataclass(frozen=True)
class KeypointRefinementInputs(FrameInputs):
    """*_frames, *_hands, *_images: frame table, hand table and image manifest of a split.

    *_predictions: IntagHand's keypoints of these frames.  intaghand: model folder whose image encoder is started from.
    prior: model folder of the keypoint prior, which corrects keypoints before they are refined; needed unless the option
    keypoint_prior is published.
    """

    train_predictions: str
    val_predictions: str
    intaghand: str
    prior: str | None = None


@dataclass(frozen=True)
class KeypointRefinementOptions:
    """joint_regressors: see KeypointRefinementNetwork.  keypoint_prior: consistent corrects keypoints by the prior first.

    joint_views: consistent trains ViewRefinementNetwork, published KeypointRefinementNetwork.
    """

    joint_regressors: Behaviour = "consistent"
    keypoint_prior: Behaviour = "consistent"
    joint_views: Behaviour = "consistent"


class RefinementTask(NetworkTask):
    """Keypoint refinement in training.

    frozen: maps of the training and of the validation frames if the encoder is frozen.  predicted_share: part of predictions
    among the training inputs.  prior: corrects the keypoints before the network sees them.
    Scores: `val_loss`, the loss of predictions and of perturbed keypoints mixed in that proportion (mm², of joint views mm), by
    which the best weights are chosen (with predictions alone the published choice; perturbed ones alone where there is no
    prediction); mean joint distances relative to the middle base (mm) before (as the network sees them) and after refinement,
    `val_in_jpe` and `val_jpe` of predictions, `val_perturbed_in_jpe` and `val_perturbed_jpe` of perturbed keypoints; the same
    relative to the wrist.
    """

    monitored = "val_loss"
    lower_is_better = True
    curve_columns = ("step", "learning_rate", "train_loss", "val_loss", "val_jpe", "val_perturbed_jpe")

    def __init__(
        self,
        network: RefinementNetwork,
        settings: LoopSettings,
        predicted_share: float,
        frozen: tuple[FrozenEncoder, FrozenEncoder] | None = None,
        prior: KeypointPriorNetwork | None = None,
    ) -> None:
        super().__init__(network, settings)
        self._share, self._frozen = predicted_share, frozen
        self._prior = (prior,)  # in a tuple, so that its weights are none of this module's
        self.by_views = isinstance(network, ViewRefinementNetwork)

    def loss(self, batch: KeypointBatch) -> Tensor:
        refined = self._refined(self._seen(batch), self._corrected(batch.given["mixture"]), batch)
        return distance_loss(refined, batch.true).mean() if self.by_views else refinement_loss(refined, batch.true)

    def scores(self, batch: KeypointBatch) -> dict[str, Float[Tensor, " frames"]]:
        seen = self._seen(batch)
        of = {}
        for kind, given in batch.given.items():
            given = self._corrected(given)
            refined = self._refined(seen, given, batch)
            scores = refinement_scores(refined, given, batch.true) | wrist_scores(refined, given, batch.true)
            squares = scores.pop("joint_err")
            of[kind] = {"loss": distance_loss(refined, batch.true) if self.by_views else squares, **scores}
        predicted, perturbed = of["predicted"], of["perturbed"]
        mixed = self._share * predicted["loss"] + (1 - self._share) * perturbed["loss"]
        return {
            "val_loss": torch.where(mixed.isnan(), perturbed["loss"], mixed),
            **{f"val_{name}": value for name, value in predicted.items() if name != "loss"},
            **{f"val_perturbed_{name}": value for name, value in perturbed.items() if name != "loss"},
        }

    @torch.no_grad()
    def _corrected(self, given: RefinementKeypoints) -> RefinementKeypoints:
        """The prior's keypoints; for the published network, every hand is moved so that its wrist is where it was."""
        prior = self._prior[0]
        if prior is None:
            return given
        keypoints = torch.stack(given.in_camera(), dim=1)
        centre = keypoints.nanmean(dim=(1, 2), keepdim=True)
        likely = prior((keypoints - centre).float()).keypoints.to(keypoints)
        likely = likely + centre if self.by_views else likely - likely[:, :, :1] + keypoints[:, :, :1]
        return RefinementKeypoints.of(*likely.unbind(1))

    def _seen(self, batch: KeypointBatch) -> Tensor | SeenCrops:
        """What there is to look at in every frame of a batch."""
        features = features_of(batch, self.network.image_encoder, self._frozen, self.training)
        return self.network.seen(features, batch.images) if self.by_views else self.network.projected(features)

    def _refined(
        self, seen: Tensor | SeenCrops, given: RefinementKeypoints, batch: KeypointBatch
    ) -> RefinementKeypoints:
        """One or more samples of every frame."""
        each = len(given.origin) // len(batch.frame_index)
        if self.by_views:
            return self.network.refine(seen.repeated(each), given, batch.intrinsics)
        return self.network.refine(seen.repeat_interleave(each, 0), given)


def _data(job: Job) -> Data:
    section, inputs = job.section, job.inputs
    require_no_augmentation(section.image_encoder, section.augmentation, f"training.{NAME}")
    by_views = _by_views(job)
    frames, held_out = (
        KeypointFrames(
            FrameSet(*inputs.of(split)),
            getattr(inputs, f"{split}_predictions"),
            with_images=by_views or section.image_encoder == "trained",
            predicted_only=section.predicted_share == 1,
            alignment="camera" if by_views else "wrist",
        )
        for split in ("train", "val")
    )
    validation = RefinementValidation(held_out, section.validation_frames, job.seed)
    detector_share = DETECTOR_SHARE if by_views and job.options["keypoint_prior"] == "consistent" else 0.0
    steps = RefinementSteps(
        frames,
        section.batch_frames,
        section.predicted_share,
        section.noise_mm,
        section.augmentation,
        job.seed,
        section.draws_per_frame,
        detector_share,
    )
    return Data(
        steps,
        validation,
        sets=(frames.frames, held_out.frames),
        used={"validation_frames": len(validation.chosen), **job.options},
        metrics={
            "val_frames": len(validation.chosen),
            "train_frames_without_prediction": frames.without_prediction,
            "val_frames_without_prediction": held_out.without_prediction,
        },
        made_of={"dataset": dataset_of(inputs.train_hands)},
    )


def _network(job: Job, data: Data) -> RefinementNetwork:
    section = job.section
    start, _ = load_intaghand(job.inputs.intaghand)
    seed_torch(job.seed, "initial weights of keypoint refinement")  # loading IntagHand drew random numbers
    encoder = start.architecture["encoder"]
    network = _view_network(encoder, section) if _by_views(job) else _published_network(encoder, section, job.options)
    network.image_encoder.load_state_dict(start.image_encoder.state_dict())
    return network


def _by_views(job: Job) -> bool:
    return job.options[BY_VIEWS] == "consistent"


def _view_network(encoder: str, section: KeypointRefinementTraining) -> ViewRefinementNetwork:
    return ViewRefinementNetwork(encoder, section.view_width, section.view_layers)


def _published_network(
    encoder: str, section: KeypointRefinementTraining, options: Mapping[str, Behaviour]
) -> KeypointRefinementNetwork:
    network = KeypointRefinementNetwork(
        encoder,
        section.token_widths,
        section.image_channels,
        options["joint_regressors"],
        DROPOUT[section.initial_weights],
    )
    network.start_as_published() if section.initial_weights == "published" else network.start_as_identity()
    return network


def _task(job: Job, data: Data, network: RefinementNetwork, settings: LoopSettings) -> RefinementTask:
    maps = VIEWED_MAPS if _by_views(job) else MAPS
    frozen = frozen_encoders(job.section.image_encoder, network.image_encoder, data.sets, job.device, maps)
    return RefinementTask(network, settings, job.section.predicted_share, frozen, _prior_of(job))


def _prior_of(job: Job) -> KeypointPriorNetwork | None:
    if job.options["keypoint_prior"] == "published":
        return None
    if job.inputs.prior is None:
        raise ConfigError(
            "train_keypoint_refinement: give the keypoint prior (--prior models/keypoint_prior), or set options.keypoint_prior "
            "to published."
        )
    return load_keypoint_prior(job.inputs.prior, job.device)[0]


KEYPOINT_REFINEMENT = Recipe(
    NAME,
    KeypointRefinementTraining,
    KeypointRefinementInputs,
    _data,
    _network,
    _task,
    KeypointRefinementOptions,
)
