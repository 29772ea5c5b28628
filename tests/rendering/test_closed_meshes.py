"""Z-buffers without the triangles that turn away, against the plain forms that draw all."""

import numpy as np
import pytest
import trimesh

from im2hands.geometry.cameras import Camera
from im2hands.rendering.closed_meshes import SoftShadow, front_triangles, light_at, open_sky, seen_by
from im2hands.rendering.rasterizer import rasterize
from im2hands.rendering.shading import ShadowMap, openness, vertex_normals


@pytest.fixture(scope="module")
def balls():
    """Three balls that hide each other and partly run through each other, metres."""
    parts = []
    for centre, radius in (((0.0, 0, 0), 0.05), ((0.06, 0.01, 0.02), 0.03), ((-0.02, 0.08, -0.05), 0.03)):
        ball = trimesh.creation.icosphere(3, radius)
        parts.append((ball.vertices + centre, ball.faces))
    offsets = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
    faces = np.concatenate([part + offset for (_, part), offset in zip(parts, offsets, strict=False)])
    return np.concatenate([vertices for vertices, _ in parts]), faces


def test_front_triangles_are_those_of_the_z_buffer(balls):
    vertices, faces = balls
    camera = Camera(np.array([[500.0, 0, 70], [0, 490, 60], [0, 0, 1]]), np.eye(3), np.array([0.01, 0.0, 0.5]))
    points, pixels, inverse = seen_by(vertices, camera, 0.1)
    np.testing.assert_allclose(points, camera.to_camera(vertices))
    np.testing.assert_allclose(pixels, camera.project(vertices))
    expected = rasterize(pixels, points[:, 2], faces, 130, 140).triangle
    found = front_triangles(pixels, inverse, faces, 130, 140)
    assert (expected >= 0).sum() > 5000
    assert (found != expected).mean() < 1e-4


def test_triangles_at_the_camera_are_left_out(balls):
    vertices, faces = balls
    camera = Camera(np.diag([50.0, 50, 1]), np.eye(3), np.array([0, 0, 0.03]))
    points, pixels, inverse = seen_by(vertices, camera, 0.02)
    assert np.array_equal(np.isnan(inverse), points[:, 2] < 0.02)
    near = np.isnan(inverse)[faces].any(1)
    assert near.any() and not near.all()
    seen = front_triangles(pixels, inverse, faces, 60, 60)
    assert (seen >= 0).any() and not near[seen[seen >= 0]].any()


@pytest.mark.parametrize("taps", [1, 10])
@pytest.mark.parametrize("size", [32, 128])
def test_soft_shadow_equals_the_plain_one(balls, taps, size):
    """Also where the map ends before the mesh does."""
    vertices, faces = balls
    normals, rng = vertex_normals(vertices, faces), np.random.default_rng(0)
    direction = np.array([0.3, 0.8, -0.52])
    direction /= np.linalg.norm(direction)
    points, bias = (
        vertices + rng.uniform(-0.002, 0.01, (len(vertices), 1)) * normals,
        rng.uniform(0, 0.01, len(vertices)),
    )
    plain = ShadowMap(vertices, faces, direction, 0.002, np.array([0.01, 0.02, 0]), size)
    soft = SoftShadow(vertices, faces, direction, 0.002, np.array([0.01, 0.02, 0]), size, 0.004, taps)
    expected = plain.light(points, bias, 0.004, taps)
    found = [
        light_at(*point, own, soft.frame, soft.origin, soft.maps, soft.offsets)
        for point, own in zip(points, bias, strict=True)
    ]
    assert 0.1 < expected.mean() < 0.95
    assert (np.abs(found - expected) > 1e-6).mean() < 0.005  # what lies within rounding of the limit


def test_open_sky_is_the_openness(balls):
    vertices, faces = balls
    normals = vertex_normals(vertices, faces)
    expected = openness(vertices, normals, faces, np.zeros(3), 0.15)
    found = open_sky(vertices, normals, faces, np.zeros(3), 0.15)
    inside = expected < 0.05  # of another ball
    assert np.abs(found - expected)[~inside].max() < 0.1
    assert np.abs(found - expected)[~inside].mean() < 0.002
