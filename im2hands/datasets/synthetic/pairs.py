"""Two hands of one person: drawn until they touch or nearly touch without penetrating each other.

Everything here is in the pair frame: metres, the right hand's root rotation is the identity and its wrist the origin.
Source: docs/synthetic-dataset.md, section "Two hands together".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from im2hands.datasets.synthetic.contact import SelfContact, SurfaceSamples, share_inside_itself, shared_volume
from im2hands.datasets.synthetic.gestures import GesturePrior
from im2hands.hands.model import HandModel
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.rendering.shading import vertex_normals

ANCHOR_REGIONS = {"palm": 0.35, "fingers": 0.30, "tips": 0.25, "back": 0.10}
TOUCHING_SHARE = 0.8
GAPS = (0.004, 0.040)
MAX_SELF_DEPTH, MAX_SELF_SHARE = 0.003, 0.025
MAX_PAIR_DEPTH, MAX_PAIR_VOLUME = 0.003, 0.2e-6
SETTLED_DEPTH = 0.001
GLANCING = 0.4
"""Least distance in units of the gap; hands that slide past each other come nearer than the way they retreat."""
TILT = np.radians(15)

FOREARM = np.array([1.0, 0.0, 0.0])
"""From the wrist to the elbow, right hand's root frame."""
ELBOW_DISTANCE = 0.230
MIN_ELBOWS = 0.170
MAX_FOREARM_COSINE = 0.75
MIN_THUMB_SIDE_COSINE = -0.35
FOREARM_RADIUS = 0.032
FOREARM_STARTS = 0.015

FARTHEST, COARSE_STEP, BISECTIONS, DEEPEST_SLIDE = 0.200, 0.005, 5, -0.030
HAND_ATTEMPTS, PAIR_ATTEMPTS, PLACEMENTS = 500, 2000, 12


@dataclass(frozen=True)
class HandShape:
    """A posed hand about its own wrist, without root rotation: metres."""

    angles: Float[np.ndarray, "20"]
    vertices: Float[np.ndarray, "778 3"]


@dataclass(frozen=True)
class Pair:
    """A usable two-hand pose in the pair frame.

    angles: anatomical angles (degrees) per side.  shape: shape of both hands.  left_rotation: root rotation of the left hand.
    left_wrist: metres.  retreat: unit direction in which the left hand leaves the right one.  gap: distance (m) that was left
    between them on purpose, 0 for touching hands.
    """

    angles: Mapping[Side, Float[np.ndarray, "20"]]
    shape: Float[np.ndarray, "10"]
    left_rotation: Float[np.ndarray, "3 3"]
    left_wrist: Float[np.ndarray, "3"]
    retreat: Float[np.ndarray, "3"]
    gap: float


class PairSampler:
    """Draws pairs and settles changed ones. models: both hands; poses are drawn in right-hand space."""

    def __init__(self, models: Mapping[Side, HandModel]) -> None:
        right = models[Side.RIGHT]
        self.models, self.prior = models, GesturePrior(right)
        self.self_contact = SelfContact(right)
        self.anchors = _anchor_regions(right)

    def hand(self, angles: Float[np.ndarray, "20"], shape: Float[np.ndarray, "10"], side: Side) -> HandShape:
        """The hand with these anatomical angles (degrees)."""
        pose = np.concatenate([np.zeros(3), self.prior.pose(angles, side)])
        posed = self.models[side].pose(pose[None], shape[None])
        return HandShape(angles, (posed.vertices[0] - posed.rest_joints[0, 0]).numpy())

    def crosses_itself(self, hand: HandShape, side: Side) -> bool:
        """Whether the fingers run through one another or the palm: by the cheap test, then by the exact one."""
        if self.self_contact.depth(hand.vertices, self.models[side].faces) >= MAX_SELF_DEPTH:
            return True
        return share_inside_itself(hand.vertices, self.models[side]) > MAX_SELF_SHARE

    def draw_hand(self, rng: np.random.Generator, shape: Float[np.ndarray, "10"], side: Side) -> HandShape:
        """A random hand that does not run through itself."""
        for _ in range(HAND_ATTEMPTS):
            hand = self.hand(self.prior.draw(rng)[0], shape, side)
            if not self.crosses_itself(hand, side):
                return hand
        raise DataError(f"no usable hand in {HAND_ATTEMPTS} draws; is this the built-in hand model?")

    def draw(self, rng: np.random.Generator, shape: Float[np.ndarray, "10"]) -> Pair:
        """A random pair of hands that touch (in four of five draws) or keep a gap."""
        for _ in range(PAIR_ATTEMPTS):
            right, left = (self.draw_hand(rng, shape, side) for side in (Side.RIGHT, Side.LEFT))
            gap = 0.0 if rng.uniform() < TOUCHING_SHARE else rng.uniform(*GAPS)
            samples = SurfaceSamples.of(right.vertices, self.models[Side.RIGHT].faces)
            normals = {
                side: vertex_normals(hand.vertices, self.models[side].faces)
                for side, hand in ((Side.RIGHT, right), (Side.LEFT, left))
            }
            for _ in range(PLACEMENTS):
                anchor, counterpart = self.draw_anchor(rng), self.draw_anchor(rng)
                retreat = normals[Side.RIGHT][anchor]
                turn = Rotation.from_rotvec(rng.normal(0, TILT, 3))
                turn *= Rotation.from_rotvec(retreat * rng.uniform(0, 2 * np.pi))
                turn *= _turn_between(normals[Side.LEFT][counterpart], -retreat)
                wrist = right.vertices[anchor] - turn.apply(left.vertices[counterpart])
                pair = Pair(
                    {Side.RIGHT: right.angles, Side.LEFT: left.angles}, shape, turn.as_matrix(), wrist, retreat, gap
                )
                if not _arms_fit(pair):
                    continue
                settled = self._slide(pair, left, samples)
                if settled is not None and self._problem(settled, right, left, samples) is None:
                    return settled
        raise DataError(f"no usable pair in {PAIR_ATTEMPTS} draws; is this the built-in hand model?")

    def settle(self, pair: Pair) -> Pair | None:
        """A pair whose hands are moved along `retreat` until they touch or keep their gap; None if it is not usable."""
        right, left = (self.hand(pair.angles[side], pair.shape, side) for side in (Side.RIGHT, Side.LEFT))
        if self.crosses_itself(right, Side.RIGHT) or self.crosses_itself(left, Side.LEFT) or not _arms_fit(pair):
            return None
        samples = SurfaceSamples.of(right.vertices, self.models[Side.RIGHT].faces)
        settled = self._slide(pair, left, samples)
        if settled is None or self._problem(settled, right, left, samples) is not None:
            return None
        return settled

    def draw_anchor(self, rng: np.random.Generator) -> int:
        """A random vertex of a random region of the hand."""
        regions = list(ANCHOR_REGIONS)
        region = regions[rng.choice(len(regions), p=list(ANCHOR_REGIONS.values()))]
        return int(rng.choice(self.anchors[region]))

    def _slide(self, pair: Pair, left: HandShape, samples: SurfaceSamples) -> Pair | None:
        """From far away inwards to the last place where the left hand is hardly deeper than the surface."""
        turned = left.vertices @ pair.left_rotation.T + pair.left_wrist

        def too_deep(way: float) -> bool:
            return samples.depth_and_distance(turned + way * pair.retreat)[0] > SETTLED_DEPTH

        far = 0.06
        while too_deep(far):
            far += 4 * COARSE_STEP
            if far >= FARTHEST:
                return None
        while far > DEEPEST_SLIDE and not too_deep(far - COARSE_STEP):
            far -= COARSE_STEP
        near = far - COARSE_STEP
        for _ in range(BISECTIONS):
            middle = (near + far) / 2
            near, far = (middle, far) if too_deep(middle) else (near, middle)
        wrist = pair.left_wrist + (far + pair.gap) * pair.retreat
        return Pair(pair.angles, pair.shape, pair.left_rotation, wrist, pair.retreat, pair.gap)

    def _problem(self, pair: Pair, right: HandShape, left: HandShape, samples: SurfaceSamples) -> str | None:
        """Why a settled pair is not usable."""
        if not _arms_fit(pair):
            return "arms"
        moved = left.vertices @ pair.left_rotation.T + pair.left_wrist
        left_forearm = pair.left_rotation @ Side.LEFT.mirror_points(FOREARM)
        arms = ((np.zeros(3), FOREARM, moved), (pair.left_wrist, left_forearm, right.vertices))
        if any(runs_through(other, wrist, direction) for wrist, direction, other in arms):
            return "forearm"
        depth, distance = samples.depth_and_distance(moved)
        if depth > MAX_PAIR_DEPTH:
            return "left in right"
        if distance < GLANCING * pair.gap:
            return "gap"
        left_samples = SurfaceSamples.of(moved, self.models[Side.LEFT].faces)
        if left_samples.depth_and_distance(right.vertices)[0] > MAX_PAIR_DEPTH:
            return "right in left"
        volume = shared_volume(right.vertices, self.models[Side.RIGHT], moved, self.models[Side.LEFT])
        return "volume" if volume > MAX_PAIR_VOLUME else None


def _arms_fit(pair: Pair) -> bool:
    return arms_fit(pair.left_rotation, pair.left_wrist)


def arms_fit(left_rotation: Float[np.ndarray, "3 3"], left_wrist: Float[np.ndarray, "3"]) -> bool:
    """Whether both forearms may belong to one person; pair frame."""
    direction = left_rotation @ Side.LEFT.mirror_points(FOREARM)
    elbows = FOREARM * ELBOW_DISTANCE, left_wrist + direction * ELBOW_DISTANCE
    thumb_sides = left_rotation[2, 2]  # both hands have the thumb at +z
    return bool(
        np.linalg.norm(elbows[0] - elbows[1]) >= MIN_ELBOWS
        and FOREARM @ direction <= MAX_FOREARM_COSINE
        and thumb_sides >= MIN_THUMB_SIDE_COSINE
    )


def runs_through(vertices: np.ndarray, wrist: np.ndarray, direction: np.ndarray) -> bool:
    """Whether a vertex lies within the forearm that goes from `wrist` in a unit `direction`; metres, any one frame."""
    relative = vertices - wrist
    along = relative @ direction
    radius = np.linalg.norm(relative - along[:, None] * direction, axis=1)
    return bool(((along > FOREARM_STARTS) & (radius < FOREARM_RADIUS)).any())


def _turn_between(source: np.ndarray, target: np.ndarray) -> Rotation:
    """The shortest turn from one unit direction to another (any axis if they are opposite)."""
    axis = np.cross(source, target)
    sine = np.linalg.norm(axis)
    if sine < 1e-9:
        axis = np.cross(source, np.eye(3)[np.abs(source).argmin()])
        return Rotation.from_rotvec(axis / np.linalg.norm(axis) * (0 if source @ target > 0 else np.pi))
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, source @ target))


def _anchor_regions(model: HandModel) -> dict[str, np.ndarray]:
    """Vertices by region of the template."""
    template, faces = model.template.numpy(), model.faces
    relative = template - (model.joint_regressor @ model.template).numpy()[0]
    normals = vertex_normals(template, faces)
    joint = model.skinning_weights.numpy().argmax(1)
    palm_side = (normals[:, 1] < -0.3) & (relative[:, 0] < -0.015)
    regions = {
        "palm": palm_side,
        "fingers": palm_side & (joint > 0),
        "tips": np.isin(joint, [3, 6, 9, 12, 15]),
        "back": (normals[:, 1] > 0.3) & (relative[:, 0] < -0.040),
    }
    return {name: np.flatnonzero(inside) for name, inside in regions.items()}
