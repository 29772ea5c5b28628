"""Tells Snakemake that files which DVC brought (`dvc checkout`, `dvc pull`) are up to date: `python -m workflow.adopt`.

Time stamps of such files are arbitrary and Snakemake's notes belong to another run, so it would make everything again. Touching
vouches for whatever lies there; therefore this refuses unless `dvc status` is clean, and looks again afterwards.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from workflow.content import STAMP
from workflow.dvc_stages import DVC_YAML
from workflow.notes import ADOPTING
from workflow.record import OUTS, NotRecordedError, reason_of, require_no_running_snakemake, run_dvc

SHOWN = 5


def main() -> None:
    """Exit code 1 and the reason if the files are not those of dvc.lock, or Snakemake does not take them."""
    try:
        require_no_running_snakemake()
    except NotRecordedError as reason:
        sys.exit(f"Not adopted: {reason}")
    _require_clean("the files do not match dvc.lock; run dvc checkout or dvc pull first.")
    _unlink_stamps()
    before = _files()
    done = _snakemake("--touch", "--forceall", "--cores", "1", **{ADOPTING: "1"})
    if done.returncode:
        sys.exit(f"Not adopted: snakemake --touch failed:\n{_own_words(done.stdout)}\n{_lost(before)}")
    _require_clean(f"touching changed files. {_lost(before)}")
    plan = _snakemake("--dry-run", "--quiet", "rules")
    if plan.returncode or "Nothing to be done" not in plan.stdout:
        sys.exit(f"Not adopted: Snakemake still has something to do:\n{plan.stdout.strip()}")
    print("Adopted: dvc status is clean and Snakemake has nothing to do.")


def _require_clean(otherwise: str) -> None:
    status = run_dvc("status")
    if status.returncode:
        sys.exit(f"Not adopted: dvc status failed: {reason_of(status)}")
    if "up to date" not in status.stdout:
        sys.exit(f"Not adopted: {otherwise}\n{status.stdout}")


def _unlink_stamps() -> None:
    """Puts empty files in the place of linked time stamps of folders.

    With DVC's cache.type symlink, Snakemake renews such a link, then reads the time of its target, calls the job failed and
    removes its outputs. All hard links to the empty file have one time.
    """
    for folder in _outs():
        for stamp in folder.rglob(STAMP) if folder.is_dir() else ():
            if stamp.is_symlink() or stamp.stat().st_nlink > 1:
                stamp.unlink()
                stamp.touch()


def _outs() -> list[Path]:
    stages = yaml.safe_load(Path(DVC_YAML).read_text())["stages"].values()
    outs = [out for stage in stages for kind in OUTS for out in stage.get(kind, ())]
    return [Path(next(iter(out)) if isinstance(out, dict) else out) for out in outs]


def _files() -> set[Path]:
    return {file for out in _outs() for file in (out.rglob("*") if out.is_dir() else [out]) if file.is_file()}


def _own_words(printed: str) -> str:
    """Snakemake's errors from its output, or the end of the output if there are none."""
    errors = re.findall(r"^\w*(?:Error|Exception)\b.*(?:\n(?!Select jobs|\[).+)*", printed, re.MULTILINE)
    return "\n".join(errors) or printed.strip()[-2000:]


def _lost(before: set[Path]) -> str:
    """Which files are gone, and how they come back."""
    gone = sorted(map(str, before - _files()))
    if not gone:
        return "No file was lost."
    more = f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
    return f"Lost: {', '.join(gone[:SHOWN])}{more}; dvc checkout restores them from DVC's cache."


def _snakemake(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    main()
