"""Cross attention at 8,192 queries against ten entries per query (`tests/naive/cross_attention.py`); 1 and 2 threads."""

from __future__ import annotations

from benchmarks.harness import Benchmark  # first: it sets the number of threads

# isort: split
from collections.abc import Callable
from typing import Any

import torch

from im2hands.networks.cross_attention import CrossAttention
from tests.naive.cross_attention import naive_cross_attention

QUERIES, ANCHORS, TARGET = 8192, 128, 2.0


def blocks_and_inputs() -> tuple[CrossAttention, list[torch.Tensor]]:
    """The published size: queries, anchors, their features, a code."""
    torch.manual_seed(0)
    points, anchors = 0.1 * torch.randn(1, QUERIES, 3), 0.1 * torch.randn(1, ANCHORS, 3)
    return CrossAttention(), [points, anchors, torch.randn(1, ANCHORS, 256), torch.randn(1, 256)]


def fast(block: CrossAttention, points, anchors, features, code) -> torch.Tensor:
    """The anchors' terms are computed in every call."""
    return block(points, block.of_anchors(anchors, features), block.of_code(code))


def forms() -> dict[str, Callable[[], Any]]:
    block, inputs = blocks_and_inputs()
    return {
        "fast": torch.no_grad()(lambda: fast(block, *inputs)),
        "naive": torch.no_grad()(lambda: naive_cross_attention(block, *inputs)),
    }


def training_forms() -> dict[str, Callable[[], Any]]:
    """Forward and backward of both forms."""
    block, inputs = blocks_and_inputs()
    return {
        "fast": lambda: fast(block, *inputs).sum().backward(),
        "naive": lambda: naive_cross_attention(block, *inputs).sum().backward(),
    }


def main() -> None:
    benchmark = Benchmark("cross_attention", ("torch", "numpy"))
    benchmark.compare_forms(f"cross attention, {QUERIES} queries", forms, target=TARGET, repeats=5)
    job = f"cross attention, {QUERIES} queries, forward and backward"
    benchmark.compare_forms(job, training_forms, repeats=3)
    benchmark.save()


if __name__ == "__main__":
    main()
