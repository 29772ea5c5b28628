"""Anchor encoder: turns a hand's anchor points and features into a few anchors with features of their surroundings, and one
code.

Attention between neighbours weighs every channel for itself and sees the offset between the points. Points are in metres about
a common centre; features are (batch, points, width) throughout.

Source: Point Transformer (ICCV 2021); AIR-Nets (3DV 2021), section 3.2; Im2Hands (CVPR 2023), section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn

from im2hands.config.choices import Behaviour
from im2hands.geometry.furthest_points import furthest_points
from im2hands.geometry.neighbours import gathered, nearest_points
from im2hands.networks.vector_attention import PairMaps, QueryTerms, terms_of_neighbours, vector_attention

NEIGHBOURS = 16


@dataclass(frozen=True)
class Anchors:
    """Output of the encoder for a batch of hands. positions: m, centred.  code: code of the whole hand."""

    positions: Float[Tensor, "batch anchors 3"]
    features: Float[Tensor, "batch anchors width"]
    code: Float[Tensor, "batch width"]


@dataclass(frozen=True)
class Neighbourhoods:
    """All choices of points that an encoding makes; they depend on positions alone.

    kept: places of the points that each reduction keeps, among those before it.  positions: before and after each.
    around_kept: neighbours, among the points before, of those kept.  among: neighbours of all points after each level.
    """

    positions: list[Float[Tensor, "batch n 3"]]
    kept: list[Integer[Tensor, "batch m"]]
    around_kept: list[Integer[Tensor, "batch m k"]]
    among: list[Integer[Tensor, "batch n k"]]

    def of(self, part: slice) -> Neighbourhoods:
        """Those of some of the batch."""
        return Neighbourhoods(*([each[part] for each in getattr(self, name)] for name in self.__dataclass_fields__))


class PointNorm(nn.BatchNorm1d):
    """Batch norm per channel over the points of all samples."""

    def forward(self, features: Float[Tensor, "batch n width"]) -> Float[Tensor, "batch n width"]:
        return super().forward(features.flatten(0, 1)).view_as(features)


def two_layers(inputs: int, width: int) -> nn.Sequential:
    """Linear, ReLU, linear."""
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width))


class TransformerBlock(nn.Module):
    """Every point attends to its neighbours, itself among them.

    neighbours: how many; None for all points.
    """

    def __init__(self, width: int, neighbours: int | None = NEIGHBOURS) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.position, self.weighting = two_layers(3, width), two_layers(width, width)
        self.norm = PointNorm(width)

    def forward(
        self,
        positions: Float[Tensor, "batch n 3"],
        features: Float[Tensor, "batch n width"],
        neighbours: Integer[Tensor, "batch n k"] | None = None,
    ) -> Float[Tensor, "batch n width"]:
        """neighbours: indices, where they are known already."""
        attended = self._attended(positions, features, neighbours)
        return self.norm(attended + features)

    def _attended(self, positions: Tensor, features: Tensor, neighbours: Tensor | None) -> Tensor:
        if neighbours is None:
            neighbours = nearest_points(positions, positions, self.neighbours or positions.shape[1])
        inner, weighting = self.position, self.weighting
        queries = QueryTerms(inner[0](positions), weighting[0](self.query(features) + inner[2].bias))
        around = terms_of_neighbours(positions, self.key(features), self.value(features), inner, weighting)
        return vector_attention(queries, around, neighbours, PairMaps.of(inner, weighting))


class SetAbstraction(nn.Module):
    """Fewer points, each of which gathers, twice, what its neighbours among all points know."""

    def __init__(self, count: int, width: int, neighbours: int = NEIGHBOURS) -> None:
        super().__init__()
        self.count, self.neighbours = count, neighbours
        self.position = two_layers(3, width)
        self.first_weighting, self.second_weighting = two_layers(width, width), two_layers(width, width)
        self.first_query, self.first_key, self.first_value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.second_query, self.second_key, self.second_value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.expand, self.contract = nn.Linear(width, width), nn.Linear(width, width)
        self.expand_norm, self.first_norm, self.second_norm, self.norm = (PointNorm(width) for _ in range(4))

    def forward(
        self,
        positions: Float[Tensor, "batch n 3"],
        features: Float[Tensor, "batch n width"],
        kept: Integer[Tensor, "batch m"],
        neighbours: Integer[Tensor, "batch m k"],
    ) -> Float[Tensor, "batch m width"]:
        """kept: indices of the points that stay.  neighbours: of each of them, among all points."""
        centres = gathered(positions, kept[..., None])[:, :, 0]
        own = gathered(features, kept[..., None])[:, :, 0]
        first = self._gathered(self.first_query(own), "first", positions, centres, features, neighbours)
        first = first + self.contract(F.relu(self.expand_norm(self.expand(first))))
        first = self.first_norm(first)
        second = self._gathered(self.second_query(first), "second", positions, centres, features, neighbours)
        return self.norm(self.second_norm(first + second) + own)

    def _gathered(
        self, query: Tensor, time: str, positions: Tensor, centres: Tensor, features: Tensor, neighbours: Tensor
    ) -> Tensor:
        """What each kept point makes of its neighbours the first or the second time; offsets are neighbour minus point."""
        weighting, key, value = (getattr(self, f"{time}_{name}") for name in ("weighting", "key", "value"))
        inner = self.position
        queries = QueryTerms(inner[0](-centres), weighting[0](query + inner[2].bias))
        around = terms_of_neighbours(-positions, key(features), value(features), inner, weighting)
        return vector_attention(queries, around, neighbours, PairMaps.of(inner, weighting))


class PointResidual(nn.Module):
    """Two linear maps of each point's features, added to them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.first_norm, self.second_norm, self.norm = (PointNorm(width) for _ in range(3))

    def forward(self, features: Float[Tensor, "batch n width"]) -> Float[Tensor, "batch n width"]:
        hidden = F.relu(self.first_norm(self.first(features)))
        return self.norm(features + F.relu(self.second_norm(self.second(hidden))))


class PointTransformer(nn.Module):
    """The whole encoder.

    inputs: features per point.  widths: before and after the first reduction.  counts: points that the reductions keep.
    final_blocks: blocks in which all anchors see each other.
    fps_dead_ball: which points a reduction may keep, see `geometry.furthest_points`.
    """

    def __init__(
        self,
        inputs: int,
        widths: tuple[int, int] = (120, 256),
        counts: tuple[int, int] = (256, 128),
        neighbours: int = NEIGHBOURS,
        final_blocks: int = 3,
        fps_dead_ball: Behaviour = "consistent",
    ) -> None:
        super().__init__()
        narrow, wide = widths
        self.counts, self.neighbours, self.fps_dead_ball = counts, neighbours, fps_dead_ball
        self.embed = nn.Linear(inputs, narrow)
        self.begin = TransformerBlock(narrow, neighbours)
        self.reductions = nn.ModuleList(SetAbstraction(n, w, neighbours) for n, w in zip(counts, widths, strict=True))
        self.reduced_residuals = nn.ModuleList(PointResidual(width) for width in widths)
        self.reduced_blocks = nn.ModuleList(TransformerBlock(width, neighbours) for width in widths)
        self.widen = nn.Linear(narrow, wide)
        self.residuals = nn.ModuleList(PointResidual(wide) for _ in widths)
        self.final_blocks = nn.ModuleList(TransformerBlock(wide, None) for _ in range(final_blocks))
        self.final_residuals = nn.ModuleList(PointResidual(wide) for _ in range(final_blocks))
        self.to_code = two_layers(wide, wide)

    def neighbourhoods(self, positions: Float[Tensor, "batch n 3"]) -> Neighbourhoods:
        """All that depends on positions alone, for any number of hands together."""
        found = Neighbourhoods([positions], [], [], [nearest_points(positions, positions, self.neighbours)])
        for count in self.counts:
            kept = furthest_points(positions, count, self.fps_dead_ball)
            centres = gathered(positions, kept[..., None])[:, :, 0]
            found.kept.append(kept)
            found.around_kept.append(nearest_points(centres, positions, self.neighbours))
            found.positions.append(centres)
            found.among.append(nearest_points(centres, centres, self.neighbours))
            positions = centres
        return found

    def forward(
        self,
        positions: Float[Tensor, "batch n 3"],
        features: Float[Tensor, "batch n inputs"],
        places: Neighbourhoods | None = None,
    ) -> Anchors:
        """Anchors of hands. places: `neighbourhoods(positions)`, where that is known already."""
        places = places or self.neighbourhoods(positions)
        features = self.begin(positions, self.embed(features), places.among[0])
        for level in range(len(self.reductions)):
            features = self.after_reduction(level, self.reduced(level, features, places), places)
        positions = places.positions[-1]
        for block, residual in zip(self.final_blocks, self.final_residuals, strict=True):
            features = residual(block(positions, features))
        return Anchors(positions, features, self.to_code(features.amax(dim=1)))

    def reduced(self, level: int, features: Tensor, places: Neighbourhoods) -> Tensor:
        """Features after one reduction."""
        return self.reductions[level](places.positions[level], features, places.kept[level], places.around_kept[level])

    def after_reduction(self, level: int, features: Tensor, places: Neighbourhoods) -> Tensor:
        """Features when the points that one reduction kept have seen each other."""
        features = self.reduced_residuals[level](features)
        features = self.reduced_blocks[level](places.positions[level + 1], features, places.among[level + 1])
        return self.residuals[level](self.widen(features) if level == 0 else features)

    def each(self, hands: Sequence[tuple[Tensor, Tensor]], together: bool = False) -> list[Anchors]:
        """Encodings of several (positions, features).

        together: whether they share batch statistics in training; if not, statistics are those of one after the other, and all
        that tells the hands apart as a constant, their labels above all, is gone in training and back in evaluation.
        """
        positions, features = (torch.cat(part) for part in zip(*hands, strict=True))
        batch, places = len(hands[0][0]), self.neighbourhoods(positions)
        parts = [slice(start, start + batch) for start in range(0, len(positions), batch)]
        if self.training and not together:
            return [self(positions[part], features[part], places.of(part)) for part in parts]
        whole = self(positions, features, places)
        return [Anchors(whole.positions[part], whole.features[part], whole.code[part]) for part in parts]
