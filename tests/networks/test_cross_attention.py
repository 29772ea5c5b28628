"""Cross attention and query decoder against their plain forms: values, gradients, pieces, no queries at all."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from im2hands.networks.cross_attention import QueryDecoder
from tests.naive.cross_attention import naive_cross_attention, naive_logits
from tests.networks.comparing import assert_same, values_and_gradients

TOLERANCES = [(torch.float32, 1e-4), (torch.float64, 1e-11)]


def decoder_of(dtype: torch.dtype) -> QueryDecoder:
    torch.manual_seed(5)
    decoder = QueryDecoder(24, 20, neighbours=9, image_features=32, hidden=8, blocks=3)
    for block in decoder.blocks:
        torch.nn.init.normal_(block.second.weight, std=0.3)
    return decoder.to(dtype)


def inputs(queries: int, dtype: torch.dtype, batch: int = 2) -> list[Tensor]:
    """Queries, image features, initial occupancies, anchors, their features, codes."""
    generator = torch.Generator().manual_seed(queries)
    shapes = [(queries, 3), (queries, 32), (queries,), (40, 3), (40, 24), (24,)]
    tensors = [torch.randn(batch, *shape, generator=generator, dtype=torch.float64) for shape in shapes]
    tensors[0] *= 0.1
    tensors[3] *= 0.1
    return [each.to(dtype) for each in tensors]


def fast(decoder: QueryDecoder, points, image, initial, anchors, features, code) -> Tensor:
    attention = decoder.attention
    return decoder(points, image, initial, attention.of_anchors(anchors, features), attention.of_code(code))


def naive(decoder: QueryDecoder, points, image, initial, anchors, features, code) -> Tensor:
    return naive_logits(
        decoder, naive_cross_attention(decoder.attention, points, anchors, features, code), image, initial
    )


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("queries", [0, 1, 33])
def test_same_values_and_gradients_as_the_plain_form(dtype, tolerance, queries):
    """Merged and shared maps change the cost, not the values."""
    decoder = decoder_of(dtype)
    ours, theirs = (
        values_and_gradients(partial(form, decoder), inputs(queries, dtype), decoder.parameters(), all_used=True)
        for form in (fast, naive)
    )
    assert_same(ours, theirs, tolerance, relative=tolerance)


@pytest.mark.parametrize("queries", [0, 1, 200, 333])
def test_pieces_change_nothing(queries):
    decoder, tensors = decoder_of(torch.float64), inputs(queries, torch.float64)
    with torch.no_grad():
        pieces = fast(decoder, *tensors)
    torch.testing.assert_close(pieces, fast(decoder, *tensors).detach())


def test_large_scores_do_not_overflow():
    decoder, tensors = decoder_of(torch.float32), inputs(17, torch.float32)
    decoder.attention.weighting[2].weight.data *= 1e4
    ours = fast(decoder, *tensors)
    assert torch.isfinite(ours).all()
    torch.testing.assert_close(ours, naive(decoder, *tensors), rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
def test_same_on_a_gpu():
    decoder, tensors = decoder_of(torch.float64), inputs(333, torch.float64)
    with torch.no_grad():
        on_cpu = fast(decoder, *tensors)
        on_gpu = fast(decoder.cuda(), *(each.cuda() for each in tensors))
    torch.testing.assert_close(on_cpu, on_gpu.cpu())
