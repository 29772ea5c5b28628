"""Cross attention at 8,192 queries against ten entries per query (`tests/naive/cross_attention.py`); 1 and 2 threads."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.harness import Benchmark
from im2hands.networks.cross_attention import CrossAttention
from tests.naive.cross_attention import naive_cross_attention

QUERIES, ANCHORS, TARGET = 8192, 128, 2.0


def forms() -> dict[str, Callable[[], torch.Tensor]]:
    """Both forms at the published size; ours makes the anchors' terms anew in every call."""
    torch.manual_seed(0)
    block = CrossAttention().eval().requires_grad_(False)
    points, anchors = 0.1 * torch.randn(1, QUERIES, 3), 0.1 * torch.randn(1, ANCHORS, 3)
    features, code = torch.randn(1, ANCHORS, 256), torch.randn(1, 256)
    return {
        "fast": torch.no_grad()(lambda: block(points, block.of_anchors(anchors, features), block.of_code(code))),
        "naive": torch.no_grad()(lambda: naive_cross_attention(block, points, anchors, features, code)),
    }


def wall_seconds(job: Callable[[], object], repeats: int = 3) -> float:
    job()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        job()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    torch.set_num_threads(1)
    benchmark, jobs = Benchmark("cross_attention", ("torch", "numpy")), forms()
    benchmark.compare(
        f"cross attention, {QUERIES} queries, 1 thread",
        jobs["fast"],
        {"naive": jobs["naive"]},
        target={"naive": TARGET},
        repeats=4,
    )
    torch.set_num_threads(2)
    seconds = {form: wall_seconds(job) for form, job in jobs.items()}
    ratio = round(seconds["naive"] / seconds["fast"], 2)
    job = f"cross attention, {QUERIES} queries, wall time, 2 threads"
    milliseconds = {form: round(1e3 * value, 1) for form, value in seconds.items()}
    benchmark.rows.append({"job": job, "wall_ms": milliseconds, "ratio": ratio, "threads": 2})
    print(f"{job}: {milliseconds} ms, ratio {ratio}x")
    benchmark.save()


if __name__ == "__main__":
    main()
