"""Asking for help must not load the heavy packages."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "cv2", "lightning", "snakemake", "numba", "trimesh", "matplotlib", "pandas")


@pytest.mark.parametrize(
    "statement", ["import im2hands", "import im2hands.cli as cli; cli.app(['--help'], standalone_mode=False)"]
)
def test_help_loads_no_heavy_package(statement):
    program = (
        f"import sys, json; {statement}; print(json.dumps(sorted(set(sys.modules) & set({HEAVY!r}))), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(run.stderr.splitlines()[-1]) == []
