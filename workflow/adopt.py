"""Tells Snakemake that files which DVC brought (`dvc checkout`, `dvc pull`) are up to date: `python -m workflow.adopt`.

Time stamps of such files are arbitrary and Snakemake's notes belong to another run, so it would make everything again. Touching
vouches for whatever lies there; therefore this refuses unless `dvc status` is clean.
"""

from __future__ import annotations

import subprocess
import sys

from workflow.record import NotRecordedError, require_no_running_snakemake, run_dvc


def main() -> None:
    """Exit code 1 and one sentence if the files are not those of dvc.lock."""
    try:
        require_no_running_snakemake()
    except NotRecordedError as reason:
        sys.exit(f"Not adopted: {reason}")
    status = run_dvc("status")
    if status.returncode:
        sys.exit(f"Not adopted: dvc status failed:\n{status.stderr}")
    if "up to date" not in status.stdout:
        sys.exit(
            f"Not adopted: the files are not those of dvc.lock; run dvc checkout or dvc pull first.\n{status.stdout}"
        )
    touch = [sys.executable, "-m", "snakemake", "--touch", "--forceall", "--cores", "1", "--quiet", "all"]
    sys.exit(subprocess.run(touch, check=False).returncode)


if __name__ == "__main__":
    main()
