"""Sequences: key pairs of hands, the frames between them, and their place in the world.

Between two key pairs the anatomical angles go linearly (for hinges that is the slerp), the hands' relative rotation and the
place in the world by slerp; every in-between frame is settled and tested like a drawn pair. World: metres, y up, the
forearms come from below and behind. Source: docs/synthetic-dataset.md, sections "Two hands together" and "World".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from im2hands.datasets.synthetic.pairs import FOREARM, Pair, PairSampler
from im2hands.hands.model import HandModel
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.hashing import seed_of

PAIR_CENTRE = np.array([0.0, 1.0, 0.0])
CENTRE_DEVIATION = 0.015
ELBOWS = np.array([0.0, -0.8, 0.5]) / np.hypot(0.8, 0.5)
"""Where the elbows are, seen from the hands."""
RIGHT_ELBOW = np.array([-1.0, 0.0, 0.0])
TURN_DEVIATION = 0.35
SHAPE_LIMIT, SHAPE_NOISE = 2.0, 0.1
MAX_KEYS = 4
KEY_ATTEMPTS = 200
TIME_JITTER = (0.0, -0.12, 0.12, -0.24, 0.24)
"""An in-between frame that is not usable is tried again a little earlier or later (fractions of the frame step)."""


@dataclass(frozen=True)
class Fit:
    """Hand-model parameters as annotated. pose: 48 axis-angle numbers, fingers minus the mean; translation: metres, world."""

    pose: Float[np.ndarray, "48"]
    shape: Float[np.ndarray, "10"]
    translation: Float[np.ndarray, "3"]


@dataclass(frozen=True)
class Placement:
    """The pair frame in the world. rotation: pair -> world.  centre: position of the mean of all vertices, metres."""

    rotation: Rotation
    centre: Float[np.ndarray, "3"]


@dataclass(frozen=True)
class SequenceId:
    """What a sequence's random draws depend on. subject: number within the dataset; split: number."""

    seed: int
    split: int
    capture: int
    sequence: int
    subject: int

    def rng(self, frame: int, *more: int) -> np.random.Generator:
        """Random numbers of one frame (and camera, ...), whichever worker asks."""
        return np.random.default_rng(seed_of(self.seed, self.split, self.capture, self.sequence, frame, *more))


def subject_shape(seed: int, subject: int) -> Float[np.ndarray, "10"]:
    """The shape of a person's hands, standard normal within +-2."""
    return np.clip(np.random.default_rng(seed_of(seed, "subject", subject)).normal(size=10), -SHAPE_LIMIT, SHAPE_LIMIT)


def draw_sequence(sampler: PairSampler, identity: SequenceId, frames: int) -> list[dict[Side, Fit]]:
    """The fits of both hands in every frame of a sequence."""
    shapes, turns, centres = [], [], []
    generators = [identity.rng(frame) for frame in range(frames)]
    for rng in generators:
        shape = subject_shape(identity.seed, identity.subject) + rng.normal(0, SHAPE_NOISE, 10)
        shapes.append(np.clip(shape, -SHAPE_LIMIT, SHAPE_LIMIT))
        turns.append(Rotation.from_rotvec(rng.normal(0, TURN_DEVIATION, 3)))
        centres.append(PAIR_CENTRE + rng.normal(0, CENTRE_DEVIATION, 3))
    keys = key_frames(frames)
    pairs: dict[int, Pair] = {0: sampler.draw(generators[0], shapes[0])}
    for start, stop in pairwise(keys):
        pairs |= _segment(sampler, generators[stop], shapes, pairs[start], start, stop)
    placements = {
        frame: Placement(turns[frame] * _upright(pairs[frame]), centres[frame]) for frame in dict.fromkeys(keys)
    }
    for start, stop in pairwise(keys):
        for frame in range(start + 1, stop):
            way = (frame - start) / (stop - start)
            placements[frame] = _between_placements(placements[start], placements[stop], way)
    return [fits_of(sampler, pairs[frame], placements[frame]) for frame in range(frames)]


def key_frames(frames: int) -> list[int]:
    """Frames that are drawn, not interpolated: the first, the last and up to two more."""
    keys = min(frames, MAX_KEYS, max(2, frames // 2))
    return [round(place) for place in np.linspace(0, frames - 1, keys)]


def interpolate(first: Pair, last: Pair, way: float, shape: Float[np.ndarray, "10"]) -> Pair:
    """The pair on the way (0 .. 1) between two pairs, before it is settled."""
    turn = Slerp([0, 1], Rotation.from_matrix([first.left_rotation, last.left_rotation]))(way)
    retreat = (1 - way) * first.retreat + way * last.retreat
    wrist = (1 - way) * first.left_wrist + way * last.left_wrist
    if np.linalg.norm(retreat) < 0.2:  # nearly opposite directions: away from the right hand's knuckles
        retreat = wrist - turn.apply(Side.LEFT.mirror_points(FOREARM)) * 0.1 + FOREARM * 0.1
    return Pair(
        {side: (1 - way) * first.angles[side] + way * last.angles[side] for side in Side},
        shape,
        turn.as_matrix(),
        wrist,
        retreat / np.linalg.norm(retreat),
        (1 - way) * first.gap + way * last.gap,
    )


def fits_of(sampler: PairSampler, pair: Pair, placement: Placement) -> dict[Side, Fit]:
    """Hand-model parameters of a pair in the world."""
    hands = {side: sampler.hand(pair.angles[side], pair.shape, side) for side in Side}
    rotations = {Side.RIGHT: np.eye(3), Side.LEFT: pair.left_rotation}
    wrists = {Side.RIGHT: np.zeros(3), Side.LEFT: pair.left_wrist}
    vertices = [hands[side].vertices @ rotations[side].T + wrists[side] for side in Side]
    middle = np.concatenate(vertices).mean(0)
    fits = {}
    for side in Side:
        root = (placement.rotation * Rotation.from_matrix(rotations[side])).as_rotvec()
        wrist = placement.rotation.apply(wrists[side] - middle) + placement.centre
        rest_wrist = sampler.models[side].rest_joints(pair.shape[None])[0, 0].numpy()
        pose = np.concatenate([root, sampler.prior.pose(pair.angles[side], side)])
        fits[side] = Fit(pose, pair.shape, wrist - rest_wrist)
    return fits


def pose_fits(
    models: Mapping[Side, HandModel], fits: Sequence[Mapping[Side, Fit]]
) -> dict[Side, tuple[Float[np.ndarray, "frames 778 3"], Float[np.ndarray, "frames 21 3"]]]:
    """Vertices and `model` keypoints (STANDARD order) of every frame, world, metres."""
    posed = {}
    for side in Side:
        parts = [np.stack([getattr(fit[side], name) for fit in fits]) for name in ("pose", "shape", "translation")]
        hands = models[side].pose(*parts)
        posed[side] = hands.vertices.numpy(), hands.keypoints.numpy()
    return posed


def _segment(
    sampler: PairSampler,
    rng: np.random.Generator,
    shapes: Sequence[np.ndarray],
    first: Pair,
    start: int,
    stop: int,
) -> dict[int, Pair]:
    """Usable pairs of the frames after `start` up to the key frame `stop`, which is drawn until all between are usable."""
    for _ in range(KEY_ATTEMPTS):
        last = sampler.draw(rng, shapes[stop])
        found: dict[int, Pair] = {stop: last}
        for frame in range(start + 1, stop):
            settled = _settle_between(sampler, first, last, frame - start, stop - start, shapes[frame])
            if settled is None:
                break
            found[frame] = settled
        else:
            return found
    raise DataError(f"no usable path to another key pose in {KEY_ATTEMPTS} draws; is this the built-in hand model?")


def _settle_between(
    sampler: PairSampler, first: Pair, last: Pair, step: int, steps: int, shape: np.ndarray
) -> Pair | None:
    for jitter in TIME_JITTER:
        settled = sampler.settle(interpolate(first, last, (step + jitter) / steps, shape))
        if settled is not None:
            return settled
    return None


def _upright(pair: Pair) -> Rotation:
    """Turns the pair so that the forearms come from below and behind, the right one from the right elbow's side."""
    left = pair.left_rotation @ Side.LEFT.mirror_points(FOREARM)
    elbows, apart = _axes(FOREARM + left, FOREARM - left)
    wanted, across = _axes(ELBOWS, RIGHT_ELBOW)
    source = np.stack([elbows, apart, np.cross(elbows, apart)], 1)
    target = np.stack([wanted, across, np.cross(wanted, across)], 1)
    return Rotation.from_matrix(target @ source.T)


def _axes(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two perpendicular unit vectors, the first along `first`, the second as near to `second` as that allows."""
    if np.linalg.norm(first) < 1e-6:
        first = np.cross(second, np.eye(3)[np.abs(second).argmin()])
    first = first / np.linalg.norm(first)
    second = second - first * (second @ first)
    if np.linalg.norm(second) < 1e-6:
        second = np.cross(first, np.eye(3)[np.abs(first).argmin()])
    return first, second / np.linalg.norm(second)


def _between_placements(first: Placement, last: Placement, way: float) -> Placement:
    turn = Slerp([0, 1], Rotation.concatenate([first.rotation, last.rotation]))(way)
    return replace(first, rotation=turn, centre=(1 - way) * first.centre + way * last.centre)
