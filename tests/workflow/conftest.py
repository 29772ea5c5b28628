"""Temporary checkouts: empty ones with the real stages, and finished ones whose stages are stand-ins (fake_stage.py)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.workflow.checkout import Checkout, make_checkout

MINI = Path(__file__).parent / "mini.yaml"
FINISHED = "Finished jobid"
"""What Snakemake prints after every job."""


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """An empty checkout with the real stages; dry runs only."""
    return make_checkout(tmp_path_factory.mktemp("empty") / "checkout", fake_stages=False)


@pytest.fixture(scope="session")
def with_externals(empty: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """An empty checkout whose parameters name external systems of every kind; dry runs only."""
    checkout = empty.copy(tmp_path_factory.mktemp("externals") / "checkout")
    add_externals(checkout)
    return checkout


def add_externals(checkout: Checkout) -> None:
    """Makes the files of external systems and names them in params.yaml.

    `both` has meshes and keypoints, `meshes` meshes of the true keypoints, `joints` keypoints that a method of ours uses.
    """
    for folder in ("given/both", "given/meshes"):
        (checkout.path / folder).mkdir(parents=True)
        (checkout.path / folder / "0_left.ply").write_text("a mesh\n")
    for file in ("both.json", "joints.parquet"):
        (checkout.path / "given" / file).write_text("keypoints\n")
    common = {"unit": "m", "frame": "world", "order": "standard", "given_keypoints": False, "alignment": "wrist"}
    checkout.change(
        "external",
        {
            "both": common | {"meshes": "given/both", "keypoints": "given/both.json"},
            "meshes": common
            | {"meshes": "given/meshes", "keypoints": None, "given_keypoints": True, "alignment": "camera"},
            "joints": common | {"meshes": None, "keypoints": "given/joints.parquet"},
        },
    )
    checkout.change("results.halo", ["model", "external_joints"])


def run_once(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str, name: str, run: Callable[[Path], str]
) -> tuple[Checkout, str]:
    """A copy of a checkout that one of the workers makes for all, and what its run printed."""
    session = tmp_path_factory.getbasetemp()
    folder = (session if worker_id == "master" else session.parent) / name
    printed = folder / "printed"
    with FileLock(folder.with_suffix(".lock")):
        if not printed.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            printed.write_text(run(folder / "checkout"))
    copy = Checkout(folder / "checkout").copy(tmp_path_factory.mktemp(name) / "checkout")
    return copy, printed.read_text()


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> tuple[Checkout, str]:
    """A finished run of stand-in stages, with what it printed. Not to be changed: see `finished`."""
    return run_once(
        tmp_path_factory, worker_id, "finished", lambda path: make_checkout(path, fake_stages=True).snakemake()
    )


@pytest.fixture
def finished(finished_once: tuple[Checkout, str], tmp_path: Path) -> Checkout:
    """A copy of a finished run of stand-in stages, recorded in DVC."""
    return finished_once[0].copy(tmp_path / "copy")


def configured(path: Path) -> Checkout:
    """A checkout with the real stages and the smallest parameters."""
    checkout = make_checkout(path, fake_stages=False)
    checkout.run(sys.executable, "-m", "im2hands.cli", "configure", str(MINI))
    return checkout


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> tuple[Checkout, int]:
    """A checkout after one whole run on the smallest parameters, and the number of jobs of that run."""
    checkout, printed = run_once(tmp_path_factory, worker_id, "smallest", lambda path: configured(path).snakemake())
    return checkout, printed.count(FINISHED)
