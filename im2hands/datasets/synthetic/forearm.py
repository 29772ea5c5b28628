"""A forearm for the pictures: the open wrist ring swept towards the elbow.

It is drawn and nothing else: it belongs to no hand mesh, mask or dense map. It starts in the mesh's own wrist vertices, posed
and shaped, so that no step or seam shows, and turns from the ring's shape into an ellipse on the way.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from im2hands.hands.model import VERTICES, HandModel
from im2hands.hands.wrist import boundary_edges

LENGTHS = np.array([6, 14, 24, 37, 53, 73, 98, 128, 163, 203, 248, 298, 350]) / 1000
"""Distance of the rings from the wrist, metres."""
GROWTH, GROWN_AT = 0.44, 0.190
WIDER, FLATTER = 1.10, 0.94
"""Half axes of the ellipse (towards the thumb's side, towards the back) in units of the ring's mean radius."""
ROUND_AT = 0.060


class Forearm:
    """The forearm of one hand model. faces: triangles over the hand's vertices and, after them, the forearm's."""

    def __init__(self, model: HandModel) -> None:
        self.ring = model.wrist_ring
        template = model.template.numpy()
        wrist = (model.joint_regressor @ model.template).numpy()[0]
        centre = template[self.ring].mean(0)
        self.axis = (centre - wrist) / np.linalg.norm(centre - wrist)
        self.faces = _faces(model.faces, self.ring)
        self.rest = self.vertices(template, np.eye(3))

    def vertices(
        self, hand: Float[np.ndarray, "778 3"], root: Float[np.ndarray, "3 3"]
    ) -> Float[np.ndarray, "forearm 3"]:
        """Vertices of the forearm of a posed hand (metres, its frame). root: the hand's root rotation."""
        ring = hand[self.ring]
        centre, axis = ring.mean(0), root @ self.axis
        offsets = ring - centre
        along = offsets @ axis
        across = offsets - along[:, None] * axis
        back = root @ np.array([0.0, 1.0, 0.0])
        back -= axis * (back @ axis)
        back /= np.linalg.norm(back)
        thumb = np.cross(axis, back)
        radius = np.linalg.norm(across, axis=1)
        angle = np.arctan2(across @ back, across @ thumb)
        mean = radius.mean()
        ellipse = mean * (WIDER * np.cos(angle)[:, None] * thumb + FLATTER * np.sin(angle)[:, None] * back)
        rings = []
        for length in LENGTHS:
            grown, rounded = 1 + GROWTH * _smooth(length / GROWN_AT), _smooth(length / ROUND_AT)
            section = grown * ((1 - rounded) * across + rounded * ellipse)
            rings.append(centre + length * axis + section + (along * (1 - rounded))[:, None] * axis)
        return np.concatenate(rings)


def _smooth(value: float) -> float:
    value = min(max(value, 0.0), 1.0)
    return value * value * (3 - 2 * value)


def _faces(faces: Int[np.ndarray, "1538 3"], ring: Int[np.ndarray, "16"]) -> Int[np.ndarray, "all 3"]:
    """The hand's triangles and the forearm's, wound alike."""
    forwards = (boundary_edges(faces) == [ring[0], ring[1]]).all(1).any()
    loop = ring[::-1] if forwards else ring  # neighbours of the hand run the other way round the ring
    order = np.arange(len(ring))[::-1] if forwards else np.arange(len(ring))
    loops = [loop, *(VERTICES + len(ring) * k + order for k in range(len(LENGTHS)))]
    strips = [faces]
    for near, far in pairwise(loops):
        near_next, far_next = np.roll(near, -1), np.roll(far, -1)
        strips += [np.stack([near, near_next, far_next], 1), np.stack([near, far_next, far], 1)]
    return np.concatenate(strips)
