"""Furthest point sampling: a few points of a cloud that cover all of it; batched torch on any device.

Source: PointNet++ (NeurIPS 2017), section 3.2; the rule of the kernel that Im2Hands' published weights were trained with.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from im2hands.config.choices import Behaviour
from im2hands.io.errors import DataError

DEAD_BALL = 1e-3
"""Squared distance from the origin (m²) up to which the published rule never picks a point: 31.6 mm."""
FAR = 1e10
MOST_THREADS = 512


@torch.no_grad()
def furthest_points(
    points: Float[Tensor, "batch n 3"], count: int, fps_dead_ball: Behaviour = "consistent"
) -> Integer[Tensor, "batch count"]:
    """Indices of `count` points of each cloud: the first one, then always the one furthest from all picked so far.

    All clouds advance together, so many small ones cost little more than one.
    fps_dead_ball: "published" never picks a point within 31.6 mm of the origin (points in metres) except the first, repeats
    index 0 where that leaves none, and breaks ties as the published kernel does (see `published_order`); "consistent" lets
    every point take part and takes the lowest index of equals.
    Where fewer distinct points than `count` take part, picked ones are repeated.  Raises DataError for more than n.
    """
    if fps_dead_ball not in ("published", "consistent"):
        raise DataError(f"fps_dead_ball must be `published` or `consistent`, not {fps_dead_ball!r}.")
    n = points.shape[1]
    if not 1 <= count <= n:
        raise DataError(f"cannot pick {count} of {n} points; give clouds of at least {max(count, 1)} points.")
    order = published_order(n) if fps_dead_ball == "published" else range(n)
    order = torch.tensor(order, device=points.device)
    axes = points[:, order].movedim(-1, 0).contiguous()
    nearest = torch.full_like(axes[0], FAR)
    if fps_dead_ball == "published":
        allowed = _squared_lengths(axes.square()) > DEAD_BALL
        nearest = nearest.masked_fill_(~allowed, -1.0)  # smaller than any distance: stays the minimum
        # Places in `order` of the fallback, index 0, come first: max takes the first of equals, all of them -1 then.
    picked = torch.zeros(len(points), 1, dtype=torch.long, device=points.device)
    picks = [picked]
    for _ in range(count - 1):
        offsets = axes - axes.gather(2, picked.expand(3, -1, -1))
        torch.minimum(nearest, _squared_lengths(offsets.square_()), out=nearest)
        picked = nearest.max(dim=1, keepdim=True).indices
        picks.append(picked)
    return order[torch.cat(picks, dim=1)]


def _squared_lengths(squares: Float[Tensor, "3 batch n"]) -> Float[Tensor, "batch n"]:
    """x² + y² + z², summed in this order, which decides what is equal."""
    return (squares[0] + squares[1]).add_(squares[2])


@cache
def published_order(n: int) -> tuple[int, ...]:
    """Indices of n points, those first that the published kernel prefers among equally far ones.

    T threads, the largest power of two up to n and 512, look at the points k with the same k mod T and are then compared in
    pairs; the lowest bit-reversed thread number wins, then the lowest k.
    """
    bits = min(n, MOST_THREADS).bit_length() - 1
    threads = 1 << bits

    def preference(k: int) -> tuple[int, int]:
        reversed_bits = int(f"{k % threads:0{bits}b}"[::-1], 2) if bits else 0
        return reversed_bits, k

    return tuple(sorted(range(n), key=preference))
