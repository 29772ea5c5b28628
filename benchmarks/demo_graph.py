"""The demo's whole graph in fresh clones: how long it takes, where the time goes, and how its results spread.

    python benchmarks/demo_graph.py compare 2a716af HEAD        # two commits in turns: wall time, memory, seconds per rule
    python benchmarks/demo_graph.py spread HEAD                 # five seeds, and one seed on three kinds of arithmetic

Every run is a new clone in a temporary folder, `snakemake --cores all --resources gpu=1` with this environment's Python, and
then two questions: has a second run something to do, and is `dvc status` clean. Results are added to
benchmarks/results/demo_compare.json and demo_spread.json after each run, so that nothing is lost if the script is stopped.
Nothing else should run on the machine while commits are compared.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.harness import RESULTS, describe_machine
from benchmarks.peak_memory import proportional_kibibytes, with_descendants

SEEDS = (20230618, 1, 2, 3, 4)
ARITHMETIC = (
    {"OMP_NUM_THREADS": "1"},
    {"ATEN_CPU_CAPABILITY": "avx2"},
    {"ATEN_CPU_CAPABILITY": "default"},
)
PACKAGES = ("torch", "snakemake", "dvc", "numpy", "numba", "opencv-python-headless")
KNUCKLES = [5, 9, 13, 17]
"""Bases of index, middle, ring and little finger, standard order."""
OF_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    compare = kinds.add_parser("compare", help="two commits in turns")
    compare.add_argument("before")
    compare.add_argument("after")
    compare.add_argument("--turns", type=int, default=1)
    spread = kinds.add_parser("spread", help="seeds and kinds of arithmetic")
    spread.add_argument("commit")
    spread.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    spread.add_argument("--arithmetic", action=argparse.BooleanOptionalAction, default=True)
    spread.add_argument("--add", action="store_true", help="keep the runs that the file holds")
    arguments = parser.parse_args()
    if arguments.kind == "compare":
        commits = [commit for _ in range(arguments.turns) for commit in (arguments.before, arguments.after)]
        runs = [{"commit": commit, "environment": {}} for commit in commits]
    else:
        runs = [{"commit": arguments.commit, "seed": seed, "environment": {}} for seed in arguments.seeds]
        if arguments.arithmetic:
            runs += [{"commit": arguments.commit, "environment": environment} for environment in ARITHMETIC]
    file = RESULTS / f"demo_{arguments.kind}.json"
    content = {"machine": describe_machine(PACKAGES), "runs": []}
    if arguments.kind == "spread" and arguments.add:
        content["runs"] = json.loads(file.read_text())["runs"]
    for run in runs:
        content["runs"].append(run_of_demo(**run))
        file.write_text(json.dumps(content, indent=1) + "\n")
        print(
            json.dumps({key: value for key, value in content["runs"][-1].items() if key not in ("rules", "results")}),
            flush=True,
        )


def run_of_demo(commit: str, environment: dict[str, str], seed: int | None = None) -> dict[str, Any]:
    """One run in a clone of its own: what it took and what it gave."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        clone = Path(folder) / "im2hands"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        subprocess.run(["git", "checkout", "--quiet", commit], cwd=clone, check=True)
        full = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=clone, check=True, capture_output=True)
        if seed is not None:
            params = clone / "params.yaml"
            params.write_text(re.sub(r"^seed: .*$", f"seed: {seed}", params.read_text(), flags=re.MULTILINE))
        code, seconds, peak = timed(clone, environment)
        found = {
            "commit": full.stdout.decode().strip(),
            "seed": seed,
            "environment": environment,
            "exit_code": code,
            "wall_s": round(seconds, 1),
            "peak_MiB_of_all_processes": round(peak.held),
            "MiB_at_the_peak": peak.stages,
            "second_run_has_nothing_to_do": nothing_to_do(clone, environment),
            "dvc_status_is_clean": "up to date" in asked(clone, environment, "dvc", "status"),
            "rules": seconds_per_rule(clone / "logs/benchmarks"),
            "results": results_of(clone / "results/tables"),
            "predicted_palms": predicted_palms(clone / "data/keypoints/intaghand"),
        }
        if code:
            shutil.copy(clone / "demo.log", Path(tempfile.gettempdir()) / f"demo-{found['commit']}-{seed}.log")
    return found


def timed(clone: Path, environment: dict[str, str]) -> tuple[int, float, Peak]:
    """Exit code, wall seconds and memory of the run."""
    started = time.monotonic()
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--resources", "gpu=1"]
    with (clone / "demo.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=clone, env=with_(environment), stdout=log, stderr=log)
    peak, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            peak.look(with_descendants(process.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    return code, time.monotonic() - started, peak


@dataclass
class Peak:
    """The most memory (MiB) that all processes of a run held at once, and which stages held how much of it then."""

    held: float = 0.0
    stages: dict[str, int] = field(default_factory=dict)

    def look(self, processes: list[int]) -> None:
        each = {process: proportional_kibibytes(process) / 1024 for process in processes}
        if sum(each.values()) > self.held:
            self.held = sum(each.values())
            found: dict[str, float] = defaultdict(float)
            for process, held in each.items():
                found[stage_of(process)] += held
            self.stages = {name: round(held) for name, held in sorted(found.items(), key=lambda item: -item[1])}


def stage_of(process: int) -> str:
    """The stage that a process runs, else the name of its program."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
    except OSError:
        return "ended"
    stages = [word for word in words if word.startswith("stages.")]
    return stages[0].removeprefix("stages.") if stages else Path(words[0]).name


def with_(environment: dict[str, str]) -> dict[str, str]:
    """The caller's environment without limits on threads, with these variables, and this Python first on the path."""
    inherited = {name: value for name, value in os.environ.items() if name not in (*OF_ONE_THREAD, "PYTHONPATH")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**inherited, "PATH": path, **environment}


def asked(clone: Path, environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=clone,
        env=with_(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def nothing_to_do(clone: Path, environment: dict[str, str]) -> bool:
    return "Nothing to be done" in asked(clone, environment, "snakemake", "--dry-run", "--quiet", "rules")


def seconds_per_rule(folder: Path) -> dict[str, dict[str, float]]:
    """Rule -> its jobs, their wall seconds together, and their processes' CPU seconds as Snakemake saw them."""
    rules: dict[str, dict[str, float]] = defaultdict(lambda: {"jobs": 0, "wall_s": 0.0, "cpu_s": 0.0})
    for file in sorted(folder.rglob("*.tsv")):
        rule = rules[file.relative_to(folder).parts[0].removesuffix(".tsv")]
        with file.open() as lines:
            row = list(csv.DictReader(lines, delimiter="\t"))[-1]
        rule["jobs"] += 1
        for name, column in (("wall_s", "s"), ("cpu_s", "cpu_time")):
            value = row[column]
            rule[name] = round(rule[name] + (float(value) if value not in ("-", "NA") else 0.0), 1)
    return dict(sorted(rules.items(), key=lambda item: -item[1]["wall_s"]))


def results_of(tables: Path) -> list[dict[str, Any]]:
    """Rows of the demo's tables that are compared over seeds."""
    rows = []
    for name in ("shape_given_keypoints", "shape_predicted_keypoints", "keypoint_refinement", "failures"):
        file = tables / f"{name}.csv"
        if file.is_file():
            with file.open() as lines:
                rows += [{"table": name, **row} for row in csv.DictReader(lines)]
    return rows


def predicted_palms(folder: Path) -> dict[str, float]:
    """How far IntagHand's hands (val and test) are from having no palm: angles between neighbouring metacarpals, degrees.

    A true hand has 11 to 15.
    """
    tables = [
        pq.read_table(file, columns=["left", "right"])
        for file in (folder / "val.parquet", folder / "test.parquet")
        if file.is_file()
    ]
    hands = [hand for table in tables for side in ("left", "right") for hand in table[side].to_pylist() if hand]
    if not hands:
        return {}
    keypoints = np.array(hands, float).reshape(-1, 21, 3)
    bones = keypoints[:, KNUCKLES] - keypoints[:, :1]
    bones /= np.linalg.norm(bones, axis=-1, keepdims=True)
    angles = np.degrees(np.arccos(np.clip((bones[:, 1:] * bones[:, :-1]).sum(-1), -1, 1)))
    found = {"hands": len(keypoints), "smallest_angle": np.nanmin(angles), "median_angle": np.nanmedian(angles)}
    return {name: round(float(value), 2) for name, value in found.items()}


if __name__ == "__main__":
    main()
