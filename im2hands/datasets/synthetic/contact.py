"""How far a hand runs through itself or through another one. Metres.

Two kinds of answer: approximate depths (distance to the nearest surface sample along its normal), cheap enough to slide hands
against one another, and exact ones by winding number, for what is nearly accepted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from im2hands.geometry.inside import InsideTest
from im2hands.hands.model import HandModel
from im2hands.rendering.shading import vertex_normals

FAR_IN_TEMPLATE = 0.022
NEAR_NOW = 0.009
SAMPLE_RADIUS = 0.018
"""Surface samples further than this from a point say nothing about its depth."""
LIFT = 0.0003
"""Vertices this far outside their own surface should be outside the solid."""
VOLUME_CELL = 0.001


class SelfContact:
    """Depth of a hand's fingers in the rest of the hand.

    Only pairs of vertices are looked at that are far apart in the template and close together now.
    """

    def __init__(self, model: HandModel) -> None:
        template = model.template.numpy()
        joint = model.skinning_weights.numpy().argmax(1)
        finger = np.where(joint == 0, -1, (joint - 1) // 3)
        self.faces = model.faces
        self.parts = [(np.flatnonzero(finger == k), np.flatnonzero(finger != k)) for k in range(5)]
        self.far = np.linalg.norm(template[:, None] - template[None], axis=2) > FAR_IN_TEMPLATE

    def depth(
        self, vertices: Float[np.ndarray, "778 3"], faces: Int[np.ndarray, "1538 3"], enough: float = math.inf
    ) -> float:
        """Largest depth (m) of a finger's vertex behind its nearest vertex of the rest of the hand.

        enough: from this depth (m) on, no deeper one is looked for.
        """
        normals, deepest = vertex_normals(vertices, faces), 0.0
        for own, rest in self.parts:
            distance, nearest = cKDTree(vertices[rest]).query(vertices[own], distance_upper_bound=NEAR_NOW)
            near = np.isfinite(distance)
            first, second = own[near], rest[nearest[near]]
            first, second = first[self.far[first, second]], second[self.far[first, second]]
            if len(first):
                depths = ((vertices[second] - vertices[first]) * normals[second]).sum(1)
                deepest = max(deepest, float(depths.max()))
            if deepest >= enough:
                break
        return deepest


@dataclass(frozen=True)
class SurfaceSamples:
    """Vertices and triangle centres of a mesh with their normals, searchable."""

    points: Float[np.ndarray, "samples 3"]
    normals: Float[np.ndarray, "samples 3"]
    tree: cKDTree

    @classmethod
    def of(cls, vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]) -> SurfaceSamples:
        corners = vertices[faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-15)
        points = np.concatenate([vertices, corners.mean(1)])
        return cls(points, np.concatenate([vertex_normals(vertices, faces), normals]), cKDTree(points))

    def depth_and_distance(self, points: Float[np.ndarray, "n 3"]) -> tuple[float, float]:
        """Largest depth of the points behind the surface (negative: all outside) and smallest distance to a sample, metres.

        Points further than `SAMPLE_RADIUS` from every sample are skipped; without any other, (-radius, radius).
        """
        distance, nearest = self.tree.query(points, distance_upper_bound=SAMPLE_RADIUS)
        near = np.isfinite(distance)
        if not near.any():
            return -SAMPLE_RADIUS, SAMPLE_RADIUS
        found = nearest[near]
        depths = ((self.points[found] - points[near]) * self.normals[found]).sum(1)
        return float(depths.max()), float(distance[near].min())


def share_inside_itself(vertices: Float[np.ndarray, "778 3"], model: HandModel) -> float:
    """Share of the vertices (those of the wrist's rim left out) that lie in the closed hand when lifted off their surface."""
    lifted = np.delete(vertices + LIFT * vertex_normals(vertices, model.faces), model.wrist_ring, axis=0)
    return float((InsideTest(model.seal(vertices), model.sealed_faces).winding(lifted) != 0).mean())


def shared_volume(
    first: Float[np.ndarray, "778 3"],
    first_model: HandModel,
    second: Float[np.ndarray, "778 3"],
    second_model: HandModel,
) -> float:
    """Volume (cubic metres) that lies in both closed hands, by counting cells of a millimetre."""
    low, high = np.maximum(first.min(0), second.min(0)), np.minimum(first.max(0), second.max(0))
    if (high <= low).any():
        return 0.0
    solids = [
        InsideTest(model.seal(vertices), model.sealed_faces)
        for vertices, model in ((first, first_model), (second, second_model))
    ]
    crossing = [points[(solid.winding(points) != 0)] for solid, points in zip(solids, (second, first), strict=True)]
    found = np.concatenate(crossing)
    if len(found) == 0:
        return 0.0  # edges alone may still cross, but they enclose next to nothing
    low, high = np.maximum(low, found.min(0) - 0.01), np.minimum(high, found.max(0) + 0.01)
    axes = [np.arange(start, stop, VOLUME_CELL) + VOLUME_CELL / 2 for start, stop in zip(low, high, strict=True)]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    for solid in solids:
        cells = cells[solid.winding(cells) != 0]
    return len(cells) * VOLUME_CELL**3
