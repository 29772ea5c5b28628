"""Nearest points of small clouds (some hundred points), batched torch on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from im2hands.geometry.pieces import in_pieces
from im2hands.io.errors import DataError

DISTANCES_AT_ONCE = 5
"""What a search keeps of every pair of points at a time, in numbers of the points' type."""


@torch.no_grad()
def nearest_points(
    centres: Float[Tensor, "batch m 3"], points: Float[Tensor, "batch n 3"], count: int
) -> Integer[Tensor, "batch m count"]:
    """Indices of the `count` points nearest to each centre, of equally near ones the lower; in no particular order.

    Distances are sums of squared differences, so that they are as exact as their type, whatever the distance to the origin.
    Raises DataError if a cloud has fewer than `count` points.
    """
    n = points.shape[1]
    if not 1 <= count <= n:
        raise DataError(f"cannot find {count} neighbours among {n} points; give at least as many points.")
    if count == n:
        return torch.arange(n, device=points.device).expand(*centres.shape[:2], n)
    return in_pieces(lambda part: _nearest(part, points, count), centres, DISTANCES_AT_ONCE * points.shape[0] * n)


def _nearest(centres: Tensor, points: Tensor, count: int) -> Tensor:
    n = points.shape[1]
    distances = None
    for axis in range(3):
        difference = centres[:, :, None, axis] - points[:, None, :, axis]
        distances = difference.square_() if distances is None else distances.addcmul_(difference, difference)
    if distances.dtype != torch.float32:
        return distances.argsort(dim=-1, stable=True)[..., :count]
    # Bits of floats that are not negative are in the order of the floats; the index in the low bits decides between equals.
    keys = distances.view(torch.int32).long().mul_(n).add_(torch.arange(n, device=points.device))
    return keys.topk(count, dim=-1, largest=False, sorted=False).values.remainder_(n)


def gathered(
    features: Float[Tensor, "batch n width"], indices: Integer[Tensor, "batch m k"]
) -> Float[Tensor, "batch m k width"]:
    """features[b, indices[b]]; the gradient is summed row by row, which costs far less than that of fancy indexing."""
    offsets = torch.arange(len(features), device=features.device)[:, None, None] * features.shape[1]
    return F.embedding(indices + offsets, features.flatten(0, 1))
