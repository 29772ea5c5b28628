"""Stages in processes of their own, forks of one that has imported the packages of others and nothing of ours."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from pathlib import Path

PACKAGES = ("torch", "lightning.pytorch", "pandas", "pyarrow", "trimesh", "numba", "scipy.spatial", "cv2", "pydantic")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([*PACKAGES, __name__])


def run_alone(module: str, *arguments: str, log: Path) -> tuple[int, str]:
    """Exit code of `python -m module arguments`, and what it printed, which goes through the file `log`."""
    process = CONTEXT.Process(target=_run, args=(module, arguments, log))
    process.start()
    process.join()
    return process.exitcode, log.read_text()


def _run(module: str, arguments: tuple[str, ...], log: Path) -> None:
    ours = [name for name in sys.modules if name.partition(".")[0] in ("im2hands", "stages", "workflow")]
    assert not ours, f"imported before: {ours}"
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
