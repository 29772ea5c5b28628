"""The largest part of a mesh: the same as trimesh's, whole meshes untouched, loose vertices dropped."""

from __future__ import annotations

import numpy as np
import trimesh

from im2hands.geometry.components import Removed, largest_component
from im2hands.geometry.mesh import Mesh


def parts(*meshes: trimesh.Trimesh, order: int = 0) -> Mesh:
    """Meshes in one, vertices and triangles shuffled."""
    whole, random = trimesh.util.concatenate(list(meshes)), np.random.default_rng(order)
    places = random.permutation(len(whole.vertices))
    faces = np.argsort(places)[whole.faces]
    return Mesh(np.asarray(whole.vertices)[places], random.permutation(faces, axis=0))


def test_the_largest_part_is_trimeshs():
    ball, crumb, blob = (trimesh.creation.icosphere(n, r) for n, r in ((3, 1.0), (1, 0.05), (2, 0.3)))
    crumb.apply_translation([3, 0, 0])
    blob.apply_translation([0, 3, 0])
    found, removed = largest_component(parts(crumb, ball, blob))
    split = trimesh.Trimesh(*vars(parts(crumb, ball, blob)).values(), process=False).split(only_watertight=False)
    expected = max(split, key=lambda part: len(part.vertices))
    assert removed == Removed(2, len(crumb.vertices) + len(blob.vertices))
    assert np.isclose(found.volume, expected.volume) and len(found.faces) == len(expected.faces)
    assert trimesh.Trimesh(found.vertices, found.faces, process=False).is_watertight


def test_a_mesh_of_one_part_is_the_same_object():
    mesh = parts(trimesh.creation.icosphere(2))
    for whole in (mesh, Mesh()):
        found, removed = largest_component(whole)
        assert found is whole and removed == Removed()


def test_vertices_without_a_triangle_are_no_parts():
    ball = parts(trimesh.creation.icosphere(1))
    loose = Mesh(np.concatenate([np.ones((3, 3)), ball.vertices]), ball.faces + 3)
    found, removed = largest_component(loose)
    assert removed == Removed(0, 3)
    np.testing.assert_array_equal(found.vertices, ball.vertices)
    np.testing.assert_array_equal(found.faces, ball.faces)
