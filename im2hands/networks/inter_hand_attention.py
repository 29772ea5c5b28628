"""Attention between two hands: each hand's tokens attend to one another, then to the other hand's.

Query, key, value and output maps of the exchange are shared by both directions; all else is one per side.
Source: IntagHand (CVPR 2022), section 3.3.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.hands.sides import Side
from im2hands.networks.attention import NORM_EPS, FeedForward, SelfAttention

HandTokens = dict[Side, Float[Tensor, "batch tokens width"]]


class InterHandAttention(nn.Module):
    """Both hands' tokens after self attention and one exchange; both sides use the tokens from before the exchange."""

    def __init__(self, width: int, heads: int, dropout: float = 0.05) -> None:
        super().__init__()
        self.heads, self.depth = heads, width // heads
        inner = heads * self.depth
        self.self_attention, self.norms, self.feed_forward = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for side in Side:
            self.self_attention[side.value] = SelfAttention(width, heads, dropout)
            self.norms[side.value] = nn.LayerNorm(width, eps=NORM_EPS)
            self.feed_forward[side.value] = FeedForward(width, dropout=dropout)
        self.query, self.key, self.value = (nn.Linear(width, inner) for _ in range(3))
        self.output = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hands: HandTokens) -> HandTokens:
        tokens = {side: self.self_attention[side.value](hands[side]) for side in hands}
        normed = {side: self.norms[side.value](tokens[side]) for side in hands}
        exchanged = {}
        for side in hands:
            seen = self._attend(normed[side], normed[side.other])
            exchanged[side] = self.feed_forward[side.value](tokens[side] + self.dropout(self.output(seen)))
        return exchanged

    def _attend(self, own: Tensor, other: Tensor) -> Tensor:
        query, key, value = (
            layer(tokens).unflatten(-1, (self.heads, self.depth)).transpose(1, 2)
            for layer, tokens in ((self.query, own), (self.key, other), (self.value, other))
        )
        weights = torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(self.depth), dim=-1)
        return (self.dropout(weights) @ value).transpose(1, 2).flatten(2)
