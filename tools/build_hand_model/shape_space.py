"""Shape directions, joint regressor and skinning weights of the cut, decimated hand. Millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import nnls

from tools.build_hand_model.knuckles import FINGER_NUMBERS, move_knuckles, without_small_weights
from tools.build_hand_model.persons import Person, PersonMaker
from tools.build_hand_model.proportions import displacements
from tools.build_hand_model.sources import BodySources

PERSONS = 400
DIRECTIONS = 10
NEAREST = 60
"""Vertices a joint may be regressed from."""
SUM_WEIGHT = 1e3


@dataclass(frozen=True)
class Samples:
    """Hands of random persons, each with its own vertices' mean as origin: vertices (n, V, 3), joints (n, 16, 3)."""

    vertices: np.ndarray
    joints: np.ndarray


def sample_persons(maker: PersonMaker, combine: sparse.csr_matrix, weights: np.ndarray, seed: int) -> Samples:
    """weights: skinning weights (V, 16) of the mean hand: which skin goes with which finger."""
    rng = np.random.default_rng(seed)
    vertices, places = [], []
    for _ in range(PERSONS):
        person = Person.random(rng)
        body = maker.in_hand_frame(maker.body(person))
        hand, joints = combine @ body, move_knuckles(maker.joints(body))
        moved = hand + displacements(hand, weights, joints, person.proportions)
        joints = joints + displacements(joints, np.eye(len(joints)), joints, person.proportions)
        vertices.append(moved - moved.mean(0))
        places.append(joints - moved.mean(0))
    return Samples(np.array(vertices), np.array(places))


def shape_directions(samples: Samples) -> tuple[np.ndarray, float]:
    """(V, 3, 10) principal directions, each times its standard deviation, and the share of variance that they keep."""
    count = len(samples.vertices)
    centred = (samples.vertices - samples.vertices.mean(0)).reshape(count, -1)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    directions = axes[:DIRECTIONS] * (spread[:DIRECTIONS, None] / np.sqrt(count))
    share = (spread[:DIRECTIONS] ** 2).sum() / (spread**2).sum()
    return directions.T.reshape(*samples.vertices.shape[1:], DIRECTIONS), float(share)


def joint_regressor(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """(16, V) non-negative rows that sum to 1, and the worst error of each over all samples (mm)."""
    mean, joints = samples.vertices.mean(0), samples.joints.mean(0)
    regressor, errors = np.zeros((len(joints), len(mean))), []
    for joint, place in enumerate(joints):
        nearest = np.argsort(np.linalg.norm(mean - place, axis=1))[:NEAREST]
        columns = samples.vertices[:, nearest].transpose(0, 2, 1)
        system = np.concatenate([columns.reshape(-1, NEAREST), np.full((1, NEAREST), SUM_WEIGHT)])
        weights, _ = nnls(system, np.append(samples.joints[:, joint], SUM_WEIGHT))
        regressor[joint, nearest] = weights / weights.sum()
        errors.append(np.abs(columns @ regressor[joint, nearest] - samples.joints[:, joint]).max())
    return regressor, np.array(errors)


def skinning_weights(sources: BodySources, combine: sparse.csr_matrix) -> np.ndarray:
    """(V, 16): finger bones to finger joints, everything else to the wrist; small ones dropped, rows sum to 1."""
    joint_of = {
        f"finger{number}-{level}.R": 1 + 3 * place + level - 1
        for place, number in enumerate(FINGER_NUMBERS.values())
        for level in (1, 2, 3)
    }
    body = np.zeros((len(sources.vertices), 16))
    for bone, entries in sources.bone_weights().items():
        for vertex, weight in entries:
            body[vertex, joint_of.get(bone, 0)] += weight
    weights = combine @ (body / np.maximum(body.sum(1, keepdims=True), 1e-9))
    return without_small_weights(weights)
