"""Finger poses of one hand: anatomical angles drawn from six gestures, and the corresponding rotations of the hand model.

Angles are degrees in the tables (as anatomy books give them) and radians in rotations. The hand model's joint rotations are
in the template's axes (right hand: fingers to -x, palm to -y, thumb to +z), so every finger has its own flexion axis, found
from the rest joints; one axis serves all joints of a finger. Flexion that the template already has at rest is subtracted.
Left hands are mirrored samples. Source: docs/synthetic-dataset.md, section "Poses of one hand".
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from im2hands.hands.joints import TIP_VERTICES
from im2hands.hands.model import HandModel
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError

GESTURES = {
    "open": (0.25, (0.0, 0.2), 0.08),
    "relaxed": (0.25, (0.2, 0.5), 0.08),
    "mixed": (0.23, (0.0, 0.8), 0.28),
    "fist": (0.12, (0.65, 0.95), 0.08),
    "pinch": (0.10, (0.3, 0.6), 0.08),
    "point": (0.05, (0.75, 0.75), 0.08),
}
"""Probability, range of the common closing value, standard deviation of a finger's own."""

LONG_FINGERS = {"index": (1, 1), "middle": (4, 2), "little": (7, 4), "ring": (10, 3)}
"""First joint in the hand model's order and place of the tip in TIP_VERTICES."""
THUMB = (13, 0)

SPREAD = {"index": 7.0, "middle": 1.5, "ring": -4.0, "little": -10.0}
"""Degrees at a spread of one."""

LIMITS = {
    "mcp": (-15.0, 90.0),
    "pip": (0.0, 105.0),
    "dip": (0.0, 75.0),
    "spread": (-15.0, 15.0),
    "thumb_flexion": (-15.0, 35.0),
    "thumb_spread": (-18.0, 22.0),
    "thumb_mcp": (-10.0, 50.0),
    "thumb_ip": (-10.0, 70.0),
}
"""Hard limits of the anatomical angles, degrees."""

FINGER_ANGLES = ("mcp", "spread", "pip", "dip")
THUMB_ANGLES = ("thumb_flexion", "thumb_spread", "thumb_mcp", "thumb_ip")
ANGLE_NAMES = tuple(f"{finger}.{angle}" for finger in LONG_FINGERS for angle in FINGER_ANGLES) + tuple(
    f"thumb.{angle}" for angle in THUMB_ANGLES
)
"""The 20 anatomical angles of a hand, in the order of every angle vector."""

TWIST_PER_FLEXION = 0.5
REST_SHARE_OF_THUMB = 0.5
"""Share of the template's rest flexion that is subtracted at the thumb's two outer joints."""


def limits_of(name: str) -> tuple[float, float]:
    """Hard limits (degrees) of one of ANGLE_NAMES."""
    return LIMITS[name.split(".")[1]]


@dataclass(frozen=True)
class FingerAxes:
    """Axes of one finger in the template: flexion, spread, along the first bone; rest flexion of the outer joints, degrees."""

    flexion: Float[np.ndarray, "3"]
    spread: Float[np.ndarray, "3"]
    along: Float[np.ndarray, "3"]
    rest: tuple[float, float]


class GesturePrior:
    """Draws anatomical angles and turns them into the hand model's rotations.

    model: right hand; its template gives the axes.
    """

    def __init__(self, model: HandModel) -> None:
        if model.side is not Side.RIGHT:
            raise DataError("gestures are made in right-hand space; pass the right hand's model.")
        template = model.template.numpy()
        joints = (model.joint_regressor @ model.template).numpy()
        tips = template[list(TIP_VERTICES)]
        self.fingers = {
            finger: _finger_axes([*joints[first : first + 3], tips[tip]], thumb=False)
            for finger, (first, tip) in LONG_FINGERS.items()
        }
        first, tip = THUMB
        self.thumb = _finger_axes([*joints[first : first + 3], tips[tip]], thumb=True)
        self.mean_pose = model.mean_pose.numpy().reshape(15, 3)

    def draw(self, rng: np.random.Generator) -> tuple[Float[np.ndarray, "20"], str]:
        """Anatomical angles (degrees, within the limits) and the gesture's name."""
        names = list(GESTURES)
        gesture = names[rng.choice(len(names), p=[GESTURES[name][0] for name in names])]
        _, closing_range, deviation = GESTURES[gesture]
        closing, spread = rng.uniform(*closing_range), rng.uniform(-0.6, 1.0)
        angles = []
        for finger in LONG_FINGERS:
            own = closing + rng.normal(0, deviation)
            if gesture == "point" and finger == "index":
                own = rng.uniform(-0.05, 0.15)
            if gesture == "pinch" and finger != "index":
                own *= rng.uniform(0.3, 1.0)
            own = np.clip(own, -0.12, 1.0)
            mcp = _limited("mcp", 85 * own + rng.normal(0, 7))
            pip = _limited("pip", 100 * max(own, 0.0) ** 0.9 + rng.normal(3, 6))
            dip = _limited("dip", 0.6 * pip + rng.normal(0, 5))
            straight = max(0.15, 1 - max(mcp, 0.0) / 80)
            angles += [mcp, _limited("spread", (SPREAD[finger] * spread + rng.normal(0, 2)) * straight), pip, dip]
        angles += [
            _limited("thumb_flexion", rng.normal(8 + 18 * closing, 9)),
            _limited("thumb_spread", rng.normal(4, 9)),
            _limited("thumb_mcp", rng.normal(5 + 30 * closing, 10)),
            _limited("thumb_ip", rng.normal(5 + 40 * closing, 12)),
        ]
        return np.array(angles), gesture

    def pose(self, angles: Float[np.ndarray, "20"], side: Side) -> Float[np.ndarray, "45"]:
        """Finger axis-angles of the hand model (radians, minus the mean pose, as annotated) for a hand of `side`."""
        rotations = np.zeros((15, 3))
        values = dict(zip(ANGLE_NAMES, np.radians(angles), strict=True))
        for finger, (first, _) in LONG_FINGERS.items():
            axes, joint = self.fingers[finger], first - 1
            turn = Rotation.from_rotvec(values[f"{finger}.spread"] * axes.spread)
            turn *= Rotation.from_rotvec(values[f"{finger}.mcp"] * axes.flexion)
            rotations[joint] = turn.as_rotvec()
            rotations[joint + 1] = (values[f"{finger}.pip"] - np.radians(axes.rest[0])) * axes.flexion
            rotations[joint + 2] = (values[f"{finger}.dip"] - np.radians(axes.rest[1])) * axes.flexion
        axes, joint = self.thumb, THUMB[0] - 1
        flexion = values["thumb.thumb_flexion"]
        turn = Rotation.from_rotvec(values["thumb.thumb_spread"] * axes.spread)
        turn *= Rotation.from_rotvec(flexion * axes.flexion)
        turn *= Rotation.from_rotvec(TWIST_PER_FLEXION * flexion * axes.along)
        rotations[joint] = turn.as_rotvec()
        for place, name in enumerate(("thumb_mcp", "thumb_ip")):
            rest = np.radians(REST_SHARE_OF_THUMB * axes.rest[place])
            rotations[joint + 1 + place] = (values[f"thumb.{name}"] - rest) * axes.flexion
        return side.mirror_axis_angles(rotations - self.mean_pose).reshape(-1)

    def angles_of(self, pose: Float[np.ndarray, "45"], side: Side) -> Float[np.ndarray, "20"]:
        """Anatomical angles (degrees) of an annotated finger pose: the inverse of `pose`.

        For poses that this prior did not make, the nearest reading: components about other axes are not seen.
        """
        full = side.mirror_axis_angles(np.reshape(pose, (15, 3))) + self.mean_pose
        angles = []
        for finger, (first, _) in LONG_FINGERS.items():
            axes, joint = self.fingers[finger], first - 1
            spread, flexion = _two_turns(full[joint], axes.spread, axes.flexion)
            outer = [float(full[joint + k] @ axes.flexion) + np.radians(axes.rest[k - 1]) for k in (1, 2)]
            angles += [flexion, spread, *outer]
        axes, joint = self.thumb, THUMB[0] - 1
        spread, flexion = _thumb_base(full[joint], axes)
        outer = [
            float(full[joint + k] @ axes.flexion) + np.radians(REST_SHARE_OF_THUMB * axes.rest[k - 1]) for k in (1, 2)
        ]
        return np.degrees([*angles, flexion, spread, *outer])


def _limited(name: str, value: float) -> float:
    return float(np.clip(value, *LIMITS[name]))


def _finger_axes(points: list[np.ndarray], thumb: bool) -> FingerAxes:
    """points: the finger's three joints and its tip in the template."""
    bones = [_unit(end - start) for start, end in pairwise(points)]
    flexion = _unit(np.cross(bones[0], (-1.0, -0.2, -0.35) if thumb else (0.0, -1.0, 0.0)))
    spread = np.cross(flexion, bones[0]) if thumb else np.array([0.0, -1.0, 0.0])
    rest = tuple(
        float(np.degrees(np.arctan2(np.cross(start, end) @ flexion, start @ end))) for start, end in pairwise(bones)
    )
    return FingerAxes(flexion, spread, bones[0], rest)


def _two_turns(rotation: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Angles (radians) with Rot(first) . Rot(second) = rotation, for perpendicular axes."""
    third = np.cross(first, second)
    matrix = Rotation.from_rotvec(rotation).as_matrix()
    turned_second, turned_first = matrix @ second, matrix.T @ first  # each sees one of the two turns only
    about_first = np.arctan2(turned_second @ third, turned_second @ second)
    about_second = np.arctan2(turned_first @ third, turned_first @ first)
    return float(about_first), float(about_second)


def _thumb_base(rotation: np.ndarray, axes: FingerAxes) -> tuple[float, float]:
    """Spread and flexion (radians) of the thumb's base, whose twist is half its flexion."""
    matrix = Rotation.from_rotvec(rotation).as_matrix()
    along = matrix @ axes.along  # not moved by the twist, moved by flexion, then by spread
    flexion = np.arcsin(np.clip(along @ axes.spread, -1, 1))
    side = along - (along @ axes.spread) * axes.spread
    spread = np.arctan2(np.cross(axes.along, side) @ axes.spread, axes.along @ side)
    return float(spread), float(flexion)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
