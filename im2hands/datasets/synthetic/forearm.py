"""An arm for the pictures: the open wrist ring swept to the elbow and on, out of the picture.

It is drawn and nothing else: it belongs to no hand mesh, mask or dense map. It starts in the mesh's own wrist vertices, posed
and shaped, so that no step or seam shows, and turns from the ring's shape into an ellipse on the way. World, metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from im2hands.hands.model import VERTICES, HandModel
from im2hands.hands.wrist import boundary_edges

LENGTHS = (
    np.array([6, 14, 24, 37, 53, 73, 98, 128, 163, 200, 230, 255, 280, 310, 360, 430, 530, 680, 900, 1200, 1600]) / 1000
)
"""Distance of the rings from the wrist along the arm, metres."""
BENT_AT = 0.055
ELBOW_FROM, ELBOW_TO = 0.215, 0.330
"""Where along the arm (m) the elbow turns."""
BEND_DEVIATION, BEND_LIMIT = np.radians([4.0, 7.0, 13.0]), np.radians([10.0, 15.0, 28.0])
"""Of the wrist's turns (radians) about the template's axes: twist, to the side, towards palm or back."""
GROWTH, GROWN_AT = 0.44, 0.190
END = 0.020
"""How far (m) the closed end of the arm bulges."""
WIDER, FLATTER = 1.10, 0.94
"""Half axes of the ellipse (towards the thumb's side, towards the back) in units of the ring's mean radius."""
ROUND_AT = 0.060


@dataclass(frozen=True)
class Arm:
    """How an arm is held. bend, elbow: rotation vectors of wrist and elbow, see `Forearm.vertices`."""

    bend: Float[np.ndarray, "3"]
    elbow: Float[np.ndarray, "3"]


class Forearm:
    """The arm of one hand model. faces: triangles over the hand's vertices and, after them, the arm's."""

    def __init__(self, model: HandModel) -> None:
        self.ring = model.wrist_ring
        template = model.template.numpy()
        wrist = (model.joint_regressor @ model.template).numpy()[0]
        centre = template[self.ring].mean(0)
        self.axis = (centre - wrist) / np.linalg.norm(centre - wrist)
        self.faces = _faces(model.faces, self.ring)
        self.rest = self.vertices(template, np.eye(3), np.zeros(3), np.zeros(3))

    def vertices(
        self,
        hand: Float[np.ndarray, "778 3"],
        root: Float[np.ndarray, "3 3"],
        bend: Float[np.ndarray, "3"],
        elbow: Float[np.ndarray, "3"],
    ) -> Float[np.ndarray, "arm 3"]:
        """Vertices of the arm of a posed hand.

        root: the hand's root rotation.  bend: rotation vector of the wrist in the template's axes (see `draw_bend`).
        elbow: rotation vector of the elbow in the hand's frame (see `arms.choose_elbow`).
        """
        ring = hand[self.ring]
        offsets = ring - ring.mean(0)
        axis = root @ self.axis
        along = offsets @ axis
        across = offsets - along[:, None] * axis
        back = root @ np.array([0.0, 1.0, 0.0])
        back -= axis * (back @ axis)
        back /= np.linalg.norm(back)
        thumb = np.cross(axis, back)
        angle = np.arctan2(across @ back, across @ thumb)
        mean = np.linalg.norm(across, axis=1).mean()
        ellipse = mean * (WIDER * np.cos(angle)[:, None] * thumb + FLATTER * np.sin(angle)[:, None] * back)
        centres, turns = self.centreline(ring.mean(0), root, bend, elbow)
        rings = []
        for length, centre, turn in zip(LENGTHS, centres, turns, strict=True):
            grown, rounded = 1 + GROWTH * _smooth(length / GROWN_AT), _smooth(length / ROUND_AT)
            section = grown * ((1 - rounded) * across + rounded * ellipse) + (along * (1 - rounded))[:, None] * axis
            rings.append(centre + section @ turn.T)
        return np.concatenate([*rings, (centres[-1] + END * (turns[-1] @ axis))[None]])

    def centreline(
        self,
        start: Float[np.ndarray, "3"],
        root: Float[np.ndarray, "3 3"],
        bend: Float[np.ndarray, "3"],
        elbow: Float[np.ndarray, "3"],
    ) -> tuple[Float[np.ndarray, "rings 3"], Float[np.ndarray, "rings 3 3"]]:
        """Centres of the arm's rings, and how each is turned. start: centre of the wrist ring; others as in `vertices`."""
        wrist_share = np.array([_smooth(length / BENT_AT) for length in LENGTHS])
        elbow_share = np.array([_smooth((length - ELBOW_FROM) / (ELBOW_TO - ELBOW_FROM)) for length in LENGTHS])
        wrist = root @ Rotation.from_rotvec(wrist_share[:, None] * bend).as_matrix() @ root.T
        turns = Rotation.from_rotvec(elbow_share[:, None] * elbow).as_matrix() @ wrist
        steps = np.diff(LENGTHS, prepend=0.0)[:, None] * (turns @ (root @ self.axis))
        return start + np.cumsum(steps, axis=0), turns

    def direction(self, root: Float[np.ndarray, "3 3"], bend: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
        """Unit direction of the bent forearm, from the wrist to the elbow."""
        return root @ Rotation.from_rotvec(bend).apply(self.axis)


def draw_bend(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """A random turn of the wrist: rotation vector in right-hand space, radians."""
    return np.clip(rng.normal(0, BEND_DEVIATION), -BEND_LIMIT, BEND_LIMIT)


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
    end = np.full_like(loops[-1], VERTICES + len(ring) * len(LENGTHS))
    strips.append(np.stack([loops[-1], np.roll(loops[-1], -1), end], 1))
    return np.concatenate(strips)
