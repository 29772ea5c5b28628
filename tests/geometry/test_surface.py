"""Surface samples lie on their faces, uniform over the area, and follow the generator alone."""

import numpy as np
import pytest

from im2hands.geometry.surface import sample_surface
from im2hands.io.errors import DataError
from tests.geometry.meshes import box, sealed_hand, sphere


@pytest.mark.parametrize("count", [0, 1, 2000])
def test_points_lie_on_their_faces(count):
    vertices, faces = sealed_hand()
    samples = sample_surface(vertices, faces, count, np.random.default_rng(0))
    a, b, c = (vertices[faces[samples.faces, corner]] for corner in range(3))
    corners = np.stack([a, b, c], axis=-1) + 10  # away from the origin, where corners are independent
    weights = np.linalg.solve(corners, (samples.points + 10)[..., None])
    assert samples.points.shape == samples.normals.shape == (count, 3)
    np.testing.assert_allclose(weights.sum(axis=(1, 2)), 1, atol=1e-6)
    assert (weights > -1e-6).all()
    np.testing.assert_allclose(np.linalg.norm(samples.normals, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(np.einsum("ij,ij->i", samples.normals, b - a), 0, atol=1e-12)


def test_samples_are_uniform_over_the_area():
    """A box with sides 1, 2, 4: faces are hit in proportion to their areas, places within a face evenly."""
    vertices, faces = box((0, 0, 0), (1, 2, 4))
    points, normals, _ = sample_surface(vertices, faces, 60000, np.random.default_rng(1))
    shares = [np.mean(np.abs(normals[:, axis]) > 0.5) for axis in range(3)]
    np.testing.assert_allclose(shares, np.array([8, 4, 2]) / 14, atol=0.01)
    side = points[np.abs(normals[:, 0]) > 0.5]
    counts, _, _ = np.histogram2d(side[:, 1], side[:, 2], bins=(4, 8), range=((0, 2), (0, 4)))
    np.testing.assert_allclose(counts / len(side), 1 / 32, rtol=0.15)


def test_normals_look_outwards_and_faces_without_area_are_never_hit():
    vertices, faces = sphere()
    flat = np.repeat(np.arange(50)[:, None], 3, axis=1)
    samples = sample_surface(vertices, np.concatenate([flat, faces, flat]), 3000, np.random.default_rng(2))
    assert (np.einsum("ij,ij->i", samples.points, samples.normals) > 0.9).all()
    assert (samples.faces >= 50).all()
    assert (samples.faces < 50 + len(faces)).all()


def test_the_generator_decides():
    vertices, faces = sphere()
    first, again, other = (sample_surface(vertices, faces, 50, np.random.default_rng(s)).points for s in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_meshes_without_area_are_refused():
    with pytest.raises(DataError, match="has an area"):
        sample_surface(np.zeros((3, 3)), np.array([[0, 1, 2]]), 5, np.random.default_rng(0))
    with pytest.raises(DataError, match="must not be empty"):
        sample_surface(np.zeros((0, 3)), np.zeros((0, 3), int), 5, np.random.default_rng(0))
