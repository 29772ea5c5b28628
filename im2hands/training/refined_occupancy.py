"""Training of refined occupancy: occupancy of two hands that see each other, on top of a frozen initial network.

Source: Im2Hands (CVPR 2023), section 3.4: squared error and penetration, batches of 2 frames with 2048 points and 512 anchors
per hand, Adam with an L2 penalty, best weights by validation IoU at 0.45; schedule and weights in `refined_losses`. A frozen
encoder, smaller networks and the start from the initial field are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.config.choices import Behaviour
from im2hands.config.training import RefinedOccupancyTraining
from im2hands.hands.sides import Side
from im2hands.io.errors import ConfigError
from im2hands.networks.frame_batches import FrameBatch
from im2hands.networks.initial_occupancy import load_initial_occupancy
from im2hands.networks.refined_occupancy import LEVEL, NAME, OPTIONS, EncodedPair, RefinedOccupancyNetwork
from im2hands.training.curves import COLUMNS
from im2hands.training.determinism import seed_torch
from im2hands.training.frozen_encoder import FrozenEncoder, features_of, frozen_encoders
from im2hands.training.loop import LoopSettings, NetworkTask
from im2hands.training.losses import occupancy_loss, occupancy_scores
from im2hands.training.occupancy_data import OccupancyInputs, StoredAnchors, occupancy_data
from im2hands.training.refined_losses import PENETRATION_WEIGHT, WEIGHT_DECAY, learning_rate, optimiser, penetration
from im2hands.training.run import Data, Job, Recipe

INITIAL_THRESHOLD = 0.5
MAPS = {"of_heat_maps": (0, 3), "of_dense_maps": (0, 3)}
"""The encoder's maps that the network looks at: the coarsest and the finest of both decoders."""


@dataclass(frozen=True)
class RefinedOccupancyInputs(OccupancyInputs):
    """*_frames, *_hands: tables.  *_images, *_queries, *_anchors: manifests.

    initial: model folder of the frozen network, whose image encoder and projection also start this network's own.
    """

    train_anchors: str
    val_anchors: str
    initial: str


@dataclass(frozen=True)
class RefinedOccupancyOptions:
    """See RefinedOccupancyNetwork, and `refined_losses.penetration`."""

    depth_reference: Behaviour = "consistent"
    penetration_frame: Behaviour = "consistent"
    penetration_context: Behaviour = "consistent"
    penetration_reduction: Behaviour = "consistent"
    fps_dead_ball: Behaviour = "consistent"
    feature_lookup: Behaviour = "consistent"


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
        of_initial = occupancy_scores(before, batch.labels, INITIAL_THRESHOLD)
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


def _data(job: Job) -> Data:
    return occupancy_data(
        job, NAME, lambda frames, split: StoredAnchors(frames, getattr(job.inputs, f"{split}_anchors"))
    )


def _network(job: Job, data: Data) -> RefinedOccupancyNetwork:
    section, asked = job.section, job.options["depth_reference"]
    first, _ = load_initial_occupancy(job.inputs.initial)
    if first.depth_reference != asked:
        raise ConfigError(
            f"{job.inputs.initial}: was trained with depth_reference {first.depth_reference} and cannot be used with another; "
            f"set options.depth_reference: {first.depth_reference} in params.yaml."
        )
    seed_torch(job.seed, f"initial weights of {NAME}")  # again: loading the initial network drew random numbers
    architecture = dict(first.architecture)
    network = RefinedOccupancyNetwork(
        architecture.pop("encoder"),
        architecture,
        section.anchor_widths,
        section.anchor_blocks,
        section.query_width,
        section.context,
        section.shared_statistics,
        **{name: job.options[name] for name in OPTIONS},
    )
    network.start_as_published()
    network.start_from_initial(first)
    if section.initial_weights == "initial_field":
        network.start_as_initial_field()
    return network


def _task(job: Job, data: Data, network: RefinedOccupancyNetwork, settings: LoopSettings) -> RefinedOccupancyTask:
    section = job.section
    frozen = frozen_encoders(section.image_encoder, network.image_encoder, data.sets, job.device, MAPS)
    reduction = job.options["penetration_reduction"]
    return RefinedOccupancyTask(network, settings, section.penetration_weight, reduction, section.weight_decay, frozen)


REFINED_OCCUPANCY = Recipe(
    NAME,
    RefinedOccupancyTraining,
    RefinedOccupancyInputs,
    _data,
    _network,
    _task,
    RefinedOccupancyOptions,
    hides=("points_per_hand", "uniform_share", "anchor_widths", "anchor_blocks", "query_width", "context"),
)
