"""Exact measures of the quality bars, on meshes."""

import numpy as np
from scipy.spatial import cKDTree

from im2hands.geometry.inside import InsideTest
from im2hands.hands.sides import Side
from im2hands.rendering.shading import vertex_normals


def share_inside_itself(vertices, model, lift=0.0003):
    """Share of vertices that lie in the closed hand after being moved 0.3 mm outwards; the wrist's rim is left out."""
    keep = ~np.isin(np.arange(len(vertices)), model.wrist_ring)
    moved = (vertices + lift * vertex_normals(vertices, model.faces))[keep]
    return (InsideTest(model.seal(vertices), model.sealed_faces).winding(moved) != 0).mean()


def shared_volume_cm3(vertices, models, points=20_000):
    """Volume in both closed hands, by random points in the box that both boxes share."""
    low = np.max([vertices[side].min(0) for side in Side], axis=0)
    high = np.min([vertices[side].max(0) for side in Side], axis=0)
    if (high <= low).any():
        return 0.0
    sample = np.random.default_rng(0).uniform(low, high, (points, 3))
    inside = [
        InsideTest(models[side].seal(vertices[side]), models[side].sealed_faces).winding(sample) != 0 for side in Side
    ]
    return (inside[0] & inside[1]).mean() * np.prod(high - low) * 1e6


def surface_points(vertices, faces):
    """Vertices, triangle centres and edge middles."""
    corners = vertices[faces]
    return np.concatenate([vertices, corners.mean(1), *(corners[:, [k, (k + 1) % 3]].mean(1) for k in range(3))])


def distance_to_samples(vertices, models):
    """Smallest distance (m) of a vertex to a vertex or triangle centre of the other hand, both ways."""
    samples = {side: np.concatenate([vertices[side], vertices[side][models[side].faces].mean(1)]) for side in Side}
    return min(cKDTree(samples[side]).query(vertices[side.other])[0].min() for side in Side)
