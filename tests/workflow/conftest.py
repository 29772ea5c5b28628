"""Temporary checkouts: empty ones with the real stages, and finished ones whose stages are stand-ins (fake_stage.py)."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.workflow.checkout import Checkout, make_checkout

MINI = Path(__file__).parent / "mini.yaml"


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """An empty checkout with the real stages; dry runs only."""
    return make_checkout(tmp_path_factory.mktemp("empty") / "checkout", fake_stages=False)


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, str]:
    """A finished run of stand-in stages, with what it printed. Not to be changed: see `finished`."""
    checkout = make_checkout(tmp_path_factory.mktemp("finished") / "checkout", fake_stages=True)
    return checkout, checkout.snakemake()


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
def undisturbed(tmp_path_factory) -> tuple[Checkout, float]:
    """A checkout after one whole run on the smallest parameters, and the seconds that it took."""
    checkout = configured(tmp_path_factory.mktemp("undisturbed") / "checkout")
    start = time.monotonic()
    checkout.snakemake()
    return checkout, time.monotonic() - start
