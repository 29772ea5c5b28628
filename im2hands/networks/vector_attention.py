"""Attention with a weight per channel that uses the offset between two points; for many pairs in little memory.

A pair of a query i and a neighbour j has

    hidden = relu(own_i - near_j)                       first layer of the map of offsets
    score  = weights . relu(query_i - keys_j + to_score . hidden) + bias
    value  = values_j + to_value . hidden

and a query's result is the sum of its values, weighted per channel by the softmax of its scores. All that belongs to one point
alone is computed once per point; the second layer of the offset map and the first layer of the weighting, which follow each
other, are one map (`to_score`).

Pairs pass in pieces, and nothing of them is kept for gradients: the second pass computes a piece again. On a CPU pieces stay in
the cache, which is faster than fetching what was kept from memory. Source: Point Transformer (ICCV 2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn

from im2hands.geometry.neighbours import gathered
from im2hands.geometry.pieces import pieces, rows_at_once

WIDTHS = (1, 2, 1, 1)
"""Size of the buffers of a piece, in widths of the attention."""


@dataclass(frozen=True)
class PairMaps:
    """What pairs are multiplied with; all maps as (out, in)."""

    to_score: Float[Tensor, "width width"]
    to_value: Float[Tensor, "width width"]
    weights: Float[Tensor, "width width"]
    bias: Float[Tensor, "width"]

    @classmethod
    def of(cls, position: nn.Sequential, weighting: nn.Sequential) -> PairMaps:
        """From the map of offsets and that of the weighting, each linear, ReLU, linear."""
        to_value, weights = position[2].weight, weighting[2].weight
        return cls(weighting[0].weight @ to_value, to_value, weights, weighting[2].bias)


@dataclass(frozen=True)
class QueryTerms:
    """own: first layer of the offset map at the query.  query: after the weighting's first layer, all biases included."""

    own: Float[Tensor, "batch n width"]
    query: Float[Tensor, "batch #n width"]


@dataclass(frozen=True)
class NeighbourTerms:
    """near: first layer of the offset map.  keys: after the weighting's first layer.  values: with the offset map's bias."""

    near: Float[Tensor, "batch m width"]
    keys: Float[Tensor, "batch m width"]
    values: Float[Tensor, "batch m width"]


@dataclass(frozen=True)
class ExtraTerms:
    """One more neighbour that all queries of a sample have in common, without an offset."""

    score: Float[Tensor, "batch 1 width"]
    value: Float[Tensor, "batch 1 width"]


def terms_of_neighbours(
    places: Float[Tensor, "batch m 3"],
    keys: Float[Tensor, "batch m width"],
    values: Float[Tensor, "batch m width"],
    position: nn.Sequential,
    weighting: nn.Sequential,
) -> NeighbourTerms:
    """places: of the neighbours, or their negatives where an offset is neighbour minus query."""
    near = F.linear(places, position[0].weight)
    return NeighbourTerms(near, F.linear(keys, weighting[0].weight), values + position[2].bias)


def vector_attention(
    queries: QueryTerms,
    neighbours: NeighbourTerms,
    indices: Integer[Tensor, "batch n k"],
    maps: PairMaps,
    extra: ExtraTerms | None = None,
) -> Float[Tensor, "batch n width"]:
    """The weighted sums of all queries. indices: of each query's neighbours."""
    kind = queries.own.device.type
    if torch.compiler.is_compiling() or torch.is_autocast_enabled(kind):
        return _plain(queries, neighbours, indices, maps, extra)
    rows = [queries.own, queries.query, neighbours.near, neighbours.keys, neighbours.values]
    common = (None, None) if extra is None else (extra.score[:, 0], extra.value[:, 0])
    return _InPieces.apply(*rows, *common, *(getattr(maps, field.name) for field in fields(maps)), indices)


def _plain(
    queries: QueryTerms, neighbours: NeighbourTerms, indices: Tensor, maps: PairMaps, extra: ExtraTerms | None
) -> Tensor:
    """All pairs at once, for compilers and mixed precision."""
    hidden = F.relu(queries.own[:, :, None] - gathered(neighbours.near, indices))
    scores = queries.query[:, :, None] - gathered(neighbours.keys, indices) + F.linear(hidden, maps.to_score)
    scores = F.linear(F.relu(scores), maps.weights, maps.bias)
    values = gathered(neighbours.values, indices) + F.linear(hidden, maps.to_value)
    if extra is not None:
        size = (*scores.shape[:2], 1, -1)
        scores = torch.cat([scores, extra.score[:, :, None].to(scores).expand(size)], dim=2)
        values = torch.cat([values, extra.value[:, :, None].to(values).expand(size)], dim=2)
    return (torch.softmax(scores, dim=2) * values).sum(dim=2)


@dataclass
class _Piece:
    """A piece of a sample's pairs.

    scored: relu of the score's first layer.  weights, extra_weight: to be divided by their total.  spare: for other use.
    """

    hidden: Float[Tensor, "rows width"]
    scored: Float[Tensor, "rows width"]
    values: Float[Tensor, "rows width"]
    weights: Float[Tensor, "rows width"]
    spare: Float[Tensor, "rows width"]
    extra_weight: Float[Tensor, "queries width"] | None
    total: Float[Tensor, "queries width"]
    result: Float[Tensor, "queries width"]


class _Sample:
    """The pairs of one sample, piece by piece, in buffers that all pieces share."""

    def __init__(self, tensors: list[Tensor | None], sample: int) -> None:
        own, query, near, keys, values, score, value, to_score, to_value, weights, bias, indices = tensors
        self.own, self.query, self.near = own[sample], query[sample], near[sample]
        self.table = torch.cat([-keys[sample], values[sample]], dim=1)
        self.score = None if score is None else score[sample] - bias
        self.value = None if value is None else value[sample]
        self.both, self.weights, self.indices = torch.cat([to_score, to_value]), weights, indices[sample]
        self.count, self.neighbours = self.indices.shape
        self.width = own.shape[-1]
        self.size = min(max(self.count, 1), rows_at_once(own, sum(WIDTHS) * self.neighbours * self.width))
        rows = self.size * self.neighbours
        self.buffers = [own.new_empty(rows, width * self.width) for width in WIDTHS]

    def pieces(self) -> Iterator[slice]:
        return pieces(self.count, self.size)

    def piece(self, part: slice) -> _Piece:
        """The pairs of some queries; valid until the next piece is requested."""
        indices = self.indices[part].flatten()
        hidden, sums, weights, spare = (buffer[: len(indices)] for buffer in self.buffers)
        torch.index_select(self.near, 0, indices, out=hidden)
        torch.index_select(self.table, 0, indices, out=sums)
        by_query = self._by_query
        torch.sub(self.own[part, None], by_query(hidden), out=by_query(hidden)).relu_()
        scored, values = sums[:, : self.width], sums[:, self.width :]
        by_query(scored).add_((self.query[part] if len(self.query) > 1 else self.query)[:, None])
        sums.addmm_(hidden, self.both.t())
        torch.mm(scored.relu_(), self.weights.t(), out=weights)
        largest = by_query(weights).amax(dim=1)
        if self.score is not None:
            largest = torch.maximum(largest, self.score, out=largest)
        total = by_query(weights).sub_(largest[:, None]).exp_().sum(dim=1)
        result = torch.mul(weights, values, out=spare).unflatten(0, (-1, self.neighbours)).sum(dim=1)
        extra = None
        if self.score is not None:
            extra = (self.score - largest).exp_()
            total += extra
            result.addcmul_(extra, self.value)
        return _Piece(hidden, scored, values, weights, spare, extra, total, result.div_(total))

    def _by_query(self, rows: Tensor) -> Tensor:
        return rows.unflatten(0, (-1, self.neighbours))


class _InPieces(torch.autograd.Function):
    """`vector_attention` with its gradient; arguments as in `_Sample`."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor | None) -> Tensor:
        ctx.save_for_backward(*tensors)
        own = tensors[0]
        results = torch.empty_like(own, memory_format=torch.contiguous_format)
        for sample, result in enumerate(results):
            pairs = _Sample(list(tensors), sample)
            for part in pairs.pieces():
                result[part] = pairs.piece(part).result
        return results

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tensors = list(ctx.saved_tensors)
        sums = [None if each is None else torch.zeros_like(each) for each in tensors[:-1]]
        for sample, gradient_of_sample in enumerate(gradient):
            _add_gradients(_Sample(tensors, sample), gradient_of_sample, sums, sample)
        return *sums, None


def _add_gradients(pairs: _Sample, gradient: Tensor, sums: list[Tensor | None], sample: int) -> None:
    """Adds the gradients of one sample to the sums, which are in the order of the arguments of `_InPieces`."""
    of_own, of_query, of_near, of_keys, of_values, of_score, of_value, to_score, to_value, weights, bias = sums
    width, near = pairs.width, len(pairs.near)
    both, tables = torch.zeros_like(pairs.both), torch.zeros_like(pairs.table)
    buffer = pairs.buffers[1].new_empty(pairs.buffers[1].shape)
    for part in pairs.pieces():
        piece = pairs.piece(part)
        of_sums = gradient[part] / piece.total
        indices = pairs.indices[part].flatten()
        rows = buffer[: len(indices)]
        before, after = rows[:, :width], rows[:, width:]  # gradients before the weighting's ReLU, and of the values
        by_query = pairs._by_query
        torch.mul(by_query(piece.weights), of_sums[:, None], out=by_query(after))
        of_scores = by_query(piece.values).sub_(piece.result[:, None]).mul_(by_query(after)).flatten(0, 1)
        bias += of_scores.sum(dim=0)
        weights.addmm_(of_scores.t(), piece.scored)
        _through_relu(torch.mm(of_scores, pairs.weights, out=piece.weights), piece.scored, before)
        of_parts = by_query(before).sum(dim=1)
        if len(pairs.query) > 1:
            of_query[sample, part] = of_parts
        else:
            of_query[sample, 0] += of_parts.sum(dim=0)
        both.addmm_(rows.t(), piece.hidden)
        tables += _summed(rows, indices, near)
        of_hidden = _through_relu(torch.mm(rows, pairs.both, out=piece.weights), piece.hidden, piece.spare)
        of_own[sample, part] = by_query(of_hidden).sum(dim=1)
        of_near[sample] -= _summed(of_hidden, indices, near)
        if of_score is not None:
            of_extra = piece.extra_weight * of_sums
            of_value[sample] += of_extra.sum(dim=0)
            of_score[sample] += (of_extra * (pairs.value - piece.result)).sum(dim=0)
    of_keys[sample], of_values[sample] = -tables[:, :width], tables[:, width:]
    to_score += both[:width]
    to_value += both[width:]


def _through_relu(gradient: Tensor, results: Tensor, out: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward.grad_input(gradient, results, 0, grad_input=out)


def _summed(rows: Tensor, indices: Tensor, count: int) -> Tensor:
    """Sum of the rows of each index, as the gradient of a table of which the rows were gathered."""
    return torch.ops.aten.embedding_dense_backward(rows, indices, count, -1, False)
