"""Attention blocks of the image networks: among tokens, and from every query point to the tokens of an image.

All norms have eps 1e-6, all heads a width of floor(width / heads). Source: IntagHand (CVPR 2022), section 3.3; Im2Hands (CVPR
2023), section 3.2, in which every query attends separately to the image tokens, so query points do not see each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.geometry.pieces import in_pieces

NORM_EPS = 1e-6


class FeedForward(nn.Module):
    """x + contract(relu(expand(norm(x)))), with dropout inside and before the sum.

    hidden: inner width; the published blocks use the width itself, IntagHand's own also others.
    """

    def __init__(self, width: int, hidden: int | None = None, dropout: float = 0.01) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.expand = nn.Linear(width, hidden or width)
        self.contract = nn.Linear(hidden or width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        inner = self.dropout(F.relu(self.expand(self.norm(tokens))))
        return tokens + self.dropout(self.contract(inner))


@dataclass(frozen=True)
class SharedTokens:
    """Keys and values of an image's tokens, computed once for any number of queries."""

    keys: Float[Tensor, "batch heads tokens depth"]
    values: Float[Tensor, "batch heads tokens depth"]


class SelfAttention(nn.Module):
    """Pre-norm self attention with a residual connection, then a feed-forward block.

    If `heads` does not divide `width`, the inner width is heads * floor(width / heads).
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.01) -> None:
        super().__init__()
        self.heads, self.depth = heads, width // heads
        inner = heads * self.depth
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.query, self.key, self.value = (nn.Linear(width, inner) for _ in range(3))
        self.output = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = FeedForward(width, dropout=dropout)

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """All tokens attend to all tokens."""
        query, key, value = self._projections(tokens)
        attended = self.weights(query @ key.transpose(-1, -2)) @ value
        return self._finish(tokens, self._joined(attended))

    def shared(self, tokens: Float[Tensor, "batch tokens width"]) -> SharedTokens:
        """Keys and values of tokens to which many queries will attend."""
        normed = self.norm(tokens)
        return SharedTokens(self._split(self.key(normed)), self._split(self.value(normed)))

    def attend_each(
        self, queries: Float[Tensor, "batch queries width"], tokens: SharedTokens
    ) -> Float[Tensor, "batch queries width"]:
        """Every query attends separately to itself and to the shared tokens.

        The same as `forward` on the sequence [query, tokens] of each query, of which only the query's row is kept; without
        gradients it runs in pieces.
        """
        scores = 2 * self.heads * (1 + tokens.keys.shape[2])
        numbers = queries.shape[0] * (scores + 4 * self.heads * self.depth + 4 * queries.shape[2])
        return in_pieces(lambda piece: self._attend_each(piece, tokens), queries, numbers)

    def weights(self, scores: Float[Tensor, "*batch tokens"]) -> Float[Tensor, "*batch tokens"]:
        """Attention weights of raw products."""
        return self.dropout(torch.softmax(scores / math.sqrt(self.depth), dim=-1))

    def _attend_each(self, queries: Tensor, tokens: SharedTokens) -> Tensor:
        query, own_key, own_value = self._projections(queries)
        own_score = (query * own_key).sum(-1, keepdim=True)
        weights = self.weights(torch.cat([own_score, query @ tokens.keys.transpose(-1, -2)], dim=-1))
        attended = weights[..., :1] * own_value + weights[..., 1:] @ tokens.values
        return self._finish(queries, self._joined(attended))

    def _projections(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of every token by one matrix product."""
        weight = torch.cat([self.query.weight, self.key.weight, self.value.weight])
        bias = torch.cat([self.query.bias, self.key.bias, self.value.bias])
        query, key, value = F.linear(self.norm(tokens), weight, bias).chunk(3, dim=-1)
        return self._split(query), self._split(key), self._split(value)

    def _finish(self, tokens: Tensor, attended: Tensor) -> Tensor:
        return self.feed_forward(tokens + self.dropout(self.output(attended)))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, self.depth)).transpose(1, 2)

    @staticmethod
    def _joined(tokens: Tensor) -> Tensor:
        return tokens.transpose(1, 2).flatten(2)


class ImageTokens(nn.Module):
    """Square patches of a feature map as tokens that have attended to one another.

    image_size: side of the map; its patches have the side image_size / grid.  channels: channels of the map.  width: width of
    the tokens.
    """

    def __init__(
        self, image_size: int, channels: int, grid: int, width: int, heads: int, dropout: float = 0.01
    ) -> None:
        super().__init__()
        self.grid = grid
        side = image_size // grid
        self.patches = nn.Conv2d(channels, width, kernel_size=side, stride=side)
        self.positions = nn.Embedding(grid * grid, width)
        self.attention = SelfAttention(width, heads, dropout)

    def forward(self, image: Float[Tensor, "batch channels size size"]) -> Float[Tensor, "batch tokens width"]:
        return self.of_patches(cut_into_patches(image, self.grid))

    def of_patches(self, patches: Float[Tensor, "batch tokens pixels"]) -> Float[Tensor, "batch tokens width"]:
        """From a map that has been cut already, for several blocks that look at one map.

        The convolution as one matrix product: the same sums, on a CPU with half the time for gradients.
        """
        tokens = F.linear(patches, self.patches.weight.flatten(1), self.patches.bias)
        return self.attention(F.relu(tokens) + self.positions.weight)


def cut_into_patches(
    image: Float[Tensor, "batch channels size size"], grid: int
) -> Float[Tensor, "batch tokens pixels"]:
    """A map in grid x grid square patches, row by row; `pixels` counts channels, then rows and columns of a patch."""
    side = image.shape[-1] // grid
    patches = image.unflatten(3, (grid, side)).unflatten(2, (grid, side))
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class QueryImageAttention(nn.Module):
    """Queries that look at an image, each on its own (Im2Hands) or all together (IntagHand's vertices).

    token_width: width of the image tokens.  query_width: width of the queries.  together: queries also attend to each other.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        grid: int,
        token_width: int,
        query_width: int,
        heads: int,
        dropout: float = 0.01,
        together: bool = False,
    ) -> None:
        super().__init__()
        self.together = together
        self.tokens = ImageTokens(image_size, channels, grid, token_width, heads, dropout)
        self.to_query = nn.Linear(token_width, query_width)
        self.attention = SelfAttention(query_width, heads, dropout)

    def forward(
        self, image: Float[Tensor, "batch channels size size"], queries: Float[Tensor, "batch queries width"]
    ) -> Float[Tensor, "batch queries width"]:
        if self.together:
            tokens = self.to_query(self.tokens(image))
            return self.attention(torch.cat([queries, tokens], dim=1))[:, : queries.shape[1]]
        return self.attend(queries, self.encode(image))

    def encode(self, image: Float[Tensor, "batch channels size size"]) -> SharedTokens:
        """Keys and values of the image, once for all its queries."""
        return self.attention.shared(self.to_query(self.tokens(image)))

    def encode_patches(self, patches: Float[Tensor, "batch tokens pixels"]) -> SharedTokens:
        """The same from `cut_into_patches`, which blocks that look at one image share."""
        return self.attention.shared(self.to_query(self.tokens.of_patches(patches)))

    def attend(
        self, queries: Float[Tensor, "batch queries width"], image: SharedTokens
    ) -> Float[Tensor, "batch queries width"]:
        """Queries after each has attended, alone, to the encoded image."""
        return self.attention.attend_each(queries, image)
