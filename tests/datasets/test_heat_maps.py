"""Heat maps equal the formula, decoding finds joints with the expected accuracy, and the JPEG chain leaks as expected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from im2hands.datasets.heat_maps import decode_heat_maps, draw_heat_maps, pass_through_jpeg, stack_files
from tests.naive.heat_maps import naive_decode, naive_heat_maps


def some_joints(low, high, count=420, seed=0):
    return np.random.default_rng(seed).uniform(low, high, (count, 2))


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


@pytest.mark.parametrize(("kernel", "error"), [(5, 8e-4), (1, 2e-6)])
def test_decoding_clean_maps(kernel, error):
    """Largest error for joints that are at least 8 pixels from the border; the smoothing costs accuracy."""
    joints = some_joints(8, 56)
    found, peaks = decode_heat_maps(draw_heat_maps(joints), kernel)
    assert np.abs(found - joints).max() < error
    assert (peaks > 0.93).all()


@pytest.mark.parametrize("kernel", [5, 1])
def test_decoding_equals_the_naive_form_even_on_noise(kernel):
    maps = np.random.default_rng(3).random((40, 64, 64), np.float32)
    maps[:20] += draw_heat_maps(some_joints(0, 64, 20))
    found, _ = decode_heat_maps(maps, kernel)
    assert np.allclose(found, [naive_decode(one, kernel) for one in maps], atol=1e-9)


def test_near_the_border_only_the_arg_max_is_left():
    joints = np.array([[0.3, 30.4], [62.6, 30.4], [30.4, 1.2]])
    found, _ = decode_heat_maps(draw_heat_maps(joints))
    assert found.tolist() == [[0, 30], [63, 30], [30, 1]]


def test_flat_and_no_maps():
    found, peaks = decode_heat_maps(np.zeros((2, 64, 64), np.float32))
    assert found.tolist() == [[0, 0], [0, 0]] and peaks.tolist() == [0, 0]
    ridge = np.ones((1, 64, 64), np.float32)
    ridge[0, 30, 30] += 1e-7  # no curvature to speak of: the step must stay finite
    assert np.isfinite(decode_heat_maps(ridge, 1)[0]).all()
    assert decode_heat_maps(np.zeros((0, 64, 64), np.float32))[0].shape == (0, 2)


def test_the_jpeg_chain_leaks_between_the_three_maps_of_a_file():
    """Why maps are drawn on the fly: chroma is shared between neighbours and joints."""
    joints = some_joints(8, 56, 210)
    clean = draw_heat_maps(joints)
    stored = stack_files(pass_through_jpeg(clean)).astype(np.float32) / 255
    difference = np.abs(stored - clean)
    assert 0.1 < difference.max() < 0.3
    assert 5e-4 < difference.mean() < 4e-3
    assert 0.6 < stored.reshape(210, -1).max(1).min() < 0.95
    found, _ = decode_heat_maps(stored)
    assert 0.02 < np.abs(found - joints).max() < 0.2


def test_files_hold_three_maps():
    assert pass_through_jpeg(np.zeros((21, 64, 64), np.float32)).shape == (7, 64, 64, 3)
    with pytest.raises(ValueError, match="20 heat maps"):
        pass_through_jpeg(np.zeros((20, 64, 64), np.float32))
