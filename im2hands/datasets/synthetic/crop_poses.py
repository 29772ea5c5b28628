"""Pairs of hands for drawn crops, several hundred a second: persons, each with a pool of hands that are put together.

Poses are those of the keypoint prior's crowd: gestures, hand signs, the free range of motion. Hands of a pool do not run
through themselves, pairs not deeper through each other than a bound; both by the cheap tests of `contact`. Everything is a
function of a seed and a number. Metres; the right hand's wrist is the origin of a pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from im2hands.datasets.synthetic.contact import SelfContact, SurfaceSamples
from im2hands.datasets.synthetic.gestures import GesturePrior
from im2hands.datasets.synthetic.hand_crowd import OFF_AXIS, draw_angles, finger_rotations
from im2hands.datasets.synthetic.pairs import (
    ELBOW_DISTANCE,
    FOREARM,
    MIN_ELBOWS,
    PairSampler,
    arms_fit,
    runs_through,
)
from im2hands.datasets.synthetic.sequences import Fit
from im2hands.datasets.synthetic.skin import skin_tone
from im2hands.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from im2hands.hands.model import HandModel
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.hashing import seed_of
from im2hands.rendering.shading import vertex_normals

SHARES = (0.6, 0.25, 0.15)
"""Shares of gestures, hand signs and free poses."""
PAIRS_PER_PERSON = 24
POOL = 16
"""Hands of a person, each usable on either side."""
HANDS_AT_ONCE = 32
MAX_SELF_DEPTH, MAX_PAIR_DEPTH = 0.004, 0.004
SHAPE_LIMIT = 2.5
CLOSE_SHARE = 0.25
"""Of pairs whose hands are pressed and laced into each other as far as the bound allows, not only laid on one another."""
TOUCHING_SHARE, GAPS = 0.8, (0.004, 0.060)
TILT = np.radians(25)
BESIDE_SHARE = 0.6
"""Of pairs whose hands are held beside each other, palms much the same way, as on a desk or towards a camera."""
BESIDE_TURN, BESIDE_TILT = np.radians([90, 190]), np.radians([45, 20, 20])
"""Turn of the left hand about the right one's back (180 degrees: parallel forearms) and spread of what comes in addition."""
BESIDE_AT = (np.array([-0.06, -0.05, 0.06]), np.array([0.06, 0.05, 0.20]))
"""Where the left wrist is (m, least and most), from the right one towards its elbow, back and thumb."""
PLACEMENTS = 200
SLIDE_FROM, SLIDE_TO, SLIDES = 0.12, -0.035, 9


@dataclass(frozen=True)
class PoolHand:
    """A hand in right-hand space about its wrist, root not turned. pose: 45 axis-angle numbers minus the mean pose."""

    pose: Float[np.ndarray, "45"]
    vertices: Float[np.ndarray, "778 3"]
    normals: Float[np.ndarray, "778 3"]
    samples: SurfaceSamples


@dataclass(frozen=True, eq=False)
class Person:
    """Who is drawn. shape: of both hands.  tone, skin_seed: see `skin`.  hands: the pool.  wrists: at rest, metres."""

    shape: Float[np.ndarray, "10"]
    tone: Float[np.ndarray, "3"]
    skin_seed: int
    hands: tuple[PoolHand, ...]
    wrists: Mapping[Side, Float[np.ndarray, "3"]]


@dataclass(frozen=True)
class DrawnPair:
    """Both hands of a person as annotated, in the pair's frame, and their posed vertices. backs: directions out of them."""

    person: Person
    fits: Mapping[Side, Fit]
    vertices: Mapping[Side, Float[np.ndarray, "778 3"]]
    backs: Mapping[Side, Float[np.ndarray, "3"]]


class PairSource:
    """Pair `number` of a seed; pairs of one person follow each other, so ask in order.

    hiding: share of the persons whose hands all touch or nearly do.
    """

    def __init__(self, models: Mapping[Side, HandModel], seed: int, hiding: float = 0.0) -> None:
        self.hiding = hiding
        right = models[Side.RIGHT]
        self.models, self.seed = models, seed
        self.axes = GesturePrior(right)
        self.self_contact = SelfContact(right)
        self.anchors = PairSampler(models)
        self.person = lru_cache(2)(self._person)

    def pair(self, number: int) -> DrawnPair:
        """The hands of pair `number`."""
        person = self.person(number // PAIRS_PER_PERSON)
        rng = np.random.default_rng(seed_of(self.seed, "drawn pair", number))
        beside = rng.uniform() < BESIDE_SHARE and not self.hides(number // PAIRS_PER_PERSON)
        for _ in range(PLACEMENTS):
            right, left = (person.hands[k] for k in rng.integers(0, len(person.hands), 2))
            place = self._beside if beside else self._placed
            placed = place(rng, right, left)
            if placed is not None:
                return self._annotated(person, {Side.RIGHT: right, Side.LEFT: left}, *placed)
        raise DataError(f"pair {number} of seed {self.seed}: no usable placement in {PLACEMENTS}; use another seed.")

    def hides(self, person: int) -> bool:
        """Whether all hands of a person touch or nearly do."""
        return np.random.default_rng(seed_of(self.seed, "hiding person", person)).uniform() < self.hiding

    def _person(self, number: int) -> Person:
        rng = np.random.default_rng(seed_of(self.seed, "drawn person", number))
        shape = np.clip(rng.normal(size=10), -SHAPE_LIMIT, SHAPE_LIMIT)
        hands: list[PoolHand] = []
        while len(hands) < POOL:
            hands += self._usable_hands(rng, shape, POOL - len(hands))
        wrists = {side: model.rest_joints(shape[None])[0, 0].numpy() for side, model in self.models.items()}
        return Person(shape, skin_tone(rng, number), int(rng.integers(2**31)), tuple(hands), wrists)

    def _usable_hands(self, rng: np.random.Generator, shape: Float[np.ndarray, "10"], most: int) -> list[PoolHand]:
        """Those of `HANDS_AT_ONCE` hands that do not run through themselves, at most `most`."""
        model = self.models[Side.RIGHT]
        deviation = np.radians(rng.choice(OFF_AXIS, (HANDS_AT_ONCE, 1, 1)))
        off_axis = axis_angle_to_matrix(torch.from_numpy(rng.normal(0, 1, (HANDS_AT_ONCE, 15, 3)) * deviation))
        rotations = off_axis @ finger_rotations(self.axes, draw_angles(rng, HANDS_AT_ONCE, SHARES)).double()
        poses = matrix_to_axis_angle(rotations).flatten(1).numpy() - model.mean_pose.numpy()
        posed = model.pose(np.concatenate([np.zeros((HANDS_AT_ONCE, 3)), poses], 1), np.tile(shape, (HANDS_AT_ONCE, 1)))
        about_wrists = (posed.vertices - posed.rest_joints[:, :1]).numpy()
        usable = (
            (pose, vertices)
            for pose, vertices in zip(poses, about_wrists, strict=True)
            if self.self_contact.depth(vertices, model.faces, MAX_SELF_DEPTH) < MAX_SELF_DEPTH
        )
        return [
            PoolHand(pose, vertices, vertex_normals(vertices, model.faces), SurfaceSamples.of(vertices, model.faces))
            for pose, vertices in islice(usable, most)
        ]

    def _placed(
        self, rng: np.random.Generator, right: PoolHand, left: PoolHand
    ) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]] | None:
        """Root rotation and wrist of a left hand that touches the right one, or nearly.

        None if the arms or the hands are in the way.
        """
        mirrored = Side.LEFT.mirror_points(left.vertices)
        normals = Side.LEFT.mirror_points(left.normals)
        anchor, counterpart = self.anchors.draw_anchor(rng), self.anchors.draw_anchor(rng)
        retreat = right.normals[anchor]
        turn = Rotation.from_rotvec(rng.normal(0, TILT, 3)) * Rotation.from_rotvec(retreat * rng.uniform(0, 2 * np.pi))
        turn *= Rotation.align_vectors(-retreat[None], normals[counterpart][None])[0]
        rotation = turn.as_matrix()
        wrist = right.vertices[anchor] - rotation @ mirrored[counterpart]
        gap = 0.0 if rng.uniform() < TOUCHING_SHARE else rng.uniform(*GAPS)
        allowed = MAX_PAIR_DEPTH if rng.uniform() < CLOSE_SHARE else 0.001
        if not arms_fit(rotation, wrist):
            return None
        turned = mirrored @ rotation.T + wrist
        way = _slide(turned, retreat, right.samples, allowed)
        if way is None:
            return None
        moved, wrist = turned + (way + gap) * retreat, wrist + (way + gap) * retreat
        left_arm = rotation @ Side.LEFT.mirror_points(FOREARM)
        if (
            not arms_fit(rotation, wrist)
            or runs_through(moved, np.zeros(3), FOREARM)
            or runs_through(right.vertices, wrist, left_arm)
        ):
            return None
        # The right hand in the left one: seen from the left hand, mirrored into right-hand space.
        seen = Side.LEFT.mirror_points((right.vertices - wrist) @ rotation)
        if left.samples.depth_and_distance(seen)[0] > MAX_PAIR_DEPTH:
            return None
        return rotation, wrist

    def _beside(
        self, rng: np.random.Generator, right: PoolHand, left: PoolHand
    ) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]] | None:
        """As `_placed`, for a left hand that is held beside the right one, on its thumb's side, without touching it."""
        turn = Rotation.from_rotvec(rng.normal(0, BESIDE_TILT)) * Rotation.from_euler("y", rng.uniform(*BESIDE_TURN))
        rotation, wrist = turn.as_matrix(), rng.uniform(*BESIDE_AT)
        left_arm = rotation @ Side.LEFT.mirror_points(FOREARM)
        if np.linalg.norm(FOREARM * ELBOW_DISTANCE - wrist - left_arm * ELBOW_DISTANCE) < MIN_ELBOWS:
            return None
        moved = Side.LEFT.mirror_points(left.vertices) @ rotation.T + wrist
        if (
            right.samples.depth_and_distance(moved)[0] > 0
            or runs_through(moved, np.zeros(3), FOREARM)
            or runs_through(right.vertices, wrist, left_arm)
        ):
            return None
        return rotation, wrist

    def _annotated(
        self,
        person: Person,
        hands: Mapping[Side, PoolHand],
        left_rotation: Float[np.ndarray, "3 3"],
        left_wrist: Float[np.ndarray, "3"],
    ) -> DrawnPair:
        roots = {Side.RIGHT: np.eye(3), Side.LEFT: left_rotation}
        wrists = {Side.RIGHT: np.zeros(3), Side.LEFT: left_wrist}
        fits, vertices = {}, {}
        for side in Side:
            fingers = side.mirror_axis_angles(hands[side].pose.reshape(15, 3)).reshape(-1)
            root = Rotation.from_matrix(roots[side]).as_rotvec()
            fits[side] = Fit(np.concatenate([root, fingers]), person.shape, wrists[side] - person.wrists[side])
            vertices[side] = side.mirror_points(hands[side].vertices) @ roots[side].T + wrists[side]
        return DrawnPair(person, fits, vertices, {side: root[:, 1] for side, root in roots.items()})


def _slide(
    points: Float[np.ndarray, "n 3"], retreat: Float[np.ndarray, "3"], other: SurfaceSamples, allowed: float
) -> float | None:
    """How far along `retreat` the points lie no deeper in the other hand than allowed, and as near as that is; by bisection."""
    if other.depth_and_distance(points + SLIDE_FROM * retreat)[0] > allowed:
        return None
    near, far = SLIDE_TO, SLIDE_FROM
    for _ in range(SLIDES):
        middle = (near + far) / 2
        deep = other.depth_and_distance(points + middle * retreat)[0] > allowed
        near, far = (middle, far) if deep else (near, middle)
    return far
