"""Refined occupancy: predicts whether a point is inside a hand, using the initial reconstruction of both hands.

The initial surface of each hand, sampled at 512 anchor points with image features, is encoded into anchors and one code per
hand. The codes attend to each other and to the image; query points attend to the anchors and correct the occupancy of the
frozen initial network. A pair is encoded once, for any number of calls with query points.

Source: Im2Hands (CVPR 2023), section 3.3. Frames: see `two_hands`; from the camera on, metres about the centre of both hands'
anchors, y up and z towards the camera.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.config.choices import Behaviour
from im2hands.geometry.feature_sampling import sample_features
from im2hands.hands.frames import anchors_centre, refinement_coordinates
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.networks.cross_attention import AnchorTerms, QueryDecoder
from im2hands.networks.image_encoder import ImageEncoder, ImageFeatures
from im2hands.networks.initial_occupancy import EncodedImages, InitialOccupancyNetwork
from im2hands.networks.model_folder import ModelCard, restored_network
from im2hands.networks.point_transformer import Anchors, PointTransformer
from im2hands.networks.two_hands import CameraBatch, HandBatch, Hands, query_points_in_camera

NAME = "refined_occupancy"
IMAGE_CHANNELS, IMAGE_SIZE, COARSEST = 32, 256, 8
SUMMARY = 128
"""Numbers that each of the two summaries of the whole image has."""
PUBLISHED_ANCHOR_WIDTHS, PUBLISHED_ANCHOR_BLOCKS, PUBLISHED_QUERY_WIDTH = (120, 256), 3, 200
SHARPNESS = 8.0
"""Logit per initial occupancy at the start from the initial field: a sure point is at 0.98, and changes in between double."""
LEVEL = 0.45
"""Occupancy at the published surface."""
OPTIONS = ("depth_reference", "penetration_frame", "penetration_context", "fps_dead_ball", "feature_lookup")


@dataclass(frozen=True)
class EncodedPair:
    """What query points need of a batch of pairs.

    image: map in which queries are looked up.  summary: vector of the whole image.  initial: encoding of the frozen network.
    centre: mean of all anchors.  anchors: per hand.  terms: what queries need from them.  codes: after their exchange.
    """

    image: Float[Tensor, "batch 32 height width"]
    summary: Float[Tensor, "batch 256"]
    initial: EncodedImages
    centre: Float[Tensor, "batch 1 3"]
    anchors: dict[Side, Anchors]
    terms: dict[Side, AnchorTerms]
    codes: dict[Side, Float[Tensor, "batch code"]]


class RefinedOccupancyNetwork(nn.Module):
    """Occupancy of both hands at query points, given anchors on both hands' initial surfaces.

    encoder: depth of both image encoders.  initial: architecture of the initial network, without its encoder.
    anchor_widths: widths of the anchor encoder before and after its first reduction; the codes have the second one.
    anchor_blocks: blocks of the anchor encoder in which all anchors of a hand attend to each other.
    query_width: width of the attention from queries to anchors.
    context: whether the hands' codes attend to each other and to the image; if not, queries use their own hand's code (an
    ablation).
    shared_statistics: whether both hands share batch statistics in training; published is one hand after the other, see
    `PointTransformer.each`. No part of the architecture: it does not change what weights mean.
    depth_reference, penetration_frame: options of the initial network, see there.
    penetration_context: codes in `penetration`. "published" lets the codes, which have seen each other already, see each other
    a second time through the same layer; "consistent" takes those that `occupancy` takes.
    fps_dead_ball: "published" drops anchors within 31.6 mm of the common centre, see `geometry.furthest_points`.
    feature_lookup: "published" looks up a map blown up to 256 x 256 with another convention than it was blown up with;
    "consistent" looks up the map itself, see `geometry.feature_sampling`.
    """

    def __init__(
        self,
        encoder: str = "resnet50",
        initial: Mapping[str, Any] | None = None,
        anchor_widths: Sequence[int] = PUBLISHED_ANCHOR_WIDTHS,
        anchor_blocks: int = PUBLISHED_ANCHOR_BLOCKS,
        query_width: int = PUBLISHED_QUERY_WIDTH,
        context: bool = True,
        shared_statistics: bool = False,
        depth_reference: Behaviour = "consistent",
        penetration_frame: Behaviour = "consistent",
        penetration_context: Behaviour = "consistent",
        fps_dead_ball: Behaviour = "consistent",
        feature_lookup: Behaviour = "consistent",
        dropout: float = 0.01,
    ) -> None:
        super().__init__()
        own = {
            "penetration_context": penetration_context,
            "fps_dead_ball": fps_dead_ball,
            "feature_lookup": feature_lookup,
        }
        for name, value in own.items():
            if value not in ("published", "consistent"):
                raise ValueError(f"{name} must be published or consistent, not {value!r}")
        self.penetration_context: Behaviour = penetration_context
        self.feature_lookup: Behaviour = feature_lookup
        self.shared_statistics = shared_statistics
        self.initial = InitialOccupancyNetwork(
            encoder,
            **(initial or {}),
            depth_reference=depth_reference,
            penetration_frame=penetration_frame,
            dropout=dropout,
        ).requires_grad_(False)
        sizes = {name: value for name, value in self.initial.architecture.items() if name != "encoder"}
        narrow, code = anchor_widths
        self.architecture: dict[str, Any] = {
            "encoder": encoder,
            "initial": sizes,
            "anchor_widths": [narrow, code],
            "anchor_blocks": anchor_blocks,
            "query_width": query_width,
            "context": context,
        }
        self.image_encoder = ImageEncoder(encoder)
        self.image_projection = nn.Conv2d(2 * self.image_encoder.decoder_channels, IMAGE_CHANNELS, 1)
        self.heat_map_summary = nn.Conv2d(self.image_encoder.decoder_channels, SUMMARY, COARSEST)
        self.dense_map_summary = nn.Conv2d(self.image_encoder.decoder_channels, SUMMARY, COARSEST)
        self.anchor_encoder = PointTransformer(
            IMAGE_CHANNELS + len(SIDES), (narrow, code), final_blocks=anchor_blocks, fps_dead_ball=fps_dead_ball
        )
        self.decoder = QueryDecoder(code, query_width, image_features=IMAGE_CHANNELS)
        self.context = nn.Linear(2 * (code + SUMMARY), code) if context else None
        self.initial.eval()

    @property
    def depth_reference(self) -> Behaviour:
        """Of the initial network."""
        return self.initial.depth_reference

    def train(self, mode: bool = True) -> RefinedOccupancyNetwork:
        """As for every module, but the frozen initial network keeps evaluating."""
        super().train(mode)
        self.initial.eval()
        return self

    def forward(
        self,
        images: Float[Tensor, "batch 3 256 256"],
        anchors: Mapping[Side, Float[Tensor, "batch points 3"]],
        hands: Hands,
        camera: CameraBatch,
    ) -> dict[Side, Float[Tensor, "batch n"]]:
        """Occupancy, from 0 to 1, of each hand at its own query points; (batch, 0) for a hand without any."""
        encoded = self.encode(images, anchors, camera)
        return {side: self.occupancy(encoded, hand, camera) for side, hand in hands.items()}

    def encode(
        self,
        images: Float[Tensor, "batch 3 256 256"],
        anchors: Mapping[Side, Float[Tensor, "batch points 3"]],
        camera: CameraBatch,
    ) -> EncodedPair:
        """Everything that query points have in common.

        images: as `image_encoder.normalise` makes them.  anchors: points on both hands' initial surfaces, world, m.
        Raises DataError if a hand has none.
        """
        with torch.no_grad():
            initial = self.initial.encode(images)
        return self.encode_features(self.image_encoder(images), initial, anchors, camera)

    def encode_features(
        self,
        features: ImageFeatures,
        initial: EncodedImages,
        anchors: Mapping[Side, Float[Tensor, "batch points 3"]],
        camera: CameraBatch,
    ) -> EncodedPair:
        """`encode` from the outputs of both image encoders."""
        missing = [side.value for side in SIDES if side not in anchors]
        if missing:
            raise DataError(
                f"refined occupancy needs anchors of both hands; give the anchors of the {missing[0]} hand too."
            )
        image, summary = self.image_map(features), self.image_summary(features)
        centre, inputs = self.anchor_inputs(image, anchors, camera)
        encoded = dict(
            zip(SIDES, self.anchor_encoder.each([inputs[side] for side in SIDES], self.shared_statistics), strict=True)
        )
        codes = self.in_context({side: each.code for side, each in encoded.items()}, summary)
        attention = self.decoder.attention
        terms = {side: attention.of_anchors(each.positions, each.features) for side, each in encoded.items()}
        return EncodedPair(image, summary, initial, centre, encoded, terms, codes)

    def image_map(self, features: ImageFeatures) -> Float[Tensor, "batch 32 height width"]:
        """The map that points are looked up in; 256 x 256 in published mode, else 64 x 64.

        The convolution comes before the enlargement, which is the same and costs a sixteenth.
        """
        image = self.image_projection(torch.cat([features.of_heat_maps[-1], features.of_dense_maps[-1]], dim=1))
        if self.feature_lookup == "published":
            image = F.interpolate(image, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)
        return image

    def image_summary(self, features: ImageFeatures) -> Float[Tensor, "batch 256"]:
        """The whole image in one vector."""
        parts = (self.heat_map_summary(features.of_heat_maps[0]), self.dense_map_summary(features.of_dense_maps[0]))
        return torch.cat(parts, dim=1).flatten(1)

    def anchor_inputs(
        self,
        image: Float[Tensor, "batch 32 height width"],
        anchors: Mapping[Side, Float[Tensor, "batch points 3"]],
        camera: CameraBatch,
    ) -> tuple[Float[Tensor, "batch 1 3"], dict[Side, tuple[Tensor, Tensor]]]:
        """Centre of all anchors, and each hand's centred anchors (batch, points, 3) and features (batch, points, 34)."""
        seen = {side: camera.from_world(anchors[side]) for side in SIDES}
        places = {side: refinement_coordinates(points).to(image.dtype) for side, points in seen.items()}
        centre = anchors_centre(torch.cat(list(places.values()), dim=1))
        inputs = {}
        for place, side in enumerate(SIDES):
            centred, looked_up = places[side] - centre, self._looked_up(image, seen[side], camera)
            label = looked_up.new_zeros(*looked_up.shape[:2], len(SIDES))
            label[..., place] = 1
            inputs[side] = centred, torch.cat([looked_up, label], dim=-1)
        return centre, inputs

    def in_context(
        self, codes: Mapping[Side, Float[Tensor, "batch code"]], summary: Float[Tensor, "batch 256"]
    ) -> dict[Side, Float[Tensor, "batch code"]]:
        """Each hand's code after attending to the other's and to the image; unchanged in a network without context."""
        if self.context is None:
            return dict(codes)
        return {side: self.context(torch.cat([codes[side], codes[side.other], summary], dim=1)) for side in codes}

    def occupancy(
        self,
        encoded: EncodedPair,
        hand: HandBatch,
        camera: CameraBatch,
        reference_depth: Float[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch n"]:
        """Between 0 (outside) and 1, at the hand's query points; the published surface is at 0.45.

        reference_depth: see `occupancy` of the initial network.
        """
        return torch.sigmoid(self.logits(encoded, hand, camera, reference_depth))

    def logits(
        self,
        encoded: EncodedPair,
        hand: HandBatch,
        camera: CameraBatch,
        reference_depth: Float[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch n"]:
        """Logits of the hand at its query points; arguments as in `occupancy`. Gradients also go through the initial network
        if the points require them."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and hand.points.requires_grad):
            initial = self.initial.occupancy(encoded.initial, hand, camera, reference_depth)
        points, looked_up = self.query_inputs(encoded, hand, camera)
        code = self.decoder.attention.of_code(encoded.codes[hand.side])
        return self.decoder(points, looked_up, initial, encoded.terms[hand.side], code)

    def penetration(
        self, encoded: EncodedPair, hands: Hands, camera: CameraBatch
    ) -> dict[Side, Float[Tensor, "batch n"]]:
        """Occupancy of each hand at the query points of the other one, for the penetration loss. hands: both."""
        return {side: torch.sigmoid(each) for side, each in self.penetration_logits(encoded, hands, camera).items()}

    def penetration_logits(
        self, encoded: EncodedPair, hands: Hands, camera: CameraBatch
    ) -> dict[Side, Float[Tensor, "batch n"]]:
        """Logits of `penetration`."""
        with torch.no_grad():
            initial = self.initial.penetration(encoded.initial, hands, camera)
        codes, logits = self.penetration_codes(encoded), {}
        for side, hand in hands.items():
            points, looked_up = self.query_inputs(encoded, hands[side.other], camera)
            code = self.decoder.attention.of_code(codes[hand.side])
            logits[side] = self.decoder(points, looked_up, initial[side], encoded.terms[side], code)
        return logits

    def penetration_codes(self, encoded: EncodedPair) -> dict[Side, Float[Tensor, "batch code"]]:
        """The codes that `penetration` decodes with."""
        if self.penetration_context == "published":
            return self.in_context(encoded.codes, encoded.summary)
        return encoded.codes

    def query_inputs(
        self, encoded: EncodedPair, hand: HandBatch, camera: CameraBatch
    ) -> tuple[Float[Tensor, "batch n 3"], Float[Tensor, "batch n 32"]]:
        """Query points about the anchors' centre (m) and what the image shows there."""
        seen = query_points_in_camera(hand, camera)
        points = refinement_coordinates(seen).to(encoded.centre.dtype) - encoded.centre
        return points, self._looked_up(encoded.image, seen, camera)

    @torch.no_grad()
    def start_as_published(self) -> None:
        """The published initialisation: Kaiming normal convolutions in the image encoder's map decoders, defaults elsewhere."""
        self.initial.start_as_published()
        for decoder in (self.image_encoder.heat_map_decoder, self.image_encoder.dense_map_decoder):
            for module in decoder.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)

    @torch.no_grad()
    def start_as_initial_field(self) -> None:
        """Makes the network return the initial occupancy: the logit is SHARPNESS times (occupancy - 0.5).

        Everything else keeps its values and learns, but counts for nothing at first: one channel of the decoder carries the
        occupancy, nothing is added to it, and the last layer looks at it alone.
        """
        decoder, carrier = self.decoder, 0
        copies = decoder.start.weight[carrier, decoder.width + decoder.image_features :]
        decoder.start.weight[carrier] = 0
        copies.fill_(1 / len(copies))
        for layer in (*decoder.attended, *(block.second for block in decoder.blocks)):
            layer.weight[carrier] = 0
        for layer in (decoder.start, *decoder.attended, *(block.second for block in decoder.blocks)):
            layer.bias[carrier] = 0
        decoder.last.weight.zero_()
        decoder.last.weight[0, carrier] = SHARPNESS
        decoder.last.bias.fill_(-SHARPNESS / 2)

    @torch.no_grad()
    def start_from_initial(self, initial: InitialOccupancyNetwork) -> None:
        """The published start: `initial` becomes the frozen network, and its encoder and projection this one's own view.

        Raises RuntimeError unless it is of the architecture that this network was made with.
        """
        self.initial.load_state_dict(initial.state_dict())
        self.image_encoder.load_state_dict(initial.image_encoder.state_dict())
        self.image_projection.load_state_dict(initial.image_projection.state_dict())

    def _looked_up(self, image: Tensor, seen: Tensor, camera: CameraBatch) -> Tensor:
        return sample_features(image, camera.pixels(seen), self.feature_lookup)


def load_refined_occupancy(
    folder: str | os.PathLike, device: str | torch.device = "cpu"
) -> tuple[RefinedOccupancyNetwork, ModelCard]:
    """The network of a model folder with the options it was made for, ready to evaluate, and its card.

    Raises DataError if the folder is missing, CheckpointError if it contains another network.
    """

    def build(weights: dict[str, Tensor], card: ModelCard) -> RefinedOccupancyNetwork:
        return RefinedOccupancyNetwork(**card.architecture, **{name: card.compat[name] for name in OPTIONS})

    return restored_network(folder, NAME, build, device)
