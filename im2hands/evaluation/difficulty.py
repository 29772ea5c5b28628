"""What makes a hand pair hard: how close the true hands are, and how much of each the photograph shows.

Surfaces are closed; vertices are in the world frame, metres.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from im2hands.evaluation.penetration import depth_of_vertices
from im2hands.geometry.cameras import Camera, project
from im2hands.geometry.inside import InsideTest
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.surface_distance import distance_to_surface
from im2hands.hands.sides import Side
from im2hands.rendering.rasterizer import rasterize

LARGEST_CANVAS = 2048
"""Pixels per side of the area in which a hand's own pixels are counted; what lies beyond counts as hidden by the border."""


def surface_distance(first: Mesh, second: Mesh) -> float:
    """Smallest distance (m) from a vertex of either surface to the other; minus the depth of the deepest vertex if they
    stand in one another.

    Edges that pass each other between their vertices are at most an edge length nearer; hand meshes have edges of millimetres.
    """
    depth = max(
        depth_of_vertices(one, InsideTest(other.vertices, other.faces))
        for one, other in ((first, second), (second, first))
    )
    return -depth if depth > 0 else min(_nearest(first, second), _nearest(second, first))


def _nearest(points: Mesh, surface: Mesh) -> float:
    """Only vertices that may be the nearest are measured: a surface point is at most an edge away from a vertex."""
    corners = surface.vertices[surface.faces]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1).max()
    to_vertex = cKDTree(surface.vertices).query(points.vertices)[0]
    candidates = points.vertices[to_vertex <= to_vertex.min() + longest]
    return float(distance_to_surface(candidates, surface.vertices, surface.faces).min())


def visible_fractions(hands: Mapping[Side, Mesh], camera: Camera, size: int) -> dict[Side, float]:
    """Share of each hand's own pixels that neither the other hand nor the border of the image hides.

    A hand's own pixels are those that it would cover alone in an endless image.  camera: camera of a square image of `size`
    pixels. 0 for a hand that lies wholly beyond the border or behind the camera.
    """
    seen = {side: camera.to_camera(np.asarray(mesh.vertices, np.float64)) for side, mesh in hands.items()}
    in_front = {side: points for side, points in seen.items() if (points[:, 2] > 0).all()}
    if not in_front:
        return dict.fromkeys(hands, 0.0)
    pixels = {side: project(points, camera.intrinsics) for side, points in in_front.items()}
    corners = np.concatenate(list(pixels.values()))
    reach = (LARGEST_CANVAS - size) // 2
    low = np.clip(np.floor(corners.min(axis=0)), -reach, 0).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)), size - 1, size - 1 + reach).astype(int)
    width, height = (high - low + 1).tolist()
    depth = {
        side: rasterize(pixels[side] - low, in_front[side][:, 2], hands[side].faces, height, width).depth
        for side in in_front
    }
    inside = np.zeros((height, width), bool)
    inside[-low[1] : size - low[1], -low[0] : size - low[0]] = True
    fractions = dict.fromkeys(hands, 0.0)
    for side, own in depth.items():
        others = [depth[other] for other in depth if other is not side]
        fractions[side] = _share(own, others, inside)
    return fractions


def _share(
    own: Float[np.ndarray, "height width"],
    others: list[Float[np.ndarray, "height width"]],
    inside: Bool[np.ndarray, "height width"],
) -> float:
    covered = np.isfinite(own)
    visible = covered & inside
    for other in others:
        visible &= own <= other
    return float(visible.sum() / covered.sum()) if covered.any() else 0.0
