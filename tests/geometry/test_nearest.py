"""Nearest points: the compiled and the tree's form against comparing everything with everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.geometry.nearest import PointCloud
from im2hands.io.errors import DataError

COUNTS = st.sampled_from([1, 2, 31, 32, 33, 101, 700])


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


@settings(max_examples=40)
@given(seed=st.integers(0, 999), scale=st.sampled_from([1e-6, 1.0, 1e6]), axis=st.integers(0, 2))
def test_flat_and_thin_clouds(seed, scale, axis):
    """Clouds without thickness, or on a line, far from the origin."""
    rng = np.random.default_rng(seed)
    flat = rng.uniform(-1, 1, (300, 3)) * np.where(np.arange(3) == axis, 0, 1)
    line = np.outer(rng.uniform(-1, 1, 200), np.arange(3) == axis)
    for first, second in ((flat, line), (line, flat), (flat, flat[::-1])):
        first, second = scale * (first + 100), scale * (second + 100)
        distances, indices = PointCloud(first).nearest_in(PointCloud(second))
        every = np.linalg.norm(first[:, None] - second[None], axis=-1)
        np.testing.assert_allclose(distances, every.min(axis=1), rtol=1e-12, atol=1e-12 * scale)
        np.testing.assert_allclose(every[np.arange(len(first)), indices], distances, rtol=1e-12, atol=1e-12 * scale)


def test_one_outlier_does_not_make_the_search_slow():
    """It makes the box so large that all other points share a cell; then the tree answers."""
    crowd = np.concatenate([sheet(4000, 1), [[1e6, 1e6, 1e6]]])
    cloud = PointCloud(crowd)
    assert not cloud._fits_a_grid
    assert PointCloud(sheet(4000, 2))._fits_a_grid
    probes = sheet(200, 3)
    every = np.linalg.norm(probes[:, None] - crowd[None], axis=-1)
    np.testing.assert_allclose(PointCloud(probes).nearest_in(cloud)[0], every.min(axis=1), rtol=1e-12)


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
