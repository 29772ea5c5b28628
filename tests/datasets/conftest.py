"""Fixtures shared by the tests of the datasets room."""

from __future__ import annotations

import pytest

from tests.datasets.made_up_interhand import MadeUpInterHand, made_up_interhand


@pytest.fixture
def interhand(tmp_path) -> MadeUpInterHand:
    """Three poses in two captures, two cameras: six two-hand frames, written below tmp_path/raw and whole."""
    return made_up_interhand(tmp_path / "raw")
