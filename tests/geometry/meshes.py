"""Small closed meshes for the tests of geometry."""

import numpy as np
import trimesh

from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side


def sphere(radius=1.0, centre=(0, 0, 0), subdivisions=2):
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return np.asarray(mesh.vertices) + centre, np.asarray(mesh.faces)


def box(low=(-1, -1, -1), high=(1, 1, 1)):
    mesh = trimesh.creation.box(bounds=[low, high])
    return np.asarray(mesh.vertices, float), np.asarray(mesh.faces)


def joined(*meshes):
    """Several meshes as one, shells kept apart."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in meshes)])
    faces = [faces + start for (_, faces), start in zip(meshes, starts, strict=False)]
    return np.concatenate([vertices for vertices, _ in meshes]), np.concatenate(faces)


def sealed_hand():
    """The built-in right hand in its rest pose, 779 vertices and 1554 faces, palm units about its first vertex's side."""
    model = builtin_hand_models()[Side.RIGHT]
    vertices = model.seal(model.template.numpy().astype(np.float64))
    return (vertices - vertices.mean(axis=0)) / 0.4, model.sealed_faces


def random_closed(rng, shells=2):
    """Overlapping, bumpy, self-intersecting shells with orientation at random: closed, and nothing else is promised."""
    parts = []
    for _ in range(shells):
        vertices, faces = sphere(1.0, subdivisions=int(rng.integers(0, 3)))
        vertices = vertices * rng.uniform(0.2, 1.6, (len(vertices), 1)) * rng.uniform(0.3, 1, 3) + rng.normal(0, 0.4, 3)
        parts.append((vertices, faces if rng.random() < 0.7 else faces[:, ::-1]))
    return joined(*parts)
