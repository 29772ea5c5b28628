"""Writes what Snakemake has just proved up to date into dvc.lock: the Snakefile's `onsuccess`, or `python -m workflow.record`.

`dvc commit` records whatever is in the workspace, so it gets only stages for which Snakemake confirms every file: all
files of the stage belong to the finished run, with all re-run triggers on and the parameters of params.yaml. Snakemake goes
by time stamps, so what the jobs read and wrote is also compared, by content, with the present files (`workflow/notes.py`).
An error while recording never makes a run fail: it gives one line of warning.

Set IM2HANDS_RECORD=0 to turn recording off, e.g. where its cache would double a large dataset.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from im2hands.config.choices import SPLITS
from workflow.dvc_stages import DVC_YAML, dvc_yaml
from workflow.notes import CHECK, JobNotes, Tracked, Unseen

LICENCE_SAID = Path(".dvc/tmp/im2hands-licence-said")
LICENCE = (
    "Before any of this leaves the machine (dvc push): results computed from MANO or InterHand2.6M inherit their licences; "
    "the built-in hand and the synthetic dataset are CC0."
)
SHARD = re.compile(r"\d{4}-of-\d{4}(\.\w+)?")
TRIGGERS = {"code", "input", "mtime", "params", "software-env"}

WITHOUT_GIT = (
    "Without git, and where data, models or results are links: dvc config core.no_scm true; python -m workflow.record"
)

OUTS = ("outs", "metrics")


class NotRecordedError(Exception):
    """Why nothing was recorded, in one sentence."""


def after_success(workflow: Any, config: Mapping[str, Any], tracked: Tracked, notes: JobNotes) -> None:
    """After a successful run: removes stale shards, records in DVC, and prints what was selected and where the report is.

    workflow: Snakemake's object of that name.  tracked: stage -> all its files.  notes: notes of the jobs.
    """
    if workflow.touch or os.environ.get("DVC_ROOT"):
        return
    made = {str(file) for job in workflow.persistence.dag.jobs for file in job.output}
    fresh = [stage for stage, files in tracked.items() if made.issuperset(files)]
    try:
        for file in remove_stale_shards(file for stage in fresh for file in tracked[stage]):
            print(f"Removed {file}: left over from another number of shards.")
        _require_ordinary_run(workflow, config)
        record(fresh, notes.unseen)
    except NotRecordedError as reason:
        print(f"Not recorded in DVC: {reason}")
    except Exception as error:
        print(f"Not recorded in DVC: {type(error).__name__}: {error}; the results are complete all the same.")
    for line in closing_lines():
        print(line)


def record(stages: list[str], compare: Callable[[], Unseen]) -> bool:
    """Commits to DVC the stages that were made from what lies there; says which were not, and returns whether there were none.

    compare: finds what changed and re-ran nothing.
    Raises NotRecordedError if there is no DVC, or dvc.yaml is out of step, or DVC refuses.
    """
    if os.environ.get("IM2HANDS_RECORD") == "0":
        raise NotRecordedError("IM2HANDS_RECORD=0 is set.")
    if not Path(".dvc").is_dir():
        raise NotRecordedError("the folder .dvc is missing (git clone creates it).")
    if not Path(DVC_YAML).is_file() or Path(DVC_YAML).read_text() != dvc_yaml(_params()):
        raise NotRecordedError(
            f"{DVC_YAML} does not match the rules and params.yaml; "
            "run python -m workflow.dvc_stages and then python -m workflow.record."
        )
    unseen = compare()
    refused = _refused(stages, unseen)
    signed = [stage for stage in stages if stage not in refused]
    if signed:
        with _same_time_stamps(_files_of(signed)):
            done = run_dvc("commit", "--force", *_targets(signed))
        if done.returncode:
            raise NotRecordedError(f"dvc commit: {reason_of(done)}")
        print(f"Recorded in dvc.lock: {', '.join(signed)}.")
        _say_licence_once()
    for line in unseen.lines():
        print(f"Not recorded in DVC: {line}")
    return not refused


def _targets(stages: list[str]) -> list[str]:
    """What to name to `dvc commit`: the file if these are all of its stages, because DVC reads and writes everything anew for
    every name (23 stages of the demo: 10 instead of 89 s of CPU time, DVC 3.67.1).
    """
    return [DVC_YAML] if set(stages) == set(yaml.safe_load(Path(DVC_YAML).read_text())["stages"]) else stages


def _refused(stages: Iterable[str], unseen: Unseen) -> set[str]:
    """Stages that changed and did not run, and those that depend on a file whose content no job has made.

    Stages without notes count as unchanged if dvc.lock has the same content; the others stay in `unseen`.
    """
    described = yaml.safe_load(dvc_yaml(_params()))["stages"]
    for stage in stages:
        needed = [dep for dep in described[stage].get("deps", ()) if isinstance(dep, str)]
        for file, named in unseen.outputs.items():
            if stage not in named and any(file == dep or file.startswith(f"{dep}/") for dep in needed):
                named.append(stage)
    unseen.unknown = [stage for stage in unseen.unknown if stage in stages and stage not in unseen.stages]
    if unseen.unknown:
        status = run_dvc("status", "--json", *unseen.unknown)
        if status.returncode:
            raise NotRecordedError(f"dvc status: {reason_of(status)}")
        changed = json.loads(status.stdout)
        unseen.unknown = [stage for stage in unseen.unknown if stage in changed]
    return {*unseen.stages, *unseen.unknown}.intersection(stages)


def _files_of(stages: Iterable[str]) -> list[Path]:
    """All files of the outputs of some stages."""
    described = yaml.safe_load(dvc_yaml(_params()))["stages"]
    outs = [out for stage in stages for kind in OUTS for out in described[stage].get(kind, ())]
    paths = [Path(next(iter(out)) if isinstance(out, dict) else out) for out in outs]
    return [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]


@contextmanager
def _same_time_stamps(files: Iterable[Path]) -> Iterator[None]:
    """Gives files that have the size they had their time stamps back.

    `dvc commit` replaces single files by copies of its cache. Snakemake would take a large one (up to a megabyte it compares
    the content) for newer than the folders made from it.
    """
    before = {file: file.stat() for file in files}
    try:
        yield
    finally:
        for file, was in before.items():
            if file.is_file() and file.stat().st_size == was.st_size:
                os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))


def require_no_running_snakemake() -> None:
    """Raises NotRecordedError while Snakemake's lock is held: files may be half way between two states."""
    locks = Path(".snakemake/locks")
    if locks.is_dir() and any(locks.iterdir()):
        raise NotRecordedError(
            "a Snakemake run has locked .snakemake/locks; wait for it, or after a crash run snakemake --unlock first."
        )


def remove_stale_shards(files: Iterable[str]) -> list[Path]:
    """Removes shards in the folders of `files` that do not belong to them, left over from another number of shards."""
    expected = {Path(file) for file in files}
    stale = [
        path
        for folder in sorted({file.parent for file in expected if SHARD.fullmatch(file.name)})
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if SHARD.fullmatch(path.name) and path not in expected
    ]
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return stale


def closing_lines() -> list[str]:
    """How many frames were kept and why others were not, and where the report is; nothing that is not there yet."""
    report = Path("results/report.html")
    where = f"Report: {report.absolute()}" if report.is_file() else None
    return [line for line in (audit_line(), noted_hands_line(), where) if line]


def audit_line(folder: Path = Path("data/frames")) -> str | None:
    """One sentence on the selection of frames; None if there is no readable table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept, reasons, noted = [], Counter(), Counter()
    for split in SPLITS:
        try:
            rows = pq.read_metadata(folder / f"{split}.parquet").num_rows
            audit = pq.read_table(folder / f"audit_{split}.parquet", columns=["kept", "reason"]).to_pylist()
        except (OSError, pa.ArrowException):
            continue
        kept.append(f"{split} {rows}")
        reasons.update(row["reason"] for row in audit if not row["kept"])
        noted.update(row["reason"] for row in audit if row["kept"])
    if not kept:
        return None
    dropped = f"left out: {_counted(reasons) or 'none'}" + (f"; kept with a note: {_counted(noted)}" if noted else "")
    return f"Two-hand frames kept: {', '.join(kept)}; {dropped} (see {folder}/audit_*.parquet)."


def noted_hands_line(folder: Path = Path("data/hands")) -> str | None:
    """One sentence about hands that are left out or suspicious; None if there are none or the table is unreadable."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    reasons: Counter[str] = Counter()
    for split in SPLITS:
        try:
            reasons.update(pq.read_table(folder / f"audit_{split}.parquet", columns=["reason"])["reason"].to_pylist())
        except (OSError, pa.ArrowException):
            continue
    return f"Hands with a note: {_counted(reasons)} (see {folder}/audit_*.parquet)." if reasons else None


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())


def _require_ordinary_run(workflow: Any, config: Mapping[str, Any]) -> None:
    if json.dumps(config, sort_keys=True) != json.dumps(_params(), sort_keys=True):
        raise NotRecordedError("the run used command line parameters that are not in params.yaml.")
    if {str(trigger) for trigger in workflow.rerun_triggers} < TRIGGERS:
        raise NotRecordedError("the run did not check everything (--rerun-triggers).")


def _params() -> dict[str, Any]:
    return yaml.safe_load(Path("params.yaml").read_text())


def _say_licence_once() -> None:
    if not LICENCE_SAID.exists():
        print(LICENCE)
        LICENCE_SAID.parent.mkdir(parents=True, exist_ok=True)
        LICENCE_SAID.touch()


def run_dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)


def reason_of(done: subprocess.CompletedProcess[str]) -> str:
    """DVC's own words, and the remedy where it misses git."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines[-1:]
    reason = "; ".join(errors) or f"exit code {done.returncode} without a message"
    return f"{reason}. {WITHOUT_GIT}" if re.search(r"\bgit repository\b", reason, re.IGNORECASE) else reason


def main() -> None:
    """Records every stage after asking Snakemake whether anything is left to do."""
    try:
        require_no_running_snakemake()
        if not record(list(yaml.safe_load(Path(DVC_YAML).read_text())["stages"]), _unseen_when_finished):
            sys.exit(1)
    except NotRecordedError as reason:
        sys.exit(f"Not recorded in DVC: {reason}")


def _unseen_when_finished() -> Unseen:
    """What a dry run that has nothing to do finds changed all the same. Raises NotRecordedError if it has something to do."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "unseen.json")
        plan = subprocess.run(
            [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules"],
            env={**os.environ, CHECK: str(answer)},
            capture_output=True,
            text=True,
            check=False,
        )
        if plan.returncode or not answer.is_file():
            raise NotRecordedError("Snakemake still has something to do, or fails; see snakemake -n.")
        return Unseen(**json.loads(answer.read_text()))


if __name__ == "__main__":
    main()
