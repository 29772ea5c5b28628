"""How long `snakemake -n` takes with 500 shards per stage, nothing made yet; the target is 15 s of wall time."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from harness import Benchmark

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "params.yaml", "im2hands", "stages", "workflow", "profiles")
SHARDS = 500
TARGET_S = 15.0
REPEATS = 3


def main() -> None:
    benchmark = Benchmark("dry_run", ("snakemake",))
    benchmark.rows.append(measure("500 shards per stage", every_split=False))
    benchmark.rows.append(measure("500 shards per stage and split", every_split=True))
    benchmark.save()


def measure(job: str, every_split: bool) -> dict[str, Any]:
    """Best of some dry runs in an empty checkout."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder)
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, checkout / part)
        set_shards(checkout / "params.yaml", every_split)
        runs = [dry_run(checkout) for _ in range(REPEATS)]
    jobs, wall, cpu = min(runs, key=lambda run: run[1])
    print(f"{job}, {jobs} jobs: {wall:.1f} s wall, {cpu:.1f} s CPU (target {TARGET_S:g} s wall)")
    return {"job": job, "jobs": jobs, "wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "target_wall_s": TARGET_S}


def set_shards(params: Path, every_split: bool) -> None:
    """500 shards for every sharded stage: in its largest split, or in every split that has any."""
    content = yaml.safe_load(params.read_text())
    for stage in ("normalize_images", "sample_queries", "sample_evaluation_queries"):
        counts = content[stage]["shards"]
        largest = max(counts, key=counts.get)
        for split, count in counts.items():
            if count and (every_split or split == largest):
                counts[split] = SHARDS
    content["reconstruct"]["shards"] = SHARDS
    params.write_text(yaml.safe_dump(content))


def dry_run(checkout: Path) -> tuple[int, float, float]:
    """(number of jobs, wall seconds, CPU seconds) of `snakemake --dry-run` in a process of its own."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    jobs = int(re.search(r"^total +(\d+)", done.stdout + done.stderr, re.MULTILINE).group(1))
    return jobs, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
