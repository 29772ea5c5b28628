"""Light: normals, noise, shadows, openness, tone curve, rounder triangles."""

import numpy as np
import pytest
import trimesh

from im2hands.rendering.shading import (
    ShadowMap,
    frame_of_direction,
    noise_at,
    openness,
    sphere_directions,
    to_linear,
    tone_curve,
    vertex_normals,
)
from im2hands.rendering.subdivision import Subdivision

GROUND = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
GROUND_FACES = np.array([[0, 1, 2], [0, 2, 3]])
UP = np.array([0.0, 0, 1])


def test_normals_of_a_sphere_point_outwards():
    sphere = trimesh.creation.icosphere(3)
    normals = vertex_normals(sphere.vertices, sphere.faces)
    assert ((normals * sphere.vertices).sum(1) > 0.999).all()


def test_normals_equal_those_of_whole_arrays():
    """Every bit: the pictures of the synthetic dataset depend on it."""
    ball = trimesh.creation.icosphere(2)
    vertices = ball.vertices + np.random.default_rng(0).normal(0, 0.05, ball.vertices.shape)
    corners = vertices[ball.faces]
    weighted = np.repeat(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), 3, axis=0)
    flat = ball.faces.reshape(-1)
    normals = np.stack([np.bincount(flat, weighted[:, k], len(vertices)) for k in range(3)], axis=1)
    expected = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    assert np.array_equal(vertex_normals(vertices, ball.faces), expected)
    assert np.array_equal(vertex_normals(vertices[:, ::-1], ball.faces[:0]), np.zeros_like(vertices))


def test_noise_is_smooth_bounded_and_a_function_of_the_seed():
    def noise(points, seed):
        return np.array([noise_at(*point, seed) for point in points])

    points = np.random.default_rng(0).uniform(-50, 50, (4000, 3))
    values = noise(points, 3)
    assert 0 <= values.min() < 0.1 and 0.9 < values.max() <= 1
    assert abs(values.mean() - 0.5) < 0.02
    assert np.abs(noise(points + 1e-6, 3) - values).max() < 1e-5
    assert np.array_equal(values, noise(points, 3)) and not np.allclose(values, noise(points, 4))


@pytest.mark.parametrize("direction", [(0, 0, 1.0), (1.0, 0, 0), (-0.6, 0, 0.8)])
def test_frame_of_direction_is_a_rotation(direction):
    frame = frame_of_direction(np.array(direction))
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(frame[2], direction)
    assert np.linalg.det(frame) > 0.99


def test_a_roof_keeps_the_light_from_what_is_under_it():
    roof = GROUND * [0.2, 0.2, 1] + [0, 0, 0.5]
    shadow = ShadowMap(
        np.concatenate([GROUND, roof]), np.concatenate([GROUND_FACES, GROUND_FACES + 4]), UP, 0.01, np.zeros(3), 256
    )
    points = np.array([[0.0, 0, 0], [0.5, 0, 0], [0.2, 0, 0], [0, 0, 0.5], [5.0, 0, 0]])
    light = shadow.light(points, bias=0.01, softness=0.05, taps=64)
    assert light[0] == 0 and light[1] == 1 and 0.3 < light[2] < 0.7  # under it, beside it, at its edge
    assert light[3] == 1 and light[4] == 1  # on it, outside the map


def test_a_plane_sees_the_whole_sky_and_the_foot_of_a_wall_half_of_it():
    wall = np.array([[0, -1.0, 0], [0, 1, 0], [0, 1, 2], [0, -1, 2]])
    foot = np.array([[0.04, 0, 0], [0.9, 0, 0]])
    vertices = np.concatenate([GROUND, foot, wall])
    normals = np.tile(UP, (len(vertices), 1))
    open_sky = openness(vertices[:6], normals[:6], GROUND_FACES, np.zeros(3), 2.0)
    np.testing.assert_allclose(open_sky, 1, atol=1e-9)
    hidden = openness(vertices, normals, np.concatenate([GROUND_FACES, GROUND_FACES + 6]), np.zeros(3), 2.0, 200, 200)
    assert hidden[4] == pytest.approx(0.5, abs=0.1) and 0.7 < hidden[5] < 0.9


def test_sphere_directions_are_spread_evenly():
    directions = sphere_directions(200)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-12)
    assert np.abs(directions.mean(0)).max() < 0.01


def test_tone_curve_is_monotone_and_undoes_srgb_below_its_knee():
    light = np.linspace(0, 4, 500)
    curve = tone_curve(light)
    assert (np.diff(curve) > 0).all() and curve[0] == 0 and curve[-1] <= 1
    values = np.linspace(0, 0.75, 50)
    np.testing.assert_allclose(tone_curve(to_linear(values)), values, atol=1e-9)


def test_subdivision_keeps_old_vertices_and_rounds_a_sphere():
    sphere = trimesh.creation.icosphere(2)
    finer = Subdivision(sphere.faces, len(sphere.vertices))
    vertices = finer.vertices(sphere.vertices, vertex_normals(sphere.vertices, sphere.faces))
    assert np.array_equal(vertices[: len(sphere.vertices)], sphere.vertices)
    mesh = trimesh.Trimesh(vertices, finer.faces, process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent and len(mesh.faces) == 4 * len(sphere.faces)
    flat = np.linalg.norm(finer.attributes(sphere.vertices), axis=1)
    assert np.abs(np.linalg.norm(vertices, axis=1) - 1).max() < 0.4 * np.abs(flat - 1).max()
