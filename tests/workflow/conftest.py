"""Temporary checkouts: empty ones with the real stages, and finished ones whose stages are stand-ins (fake_stage.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflow.checkout import Checkout, make_checkout


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
