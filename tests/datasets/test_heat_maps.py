"""Heat maps equal the formula, and the JPEG chain leaks as it is known to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from im2hands.datasets.heat_maps import draw_heat_maps, pass_through_jpeg, stack_files
from tests.naive.heat_maps import naive_heat_maps


@given(joints=arrays(np.float64, st.tuples(st.integers(0, 5), st.just(2)), elements=st.floats(-20, 80)))
def test_drawing_equals_the_formula(joints):
    maps = draw_heat_maps(joints)
    assert maps.dtype == np.float32 and maps.shape == (len(joints), 64, 64)
    assert np.allclose(maps, naive_heat_maps(joints), atol=1e-6)


@pytest.mark.parametrize("joint", [(-1e-9, 5.0), (5.0, 64.0), (np.nan, 5.0), (1e9, 1e9)])
def test_joints_outside_draw_nothing(joint):
    assert not draw_heat_maps(np.array([joint])).any()


@pytest.mark.parametrize("joint", [(0.0, 0.0), (63.999, 0.0)])
def test_joints_on_the_border_are_drawn(joint):
    assert draw_heat_maps(np.array([joint])).max() > 0.85


def test_the_jpeg_chain_leaks_between_the_three_maps_of_a_file():
    """Why maps are drawn on the fly: chroma is shared between neighbours and joints."""
    clean = draw_heat_maps(np.random.default_rng(0).uniform(8, 56, (210, 2)))
    stored = stack_files(pass_through_jpeg(clean)).astype(np.float32) / 255
    difference = np.abs(stored - clean)
    assert 0.1 < difference.max() < 0.3
    assert 5e-4 < difference.mean() < 4e-3
    assert 0.6 < stored.reshape(210, -1).max(1).min() < 0.95


def test_files_hold_three_maps():
    assert pass_through_jpeg(np.zeros((21, 64, 64), np.float32)).shape == (7, 64, 64, 3)
    with pytest.raises(ValueError, match="20 heat maps"):
        pass_through_jpeg(np.zeros((20, 64, 64), np.float32))
