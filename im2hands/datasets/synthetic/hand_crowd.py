"""Random pairs of hands by the thousand, as pose, shape and keypoints without surfaces: what the keypoint prior learns from.

Poses are wider than those of the synthetic pictures (`gestures`): besides gestures there are hand signs, in which every finger
does what it likes, and free poses over the whole range of motion and a little beyond it, all with small turns about other axes,
which real joints have. Hands lie on each other, hold each other or keep apart; nobody checks whether they run through each
other. Right-hand space until a pair is put together; metres, STANDARD order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.datasets.synthetic.gestures import (
    ANGLE_NAMES,
    LIMITS,
    LONG_FINGERS,
    REST_SHARE_OF_THUMB,
    SPREAD,
    THUMB,
    TWIST_PER_FLEXION,
    GesturePrior,
)
from im2hands.geometry.rotations import axis_angle_to_matrix, turn_about
from im2hands.hands.model import JOINTS, SHAPES, HandModel
from im2hands.hands.sides import Side
from im2hands.hands.skeleton import HandSkeleton, both_sides, both_sides_rotations

GESTURES, SIGNS, FREE = 0, 1, 2
SHARES = (0.45, 0.3, 0.25)
"""Shares of gestures, hand signs and free poses."""
CLOSING_DEVIATIONS = (0.08, 0.08, 0.28)
"""Of a finger from the common closing; each gesture has one of them."""
BEYOND = 8.0
"""Degrees by which free poses leave the limits of the gestures."""
OFF_AXIS = (2.0, 3.0, 7.0)
"""Standard deviations (degrees) of turns about any axis that are added to every joint; each hand has one of them."""
SHAPE_DEVIATION = 1.1
TOUCHING_SHARE = 0.7
TOUCHING, APART = (0.005, 0.025), (0.02, 0.25)
"""Distances (m) between a joint of one hand and a joint of the other, for pairs that touch and for the others."""


@dataclass(frozen=True)
class HandCrowd:
    """Pairs of hands, in the order of SIDES.

    keypoints: m, one frame for both hands, left not mirrored.  rotations: of every joint relative to its parent, mean pose
    included; the first is the root's.  shape: the same for both hands of a pair.  translation: m.
    """

    keypoints: Float[Tensor, "pairs 2 21 3"]
    rotations: Float[Tensor, "pairs 2 16 3 3"]
    shape: Float[Tensor, "pairs 10"]
    translation: Float[Tensor, "pairs 2 3"]


class CrowdSampler:
    """models: both hands; the right one's template gives the axes of the joints."""

    def __init__(self, models: Mapping[Side, HandModel]) -> None:
        self.axes = GesturePrior(models[Side.RIGHT])
        self.skeleton = HandSkeleton.of(models)

    def draw(self, rng: np.random.Generator, pairs: int) -> HandCrowd:
        """Random pairs, a function of the generator's state."""
        hands = 2 * pairs
        fingers = finger_rotations(self.axes, draw_angles(rng, hands))
        deviation = np.radians(rng.choice(OFF_AXIS, (hands, 1, 1)))
        fingers = axis_angle_to_matrix(_tensor(rng.normal(0, 1, (hands, JOINTS - 1, 3)) * deviation)) @ fingers
        rotations = torch.cat([_random_rotations(rng, hands)[:, None], fingers], 1).unflatten(0, (pairs, 2))
        shape = _tensor(rng.normal(0, SHAPE_DEVIATION, (pairs, SHAPES)))
        posed = self.skeleton.keypoints(rotations, shape[:, None].expand(-1, 2, -1), torch.zeros(pairs, 2, 3))
        keypoints = both_sides(posed)
        translation = self._places(rng, keypoints)
        return HandCrowd(keypoints + translation[:, :, None], both_sides_rotations(rotations), shape, translation)

    def _places(self, rng: np.random.Generator, keypoints: Float[Tensor, "pairs 2 21 3"]) -> Float[Tensor, "pairs 2 3"]:
        """Translations that put a joint of the left hand beside a joint of the right one; the pair is about the origin."""
        pairs = len(keypoints)
        row, joint = torch.arange(pairs), torch.from_numpy(rng.integers(0, 21, (2, pairs)))
        touching = rng.random(pairs) < TOUCHING_SHARE
        distance = np.where(touching, rng.uniform(*TOUCHING, pairs), rng.uniform(*APART, pairs))
        apart = _tensor(_unit(rng.normal(size=(pairs, 3))) * distance[:, None])
        left, right = Side.LEFT.index, Side.RIGHT.index
        moved = torch.zeros(pairs, 2, 3)
        moved[:, left] = keypoints[row, right, joint[right]] + apart - keypoints[row, left, joint[left]]
        return moved - (keypoints + moved[:, :, None]).mean(dim=(1, 2))[:, None]


def draw_angles(
    rng: np.random.Generator, hands: int, shares: Sequence[float] = SHARES
) -> Float[np.ndarray, "hands 20"]:
    """Anatomical angles (degrees, in the order of ANGLE_NAMES) of gestures, hand signs and free poses, in these shares."""
    kind = rng.choice(3, hands, p=shares)
    closed = np.where((kind == SIGNS)[:, None], _signs(rng, hands), _closings(rng, hands))
    angles = np.where((kind == FREE)[:, None], _free(rng, hands), _closed_by(rng, closed))
    low, high = np.array([LIMITS[name.split(".")[1]] for name in ANGLE_NAMES]).T
    return np.clip(angles, low - BEYOND, high + BEYOND)


def finger_rotations(axes: GesturePrior, angles: Float[np.ndarray, "hands 20"]) -> Float[Tensor, "hands 15 3 3"]:
    """Rotations of the finger joints (mean pose included), right-hand space: `GesturePrior.pose` for many hands."""
    radians = torch.from_numpy(np.radians(angles))
    rotations = torch.empty(len(angles), JOINTS - 1, 3, 3, dtype=radians.dtype)
    for place, (finger, (first, _)) in enumerate(LONG_FINGERS.items()):
        mcp, spread, pip, dip = radians[:, 4 * place : 4 * place + 4].unbind(1)
        flexion, aside = (
            torch.from_numpy(axis) for axis in (axes.fingers[finger].flexion, axes.fingers[finger].spread)
        )
        rest = np.radians(axes.fingers[finger].rest)
        rotations[:, first - 1] = turn_about(aside, spread) @ turn_about(flexion, mcp)
        rotations[:, first] = turn_about(flexion, pip - rest[0])
        rotations[:, first + 1] = turn_about(flexion, dip - rest[1])
    base, aside, mcp, ip = radians[:, 16:].unbind(1)
    flexion, spread, along = (torch.from_numpy(getattr(axes.thumb, name)) for name in ("flexion", "spread", "along"))
    rest, first = REST_SHARE_OF_THUMB * np.radians(axes.thumb.rest), THUMB[0]
    turn = turn_about(spread, aside) @ turn_about(flexion, base) @ turn_about(along, TWIST_PER_FLEXION * base)
    rotations[:, first - 1] = turn
    rotations[:, first] = turn_about(flexion, mcp - rest[0])
    rotations[:, first + 1] = turn_about(flexion, ip - rest[1])
    return rotations.float()


def _closings(rng: np.random.Generator, hands: int) -> Float[np.ndarray, "hands 5"]:
    """How far long fingers (first four) and thumb are closed: about a value that they share."""
    common = rng.uniform(0, 1, (hands, 1))
    return common + rng.normal(0, 1, (hands, 5)) * rng.choice(CLOSING_DEVIATIONS, (hands, 1)) * [1, 1, 1, 1, 0]


def _signs(rng: np.random.Generator, hands: int) -> Float[np.ndarray, "hands 5"]:
    """Every finger is straight, closed or something between."""
    ends = rng.integers(0, 2, (hands, 5)) + rng.normal(0, 0.08, (hands, 5))
    return np.where(rng.random((hands, 5)) < 0.3, rng.uniform(0, 1, (hands, 5)), ends)


def _closed_by(rng: np.random.Generator, closed: Float[np.ndarray, "hands 5"]) -> Float[np.ndarray, "hands 20"]:
    """Angles of fingers that are closed that far; joints bend together, each with a deviation of its own."""
    hands = len(closed)
    own = np.clip(closed[:, :4], -0.12, 1.0)
    mcp = 85 * own + rng.normal(0, 8, own.shape)
    pip = 100 * np.maximum(own, 0) ** 0.9 + rng.normal(3, 8, own.shape)
    dip = np.maximum(0.6 * pip, 0) + rng.normal(0, 7, own.shape)
    spread = np.array([SPREAD[finger] for finger in LONG_FINGERS]) * rng.uniform(-0.6, 1.0, (hands, 1))
    spread = (spread + rng.normal(0, 3, own.shape)) * np.maximum(0.15, 1 - np.maximum(mcp, 0) / 80)
    long = np.stack([mcp, spread, pip, dip], -1).reshape(hands, 16)
    centre = np.array([[8, 4, 5, 5]]) + closed[:, 4:] * [[18, 0, 30, 40]]
    return np.concatenate([long, centre + rng.normal(0, 1, (hands, 4)) * [[10, 10, 12, 15]]], 1)


def _free(rng: np.random.Generator, hands: int) -> Float[np.ndarray, "hands 20"]:
    """Every angle on its own over its limits and beyond them, ends more often than a uniform draw has them."""
    low, high = np.array([LIMITS[name.split(".")[1]] for name in ANGLE_NAMES]).T
    return low - BEYOND + rng.beta(0.8, 0.8, (hands, len(ANGLE_NAMES))) * (high - low + 2 * BEYOND)


def _random_rotations(rng: np.random.Generator, count: int) -> Float[Tensor, "count 3 3"]:
    """Uniform over all rotations."""
    w, x, y, z = _tensor(_unit(rng.normal(size=(count, 4)))).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()
