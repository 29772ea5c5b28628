"""Nearest points: the compiled and the tree's form against comparing everything with everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.geometry.nearest import CELL_POINTS, PointCloud
from im2hands.io.errors import DataError

COUNTS = st.sampled_from([1, 2, CELL_POINTS - 1, CELL_POINTS, CELL_POINTS + 1, 3 * CELL_POINTS + 5, 700])


def sheet(count: int, seed: int) -> np.ndarray:
    """Points on a bent sheet."""
    flat = np.random.default_rng(seed).uniform(-0.1, 0.1, (count, 2))
    return np.column_stack([flat, np.cos(12 * flat).sum(axis=1) * 0.02])


@settings(max_examples=60)
@given(queries=COUNTS, points=COUNTS, apart=st.sampled_from([0.0, 1e-4, 0.01, 0.3, 50.0]), seed=st.integers(0, 999))
@pytest.mark.parametrize("compiled", [True, False])
def test_nearest_is_the_smallest_of_all_distances(compiled, queries, points, apart, seed):
    first, second = sheet(queries, seed), np.add(sheet(points, seed + 1), [0, 0, apart])
    distances, indices = PointCloud(first).nearest_in(PointCloud(second), compiled)
    every = np.linalg.norm(first[:, None] - second[None], axis=-1)
    np.testing.assert_allclose(distances, every.min(axis=1), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(every[np.arange(queries), indices], distances, rtol=1e-12, atol=1e-15)


def test_compiled_form_is_used_from_afar():
    near, far = PointCloud(sheet(2000, 1)), PointCloud(np.add(sheet(2000, 2), [0, 0, 0.1]))
    assert near._is_far_from(far) and far._is_far_from(near)
    assert not near._is_far_from(PointCloud(sheet(2000, 3)))


def test_repeated_points_and_points_in_one_place_are_found():
    same = PointCloud(np.zeros((100, 3)))
    other = PointCloud(np.repeat(np.add(sheet(10, 4), [0, 0, 1]), 20, axis=0))
    distances, _ = same.nearest_in(other)
    np.testing.assert_allclose(distances, np.linalg.norm(other.points, axis=1).min(), rtol=1e-12)
    assert other.nearest_in(other)[0].max() == 0


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.full((2, 3), np.nan), np.zeros((4, 2))])
def test_a_cloud_needs_finite_points(points):
    with pytest.raises(DataError, match="point cloud"):
        PointCloud(points)
