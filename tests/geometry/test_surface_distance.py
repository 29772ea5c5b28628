"""Exact distances to triangles against the plain form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.geometry import surface_distance
from im2hands.geometry.surface_distance import distance_to_surface, largest_distance_to_surface
from im2hands.io.errors import DataError
from tests.evaluation.shapes import sphere
from tests.naive import penetration as naive


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0.01, 10), st.booleans())
def test_distance_equals_naive(seed, faces, stretch, compiled):
    """In both forms; also for slivers and triangles of very different size: the nearest centroid may be of another one."""
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(30, 3)) * [stretch, 1, 1]
    triangles = rng.integers(0, 30, (faces, 3))  # some degenerate
    points = rng.normal(size=(50, 3)) * 2
    expected = naive.distance_to_surface(points, vertices, triangles)
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr(surface_distance, "nearest_candidates", None)
        np.testing.assert_allclose(distance_to_surface(points, vertices, triangles), expected, rtol=1e-7, atol=1e-7)
        largest = largest_distance_to_surface(points, vertices, triangles)
        assert largest == distance_to_surface(points, vertices, triangles).max()


def test_distance_of_no_points_and_chunk_borders():
    mesh = sphere(subdivisions=2)
    assert distance_to_surface(np.zeros((0, 3)), mesh.vertices, mesh.faces).shape == (0,)
    assert largest_distance_to_surface(np.zeros((0, 3)), mesh.vertices, mesh.faces) == 0
    points = np.random.default_rng(0).normal(size=(surface_distance.QUERIES_AT_ONCE + 1, 3))
    one_by_one = [distance_to_surface(point[None], mesh.vertices, mesh.faces)[0] for point in points[-3:]]
    np.testing.assert_array_equal(distance_to_surface(points, mesh.vertices, mesh.faces)[-3:], one_by_one)


def test_distance_to_nothing_is_refused():
    with pytest.raises(DataError, match="without faces"):
        distance_to_surface(np.zeros((1, 3)), np.zeros((0, 3)), np.zeros((0, 3), int))
