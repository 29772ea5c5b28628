"""Initial occupancy: predicts whether a point is inside a hand from the hand's keypoints and the photograph.

Every query point is encoded by its position in the camera frame, attends separately to the image tokens, and is passed with
the result to the sixteen bone decoders of its hand. Left and right have separate weights. An image is encoded once, for any
number of calls with query points.

Source: Im2Hands (CVPR 2023), section 3.2. Frames: see `two_hands`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.config.choices import Behaviour
from im2hands.hands.frames import attention_coordinates, other_hands_points
from im2hands.hands.sides import Side
from im2hands.networks.attention import QueryImageAttention, SharedTokens
from im2hands.networks.bone_decoders import (
    PUBLISHED_LENGTH_HIDDEN,
    PUBLISHED_TRANSLATION_CODE,
    PUBLISHED_WIDTH,
    BoneDecoders,
    BoneLinear,
)
from im2hands.networks.image_encoder import ImageEncoder, ImageFeatures
from im2hands.networks.model_folder import ModelCard, restored_network
from im2hands.networks.two_hands import CameraBatch, HandBatch, Hands, query_points_in_camera, wrist_in_camera

NAME = "initial_occupancy"
IMAGE_SIZE, IMAGE_CHANNELS = 64, 32
"""Side and channels of the feature map to which query points attend."""
GRID, HEADS = 4, 2
HIDDEN, POINT_CODE = 32, 16
POINT_FEATURES = 3 + POINT_CODE
"""A query point's place in the camera frame and its code; also the width of its attention."""
PUBLISHED_BIAS = 0.01


@dataclass(frozen=True)
class EncodedImages:
    """What query points need of a batch of images: keys and values of the tokens, for each hand its own."""

    tokens: dict[Side, SharedTokens]


class InitialOccupancyNetwork(nn.Module):
    """Occupancy of both hands at query points.

    encoder: depth of the image encoder.  width, length_hidden, translation_code: sizes of the bone decoders.
    image_attention: whether query points attend to the image; if not, decoders get only their positions in the camera frame (an
    ablation).
    depth_reference: what a query's depth is relative to, before the network sees it. "published" subtracts the depth of the
    first query of the call, so that values depend on the order and on the chunks in which points are requested;
    "consistent" subtracts the wrist's.
    penetration_frame: where the other hand's queries are decoded in `penetration`. "published" takes their coordinates in the
    other hand's palm frame for coordinates in this one's, which is not where they are; "consistent" moves them through the
    world.
    """

    def __init__(
        self,
        encoder: str = "resnet50",
        width: int = PUBLISHED_WIDTH,
        length_hidden: int = PUBLISHED_LENGTH_HIDDEN,
        translation_code: int = PUBLISHED_TRANSLATION_CODE,
        image_attention: bool = True,
        depth_reference: Behaviour = "consistent",
        penetration_frame: Behaviour = "consistent",
        dropout: float = 0.01,
    ) -> None:
        super().__init__()
        for name, value in (("depth_reference", depth_reference), ("penetration_frame", penetration_frame)):
            if value not in ("published", "consistent"):
                raise ValueError(f"{name} must be published or consistent, not {value!r}")
        decoders = {"width": width, "length_hidden": length_hidden, "translation_code": translation_code}
        self.architecture: dict[str, Any] = {"encoder": encoder, **decoders, "image_attention": image_attention}
        self.depth_reference: Behaviour = depth_reference
        self.penetration_frame: Behaviour = penetration_frame
        self.image_encoder = ImageEncoder(encoder)
        self.image_projection = nn.Conv2d(2 * self.image_encoder.decoder_channels, IMAGE_CHANNELS, 1)
        self.point_encoders, self.image_attention, self.decoders = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for side in Side:
            self.point_encoders[side.value] = nn.Sequential(
                nn.Linear(3, HIDDEN), nn.ReLU(), nn.Dropout(dropout), nn.Linear(HIDDEN, POINT_CODE)
            )
            if image_attention:
                self.image_attention[side.value] = QueryImageAttention(
                    IMAGE_SIZE, IMAGE_CHANNELS, GRID, IMAGE_CHANNELS, POINT_FEATURES, HEADS, dropout
                )
            self.decoders[side.value] = BoneDecoders(**decoders, features=POINT_FEATURES)

    def forward(
        self, images: Float[Tensor, "batch 3 256 256"], hands: Hands, camera: CameraBatch
    ) -> dict[Side, Float[Tensor, "batch n"]]:
        """Occupancy, from 0 to 1, of each hand at its own query points; (batch, 0) for a hand without any.

        images: as `image_encoder.normalise` makes them.
        """
        encoded = self.encode(images)
        return {side: self.occupancy(encoded, hand, camera) for side, hand in hands.items()}

    def encode(self, images: Float[Tensor, "batch 3 256 256"]) -> EncodedImages:
        """Everything that depends only on the images."""
        return self.encode_map(self.image_map(self.image_encoder(images)))

    def image_map(self, features: ImageFeatures) -> Float[Tensor, "batch 32 64 64"]:
        """The map to which query points attend."""
        return self.image_projection(torch.cat([features.of_heat_maps[-1], features.of_dense_maps[-1]], dim=1))

    def encode_map(self, image: Float[Tensor, "batch 32 64 64"]) -> EncodedImages:
        """Keys and values from the image map."""
        return EncodedImages({Side(name): attention.encode(image) for name, attention in self.image_attention.items()})

    def occupancy(
        self,
        encoded: EncodedImages,
        hand: HandBatch,
        camera: CameraBatch,
        reference_depth: Float[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch n"]:
        """Between 0 (outside) and 1 (inside the hand), at the hand's query points; the surface is at 0.5.

        reference_depth: camera depth (m) to which depths are relative, instead of what `depth_reference` says. With the depth
        of a published call's first query it gives that call's values for any part of its queries, in any order.
        """
        return torch.sigmoid(self.logits(encoded, hand, camera, reference_depth))

    def logits(
        self,
        encoded: EncodedImages,
        hand: HandBatch,
        camera: CameraBatch,
        reference_depth: Float[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch n"]:
        """Logit of each query point's strongest bone; arguments as in `occupancy`."""
        seen = self.seen_by(hand, camera, reference_depth)
        features = self.point_features(encoded, hand.side, seen)
        return self.decoders[hand.side.value].strongest(*self._decoder_inputs(hand), features)

    def penetration(
        self, encoded: EncodedImages, hands: Hands, camera: CameraBatch
    ) -> dict[Side, Float[Tensor, "batch n"]]:
        """Occupancy of each hand at the query points of the other one, for the penetration loss.

        hands: both.  Depths are relative to the other hand's first query in published mode, otherwise to this hand's wrist.
        """
        results = {}
        for side, hand in hands.items():
            other = hands[side.other]
            seen = self._relative(query_points_in_camera(other, camera), wrist_in_camera(hand, camera), None)
            features = self.point_features(encoded, side, seen)
            moved = hand.with_points(other_hands_points(other.points, other.palm, hand.palm, self.penetration_frame))
            results[side] = torch.sigmoid(self.decoders[side.value].strongest(*self._decoder_inputs(moved), features))
        return results

    def seen_by(
        self, hand: HandBatch, camera: CameraBatch, reference_depth: Float[Tensor, "batch"] | None = None
    ) -> Float[Tensor, "batch n 3"]:
        """Query points as the attention sees them: camera frame (m) with relative depth, in the dtype of the weights."""
        return self._relative(query_points_in_camera(hand, camera), wrist_in_camera(hand, camera), reference_depth)

    def point_codes(self, seen: Float[Tensor, "batch n 3"], side: Side) -> Float[Tensor, "batch n 19"]:
        """Camera coordinates and their code; never in reduced precision."""
        return _coded(seen, self.point_encoders[side.value])

    def point_features(
        self, encoded: EncodedImages, side: Side, seen: Float[Tensor, "batch n 3"]
    ) -> Float[Tensor, "batch n 19"]:
        """Image features of query points; their position codes if they do not attend to the image."""
        if side.value not in self.image_attention:
            return self.point_codes(seen, side)
        return self.image_attention[side.value].attend(self.point_codes(seen, side), encoded.tokens[side])

    @torch.no_grad()
    def start_as_published(self) -> None:
        """The published initialisation of all linear maps and convolutions: Xavier normal weights, biases of 0.01."""
        for module in self.modules():
            if isinstance(module, BoneLinear):
                for weight in module.weight:
                    nn.init.xavier_normal_(weight)
            elif isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.xavier_normal_(module.weight)
            else:
                continue
            if module.bias is not None:
                module.bias.fill_(PUBLISHED_BIAS)

    def _relative(self, camera_points: Tensor, wrist: Tensor, reference_depth: Tensor | None) -> Tensor:
        dtype = self.image_projection.weight.dtype
        if reference_depth is None:
            return attention_coordinates(camera_points, wrist, self.depth_reference).to(dtype)
        reference = torch.cat([wrist[:, :2], reference_depth[:, None].to(wrist)], dim=1)
        return attention_coordinates(camera_points, reference, "consistent").to(dtype)

    def _decoder_inputs(self, hand: HandBatch) -> tuple[Tensor, Tensor, Tensor]:
        dtype = self.image_projection.weight.dtype
        return hand.points.to(dtype), hand.bone_from_palm.to(dtype), hand.bone_lengths.to(dtype)


def _coded(seen: Tensor, encoder: nn.Sequential) -> Tensor:
    with torch.autocast(seen.device.type, enabled=False):
        return torch.cat([seen, encoder(seen)], dim=-1)


def load_initial_occupancy(
    folder: str | os.PathLike, device: str | torch.device = "cpu"
) -> tuple[InitialOccupancyNetwork, ModelCard]:
    """The network of a model folder with the options it was made for, ready to evaluate, and its card.

    Raises DataError if the folder is missing, CheckpointError if it contains another network.
    """

    def build(weights: dict[str, Tensor], card: ModelCard) -> InitialOccupancyNetwork:
        options = {name: card.compat[name] for name in ("depth_reference", "penetration_frame")}
        return InitialOccupancyNetwork(**card.architecture, **options)

    return restored_network(folder, NAME, build, device)
