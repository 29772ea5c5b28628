"""Closed meshes with known metrics."""

import numpy as np
import trimesh

from im2hands.geometry.mesh import Mesh


def sphere(radius=1.0, centre=(0.0, 0.0, 0.0), subdivisions=4):
    made = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(np.asarray(made.vertices) + np.asarray(centre), np.asarray(made.faces))


def box(extents, centre=(0.0, 0.0, 0.0)):
    made = trimesh.creation.box(extents=extents)
    return Mesh(np.asarray(made.vertices) + np.asarray(centre), np.asarray(made.faces))


def mirrored(mesh):
    return Mesh(mesh.vertices * [-1, 1, 1], mesh.faces[:, ::-1])


def lens_volume(radius, distance):
    """Volume that two balls of the same radius share."""
    return np.pi * (4 * radius + distance) * (2 * radius - distance) ** 2 / 12
