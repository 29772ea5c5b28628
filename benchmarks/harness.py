"""Timing of two or more forms of one job in the same run: CPU seconds of this process, best of several, one thread.

A benchmark file calls `Benchmark(topic)`, adds rows with `compare`, and ends with `save()`, which prints the ratios and
writes `benchmarks/results/<topic>.json` with a description of the machine. `compare_forms` times the fast and the plain form of
a network's part on one and two threads and measures the peak memory of each in a process of its own.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import json
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.peak_memory import peak_mebibytes

RESULTS = Path(__file__).parent / "results"
FAST, NAIVE = "fast", "naive"
Make = Callable[..., dict[str, Callable[[], Any]]]
"""From arguments to both forms of a job; a function of a module, so that a child process can call it."""
SHARED_MACHINE = (
    "Measured on a machine whose cores other work shared. One thread: CPU time of the process. Two threads: wall time. The "
    "forms take turns; the smallest of several runs counts. Peak memory: the largest resident set during one run less the "
    "resident set before it, in a process of its own per form and number of threads, after a warm-up."
)


def cpu_seconds(job: Callable[[], Any], repeats: int = 5, warm_up: int = 1) -> float:
    """Best CPU time (user + system, all threads) of `repeats` calls after `warm_up` uncounted ones."""
    for _ in range(warm_up):
        job()
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        job()
        best = min(best, time.process_time() - start)
    return best


def best_of_turns(
    jobs: dict[str, Callable[[], Any]], clock: Callable[[], float], repeats: int, warm_up: bool = True
) -> dict[str, float]:
    """Smallest time of each job; they take turns, so that what else the machine does hits all alike."""
    if warm_up:
        for job in jobs.values():
            job()
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(repeats):
        for name, job in jobs.items():
            start = clock()
            job()
            best[name] = min(best[name], clock() - start)
    return best


class Benchmark:
    """Rows of one topic: our form against others, as ratios (above 1: ours is cheaper)."""

    def __init__(self, topic: str, packages: tuple[str, ...] = ("numpy", "numba", "torch")) -> None:
        self.topic, self.rows = topic, []
        self.machine = describe_machine(packages)

    def compare(
        self,
        job: str,
        ours: Callable[[], Any],
        others: dict[str, Callable[[], Any]],
        target: dict[str, float] | None = None,
        repeats: int = 5,
        per: int = 1,
        **notes: Any,
    ) -> dict[str, Any]:
        """Times `ours` and each of `others`; `per` divides the printed times (items per call)."""
        mine = cpu_seconds(ours, repeats)
        row = {"job": job, "ours_ms": round(mine / per * 1e3, 4), "others": {}, **notes}
        for name, other in others.items():
            theirs = cpu_seconds(other, max(1, repeats // 2))
            row["others"][name] = {"ms": round(theirs / per * 1e3, 4), "ratio": round(theirs / mine, 2)}
            if target and name in target:
                row["others"][name]["target"] = target[name]
        self.rows.append(row)
        self._print(row)
        return row

    def compare_forms(
        self,
        job: str,
        make: Make,
        arguments: tuple = (),
        small: tuple | None = None,
        target: float | None = None,
        memory_target: float | None = None,
        repeats: int = 5,
        threads: tuple[int, ...] = (1, 2),
        **notes: Any,
    ) -> dict[str, Any]:
        """Time and peak memory of both forms of `make(*arguments)`, per number of threads.

        small: arguments of a small version, as a warm-up of jobs that take long; without it the job itself is run once before.
        """
        import torch

        row: dict[str, Any] = {"job": job, "target": target, "memory_target": memory_target, "threads": {}, **notes}
        for count in threads:
            torch.set_num_threads(count)
            kind, clock = ("cpu_ms", time.process_time) if count == 1 else ("wall_ms", time.perf_counter)
            if small is not None:
                best_of_turns(make(*small), clock, 1)
            seconds = best_of_turns(make(*arguments), clock, repeats, warm_up=small is None)
            peaks = {form: peak_mebibytes(make, form, count, arguments, small) for form in seconds}
            row["threads"][str(count)] = {
                kind: {form: round(1e3 * value, 3) for form, value in seconds.items()},
                "ratio": round(seconds[NAIVE] / seconds[FAST], 2),
                "peak_MiB": {form: round(value, 1) for form, value in peaks.items()},
                "memory_ratio": round(peaks[NAIVE] / max(peaks[FAST], 1), 2) if peaks[NAIVE] > 1 else None,
            }
            print(
                f"{job}, {count} threads: {row['threads'][str(count)]} (targets {target}, {memory_target})", flush=True
            )
        torch.set_num_threads(1)
        self.rows.append(row)
        return row

    def save(self) -> None:
        RESULTS.mkdir(exist_ok=True)
        content = {
            "topic": self.topic,
            "machine": self.machine,
            "unit": "CPU milliseconds, best run",
            "rows": self.rows,
        }
        if any("threads" in row for row in self.rows):
            content["conditions"], content["niceness"] = SHARED_MACHINE, os.nice(0)
        (RESULTS / f"{self.topic}.json").write_text(json.dumps(content, indent=1) + "\n")

    @staticmethod
    def _print(row: dict[str, Any]) -> None:
        print(f"{row['job']}: ours {row['ours_ms']} ms")
        for name, other in row["others"].items():
            goal = f" (target {other['target']}x)" if "target" in other else ""
            print(f"  {name}: {other['ms']} ms, ratio {other['ratio']}x{goal}")


def describe_machine(packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """Processor, cores, memory and versions, recorded with every number."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        processor = names[0] if names else processor
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "memory_GiB": round(memory, 1),
        "python": platform.python_version(),
        "system": platform.system(),
        **versions,
    }
