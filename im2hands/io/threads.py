"""How many CPU threads are useful for a piece of work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

POINTS_PER_THREAD = 4096
"""Query points of a step of occupancy networks, at width 64. With fewer, threads save little, and on a busy machine they wait
for one another most of the time."""


def threads_for(points: float, threads: int) -> int:
    """How many of `threads` a step with so many query points is worth."""
    return min(threads, max(1, round(points / POINTS_PER_THREAD)))


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one CPU thread, so that the last bits do not depend on the machine or the number of workers."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
