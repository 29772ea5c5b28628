"""How many rows of a long job are processed together: as many as fit into the CPU cache or the free GPU memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

CACHE_BYTES = 4 << 20
"""What the intermediate results of a piece may take on a CPU, per thread: about the cache of a core."""
GPU_SHARE = 0.25
"""The same on a GPU: share of its free memory."""
FEWEST_GPU_ROWS = 128


def rows_at_once(like: Tensor, numbers_per_row: int) -> int:
    """Rows per piece, at least one.

    like: a tensor of the job, for device and element size.  numbers_per_row: intermediate results of a row that live together.
    """
    row = max(1, numbers_per_row) * like.element_size()
    if like.device.type != "cuda":
        return max(1, CACHE_BYTES * torch.get_num_threads() // row)
    free, _ = torch.cuda.mem_get_info(like.device)
    return max(FEWEST_GPU_ROWS, int(GPU_SHARE * free) // row)


def pieces(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `count` rows in order."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def in_pieces(function: Callable[[Tensor], Tensor], rows: Tensor, numbers_per_row: int, dim: int = 1) -> Tensor:
    """`function(rows)`, which treats every row along `dim` alone, piece by piece; the pieces are joined along `dim`.

    With gradients, for which the intermediate results of all pieces would be kept, and for compilers, all rows are one piece.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return function(rows)
    parts = [function(part) for part in rows.split(rows_at_once(rows, numbers_per_row), dim=dim)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)
