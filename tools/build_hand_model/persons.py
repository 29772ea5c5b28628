"""Persons made from morph targets, and the right hand's frame on each of them. Millimetres.

Hand frame (right hand): fingers to -x, palm to -y, thumb to +z, origin in the wrist joint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np

from tools.build_hand_model.knuckles import FINGER_NUMBERS
from tools.build_hand_model.proportions import Proportions
from tools.build_hand_model.sources import BodySources

JOINT_MARKERS = ("r-hand", *(f"r-finger-{number}-{k}" for number in FINGER_NUMBERS.values() for k in (1, 2, 3)))
TIP_MARKERS = tuple(f"r-finger-{number}-4" for number in (1, 2, 3, 4, 5))
KNUCKLES, LAST_JOINTS = (1, 4, 10, 7), (15, 3, 6, 12, 9)
INDEX_KNUCKLE, LITTLE_KNUCKLE = 1, 7

SEXES, AGES = ("male", "female"), ("young", "old")
MUSCLES = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHTS = ("minweight", "averageweight", "maxweight")
ANCESTRIES = ("african", "asian", "caucasian")
HAND_TARGETS = {
    "hand_scale": "hands/r-hand-scale",
    "finger_length": "hands/r-hand-fingers-length",
    "finger_girth": "hands/r-hand-fingers-diameter",
    "finger_spread": "hands/r-hand-fingers-distance",
    "wrist_girth": "hands/measure-wrist-circ",
}
"""A person's amount -> morph target, without its ending -incr or -decr."""


@dataclass(frozen=True)
class Person:
    """male: 0 .. 1.  old: 0 young .. 1 old.  muscle, weight and the hand's targets: -1 .. 1, 0 average.  ancestry: sums to 1.
    proportions: of palm and single fingers, on top of the targets.
    """

    male: float = 0.5
    old: float = 0.0
    muscle: float = 0.0
    weight: float = 0.0
    ancestry: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    hand_scale: float = 0.0
    finger_length: float = 0.0
    finger_girth: float = 0.0
    finger_spread: float = 0.0
    wrist_girth: float = 0.0
    proportions: Proportions = field(default_factory=Proportions)

    @classmethod
    def random(cls, rng: np.random.Generator) -> Person:
        def clipped(deviation: float) -> float:
            return float(np.clip(rng.normal(0, deviation), -1, 1))

        return cls(
            male=rng.uniform(),
            old=rng.beta(1, 3),
            muscle=clipped(0.4),
            weight=clipped(0.4),
            ancestry=tuple(rng.dirichlet((1, 1, 1))),
            hand_scale=clipped(0.08),
            finger_length=clipped(0.25),
            finger_girth=clipped(0.4),
            finger_spread=clipped(0.3),
            wrist_girth=clipped(0.3),
            proportions=Proportions.random(rng),
        )


class PersonMaker:
    """Bodies of persons: the base mesh plus targets, each weighted by the product of its factors."""

    def __init__(self, sources: BodySources) -> None:
        self.base = sources.vertices
        self.bodies = {
            key: sources.target("macrodetails/universal-" + "-".join(key))
            for key in product(SEXES, AGES, MUSCLES, WEIGHTS)
        }
        self.ancestries = {
            key: sources.target("macrodetails/" + "-".join(key)) for key in product(ANCESTRIES, SEXES, AGES)
        }
        self.hands = {
            f"{target}-{way}": sources.target(f"{target}-{way}")
            for target in HAND_TARGETS.values()
            for way in ("incr", "decr")
        }
        self.joint_cubes = [sources.marker(name) for name in JOINT_MARKERS]
        self.tip_cubes = [sources.marker(name) for name in TIP_MARKERS]
        self.elbow_cube = sources.marker("r-elbow")

    def body(self, person: Person) -> np.ndarray:
        """All vertices, body coordinates."""
        displacement = np.zeros_like(self.base)
        sexes = dict(zip(SEXES, (person.male, 1 - person.male), strict=True))
        ages = dict(zip(AGES, (1 - person.old, person.old), strict=True))
        muscles = dict(zip(MUSCLES, _around_average(person.muscle), strict=True))
        weights = dict(zip(WEIGHTS, _around_average(person.weight), strict=True))
        for (sex, age, muscle, weight), target in self.bodies.items():
            factor = sexes[sex] * ages[age] * muscles[muscle] * weights[weight]
            if factor:
                displacement += factor * target
        ancestries = dict(zip(ANCESTRIES, person.ancestry, strict=True))
        for (ancestry, sex, age), target in self.ancestries.items():
            displacement += ancestries[ancestry] * sexes[sex] * ages[age] * target
        for name, target in HAND_TARGETS.items():
            amount = getattr(person, name)
            displacement += abs(amount) * self.hands[f"{target}-{'incr' if amount > 0 else 'decr'}"]
        return self.base + displacement

    def in_hand_frame(self, body: np.ndarray) -> np.ndarray:
        joints = self.joints(body)
        x = _unit(joints[0] - joints[list(KNUCKLES)].mean(0))
        across = joints[INDEX_KNUCKLE] - joints[LITTLE_KNUCKLE]
        z = _unit(across - x * (across @ x))
        return (body - joints[0]) @ np.stack([x, np.cross(z, x), z]).T

    def joints(self, vertices: np.ndarray) -> np.ndarray:
        """The 16 joints, in the coordinates of `vertices`."""
        return np.array([vertices[cube].mean(0) for cube in self.joint_cubes])

    def tips(self, vertices: np.ndarray) -> np.ndarray:
        """Finger tips (inside the flesh): thumb, index, middle, ring, little finger."""
        return np.array([vertices[cube].mean(0) for cube in self.tip_cubes])

    def elbow(self, vertices: np.ndarray) -> np.ndarray:
        return vertices[self.elbow_cube].mean(0)


def _around_average(value: float) -> tuple[float, float, float]:
    """Weights of minimum, average and maximum."""
    return max(-value, 0.0), 1 - abs(value), max(value, 0.0)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
