"""Notes the content hashes of what every job read and wrote, when it starts and ends, and compares them before DVC records
anything.

Snakemake goes by time stamps; its checksums only excuse a newer one. A file that is exchanged for one with an older stamp
(`rsync -a`, `cp -p`, unzip, `dvc checkout` with linked files) re-runs nothing, and what lies there was made from another
file. The notes are in `.snakemake/im2hands/`, one per job, next to Snakemake's own.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from im2hands.io.atomic import write_json
from im2hands.io.hashing import digest
from workflow.content import STAMP, ContentHashes

FOLDER = Path(".snakemake/im2hands")
CHANGED_MEANWHILE = "changed while the job ran"
CHECK, ADOPTING = "IM2HANDS_CHECK", "IM2HANDS_ADOPTING"
"""Environment variables: file to which a dry run that finds nothing to do writes what `Unseen` contains; set while touching
vouches for files that DVC has just compared."""
SHOWN = 5

Tracked = Mapping[str, Iterable[str]]


@dataclass
class Unseen:
    """What changed and re-ran nothing.

    inputs: file -> stages that ran with another content of it.  outputs: file -> stages that have it, or read it, and did not
    get it from the job that makes it.  parameters: stages that ran with other ones.  unknown: stages without notes.
    """

    inputs: dict[str, list[str]] = field(default_factory=dict)
    outputs: dict[str, list[str]] = field(default_factory=dict)
    parameters: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def stages(self) -> set[str]:
        """All stages that must not be signed, those without notes apart."""
        named = [stage for found in (self.inputs, self.outputs) for stages in found.values() for stage in stages]
        return {*named, *self.parameters}

    def lines(self) -> list[str]:
        """One sentence per kind: which stages, which files, and the remedy."""
        found = []
        if self.inputs:
            stages, files = _named(self.inputs)
            found.append(
                f"{stages} did not run with the present {_few(files)}: the content changed, but the time stamp is older than "
                f"the results, so Snakemake does not notice. To run them: {_touch(files)}, then snakemake."
            )
        if self.outputs:
            stages, files = _named(self.outputs)
            found.append(
                f"{stages}: {_few(files)} is not what the workflow made. If it came from dvc checkout or dvc pull, run "
                f"python -m workflow.adopt; otherwise delete it, and snakemake makes it again."
            )
        if self.parameters:
            names = " ".join(self.parameters)
            found.append(f"{_listed(self.parameters)} ran with other parameters: snakemake --forcerun {names}")
        if self.unknown:
            names = " ".join(self.unknown)
            found.append(
                f"there is no note of what {_listed(self.unknown)} read (made elsewhere, or before notes were kept), and "
                f"dvc.lock has another version. To make it here: snakemake --forcerun {names}"
            )
        return found


class JobNotes(logging.Handler):
    """Listens to Snakemake's log, which reports every job that starts or ends and every run without jobs.

    workflow: Snakemake's object of that name.  tracked: stage -> all its files.
    A note that cannot be written is one line of warning; its stage is then not signed without a look at dvc.lock.
    """

    def __init__(self, workflow: Any, tracked: Tracked) -> None:
        super().__init__()
        self.workflow, self.tracked = workflow, tracked
        self.hashes = ContentHashes(FOLDER / "hashes.json")
        self._jobs: dict[int, Any] = {}
        self._warned = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._hear(record)
        except Exception as error:
            if not self._warned:
                print(f"What the jobs read could not be noted: {type(error).__name__}: {error}", file=sys.stderr)
                self._warned = True

    def _hear(self, record: logging.LogRecord) -> None:
        if not self.workflow.is_main_process:
            return
        event = str(getattr(record, "event", None))
        if event in ("job_info", "job_finished") and self._counts():
            if event == "job_info":
                self._start(self._job(record.jobid))
            else:
                self._finish(self._job(record.job_id))
        elif str(record.msg).startswith("Nothing to be done"):
            self._nothing_to_do()

    def _counts(self) -> bool:
        """Touching is not running, except when adopting files that DVC has compared."""
        return not self.workflow.dryrun and (not self.workflow.touch or ADOPTING in os.environ)

    def _job(self, number: int) -> Any:
        if number not in self._jobs:
            dag = self.workflow.persistence.dag
            self._jobs = {dag.jobid(job): job for job in dag.jobs}
        return self._jobs[number]

    def _start(self, job: Any) -> None:
        if job.output:
            former = _valid(_read(job))
            note = {
                "outputs": dict.fromkeys(map(str, job.output)),
                "inputs": {str(file): self.hashes.of(str(file)) for file in job.input},
                "parameters": _parameters(job),
                "started": time.time_ns(),
                "ended": False,
                "former": former and {**former, "former": None},
            }
            write_json(_place(job), note)

    def _finish(self, job: Any) -> None:
        note = _read(job) if job.output else None
        if note:
            note["inputs"] = {
                file: value if self.hashes.of(file) == value else CHANGED_MEANWHILE
                for file, value in note["inputs"].items()
            }
            note["outputs"] = {file: self.hashes.of(file) for file in note["outputs"]}
            write_json(_place(job), {**note, "ended": True, "former": None})

    def _nothing_to_do(self) -> None:
        if os.environ.get("IM2HANDS_RECORD") == "0" or self.workflow.touch:
            return
        unseen = self.unseen()
        if CHECK in os.environ:
            write_json(os.environ[CHECK], vars(unseen))
        else:
            unseen.unknown.clear()
            for line in unseen.lines():
                print(line)

    def unseen(self) -> Unseen:
        """Compares the notes of all jobs of this graph with the present files."""
        jobs = [job for job in self.workflow.persistence.dag.jobs if job.output]
        stage_of = {file: stage for stage, files in self.tracked.items() for file in files}
        notes = {job: _valid(_read(job)) for job in jobs}
        altered = {
            file
            for note in notes.values()
            for file, value in (note["outputs"] if note else {}).items()
            if value is not None and self.hashes.of(file) != value
        }
        unseen = Unseen()
        for job, note in notes.items():
            for stage in sorted({stage_of[str(file)] for file in job.output if str(file) in stage_of}):
                self._compare(unseen, stage, job, note, altered)
        if FOLDER.is_dir():
            self.hashes.save()
        return unseen

    def _compare(self, unseen: Unseen, stage: str, job: Any, note: dict[str, Any] | None, altered: set[str]) -> None:
        if note is None:
            _append(unseen.unknown, stage)
            return
        for file in altered.intersection(note["outputs"]):
            _append(unseen.outputs.setdefault(file, []), stage)
        for file in map(str, job.input):
            if self.hashes.of(file) != note["inputs"].get(file):
                _append((unseen.outputs if file in altered else unseen.inputs).setdefault(file, []), stage)
        if _parameters(job) != note["parameters"]:
            _append(unseen.parameters, stage)


def watch_jobs(workflow: Any, tracked: Tracked) -> JobNotes:
    """Notes what the jobs of this run read and write."""
    from snakemake.logging import logger

    notes = JobNotes(workflow, tracked)
    logger.addHandler(notes)
    return notes


def _parameters(job: Any) -> str:
    return digest(
        [str(job.rule.shellcmd), sorted(f"{name}={value}" for name, value in job.params.items()), *job.params]
    )


def _place(job: Any) -> Path:
    return FOLDER / "jobs" / f"{digest(sorted(map(str, job.output)))[:32]}.json"


def _read(job: Any) -> dict[str, Any] | None:
    try:
        return json.loads(_place(job).read_text())
    except (OSError, ValueError):
        return None


def _valid(note: dict[str, Any] | None) -> dict[str, Any] | None:
    """The note of the job that made the files; if its end was not noted, only if it wrote all of them."""
    if note is None or note["ended"]:
        return note
    stamps = [_time_of(file) for file in note["outputs"]]
    return note if all(stamp is not None and stamp >= note["started"] for stamp in stamps) else note["former"]


def _time_of(file: str) -> int | None:
    path = Path(file, STAMP) if os.path.isdir(file) else Path(file)
    return path.stat().st_mtime_ns if path.exists() else None


def _append(stages: list[str], stage: str) -> None:
    if stage not in stages:
        stages.append(stage)


def _named(found: Mapping[str, list[str]]) -> tuple[str, list[str]]:
    return _listed({stage: None for stages in found.values() for stage in stages}), sorted(found)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _few(files: list[str]) -> str:
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return ", ".join(files[:SHOWN]) + more


def _touch(files: list[str]) -> str:
    """The command; where the files are many, their names go to a list."""
    if len(files) <= SHOWN:
        return f"touch {' '.join(files)}"
    names = FOLDER / "unseen.txt"
    names.parent.mkdir(parents=True, exist_ok=True)
    names.write_text("\n".join(files) + "\n")
    return f"xargs touch < {names}"
