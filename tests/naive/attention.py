"""Attention as the specification writes it: every query is a sequence of its own, [query, image tokens]; its row is kept."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from im2hands.networks.attention import QueryImageAttention, SelfAttention


def naive_self_attention(block: SelfAttention, tokens: Tensor) -> Tensor:
    """y = x + fc(softmax(q k / sqrt(d)) v) of LN(x); y + fc2(relu(fc1(LN(y)))). tokens: (sequences, tokens, width)."""
    normed = _norm(tokens, block.norm)
    q, k, v = (
        layer(normed).unflatten(-1, (block.heads, -1)).transpose(1, 2)
        for layer in (block.query, block.key, block.value)
    )
    weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1)
    y = tokens + block.output((weights @ v).transpose(1, 2).flatten(2))
    forward = block.feed_forward
    return y + forward.contract(F.relu(forward.expand(_norm(y, forward.norm))))


def naive_image_tokens(block: QueryImageAttention, image: Tensor) -> Tensor:
    """(batch, tokens, token width): patches, positions, self attention."""
    patches = block.tokens.patches
    side = patches.kernel_size[0]
    cut = image.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    grid = F.relu(F.linear(cut, patches.weight.flatten(1), patches.bias)) + block.tokens.positions.weight
    return naive_self_attention(block.tokens.attention, grid)


def naive_query_image_attention(block: QueryImageAttention, image: Tensor, queries: Tensor) -> Tensor:
    """(batch, queries, width) from an image map and queries, which attend one by one."""
    return naive_attend(block, naive_image_tokens(block, image), queries)


def naive_attend(block: QueryImageAttention, tokens: Tensor, queries: Tensor) -> Tensor:
    """The same from image tokens: all sequences in one batch."""
    batch, count, width = queries.shape
    tokens = block.to_query(tokens)
    repeated = tokens[:, None].expand(-1, count, -1, -1).flatten(0, 1)
    sequences = torch.cat([queries.reshape(batch * count, 1, width), repeated], dim=1)
    return naive_self_attention(block.attention, sequences)[:, 0].reshape(batch, count, width)


def _norm(tokens: Tensor, layer: nn.LayerNorm) -> Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:], layer.weight, layer.bias, 1e-6)
