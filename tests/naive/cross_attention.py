"""The query decoder as the specification writes it: ten entries per query, each with its own key, value and offset."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from im2hands.networks.cross_attention import CrossAttention, QueryDecoder
from tests.naive.point_transformer import naive_neighbours, rows

COPIES = 32


def naive_cross_attention(block: CrossAttention, x: Tensor, anchors: Tensor, features: Tensor, code: Tensor) -> Tensor:
    """(batch, n, width) from queries, anchors with their features, and a hand's code."""
    idx = naive_neighbours(x, anchors, block.neighbours)
    near = rows(features, idx)
    delta = block.position(x[:, :, None] - rows(anchors, idx))
    delta = torch.cat([delta, torch.zeros_like(delta[:, :, :1])], dim=2)
    size = (len(x), x.shape[1], 1, -1)
    k = torch.cat([block.key(near), block.code_key(code)[:, None, None].expand(size)], dim=2)
    v = torch.cat([block.value(near), block.code_value(code)[:, None, None].expand(size)], dim=2)
    q = block.query(code)[:, None, None]
    a = torch.softmax(block.weighting(q - k + delta), dim=2)
    return (a * (v + delta)).sum(2)


def naive_logits(decoder: QueryDecoder, c: Tensor, image_features: Tensor, initial: Tensor) -> Tensor:
    """Logits (batch, n); the initial occupancy is really repeated."""
    net = decoder.start(torch.cat([c, image_features, initial[..., None].repeat(1, 1, COPIES)], dim=-1))
    for attended, block in zip(decoder.attended, decoder.blocks, strict=True):
        net = net + attended(c)
        net = net + block.second(F.relu(block.first(F.relu(net))))
    return decoder.last(net)[..., 0]
