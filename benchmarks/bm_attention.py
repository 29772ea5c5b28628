"""Query-image attention against one sequence per query (`tests/naive/attention.py`): time and peak memory, 1 and 2 threads.

Time is wall time where threads are compared, CPU time in the other rows. Peak memory is measured in a process of its own per
form: the largest resident set during one evaluation less the resident set before it (Linux).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.harness import Benchmark
from im2hands.networks.attention import QueryImageAttention
from tests.naive.attention import naive_attend

SIZES = {4096: 8.0, 35937: 20.0}
"""Queries (the second: a lattice of 33 points a side), and how many times cheaper the fast form is to be."""
MEMORY_TARGET = 5.0
ROOT = Path(__file__).parents[1]


def forms(queries: int) -> dict[str, Callable[[], Tensor]]:
    """Both forms of the published block from image tokens to queries, without gradients."""
    torch.manual_seed(0)
    block = QueryImageAttention(64, 32, 4, 32, 19, 2).eval().requires_grad_(False)
    image, points = torch.randn(1, 32, 64, 64), torch.randn(1, queries, 19)
    encoded, tokens = block.encode(image), block.tokens(image)
    return {
        "fast": torch.no_grad()(lambda: block.attend(points, encoded)),
        "naive": torch.no_grad()(lambda: naive_attend(block, tokens, points)),
    }


def training_forms(queries: int) -> dict[str, Callable[[], None]]:
    """Forward and backward of both forms."""
    torch.manual_seed(0)
    block = QueryImageAttention(64, 32, 4, 32, 19, 2)
    image, points = torch.randn(1, 32, 64, 64), torch.randn(1, queries, 19, requires_grad=True)
    return {
        "fast": lambda: block(image, points).sum().backward(),
        "naive": lambda: naive_attend(block, block.tokens(image), points).sum().backward(),
    }


def peak_mebibytes(form: str, queries: int) -> float:
    """What one evaluation needs besides its inputs and its block, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bm_attention", form, str(queries)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout)


def report_peak(form: str, queries: int) -> None:
    job = forms(queries)[form]
    forms(64)[form]()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the kernel's record of the largest resident set starts anew
    before = resident_kibibytes("VmRSS")
    job()
    print((resident_kibibytes("VmHWM") - before) / 1024)


def resident_kibibytes(kind: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind))


def wall_seconds(job: Callable[[], object], repeats: int) -> float:
    job()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        job()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    torch.set_num_threads(1)
    benchmark = Benchmark("attention", ("torch", "numpy"))
    for queries, target in SIZES.items():
        jobs = forms(queries)
        memory = {form: peak_mebibytes(form, queries) for form in jobs}
        row = benchmark.compare(
            f"query-image attention, {queries} queries, 1 thread",
            jobs["fast"],
            {"naive": jobs["naive"]},
            target={"naive": target},
            repeats=9,
            peak_MiB={form: round(value, 1) for form, value in memory.items()},
            memory_ratio=round(memory["naive"] / max(memory["fast"], 0.1), 1),
            memory_target=MEMORY_TARGET,
        )
        print(f"  peak memory: {row['peak_MiB']} MiB, ratio {row['memory_ratio']}x (target {MEMORY_TARGET}x)")
    jobs = training_forms(4096)
    benchmark.compare(
        "query-image attention, 4096 queries, forward and backward, 1 thread",
        jobs["fast"],
        {"naive": jobs["naive"]},
        repeats=5,
    )
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for queries in SIZES:
            seconds = {form: wall_seconds(job, 15) for form, job in forms(queries).items()}
            ratio = round(seconds["naive"] / seconds["fast"], 2)
            milliseconds = {form: round(1e3 * value, 3) for form, value in seconds.items()}
            job = f"query-image attention, {queries} queries, wall time, {threads} threads"
            benchmark.rows.append({"job": job, "wall_ms": milliseconds, "ratio": ratio, "threads": threads})
            print(f"{job}: {milliseconds} ms, ratio {ratio}x")
    benchmark.save()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)
        report_peak(sys.argv[1], int(sys.argv[2]))
    else:
        main()
