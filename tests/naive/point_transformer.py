"""The anchor encoder as the specification writes it: one hand of one sample's points after another, every pair's terms."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from im2hands.networks.point_transformer import PointResidual, PointTransformer, SetAbstraction, TransformerBlock


def naive_furthest_points(points: np.ndarray, count: int, published: bool) -> list[int]:
    """Indices for one cloud by the kernel's rules, thread by thread."""
    n = len(points)
    threads = 1
    while threads * 2 <= min(n, 512):
        threads *= 2
    bits = threads.bit_length() - 1
    reversed_bits = [sum(1 << (bits - 1 - i) for i in range(bits) if (k % threads) >> i & 1) for k in range(n)]
    nearest, picks = np.full(n, 1e10), [0]
    allowed = np.full(n, True) if not published else (points.astype(np.float32) ** 2).sum(-1) > np.float32(1e-3)
    for _ in range(count - 1):
        nearest = np.minimum(nearest, ((points - points[picks[-1]]) ** 2).sum(-1))
        if not allowed.any():
            picks.append(0)
            continue
        best = np.flatnonzero(allowed & (nearest == nearest[allowed].max())).tolist()
        picks.append(min(best, key=lambda k: (reversed_bits[k], k) if published else k))
    return picks


def naive_neighbours(centres: Tensor, points: Tensor, count: int) -> Tensor:
    """(batch, m, k): full ascending sort of squared distances, the lower index first."""
    squares = ((centres[:, :, None] - points[:, None]) ** 2).sum(-1)
    return squares.argsort(dim=-1, stable=True)[..., :count]


def rows(features: Tensor, indices: Tensor) -> Tensor:
    return torch.stack([each[chosen] for each, chosen in zip(features, indices, strict=True)])


def naive_norm(norm: torch.nn.BatchNorm1d, features: Tensor) -> Tensor:
    """Batch norm of (batch, points, channels) over the first two, as of a (batch, channels, points) tensor."""
    arguments = (norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training, norm.momentum, norm.eps)
    return F.batch_norm(features.transpose(1, 2), *arguments).transpose(1, 2)


def naive_block(block: TransformerBlock, x: Tensor, f: Tensor) -> Tensor:
    idx = naive_neighbours(x, x, x.shape[1] if block.neighbours is None else block.neighbours)
    q, k, v = block.query(f)[:, :, None], rows(block.key(f), idx), rows(block.value(f), idx)
    delta = block.position(x[:, :, None] - rows(x, idx))
    a = torch.softmax(block.weighting(q - k + delta), dim=2)
    return naive_norm(block.norm, (a * (v + delta)).sum(2) + f)


def naive_reduction(block: SetAbstraction, x: Tensor, f: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    centres, own = rows(x, kept), rows(f, kept)
    idx = naive_neighbours(centres, x, block.neighbours)
    near = rows(f, idx)
    delta = block.position(rows(x, idx) - centres[:, :, None])
    a = torch.softmax(block.first_weighting(block.first_query(own)[:, :, None] - block.first_key(near) + delta), dim=2)
    r1 = (a * (block.first_value(near) + delta)).sum(2)
    r1 = r1 + block.contract(F.relu(naive_norm(block.expand_norm, block.expand(r1))))
    r1 = naive_norm(block.first_norm, r1)
    a = torch.softmax(
        block.second_weighting(block.second_query(r1)[:, :, None] - block.second_key(near) + delta), dim=2
    )
    r2 = (a * (block.second_value(near) + delta)).sum(2)
    return centres, naive_norm(block.norm, naive_norm(block.second_norm, r1 + r2) + own)


def naive_residual(block: PointResidual, x: Tensor) -> Tensor:
    hidden = F.relu(naive_norm(block.first_norm, block.first(x)))
    return naive_norm(block.norm, x + F.relu(naive_norm(block.second_norm, block.second(hidden))))


def naive_encoding(encoder: PointTransformer, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Positions and features of the anchors, and the code."""
    f = naive_block(encoder.begin, x, encoder.embed(features))
    for level, count in enumerate(encoder.counts):
        published = encoder.fps_dead_ball == "published"
        kept = [naive_furthest_points(each.detach().cpu().numpy(), count, published) for each in x]
        x, f = naive_reduction(encoder.reductions[level], x, f, torch.tensor(kept, device=x.device))
        f = naive_residual(encoder.reduced_residuals[level], f)
        f = naive_block(encoder.reduced_blocks[level], x, f)
        if level == 0:
            f = encoder.widen(f)
        f = naive_residual(encoder.residuals[level], f)
    for block, residual in zip(encoder.final_blocks, encoder.final_residuals, strict=True):
        f = naive_residual(residual, naive_block(block, x, f))
    return x, f, encoder.to_code(f.max(dim=1).values)
