"""The z-buffer against its plain form, against rays, and against the geometry it is meant to show."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.geometry.cameras import project
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.rendering.rasterizer import hand_maps, rasterize, rasterize_depth
from tests.naive.rasterizer import rasterize as naive_rasterize

INTRINSICS = np.array([[600.0, 0, 63.5], [0, 590.0, 60.0], [0, 0, 1]])


@pytest.fixture(scope="module")
def hand():
    """The built-in hand half a metre before the camera, palm towards it."""
    model = builtin_hand_models()[Side.RIGHT]
    vertices = model.template.numpy() @ np.array([[1, 0, 0], [0, 0, 1], [0, 1.0, 0]]) + [0, 0, 0.75]
    return vertices, model.faces


def soup(seed, triangles):
    """Random triangles that cross one another, some out of the picture."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(-10, 50, (triangles * 3, 2))
    depth = rng.uniform(0.4, 2, triangles * 3)
    return pixels, depth, np.arange(triangles * 3).reshape(-1, 3)


@pytest.mark.parametrize("triangles", [0, 1, 60])
def test_equals_naive_form_on_crossing_triangles(triangles):
    pixels, depth, faces = soup(triangles, triangles)
    raster = rasterize(pixels, depth, faces, 37, 41)
    buffer, triangle, barycentric = naive_rasterize(pixels, depth, faces, 37, 41)
    assert np.array_equal(raster.triangle, triangle)
    np.testing.assert_allclose(raster.depth, buffer, rtol=1e-13)
    np.testing.assert_allclose(raster.barycentric, barycentric, atol=1e-12)


def test_equals_naive_form_and_rays_on_the_hand(hand):
    vertices, faces = hand
    raster = rasterize(project(vertices, INTRINSICS), vertices[:, 2], faces, 120, 128)
    _, triangle, _ = naive_rasterize(project(vertices, INTRINSICS), vertices[:, 2], faces, 120, 128)
    assert np.array_equal(raster.triangle, triangle)
    rows, columns = np.mgrid[0:120, 0:128]
    pixels = np.stack([columns, rows, np.ones_like(rows)], -1).reshape(-1, 3)
    directions = pixels @ np.linalg.inv(INTRINSICS).T
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    hit = mesh.ray.intersects_first(np.zeros_like(directions), directions).reshape(120, 128)
    assert (raster.triangle >= 0).sum() > 2000
    assert (raster.triangle == hit).mean() > 0.999


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_interpolated_points_project_onto_their_pixels(seed):
    """Barycentric weights are perspective-correct: the interpolated camera point lies on the pixel's ray at its depth."""
    rng = np.random.default_rng(seed)
    vertices = np.column_stack([rng.uniform(-0.08, 0.08, (30, 2)), rng.uniform(0.4, 1.5, 30)])
    faces = np.arange(30).reshape(-1, 3)
    raster = rasterize(project(vertices, INTRINSICS), vertices[:, 2], faces, 120, 128)
    points = raster.interpolate(vertices, faces)
    rows, columns = np.nonzero(raster.covered)
    np.testing.assert_allclose(points[:, 2], raster.depth[raster.covered], rtol=1e-9)
    np.testing.assert_allclose(project(points, INTRINSICS), np.column_stack([columns, rows]), atol=1e-6)


def test_of_equally_near_triangles_the_first_is_seen():
    pixels, depth = np.array([[0.0, 0], [9, 0], [0, 9]]), np.ones(3)
    assert (rasterize(pixels, depth, np.array([[0, 1, 2], [0, 1, 2]]), 10, 10).triangle <= 0).all()


def test_triangles_at_the_camera_are_left_out():
    pixels, faces = np.array([[0.0, 0], [9, 0], [0, 9]]), np.array([[0, 1, 2]])
    assert not rasterize(pixels, np.array([1.0, 1, 0]), faces, 10, 10).covered.any()


def test_refuses_vertices_that_are_not_finite_and_faces_out_of_range():
    pixels, faces = np.zeros((3, 2)), np.array([[0, 1, 2]])
    with pytest.raises(DataError, match="non-finite"):
        rasterize(pixels, np.array([1, np.nan, 1]), faces, 4, 4)
    with pytest.raises(DataError, match="only 2 vertices"):
        rasterize(pixels[:2], np.ones(2), faces, 4, 4)


def test_parallel_projection_has_linear_depth():
    """The slanted plane z = 1 + x / 100 under a shadow map's parallel projection."""
    pixels = np.array([[-5.0, -5], [25, -5], [-5, 25], [25, 25]])
    depth = rasterize_depth(pixels, 1 + pixels[:, 0] / 100, np.array([[0, 1, 2], [1, 3, 2]]), 12, 16)
    np.testing.assert_allclose(depth, np.broadcast_to(1 + np.arange(16) / 100, (12, 16)), atol=1e-12)


def test_hand_maps_are_what_the_raster_says(hand):
    """The same bits as labels, depth and rest coordinates that are read from a raster by whole arrays."""
    vertices, faces = hand
    behind = vertices + np.array([0.03, 0.0, 0.03])
    both, triangles = np.concatenate([vertices, behind]), np.concatenate([faces, faces + len(vertices)])
    raster = rasterize(project(both, INTRINSICS), both[:, 2], triangles, 120, 128)
    maps = hand_maps([vertices, behind], [faces, faces], [vertices, behind], INTRINSICS, 120, 128)
    covered = raster.covered
    assert np.array_equal(maps.labels[covered], 1 + (raster.triangle[covered] >= len(faces)))
    assert np.array_equal(maps.depth[covered], raster.depth[covered].astype(np.float32))
    assert np.array_equal(maps.rest[covered], raster.interpolate(both, triangles).astype(np.float32))
    assert not (maps.labels[~covered].any() or maps.depth[~covered].any() or maps.rest[~covered].any())


def test_hand_maps_of_two_meshes(hand):
    """Each mesh hides the other where it is nearer; depth and rest coordinates belong to the mesh that is seen."""
    vertices, faces = hand
    behind = vertices + np.array([0.03, 0.0, 0.2])
    rest = [vertices, vertices + 10.0]
    maps = hand_maps([vertices, behind], [faces, faces], rest, INTRINSICS, 120, 128)
    alone = hand_maps([vertices], [faces], rest[:1], INTRINSICS, 120, 128)
    assert set(np.unique(maps.labels)) == {0, 1, 2}
    assert (maps.labels[alone.labels == 1] == 1).all()
    assert np.array_equal(maps.depth == 0, maps.labels == 0)
    np.testing.assert_allclose(maps.rest[maps.labels == 1][:, 2], maps.depth[maps.labels == 1], atol=1e-6)
    np.testing.assert_allclose(maps.rest[maps.labels == 2][:, 2] - 10 + 0.2, maps.depth[maps.labels == 2], atol=1e-5)
    with pytest.raises(DataError, match="behind the camera"):
        hand_maps([vertices - [0, 0, 1.0]], [faces], rest[:1], INTRINSICS, 8, 8)
