"""Timing of two or more forms of one job in the same run: CPU seconds of this process, best of several, one thread.

A benchmark file calls `Benchmark(topic)`, adds rows with `compare`, and ends with `save()`, which prints the ratios and
writes `benchmarks/results/<topic>.json` with a description of the machine.
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

RESULTS = Path(__file__).parent / "results"


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

    def save(self) -> None:
        RESULTS.mkdir(exist_ok=True)
        content = {
            "topic": self.topic,
            "machine": self.machine,
            "unit": "CPU milliseconds, best run",
            "rows": self.rows,
        }
        (RESULTS / f"{self.topic}.json").write_text(json.dumps(content, indent=1) + "\n")

    @staticmethod
    def _print(row: dict[str, Any]) -> None:
        print(f"{row['job']}: ours {row['ours_ms']} ms")
        for name, other in row["others"].items():
            goal = f" (target {other['target']}x)" if "target" in other else ""
            print(f"  {name}: {other['ms']} ms, ratio {other['ratio']}x{goal}")


def describe_machine(packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """Processor, cores, memory and versions, for the record beside every number."""
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
