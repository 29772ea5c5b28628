"""Modules run one after the other, each in a fork of a process that has imported the packages of others and nothing of ours.

Quicker than an interpreter each: the packages take most of its start.

    python -m tests.structure.alone FOLDER MODULE...    `python -m MODULE --help` of each; FOLDER/MODULE: what it printed
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
import traceback
from pathlib import Path

PACKAGES = ("torch", "lightning.pytorch", "pandas", "pyarrow", "trimesh", "numba", "scipy.spatial", "cv2", "pydantic")
OURS = ("im2hands", "stages", "workflow")


def main(folder: str, *modules: str) -> None:
    for package in PACKAGES:
        importlib.import_module(package)
    assert not [name for name in sys.modules if name.partition(".")[0] in OURS]
    for module in modules:
        child = os.fork()
        if child == 0:
            os._exit(explain(module, Path(folder, module)))  # without taking down what the parent has imported
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(f"{module} {code}", flush=True)


def explain(module: str, log: Path) -> int:
    """The exit code."""
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [module, "--help"]
    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 0 if code is None else 1


if __name__ == "__main__":
    main(*sys.argv[1:])
