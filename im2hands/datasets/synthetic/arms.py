"""How the arms are held: wrists bend a little, elbows turn so that no camera sees an arm end in mid-air or hide the hands.

Only pictures depend on it. World, metres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from im2hands.datasets.synthetic.cameras import RigCamera, inside_image
from im2hands.datasets.synthetic.forearm import Arm, Forearm, draw_bend
from im2hands.datasets.synthetic.pairs import runs_through
from im2hands.datasets.synthetic.sequences import Fit, SequenceId
from im2hands.hands.sides import Side
from im2hands.rendering.shading import frame_of_direction

ANGLES, DIRECTIONS = np.radians([40.0, 75.0]), 8
RADIUS = 0.042
BEND_SHARES = (1.0, 0.5)
POINTS_PER_RING = 3
END_COST, ANGLE_COST = 0.3, 0.02
NEAREST = 0.15
HAND_SAMPLES = 12
"""Every so many of the hands' vertices are looked at."""


class ArmHolder:
    """The arms of one sequence, whose wrists are bent alike in all frames.

    forearms: forearm meshes for both hand models.
    """

    def __init__(self, forearms: Mapping[Side, Forearm], identity: SequenceId) -> None:
        rng = identity.rng(0, 0)
        self.forearms = forearms
        self.wanted = {side: side.mirror_axis_angles(draw_bend(rng)) for side in Side}

    def bends(
        self, fits: Mapping[Side, Fit], vertices: Mapping[Side, Float[np.ndarray, "778 3"]]
    ) -> dict[Side, Float[np.ndarray, "3"]]:
        """As much of each wrist's bend as keeps the forearm out of the other hand."""
        found = {}
        for side, forearm in self.forearms.items():
            start = vertices[side][forearm.ring].mean(0)
            shares = (
                share
                for share in BEND_SHARES
                if not runs_through(
                    vertices[side.other], start, forearm.direction(_root(fits[side]), share * self.wanted[side])
                )
            )
            found[side] = next(shares, 0.0) * self.wanted[side]
        return found

    def directions(
        self, fits: Mapping[Side, Fit], bends: Mapping[Side, Float[np.ndarray, "3"]]
    ) -> Float[np.ndarray, "2 3"]:
        """Unit directions of both forearms, from the wrist."""
        return np.stack([self.forearms[side].direction(_root(fits[side]), bends[side]) for side in Side])

    def arms(
        self,
        fits: Mapping[Side, Fit],
        bends: Mapping[Side, Float[np.ndarray, "3"]],
        vertices: Mapping[Side, Float[np.ndarray, "778 3"]],
        rig: Sequence[RigCamera],
    ) -> dict[Side, Arm]:
        """Both arms, their elbows turned for the cameras of the rig."""
        hands = np.concatenate([vertices[side] for side in Side])
        starts = {side: vertices[side][forearm.ring].mean(0) for side, forearm in self.forearms.items()}
        return {
            side: Arm(
                bends[side], choose_elbow(self.forearms[side], starts[side], _root(fits[side]), bends[side], hands, rig)
            )
            for side in Side
        }


def _root(fit: Fit) -> Float[np.ndarray, "3 3"]:
    return Rotation.from_rotvec(fit.pose[:3]).as_matrix()


def choose_elbow(
    forearm: Forearm,
    start: Float[np.ndarray, "3"],
    root: Float[np.ndarray, "3 3"],
    bend: Float[np.ndarray, "3"],
    hands: Float[np.ndarray, "vertices 3"],
    rig: Sequence[RigCamera],
) -> Float[np.ndarray, "3"]:
    """Rotation vector of the elbow; zero where the straight arm does no harm.

    start, root, bend: as in `Forearm.centreline`.  hands: vertices of both hands.
    """
    across = frame_of_direction(forearm.direction(root, bend))[:2]
    turn = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    axes = np.outer(np.cos(turn), across[0]) + np.outer(np.sin(turn), across[1])
    candidates = [np.zeros(3), *(angle * axis for angle in ANGLES for axis in axes)]
    costs = [
        sum(
            _cost(_fine(forearm.centreline(start, root, bend, elbow)[0]), hands[::HAND_SAMPLES], camera)
            for camera in rig
        )
        + ANGLE_COST * np.linalg.norm(elbow)
        for elbow in candidates
    ]
    return candidates[int(np.argmin(costs))]


def _fine(centres: np.ndarray) -> np.ndarray:
    """Points along a polyline, its corners included."""
    share = (np.arange(POINTS_PER_RING) / POINTS_PER_RING)[:, None]
    parts = centres[:-1, None] * (1 - share) + centres[1:, None] * share
    return np.concatenate([parts.reshape(-1, 3), centres[-1:]])


def _cost(arm: np.ndarray, hands: np.ndarray, camera: RigCamera) -> float:
    """Share of the hands hidden by the arm, and a charge for an end inside the picture."""
    view = camera.camera
    arm, hands = view.to_camera(arm), view.to_camera(hands)
    focal = float(view.intrinsics[0, 0])
    near = arm[arm[:, 2] > NEAREST]
    gap = near[:, None, :2] / near[:, None, 2:] - hands[None, :, :2] / hands[None, :, 2:]
    hidden = (np.linalg.norm(gap, axis=2) < RADIUS / near[:, None, 2]) & (
        near[:, None, 2] < hands[None, :, 2] - RADIUS / 2
    )
    end = arm[-1]
    pixel = end[:2] / end[2] * focal + view.intrinsics[:2, 2] if end[2] > NEAREST else np.full(2, np.inf)
    return float(hidden.any(0).mean()) + END_COST * bool(inside_image(pixel))
