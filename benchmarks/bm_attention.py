"""Query-image attention against one sequence per query (`tests/naive/attention.py`): time and peak memory, 1 and 2 threads."""

from __future__ import annotations

from benchmarks.harness import Benchmark  # first: it sets the number of threads

# isort: split
from collections.abc import Callable
from typing import Any

import torch

from im2hands.networks.attention import QueryImageAttention
from tests.naive.attention import naive_attend

SIZES = {4096: 8.0, 35937: 20.0}
"""Queries (the second: a lattice of 33 points a side), and how many times cheaper the fast form is to be."""
TRAINING_QUERIES, MEMORY_TARGET = 4096, 5.0


def forms(queries: int) -> dict[str, Callable[[], Any]]:
    """Both forms of the published block from image tokens to queries, without gradients."""
    torch.manual_seed(0)
    block = QueryImageAttention(64, 32, 4, 32, 19, 2).eval().requires_grad_(False)
    image, points = torch.randn(1, 32, 64, 64), torch.randn(1, queries, 19)
    encoded, tokens = block.encode(image), block.tokens(image)
    return {
        "fast": torch.no_grad()(lambda: block.attend(points, encoded)),
        "naive": torch.no_grad()(lambda: naive_attend(block, tokens, points)),
    }


def training_forms(queries: int) -> dict[str, Callable[[], Any]]:
    """Forward and backward of both forms."""
    torch.manual_seed(0)
    block = QueryImageAttention(64, 32, 4, 32, 19, 2)
    image, points = torch.randn(1, 32, 64, 64), torch.randn(1, queries, 19, requires_grad=True)
    return {
        "fast": lambda: block(image, points).sum().backward(),
        "naive": lambda: naive_attend(block, block.tokens(image), points).sum().backward(),
    }


def main() -> None:
    benchmark = Benchmark("attention", ("torch", "numpy"))
    for queries, target in SIZES.items():
        job = f"query-image attention, {queries} queries"
        benchmark.compare_forms(job, forms, (queries,), target=target, memory_target=MEMORY_TARGET, repeats=7)
    job = f"query-image attention, {TRAINING_QUERIES} queries, forward and backward"
    benchmark.compare_forms(job, training_forms, (TRAINING_QUERIES,), repeats=5)
    benchmark.save()


if __name__ == "__main__":
    main()
