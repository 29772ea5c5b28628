"""Query decoder of refined occupancy: every query point attends to its nearest anchors and to a code of both hands.

All that does not depend on the query is computed once per hand: keys and values of the anchors, the first layers of the maps
that see offsets, and what the weighting's first layer makes of them (linear maps that follow each other are one map). Without
gradients, queries pass in pieces that stay in the cache; `tests/naive/cross_attention.py` holds the plain form.

Points in metres about the anchors' centre. Source: AIR-Nets (3DV 2021), section 3.3; Im2Hands (CVPR 2023), section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.geometry.neighbours import gathered, nearest_points
from im2hands.networks.point_transformer import two_layers

CACHED_POINTS = 128
"""Queries per piece on a CPU: at width 200 and 9 anchors an activation takes 0.9 MB."""
GPU_SHARE, ACTIVATIONS = 0.25, 8
"""Share of the free memory of a GPU that a piece may take, and the activations of a query that live at the same time."""


@dataclass(frozen=True)
class AnchorTerms:
    """What the anchors of a batch of hands give to every query.

    near: first layer of the offset map at the anchors.  keys: after the weighting's first layer.  values: with the offset
    map's bias.
    """

    positions: Float[Tensor, "batch anchors 3"]
    near: Float[Tensor, "batch anchors width"]
    keys: Float[Tensor, "batch anchors width"]
    values: Float[Tensor, "batch anchors width"]


@dataclass(frozen=True)
class CodeTerms:
    """What the code of a batch of hands gives to every query.

    query: after the weighting's first layer, with all its biases.  score, value: of the code itself as a tenth neighbour.
    """

    query: Float[Tensor, "batch 1 width"]
    score: Float[Tensor, "batch 1 width"]
    value: Float[Tensor, "batch 1 width"]


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
        inner, weighting = self.position, self.weighting
        near = F.linear(positions, inner[0].weight)
        keys = F.linear(self.key(features), weighting[0].weight)
        return AnchorTerms(positions, near, keys, self.value(features) + inner[2].bias)

    def of_code(self, code: Float[Tensor, "batch inputs"]) -> CodeTerms:
        """Terms of the code."""
        code = code[:, None]
        query = self.query(code)
        score = self.weighting(query - self.code_key(code))
        return CodeTerms(self.weighting[0](query + self.position[2].bias), score, self.code_value(code))

    def forward(
        self, points: Float[Tensor, "batch n 3"], anchors: AnchorTerms, code: CodeTerms
    ) -> Float[Tensor, "batch n width"]:
        """One vector per query point."""
        first = self.weighting[0].weight @ self.position[2].weight
        if torch.is_grad_enabled():
            return self._attend(points, anchors, code, first)
        pieces = points.split(self.points_at_once(points), dim=1)
        return torch.cat([self._attend(piece, anchors, code, first) for piece in pieces], dim=1)

    def points_at_once(self, points: Float[Tensor, "batch n 3"]) -> int:
        """Queries per hand that pass together when no gradients are kept."""
        if points.device.type != "cuda":
            return max(1, CACHED_POINTS // max(1, len(points)))
        free = torch.cuda.mem_get_info(points.device)[0]
        query = ACTIVATIONS * self.neighbours * self.query.out_features * points.element_size() * max(1, len(points))
        return max(CACHED_POINTS, int(GPU_SHARE * free) // query)

    def _attend(self, points: Tensor, anchors: AnchorTerms, code: CodeTerms, first: Tensor) -> Tensor:
        neighbours = nearest_points(points, anchors.positions, self.neighbours)
        inner, weighting = self.position, self.weighting
        hidden = (inner[0](points)[:, :, None] - gathered(anchors.near, neighbours)).relu_()
        scores = F.linear(hidden, first).add_(gathered(code.query - anchors.keys, neighbours)).relu_()
        scores = weighting[2](scores)
        values = F.linear(hidden, inner[2].weight).add_(gathered(anchors.values, neighbours))
        largest = torch.maximum(scores.detach().amax(dim=2), code.score.detach())
        weights = scores.sub_(largest[:, :, None]).exp_()
        of_code = (code.score - largest).exp()
        return ((weights * values).sum(dim=2) + of_code * code.value) / (weights.sum(dim=2) + of_code)


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
        """Logits; points about the anchors' centre (m), initial occupancies from 0 to 1."""
        return self.logits(self.attention(points, anchors, code), image_features, initial)

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
