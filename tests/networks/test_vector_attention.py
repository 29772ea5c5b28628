"""Attention between pairs in pieces against all pairs at once: values and gradients, whatever the pieces."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from im2hands.geometry import pieces
from im2hands.networks import vector_attention as module
from im2hands.networks.vector_attention import ExtraTerms, NeighbourTerms, PairMaps, QueryTerms, vector_attention
from tests.networks.comparing import assert_same, with_gradients

WIDTH, ANCHORS, NEIGHBOURS = 6, 11, 4


def terms_of(dtype: torch.dtype, count: int, extra: bool, shared_query: bool) -> tuple:
    generator = torch.Generator().manual_seed(count)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    queries = QueryTerms(random(2, count, WIDTH), random(2, 1 if shared_query else count, WIDTH))
    neighbours = NeighbourTerms(*(random(2, ANCHORS, WIDTH) for _ in range(3)))
    indices = torch.rand(2, count, ANCHORS, generator=generator).argsort(-1)[..., :NEIGHBOURS]
    maps = PairMaps(*(random(WIDTH, WIDTH) for _ in range(3)), random(WIDTH))
    return queries, neighbours, indices, maps, ExtraTerms(random(2, 1, WIDTH), random(2, 1, WIDTH)) if extra else None


def values_and_gradients(function, terms: tuple) -> list[Tensor]:
    groups = [each for each in terms if each is not None and not isinstance(each, Tensor)]
    leaves = [getattr(group, field.name) for group in groups for field in fields(group)]
    return with_gradients(function(*terms), leaves, all_used=True)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("shared_query", [False, True])
@pytest.mark.parametrize("count", [0, 1, 33])
@pytest.mark.parametrize("cache", [1, 10 * 4 * 4 * NEIGHBOURS * WIDTH, 1 << 22])
def test_same_values_and_gradients_as_all_pairs_at_once(
    dtype, tolerance, extra, shared_query, count, cache, monkeypatch
):
    """Pieces of one query, of a few, and one piece; the second pass computes them again."""
    monkeypatch.setattr(pieces, "CACHE_BYTES", cache)
    terms = terms_of(dtype, count, extra, shared_query)
    ours, plain = (values_and_gradients(form, terms) for form in (vector_attention, module._plain))
    assert_same(ours, plain, tolerance)


def test_gradients_are_those_of_finite_differences():
    queries, neighbours, indices, maps, extra = terms_of(torch.float64, 3, True, False)

    def function(own: Tensor, near: Tensor, keys: Tensor, weights: Tensor) -> Tensor:
        around = NeighbourTerms(near, keys, neighbours.values)
        own_maps = PairMaps(maps.to_score, maps.to_value, weights, maps.bias)
        return vector_attention(QueryTerms(own, queries.query), around, indices, own_maps, extra)

    assert torch.autograd.gradcheck(function, (queries.own, neighbours.near, neighbours.keys, maps.weights))


def test_nothing_of_the_pairs_is_kept_for_gradients():
    """What autograd holds is what went in: numbers per point, none per pair."""
    kept: list[int] = []
    terms = terms_of(torch.float32, 50, True, False)
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each.numel()) or each, lambda each: each):
        vector_attention(*terms)
    assert max(kept) <= 2 * 50 * WIDTH < 2 * 50 * NEIGHBOURS * WIDTH


def test_mixed_precision_takes_products_in_bf16():
    """Under autocast the products are in bf16, so that values are near those in float32 but not equal."""
    terms = terms_of(torch.float32, 20, True, False)
    with torch.no_grad():
        exact = vector_attention(*terms)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = vector_attention(*terms)
    deviation = (mixed.float() - exact).abs().max()
    assert 0 < deviation < 0.1 * exact.abs().max()
