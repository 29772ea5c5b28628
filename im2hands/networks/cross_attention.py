"""Query decoder of refined occupancy: every query point attends to its nearest anchors and to a code of both hands.

Everything that does not depend on the query is computed once per hand, see `vector_attention`;
`tests/naive/cross_attention.py` contains the plain form.

Points in metres relative to the anchors' centre. Source: AIR-Nets (3DV 2021), section 3.3; Im2Hands (CVPR 2023), section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.geometry.neighbours import nearest_points
from im2hands.geometry.pieces import rows_at_once
from im2hands.networks.point_transformer import two_layers
from im2hands.networks.vector_attention import (
    ExtraTerms,
    NeighbourTerms,
    PairMaps,
    QueryTerms,
    terms_of_neighbours,
    vector_attention,
)

LIVING_VECTORS = 5
"""Memory per query in an evaluation, without its pairs with neighbours, in vectors of the attention's width."""


@dataclass(frozen=True)
class AnchorTerms:
    """What the anchors of a batch of hands give to every query."""

    positions: Float[Tensor, "batch anchors 3"]
    terms: NeighbourTerms


@dataclass(frozen=True)
class CodeTerms:
    """What the code of a batch of hands gives to every query.

    query: after the weighting's first layer, with all its biases.  itself: the code as a tenth neighbour.
    """

    query: Float[Tensor, "batch 1 width"]
    itself: ExtraTerms


class CrossAttention(nn.Module):
    """From query positions, anchors and a code to one feature vector per query."""

    def __init__(self, inputs: int = 256, width: int = 200, neighbours: int = 9) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.query, self.key, self.value, self.code_key, self.code_value = (
            nn.Linear(inputs, width, bias=False) for _ in range(5)
        )
        self.position, self.weighting = two_layers(3, width), two_layers(width, width)

    def of_anchors(
        self, positions: Float[Tensor, "batch anchors 3"], features: Float[Tensor, "batch anchors inputs"]
    ) -> AnchorTerms:
        """Terms of the anchors, for any number of calls."""
        keys, values = self.key(features), self.value(features)
        return AnchorTerms(positions, terms_of_neighbours(positions, keys, values, self.position, self.weighting))

    def of_code(self, code: Float[Tensor, "batch inputs"]) -> CodeTerms:
        """Terms of the code."""
        code = code[:, None]
        query = self.query(code)
        itself = ExtraTerms(self.weighting(query - self.code_key(code)), self.code_value(code))
        return CodeTerms(self.weighting[0](query + self.position[2].bias), itself)

    def forward(
        self, points: Float[Tensor, "batch n 3"], anchors: AnchorTerms, code: CodeTerms
    ) -> Float[Tensor, "batch n width"]:
        """One vector per query point."""
        nearest = nearest_points(points, anchors.positions, self.neighbours)
        queries = QueryTerms(self.position[0](points), code.query)
        maps = PairMaps.of(self.position, self.weighting)
        return vector_attention(queries, anchors.terms, nearest, maps, code.itself)


class ResidualBlock(nn.Module):
    """x plus two linear maps of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)

    def forward(self, features: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return features + self.second(F.relu(self.first(F.relu(features))))


class QueryDecoder(nn.Module):
    """From query positions, their image features and initial occupancies to refined logits.

    copies: times that the initial occupancy is repeated as a feature. The weights of the copies train together and are
    summed, not the copies made.
    """

    def __init__(
        self,
        inputs: int = 256,
        width: int = 200,
        neighbours: int = 9,
        image_features: int = 32,
        copies: int = 32,
        hidden: int = 32,
        blocks: int = 5,
    ) -> None:
        super().__init__()
        self.width, self.image_features = width, image_features
        self.attention = CrossAttention(inputs, width, neighbours)
        self.start = nn.Linear(width + image_features + copies, hidden)
        self.attended = nn.ModuleList(nn.Linear(width, hidden) for _ in range(blocks))
        self.blocks = nn.ModuleList(ResidualBlock(hidden) for _ in range(blocks))
        self.last = nn.Linear(hidden, 1)

    def forward(
        self,
        points: Float[Tensor, "batch n 3"],
        image_features: Float[Tensor, "batch n features"],
        initial: Float[Tensor, "batch n"],
        anchors: AnchorTerms,
        code: CodeTerms,
    ) -> Float[Tensor, "batch n"]:
        """Logits; points about the anchors' centre (m), initial occupancies from 0 to 1.

        Without gradients queries pass in pieces.
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.logits(self.attention(points, anchors, code), image_features, initial)
        size = rows_at_once(points, LIVING_VECTORS * self.width * len(points))
        parts = zip(*(each.split(size, dim=1) for each in (points, image_features, initial)), strict=True)
        logits = [self.logits(self.attention(place, anchors, code), *others) for place, *others in parts]
        return torch.cat(logits, dim=1)

    def logits(
        self,
        attended: Float[Tensor, "batch n width"],
        image_features: Float[Tensor, "batch n features"],
        initial: Float[Tensor, "batch n"],
    ) -> Float[Tensor, "batch n"]:
        """Logits from what the queries gathered."""
        of_attended, of_image, of_initial = self.start.weight.split(
            [self.width, self.image_features, self.start.in_features - self.width - self.image_features], dim=1
        )
        weights = torch.cat([of_attended, *(layer.weight for layer in self.attended)])
        biases = torch.cat([self.start.bias, *(layer.bias for layer in self.attended)])
        net, *parts = F.linear(attended, weights, biases).chunk(1 + len(self.blocks), dim=-1)
        net = net + F.linear(image_features, of_image) + initial[..., None] * of_initial.sum(dim=1)
        for part, block in zip(parts, self.blocks, strict=True):
            net = block(net + part)
        return self.last(net)[..., 0]
