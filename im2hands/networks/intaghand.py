"""IntagHand: one photograph to the meshes of two interacting hands.

An image encoder gives maps from 8 x 8 to 64 x 64. Starting from the coarsest level of each hand's graph, three levels exchange
features along the mesh, with the image and with the other hand, and double the nodes in between; small heads give the coarse
mesh, its full resolution and a scaled orthographic projection.

Frame of the 3-D output: axes of the camera (published) or of the crop (`geometry.cameras.crop_axes`), origin at the left middle
base, unit such that the mean palm is 0.095 m long; both hands in the same frame. 2-D output: pixels of the 256 x 256 crop. Left
and right are data. Source: IntagHand (CVPR 2022).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.config.choices import Behaviour
from im2hands.hands.sides import Side
from im2hands.io.errors import CheckpointError, DataError
from im2hands.networks.attention import NORM_EPS, QueryImageAttention
from im2hands.networks.graph_blocks import GraphLayer
from im2hands.networks.hand_graphs import FINE_PER_NODE, USED_LEVELS, HandGraph, nearest_upsampling
from im2hands.networks.image_encoder import DECODER_CHANNELS, ImageEncoder, ImageFeatures
from im2hands.networks.inter_hand_attention import HandTokens, InterHandAttention
from im2hands.networks.model_folder import ModelCard, restored_network
from im2hands.networks.start_hands import StartHands, StartStatistics

NAME = "intaghand"
CROP = 256
VERTICES = 778
GRID, HEADS, GRAPH_BLOCKS, MIXED_CHANNELS, POSITION_CODE = 8, 4, 4, 256, 3
"""Side of the token grid, attention heads, graph blocks per level, channels of the maps, numbers that say where a vertex is."""
PUBLISHED_WIDTHS = (512, 256, 128, 64)
"""Width of a vertex's features before the first level and after each of the three."""
PUBLISHED_DROPOUT = 0.05
MAP_SIDES = (8, 16, 32)

HandGraphs = Mapping[Side, HandGraph]


@dataclass(frozen=True)
class PredictedHand:
    """Meshes of a batch of hands of one side.

    vertices, coarse: full mesh and the nodes of the finest graph level, in the frame of the module.  vertices_2d, coarse_2d:
    the same in crop pixels.  scale, shift: scaled orthographic projection, see `project`.
    """

    vertices: Float[Tensor, "batch 778 3"]
    vertices_2d: Float[Tensor, "batch 778 2"]
    coarse: Float[Tensor, "batch nodes 3"]
    coarse_2d: Float[Tensor, "batch nodes 2"]
    scale: Float[Tensor, " batch"]
    shift: Float[Tensor, "batch 2"]


@dataclass(frozen=True)
class HandPairPrediction:
    """Both hands, and the image features with the raw heat maps, masks and dense maps.

    axes: of the 3-D output, see the module; published are the camera's, consistent the crop's.
    """

    hands: dict[Side, PredictedHand]
    features: ImageFeatures
    axes: Behaviour = "published"


def project(
    points: Float[Tensor, "batch n 3"], scale: Float[Tensor, " batch"], shift: Float[Tensor, "batch 2"]
) -> Float[Tensor, "batch n 2"]:
    """Scaled orthographic projection: scale in crop widths per unit, shift in half crops from the middle; crop pixels."""
    return scale[:, None, None] * CROP * points[..., :2] + (shift * (CROP / 2) + CROP / 2)[:, None]


class FeatureMixer(nn.Module):
    """The maps of the two image decoders, from the second level on with the backbone's, brought to one width.

    channels: channels of the backbone maps, coarse to fine.  decoder_channels: those of the decoders' maps.  The last stage's
    map is used nowhere; published files contain the stage.
    """

    def __init__(self, channels: Sequence[int], decoder_channels: int = DECODER_CHANNELS) -> None:
        super().__init__()
        inputs = [2 * decoder_channels + (backbone if level else 0) for level, backbone in enumerate(channels)]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, MIXED_CHANNELS, 1, bias=False), nn.ReLU(), nn.BatchNorm2d(MIXED_CHANNELS))
            for width in inputs
        )

    def forward(self, features: ImageFeatures, levels: int = USED_LEVELS) -> list[Float[Tensor, "batch 256 side side"]]:
        """Maps of the coarsest levels, coarse to fine."""
        maps = []
        for level, stage in enumerate(self.stages[:levels]):
            parts = [features.of_heat_maps[level], features.of_dense_maps[level]]
            maps.append(stage(torch.cat([*parts, features.backbone[level]] if level else parts, dim=1)))
        return maps


class DecoderLevel(nn.Module):
    """Features of both hands' nodes after exchange along the mesh, with the image, and between the hands."""

    def __init__(
        self, laplacians: Mapping[Side, Tensor], inputs: int, outputs: int, map_side: int, dropout: float
    ) -> None:
        super().__init__()
        nodes = len(laplacians[Side.LEFT])
        self.positions = nn.Embedding(nodes, inputs)
        self.graph, self.image_attention = nn.ModuleDict(), nn.ModuleDict()
        for side in Side:
            self.graph[side.value] = GraphLayer(laplacians[side], inputs, outputs, GRAPH_BLOCKS, dropout=dropout)
            self.image_attention[side.value] = QueryImageAttention(
                map_side, MIXED_CHANNELS, GRID, outputs, outputs, HEADS, dropout, together=True
            )
        self.hand_attention = InterHandAttention(outputs, HEADS, dropout)

    def forward(self, hands: HandTokens, image: Float[Tensor, "batch 256 side side"]) -> HandTokens:
        seen = {}
        for side, tokens in hands.items():
            tokens = self.graph[side.value](tokens + self.positions.weight)
            seen[side] = self.image_attention[side.value](image, tokens)
        return self.hand_attention(seen)


class IntagHandNetwork(nn.Module):
    """Photograph to two hand meshes.

    graphs: graphs of each side, with equal numbers of nodes. They are buffers, so they are stored with the weights.
    vertex_codes: three numbers in 0..1 for each vertex of the mesh, the same for both hands; published: `v_color.pkl`.
    upsampling: initial weights from coarse nodes to vertices; by default every vertex takes its own node.
    encoder: depth of the image encoder.  widths: widths of the vertex features, see PUBLISHED_WIDTHS.
    train_upsampling: whether the upsampling is trained; published training does not change it.
    start_components: components of start hands, to which the decoder's meshes and projections are then added; published: 0.
    joint_width: width of the tokens of seen joints, of which start hands are made too; 0: none. Heat maps are logits with them.
    hand_axes: of the 3-D output; published are the camera's, consistent the crop's.
    """

    def __init__(
        self,
        graphs: HandGraphs,
        vertex_codes: Float[Tensor, "778 3"],
        upsampling: Float[Tensor, "778 nodes"] | None = None,
        encoder: str = "resnet50",
        widths: Sequence[int] = PUBLISHED_WIDTHS,
        train_upsampling: bool = False,
        dropout: float = PUBLISHED_DROPOUT,
        start_components: int = 0,
        joint_width: int = 0,
        hand_axes: Behaviour = "published",
    ) -> None:
        super().__init__()
        self.hand_axes = hand_axes
        left, right = graphs[Side.LEFT], graphs[Side.RIGHT]
        if left.sizes != right.sizes:
            raise DataError(
                f"the graphs of both hands must have the same numbers of nodes, not {left.sizes} and {right.sizes}."
            )
        if len(left.node_of_vertex) != VERTICES or len(right.node_of_vertex) != VERTICES:
            raise DataError(f"the graphs must belong to a mesh of {VERTICES} vertices.")
        self.architecture: dict[str, Any] = {
            "encoder": encoder,
            "widths": list(widths),
            "start_components": start_components,
        }
        if joint_width:
            self.architecture["joint_width"] = joint_width
        for side in Side:
            for name, tensor in graph_tensors(graphs[side], side).items():
                self.register_buffer(name, tensor.clone())
        self.register_buffer("vertex_codes", torch.as_tensor(vertex_codes, dtype=torch.float32).clone())
        self.image_encoder = ImageEncoder(encoder)
        self.feature_mixer = FeatureMixer(self.image_encoder.channels, self.image_encoder.decoder_channels)
        self.global_projection = nn.ModuleDict()
        for side in Side:
            start = widths[0] - POSITION_CODE
            inputs = self.image_encoder.channels[0]
            self.global_projection[side.value] = nn.Sequential(
                nn.Linear(inputs, start), nn.LayerNorm(start, eps=NORM_EPS)
            )
        self.levels = nn.ModuleList(
            DecoderLevel(
                {side: graphs[side].laplacians[level].clone() for side in Side},
                *widths[level : level + 2],
                map_side,
                dropout,
            )
            for level, map_side in enumerate(MAP_SIDES)
        )
        nodes = left.sizes[-1]
        self.start_hands: StartHands | None = None
        if start_components:
            encoder_channels = self.image_encoder.channels, self.image_encoder.decoder_channels
            self.start_hands = StartHands(
                encoder_channels[0], start_components, nodes, encoder_channels[1], joint_width
            )
        self.coordinates = nn.Linear(widths[-1], 3)
        self.node_average = nn.Linear(nodes, 1)
        self.projection = nn.Linear(widths[-1], 3)
        self.upsampling = nn.Linear(nodes, VERTICES, bias=False)
        self._initialise(nearest_upsampling((left, right)) if upsampling is None else upsampling)
        self.upsampling.requires_grad_(train_upsampling)
        self.register_load_state_dict_post_hook(_adopt_graphs)

    def forward(self, images: Float[Tensor, "batch 3 256 256"]) -> HandPairPrediction:
        """images: as `image_encoder.normalise` makes them."""
        return self.decode(self.image_encoder(images))

    def decode(self, features: ImageFeatures) -> HandPairPrediction:
        """The hands of images that have been encoded already."""
        maps = self.feature_mixer(features)
        hands = self.start_tokens(self.global_feature(features))
        for place, level in enumerate(self.levels):
            if place:
                hands = {side: tokens.repeat_interleave(2, dim=1) for side, tokens in hands.items()}
            hands = level(hands, maps[place])
        meshes = {side: self.read_out(tokens) for side, tokens in hands.items()}
        if self.start_hands is not None:
            starts = self.start_hands(features)
            meshes = {side: tuple(map(torch.add, starts[side], meshes[side])) for side in meshes}
        return HandPairPrediction({side: self.hand(*meshes[side]) for side in meshes}, features, self.hand_axes)

    def decode_start(self, features: ImageFeatures) -> HandPairPrediction:
        """The start hands alone, without the decoder's part."""
        starts = self.start_hands(features)
        return HandPairPrediction({side: self.hand(*start) for side, start in starts.items()}, features, self.hand_axes)

    @property
    def heat_maps_are_logits(self) -> bool:
        """Whether the softmax of a heat map says where the joint may be; published: the heat map itself."""
        return self.start_hands is not None and self.start_hands.joints is not None

    @staticmethod
    def global_feature(features: ImageFeatures) -> Float[Tensor, "batch channels"]:
        """Mean of the coarsest backbone map."""
        return features.backbone[0].mean(dim=(2, 3))

    def start_tokens(self, image: Float[Tensor, "batch channels"]) -> HandTokens:
        """Every node of the coarsest level: the same view of the image, and where it is on the hand."""
        hands = {}
        for side in Side:
            seen = self.global_projection[side.value](image)[:, None]
            vertices = getattr(self, f"{side.value}_vertex_of_node")
            places = (self.vertex_codes * 2 - 1)[vertices].unflatten(0, (-1, FINE_PER_NODE[0])).mean(1)
            hands[side] = torch.cat([seen.expand(-1, len(places), -1), places.expand(len(image), -1, -1)], dim=-1)
        return hands

    def read_out(
        self, tokens: Float[Tensor, "batch nodes width"]
    ) -> tuple[Float[Tensor, "batch nodes 3"], Float[Tensor, "batch 3"]]:
        """Coarse mesh and (scale, shift) from the features of the last level."""
        return self.coordinates(tokens), self.projection(self.node_average(tokens.mT)[..., 0])

    def hand(self, coarse: Float[Tensor, "batch nodes 3"], parameters: Float[Tensor, "batch 3"]) -> PredictedHand:
        """The hand of a coarse mesh and its (scale, shift)."""
        scale, shift = parameters[:, 0], parameters[:, 1:]
        vertices = self.upsampling.weight @ coarse
        return PredictedHand(
            vertices, project(vertices, scale, shift), coarse, project(coarse, scale, shift), scale, shift
        )

    @torch.no_grad()
    def begin_at(self, statistics: StartStatistics) -> None:
        """Makes the untrained network predict the mean hands for every image, and maps of zeros; it needs start hands."""
        self.start_hands.adopt(statistics)
        maps = (self.image_encoder.heat_map_decoder.last, self.image_encoder.dense_map_decoder.last)
        for layer in (self.coordinates, self.projection, *maps):
            layer.weight.zero_()
            layer.bias.zero_()

    def graph(self, side: Side) -> HandGraph:
        """The graph of a side."""
        return graph_from(self._buffers, side)

    @torch.no_grad()
    def _initialise(self, upsampling: Tensor) -> None:
        """As published: Kaiming normal in the image decoders, Xavier uniform in what follows the encoder, no linear bias.

        The feature mixer, embeddings and the projection of the global feature keep PyTorch's initial values.
        """
        for decoder in (self.image_encoder.heat_map_decoder, self.image_encoder.dense_map_decoder):
            for module in decoder.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)
        for part in (self.levels, self.coordinates, self.node_average, self.projection):
            for module in part.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    nn.init.xavier_uniform_(module.weight)
                if isinstance(module, nn.Linear):
                    nn.init.zeros_(module.bias)
        needed = self.upsampling.weight
        if upsampling.shape != needed.shape:
            raise DataError(
                f"the upsampling has shape {tuple(upsampling.shape)}, but the graphs need {tuple(needed.shape)}; "
                "use the upsampling file made with these graphs."
            )
        needed.copy_(upsampling)


def _adopt_graphs(network: IntagHandNetwork, _: Any) -> None:
    """After weights were loaded: their graphs into the layers that use them."""
    for place, level in enumerate(network.levels):
        for side in Side:
            level.graph[side.value].graph.copy_(network.graph(side).laplacians[place])


def graph_tensors(graph: HandGraph, side: Side) -> dict[str, Tensor]:
    """A graph as named tensors, which are buffers of the network."""
    laplacians = {f"{side.value}_laplacian_{level}": matrix for level, matrix in enumerate(graph.laplacians)}
    orders = {"vertex_of_node": graph.vertex_of_node, "node_of_vertex": graph.node_of_vertex}
    return {**laplacians, **{f"{side.value}_{name}": order for name, order in orders.items()}}


def graph_from(tensors: Mapping[str, Tensor], side: Side) -> HandGraph:
    """The graph that `graph_tensors` named."""
    laplacians = tuple(tensors[f"{side.value}_laplacian_{level}"] for level in range(USED_LEVELS))
    return HandGraph(laplacians, tensors[f"{side.value}_vertex_of_node"], tensors[f"{side.value}_node_of_vertex"])


def load_intaghand(folder: str | os.PathLike, device: str | torch.device = "cpu") -> tuple[IntagHandNetwork, ModelCard]:
    """The network of a model folder, with its graphs, ready to evaluate, and its card.

    Raises DataError if the folder is missing, CheckpointError if it contains another network or start hands of the earlier
    form.
    """

    def build(weights: dict[str, Tensor], card: ModelCard) -> IntagHandNetwork:
        if "start_hands.weights.weight" in weights:
            raise CheckpointError(
                f"{folder}: the start hands have an old format that is no longer supported; train IntagHand again."
            )
        graphs = {side: graph_from(weights, side) for side in Side}
        axes = card.compat.get("hand_axes", "published")
        return IntagHandNetwork(graphs, weights["vertex_codes"], **card.architecture, hand_axes=axes)

    return restored_network(folder, NAME, build, device)
