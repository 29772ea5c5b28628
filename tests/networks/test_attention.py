"""Shared image tokens against one sequence per query, and the properties that callers rely on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from im2hands.geometry import pieces
from im2hands.networks.attention import FeedForward, ImageTokens, QueryImageAttention, SelfAttention
from tests.naive.attention import naive_image_tokens, naive_query_image_attention, naive_self_attention
from tests.networks.comparing import assert_same, values_and_gradients

TOLERANCES = [(torch.float32, 1e-5), (torch.float64, 1e-12)]


def block_of(dtype: torch.dtype, dropout: float = 0.0, together: bool = False) -> QueryImageAttention:
    """A small block whose query width is not divisible by its heads; norms and biases are not trivial."""
    torch.manual_seed(1)
    block = QueryImageAttention(16, 3, 2, 10, 7, 2, dropout, together)
    for parameter in block.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 0.5, 0.3)
    return block.to(dtype)


def inputs_of(batch: int, queries: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(queries + 1)
    image = torch.randn(batch, 3, 16, 16, generator=generator, dtype=torch.float64)
    return image.to(dtype), torch.randn(batch, queries, 7, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("queries", [0, 1, 33])
@pytest.mark.parametrize("batch", [1, 3])
def test_query_image_attention_equals_naive(dtype, tolerance, queries, batch):
    """Shared image tokens change the cost, not values or gradients."""
    block, inputs = block_of(dtype), inputs_of(batch, queries, dtype)
    naive = values_and_gradients(lambda *x: naive_query_image_attention(block, *x), inputs, block.parameters())
    assert_same(values_and_gradients(block, inputs, block.parameters()), naive, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_image_tokens_equal_naive(dtype, tolerance):
    block, (image, _) = block_of(dtype), inputs_of(2, 0, dtype)
    naive = values_and_gradients(lambda x: naive_image_tokens(block, x), (image,), block.tokens.parameters())
    assert_same(values_and_gradients(block.tokens, (image,), block.tokens.parameters()), naive, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize(("width", "heads"), [(8, 2), (19, 2), (11, 4)])
def test_self_attention_equals_naive(dtype, tolerance, width, heads):
    torch.manual_seed(0)
    block = SelfAttention(width, heads, dropout=0.0).to(dtype)
    tokens = torch.randn(2, 5, width, dtype=torch.float64).to(dtype)
    naive = values_and_gradients(lambda x: naive_self_attention(block, x), (tokens,), block.parameters())
    assert_same(values_and_gradients(block, (tokens,), block.parameters()), naive, tolerance)


def test_gradients_are_those_of_finite_differences():
    block, (image, queries) = block_of(torch.float64), inputs_of(1, 2, torch.float64)
    queries.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: block(image, x), (queries,))


def test_queries_alone_do_not_see_each_other():
    """A query's result is the same alone, in any company and in any order."""
    block, (image, queries) = block_of(torch.float64), inputs_of(2, 9, torch.float64)
    with torch.no_grad():
        encoded = block.encode(image)
        all_of_them = block.attend(queries, encoded)
        torch.testing.assert_close(block.attend(queries[:, 4:5], encoded), all_of_them[:, 4:5])
        torch.testing.assert_close(block.attend(queries.flip(1), encoded).flip(1), all_of_them)


def test_queries_together_are_one_sequence_with_the_image():
    """IntagHand's form: all queries and tokens attend to each other."""
    block, (image, queries) = block_of(torch.float64, together=True), inputs_of(2, 5, torch.float64)
    tokens = block.to_query(naive_image_tokens(block, image))
    expected = naive_self_attention(block.attention, torch.cat([queries, tokens], dim=1))[:, :5]
    torch.testing.assert_close(block(image, queries), expected)
    moved = queries.clone()
    moved[:, 3, 0] += 1
    assert not torch.allclose(block(image, moved)[:, 0], expected[:, 0])


def test_pieces_change_nothing(monkeypatch):
    """Cutting the queries so that their scores fit the cache is invisible."""
    block, (image, queries) = block_of(torch.float64), inputs_of(2, 50, torch.float64)
    with torch.no_grad():
        whole = block(image, queries)
        monkeypatch.setattr(pieces, "CACHE_BYTES", 7 * 1000)
        torch.testing.assert_close(block(image, queries), whole, rtol=0, atol=1e-14)


def test_scale_eps_and_residuals_are_noticed():
    """The comparison with the plain form would fail for a scale of sqrt(width / heads) or another eps."""
    block, (image, queries) = block_of(torch.float64), inputs_of(1, 6, torch.float64)
    expected = naive_query_image_attention(block, image, queries)
    block.attention.depth = 7 / 2
    monkey = block.attention._split
    block.attention._split = lambda tokens: tokens.unflatten(-1, (2, 3)).transpose(1, 2)
    assert (block(image, queries) - expected).abs().max() > 1e-4
    block.attention._split, block.attention.depth = monkey, 3
    block.attention.norm.eps = 1e-3
    assert (block(image, queries) - expected).abs().max() > 1e-6


# ---- dropout: where it acts, and that the fast form draws it per query


def test_dropout_acts_in_training_only_and_at_the_published_rate():
    block, (image, queries) = block_of(torch.float32, dropout=0.3), inputs_of(1, 4, torch.float32)
    assert not torch.equal(block(image, queries), block(image, queries))
    block.eval()
    assert torch.equal(block(image, queries), block(image, queries))
    default = QueryImageAttention(16, 3, 2, 10, 7, 2)
    rates = [module.p for module in default.modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.01] * 4


class Recorder(nn.Module):
    """Stands in for dropout: remembers the shapes it is asked to act on and scales them by a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.shapes = factor, []

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(tensor.shape))
        return tensor * self.factor


def test_places_of_dropout():
    """On attention weights and before both residual sums, and inside the feed-forward block; drawn for every query."""
    block = SelfAttention(8, 2, dropout=0.5)
    first, second = Recorder(0.5), Recorder(0.25)
    block.dropout, block.feed_forward.dropout = first, second
    tokens = torch.randn(1, 3, 8)
    queries = torch.randn(1, 6, 8)
    ours = block.attend_each(queries, block.shared(tokens))
    assert first.shapes == [(1, 2, 6, 4), (1, 6, 8)]
    assert second.shapes == [(1, 6, 8), (1, 6, 8)]
    for query in range(6):
        sequence = torch.cat([queries[:, query : query + 1], tokens], dim=1)
        normed = block.norm(sequence)
        q, k, v = (
            layer(normed).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (block.query, block.key, block.value)
        )
        attended = (0.5 * torch.softmax(q @ k.mT / 2, -1)) @ v
        y = sequence + 0.5 * block.output(attended.transpose(1, 2).flatten(2))
        inner = 0.25 * torch.relu(block.feed_forward.expand(block.feed_forward.norm(y)))
        expected = y + 0.25 * block.feed_forward.contract(inner)
        torch.testing.assert_close(ours[:, query], expected[:, 0])


def test_mean_over_dropout_is_that_of_the_plain_form():
    """The fast form draws attention dropout per query, so the averages over many draws agree."""
    torch.manual_seed(2)
    block = SelfAttention(8, 2, dropout=0.2).double()
    tokens, query = torch.randn(1, 3, 8).double(), torch.randn(1, 1, 8).double()
    draws = 20000
    with torch.no_grad():
        ours = block.attend_each(query.expand(1, draws, 8), block.shared(tokens))[0]
        sequence = torch.cat([query, tokens], dim=1)
        plain = block(sequence.expand(draws, 4, 8).contiguous())[:, 0]
    spread = 5 * ours.std(0) / draws**0.5
    assert ((ours.mean(0) - plain.mean(0)).abs() < 1.5 * spread).all()
    assert ((ours.std(0) / plain.std(0) - 1).abs() < 0.05).all()


def test_feed_forward_takes_other_inner_widths():
    block = FeedForward(6, hidden=15, dropout=0.0)
    assert block.expand.weight.shape == (15, 6)
    assert block(torch.zeros(2, 6)).shape == (2, 6)


def test_tokens_see_their_own_patch_first():
    """Row-major order of the patches: with attention switched off, a token changes with its patch alone."""
    torch.manual_seed(0)
    tokens = ImageTokens(8, 1, 4, 5, 1, dropout=0.0)
    tokens.attention = nn.Identity()
    image = torch.rand(1, 1, 8, 8)
    changed = image.clone()
    changed[0, 0, 2:4, 6:8] += 5
    difference = (tokens(changed) - tokens(image)).abs().amax(-1)[0]
    assert (difference > 0).nonzero()[:, 0].tolist() == [1 * 4 + 3]


@pytest.mark.gpu
def test_gpu_equals_cpu():
    block, (image, queries) = block_of(torch.float32), inputs_of(2, 500, torch.float32)
    with torch.no_grad():
        expected = block(image, queries)
        ours = block.cuda()(image.cuda(), queries.cuda()).cpu()
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)
