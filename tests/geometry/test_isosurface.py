"""Meshes of fields: those of marching cubes on the whole padded grid, in the right place, closed and facing outwards."""

import mcubes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.geometry.isosurface import (
    BOX,
    EMPTY,
    FULL,
    MOST_EVALUATIONS,
    OVERGROWN,
    extract_surfaces,
    grid_points,
    mesh_of_octree,
    subdivision,
)
from im2hands.geometry.mesh import is_watertight
from im2hands.geometry.octree import refine
from im2hands.io.errors import DataError
from tests.geometry.test_octree import rough_field, smooth_field


def ball(centre, radius, sharpness=200.0):
    """An occupancy that falls from 1 to 0 across a sphere; several centres for several items."""
    centres = np.atleast_2d(centre)

    def field(items, points):
        distance = np.linalg.norm(points.astype(float) - centres[items], axis=1) - radius
        return 1 / (1 + np.exp(np.clip(sharpness * distance, -60, 60)))

    return field


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), start=st.integers(1, 4), depth=st.integers(0, 3), make=st.sampled_from([0, 1]))
def test_mesh_equals_marching_cubes_on_the_whole_padded_grid(seed, start, depth, make):
    """Same faces, same vertices; also for surfaces that leave the box and for values exactly at the level."""
    level = (0.2, 0.5)[make]
    field = (smooth_field, rough_field)[make](np.random.default_rng(seed), start << depth)
    octree = refine(lambda items, index: field(index), 1, start, depth, level)
    vertices, faces = mcubes.marching_cubes(np.pad(octree.dense(0), 1, constant_values=-1e6), level)
    mesh = mesh_of_octree(octree, 0)
    np.testing.assert_array_equal(mesh.faces, faces)
    np.testing.assert_allclose(mesh.vertices, 1.1 * ((vertices - 1) / (start << depth) - 0.5), atol=1e-12)


@pytest.mark.parametrize(("start", "depth"), [(4, 4), (8, 3), (64, 0)])
def test_a_ball_comes_out_where_it_is(start, depth):
    """Position and radius to a tenth of a cell; closed; positive volume; the same mesh for every first grid."""
    centre, radius = np.array([0.1, -0.05, 0.2]), 0.25
    (surface,) = extract_surfaces(ball(centre, radius), 1, start=start, depth=depth)
    distances = np.linalg.norm(surface.vertices - centre, axis=1)
    assert np.abs(distances - radius).max() < 0.1 * BOX / 64
    assert is_watertight(surface.faces)
    assert surface.volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)
    (dense,) = extract_surfaces(ball(centre, radius), 1, start=64, depth=0)
    np.testing.assert_array_equal(surface.vertices, dense.vertices)
    np.testing.assert_array_equal(surface.faces, dense.faces)
    assert surface.failure is None
    assert surface.evaluations <= dense.evaluations == 65**3


def test_a_ball_cut_by_the_box_is_closed_at_the_box():
    (surface,) = extract_surfaces(ball((0.55, 0, 0), 0.3), 1, start=8, depth=2)
    assert is_watertight(surface.faces)
    assert surface.vertices[:, 0].max() == pytest.approx(0.55, abs=1e-6)
    assert surface.volume == pytest.approx(2 / 3 * np.pi * 0.3**3, rel=0.05)


def test_items_keep_their_place_when_some_are_empty_or_broken():
    centres = np.array([[-0.2, 0, 0], [9, 9, 9], [0.2, 0, 0], [0, 0, 0]])

    def field(items, points):
        values = ball(centres, 0.15)(items, points)
        values[items == 3] = np.nan
        return values

    surfaces = extract_surfaces(field, 4, start=8, depth=2)
    assert [surface.failure for surface in surfaces] == [None, "empty", None, "the field is NaN or infinite"]
    assert [surface.is_empty for surface in surfaces] == [False, True, False, True]
    assert surfaces[0].vertices[:, 0].mean() == pytest.approx(-0.2, abs=0.01)
    assert surfaces[2].vertices[:, 0].mean() == pytest.approx(0.2, abs=0.01)
    assert surfaces[1].vertices.shape == surfaces[1].faces.shape == (0, 3)
    assert surfaces[1].evaluations == 9**3
    assert extract_surfaces(field, 0) == []


def test_points_are_float32_on_the_published_box():
    points = grid_points(np.array([[0, 128, 256]]), 256)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, np.array([[-0.55, 0, 0.55]], np.float32))


@pytest.mark.parametrize(
    ("resolution", "grid", "expected"),
    [(256, "published", (32, 3)), (256, "default", (16, 4)), (512, "published", (64, 3)), (64, "default", (16, 2))],
)
def test_first_grids(resolution, grid, expected):
    assert subdivision(resolution, grid) == expected


def test_a_resolution_that_cannot_be_halved_is_refused():
    with pytest.raises(DataError, match="16 times a power of two"):
        subdivision(100)


@pytest.mark.parametrize("value", [0.51, 1.0])
def test_a_field_that_is_nowhere_below_the_level_is_the_box(value):
    """The solid that marching cubes make of it, in 12 triangles, and a failure: the box is none of the field's surface."""
    (surface,) = extract_surfaces(lambda items, points: np.full(len(points), value), 1, start=4, depth=2)
    assert surface.failure == FULL
    octree = refine(lambda items, index: np.full(len(index), value), 1, 4, 2, 0.5)
    expected = mesh_of_octree(octree, 0)
    assert is_watertight(surface.faces)
    assert surface.volume == pytest.approx(expected.volume, rel=1e-6)
    np.testing.assert_allclose(np.ptp(surface.vertices, axis=0), np.ptp(expected.vertices, axis=0), rtol=1e-6)


def test_a_field_that_is_the_level_everywhere_has_no_surface():
    (surface,) = extract_surfaces(lambda items, points: np.full(len(points), 0.5), 1, start=4, depth=2)
    octree = refine(lambda items, index: np.full(len(index), 0.5), 1, 4, 2, 0.5)
    assert mesh_of_octree(octree, 0).is_empty
    assert surface.is_empty and surface.failure == EMPTY


def test_a_search_that_would_not_end_soon_is_given_up_alone():
    """A field of noise next to a ball: the noise fails after a bounded number of points, the ball is as if alone."""
    asked = []

    def field(items, points):
        asked.append(np.bincount(items, minlength=2)[1])
        noise = np.sin(1e4 * points @ np.array([12.9898, 78.233, 37.719]))
        return np.where(items == 1, noise, ball((0, 0, 0), 0.2)(np.zeros_like(items), points))

    surfaces = extract_surfaces(field, 2, start=8, depth=4)
    (alone,) = extract_surfaces(ball((0, 0, 0), 0.2), 1, start=8, depth=4)
    assert [surface.failure for surface in surfaces] == [None, OVERGROWN]
    assert surfaces[1].is_empty
    assert sum(asked) == surfaces[1].evaluations <= MOST_EVALUATIONS * 128**2 + 9**3 < 0.2 * 129**3
    np.testing.assert_array_equal(surfaces[0].vertices, alone.vertices)
    np.testing.assert_array_equal(surfaces[0].faces, alone.faces)
    assert surfaces[0].evaluations == alone.evaluations
