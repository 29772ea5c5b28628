"""Makes `python` in the rules' shell commands the interpreter that runs Snakemake."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def put_on_path() -> None:
    """Puts the folder of the running interpreter first on PATH, so that a virtual environment need not be activated."""
    folder = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    if path.split(os.pathsep)[0] != folder:
        os.environ["PATH"] = os.pathsep.join([folder, path])
