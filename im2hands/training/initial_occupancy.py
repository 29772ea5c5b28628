"""Training of initial occupancy: occupancy of both hands from their keypoints and the photograph.

Starts from HALO's decoders, for both hands, and IntagHand's image encoder. Source: Im2Hands (CVPR 2023), section 3.4: mean
squared error per hand, Adam at a constant 1e-5, 8 frames of 4096 points per hand, best weights by validation IoU at 0.5. A
frozen encoder, other rates and schedules are ours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from im2hands.config.choices import Behaviour
from im2hands.config.training import InitialOccupancyTraining
from im2hands.hands.sides import Side
from im2hands.io.errors import CheckpointError
from im2hands.networks.frame_batches import FrameBatch
from im2hands.networks.halo import HaloNetwork, load_halo
from im2hands.networks.initial_occupancy import NAME, POINT_FEATURES, EncodedImages, InitialOccupancyNetwork
from im2hands.networks.intaghand import load_intaghand
from im2hands.training.frozen_encoder import FrozenEncoder, features_of, frozen_encoders
from im2hands.training.loop import LoopSettings, NetworkTask
from im2hands.training.losses import occupancy_loss, occupancy_scores
from im2hands.training.occupancy_data import OccupancyInputs, occupancy_data
from im2hands.training.run import Data, Job, Recipe

THRESHOLD = 0.5
FINEST_MAPS = {"of_heat_maps": (3,), "of_dense_maps": (3,)}


@dataclass(frozen=True)
class InitialOccupancyInputs(OccupancyInputs):
    """*_frames, *_hands: tables.  *_images, *_queries: manifests.  halo, intaghand: model folders to start from."""

    halo: str
    intaghand: str


@dataclass(frozen=True)
class InitialOccupancyOptions:
    """See InitialOccupancyNetwork."""

    depth_reference: Behaviour = "consistent"
    penetration_frame: Behaviour = "consistent"


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


def _data(job: Job) -> Data:
    return occupancy_data(job, NAME)


def _network(job: Job, data: Data) -> InitialOccupancyNetwork:
    inputs = job.inputs
    return started_from(inputs.halo, inputs.intaghand, job.section.image_attention, job.options)


def _task(job: Job, data: Data, network: InitialOccupancyNetwork, settings: LoopSettings) -> InitialOccupancyTask:
    frozen = frozen_encoders(job.section.image_encoder, network.image_encoder, data.sets, job.device, FINEST_MAPS)
    return InitialOccupancyTask(network, settings, frozen)


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
        raise CheckpointError("HALO's third layer is not square, so it cannot be widened for point features.")
    state["layers.2.weight"] = F.pad(weight, (0, features))
    return state


INITIAL_OCCUPANCY = Recipe(
    NAME,
    InitialOccupancyTraining,
    InitialOccupancyInputs,
    _data,
    _network,
    _task,
    InitialOccupancyOptions,
    hides=("points_per_hand", "uniform_share", "image_attention"),
)
