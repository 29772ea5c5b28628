"""Skin painted in rest-pose coordinates: tone, palm, knuckles, creases and nails are functions of the template point.

So no texture map is needed, and both hands of a person look alike: the left hand is painted with its mirrored coordinate.
Rest coordinates here are millimetres in right-hand space; colours are linear light.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float

from im2hands.datasets.synthetic.forearm import Forearm
from im2hands.hands.joints import TIP_VERTICES
from im2hands.hands.model import HandModel
from im2hands.rendering.rasterizer import COMPILE
from im2hands.rendering.shading import noise_at, slope_at, to_linear, vertex_normals

TONES = to_linear(
    np.array(
        [[241, 205, 182], [229, 187, 160], [214, 168, 138], [190, 140, 108], [150, 104, 76], [108, 72, 52]], np.float64
    )
    / 255
)
"""Base tones from light to dark."""

TONE_ORDER = (1, 4, 2, 5, 0, 3)
"""Of consecutive persons, so that a few of them already span light and dark."""

PALER = 0.12
"""Share of grey in the tones: light that goes into skin and out again saturates the colour once more."""
PALM = to_linear([0.93, 0.70, 0.61])
NAIL = to_linear([0.97, 0.80, 0.76])
BLOOD = np.array([1.0, 0.74, 0.72])
"""What redder skin is multiplied by."""

LAST_JOINTS = (15, 3, 6, 12, 9)
"""Joint at the base of the last bone of thumb, index, middle, ring and little finger, hand model's order."""
KNUCKLES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15)
CREASED = (2, 3, 5, 6, 8, 9, 11, 12, 14, 15)
"""Joints with creases across the finger."""


@dataclass(frozen=True)
class SkinFields:
    """What the painter needs to know per vertex and per finger, from the template; millimetres, right-hand space.

    fields: rest coordinate (3), palm (0 .. 1), knuckle (0 .. 1) of the hand's and the forearm's vertices.  nails: per finger
    centre, along, up, across (3 each), half length, half width.  creases: per joint place, along the bone, palm direction (3
    each), radius of the finger.
    """

    fields: Float[np.ndarray, "vertices 5"]
    nails: Float[np.ndarray, "5 14"]
    creases: Float[np.ndarray, "10 10"]

    @classmethod
    def of(cls, model: HandModel, forearm: Forearm) -> SkinFields:
        """model: right hand."""
        hand = model.template.numpy() * 1000
        rest = np.concatenate([hand, forearm.rest * 1000])
        joints = (model.joint_regressor @ model.template).numpy() * 1000
        normals = vertex_normals(rest, forearm.faces)
        towards_elbow = np.clip((rest[:, 0] - joints[0, 0] + 25) / 45, 0, 1)
        palm = np.clip(-normals[:, 1] * 1.3, 0, 1) * (1 - towards_elbow * towards_elbow * (3 - 2 * towards_elbow))
        distance = np.linalg.norm(rest[:, None] - joints[list(KNUCKLES)], axis=2).min(1)
        knuckle = np.exp(-((distance / 9) ** 2)) * np.clip(normals[:, 1] + 0.3, 0, 1)
        tips = hand[list(TIP_VERTICES)]
        weights = model.skinning_weights.numpy()
        nails = [
            _nail(hand, joints[joint], tip, weights[:, joint] > 0.6, joint)
            for tip, joint in zip(tips, LAST_JOINTS, strict=True)
        ]
        ends = dict(zip(LAST_JOINTS, tips, strict=True))
        creases = [
            _crease(hand[weights[:, joint] > 0.5], joints[joint], ends.get(joint, joints[(joint + 1) % 16]), joint)
            for joint in CREASED
        ]
        return cls(np.column_stack([rest, palm, knuckle]), np.array(nails), np.array(creases))


def skin_tone(rng: np.random.Generator, person: int) -> Float[np.ndarray, "3"]:
    """A person's base tone: one of six in turn, a little lighter or darker and of its own hue."""
    tone = TONES[TONE_ORDER[person % len(TONES)]] * rng.uniform(0.85, 1.12) * rng.uniform(0.96, 1.04, 3)
    return (1 - PALER) * tone + PALER * tone.mean()


def _nail(hand: np.ndarray, joint: np.ndarray, tip: np.ndarray, own: np.ndarray, number: int) -> np.ndarray:
    along = tip - joint
    length = np.linalg.norm(along)
    along = along / length
    up = np.array([-0.25, 0.35, 0.9]) if number == 15 else np.array([0.0, 1.0, 0.0])
    up = up - along * (up @ along)
    up /= np.linalg.norm(up)
    half_width = {9: 4.2, 15: 6.0}.get(number, 5.2)
    return np.concatenate([joint + along * length * 0.74, along, up, np.cross(along, up), [length * 0.25, half_width]])


def _crease(own: np.ndarray, joint: np.ndarray, end: np.ndarray, number: int) -> np.ndarray:
    along = (end - joint) / np.linalg.norm(end - joint)
    palm = np.array([0.25, -0.35, -0.9]) if number >= 13 else np.array([0.0, -1.0, 0.0])
    palm = palm - along * (palm @ along)
    return np.concatenate([joint, along, palm / np.linalg.norm(palm), [13.0]])


@numba.njit(**COMPILE)
def paint(points, palms, knuckles, nails, creases, tone, palm_tone, nail_tone, blood, seed):
    """Colour, nail share (0 .. 1) and surface tilt of skin at rest points.

    points (n, 3): millimetres.  Returns (n, 7): linear colour, nail, tilt to be added to the normal (rest axes).
    """
    count = points.shape[0]
    painted = np.empty((count, 7))
    darkness = 1 - (tone[0] + tone[1] + tone[2]) / 3
    for i in range(count):
        # The noise's lattice is turned, or its axes would show along the fingers.
        x0, y0, z0 = points[i, 0], points[i, 1], points[i, 2]
        x = 0.36 * x0 + 0.48 * y0 - 0.80 * z0
        y = -0.80 * x0 + 0.60 * y0
        z = 0.48 * x0 + 0.64 * y0 + 0.60 * z0
        blotch = noise_at(x / 14 + 7, y / 14, z / 14, seed) - 0.5
        patch = noise_at(x / 4.1, y / 4.1, z / 4.1, seed + 1) - 0.5
        grain = noise_at(x / 1.1, y / 1.1, z / 1.1, seed + 2) - 0.5
        speck = noise_at(x / 2.3, y / 2.3 + 31, z / 2.3, seed + 5)
        palm, knuckle = palms[i], knuckles[i]

        nail, rim = 0.0, 0.0
        for k in range(nails.shape[0]):
            dx, dy, dz = x0 - nails[k, 0], y0 - nails[k, 1], z0 - nails[k, 2]
            along = dx * nails[k, 3] + dy * nails[k, 4] + dz * nails[k, 5]
            if abs(along) > 16.0:
                continue
            up = dx * nails[k, 6] + dy * nails[k, 7] + dz * nails[k, 8]
            across = dx * nails[k, 9] + dy * nails[k, 10] + dz * nails[k, 11]
            if up < 1.0 or abs(across) > 10.0:
                continue
            u, v = along / nails[k, 12], across / nails[k, 13]
            radius = (u * u * u * u + v * v * v * v) ** 0.25 if u > 0 else math.sqrt(u * u + v * v)
            nail = max(nail, min(max((1.0 - radius) * 7.0, 0.0), 1.0))
            rim = max(rim, math.exp(-(((radius - 1.04) / 0.10) ** 2)))
        crease = 0.0
        for k in range(creases.shape[0]):
            dx, dy, dz = x0 - creases[k, 0], y0 - creases[k, 1], z0 - creases[k, 2]
            if dx * dx + dy * dy + dz * dz > creases[k, 9] * creases[k, 9]:
                continue
            along = dx * creases[k, 3] + dy * creases[k, 4] + dz * creases[k, 5]
            side = dx * creases[k, 6] + dy * creases[k, 7] + dz * creases[k, 8]
            wave = along + 1.3 * patch
            if side > 0:
                depth = min(side / 3.0, 1.0) * (0.55 + 0.9 * speck)
                crease = max(crease, 0.75 * depth * math.exp(-((wave / 0.65) ** 2)))
                crease = max(crease, 0.45 * depth * math.exp(-(((wave - 2.1) / 0.55) ** 2)))
            else:
                back = math.exp(-((along / 4.0) ** 2)) * min(-side / 4.0, 1.0)
                crease = max(crease, 0.35 * back * (0.5 + 0.5 * math.sin(along * 2.6 + 5 * patch)))

        red = min(1.0, 0.45 * knuckle + max(blotch + 0.12, 0.0) * 0.8 + 0.35 * crease + 0.25 * palm)
        shade = (1 + 0.24 * blotch) * (1 + 0.11 * patch) * (1 + 0.11 * grain) * (1 - 0.38 * crease) * (1 - 0.30 * rim)
        if speck > 0.93 and palm < 0.3:
            shade *= 1 - 1.8 * (speck - 0.93) / 0.07 * 0.25
        mix = palm * 0.65 * darkness
        for k in range(3):
            colour = tone[k] * (1 - mix) + palm_tone[k] * mix
            colour *= shade * (1 - 0.45 * red * (1 - blood[k]))
            painted[i, k] = colour * (1 - nail) + nail * (0.62 * colour + 0.36 * nail_tone[k] * tone[0] ** 0.75)
        painted[i, 3] = nail

        coarse, small = slope_at(x * 0.62, y * 0.62, z * 0.62, seed + 3), slope_at(x * 1.7, y * 1.7, z * 1.7, seed + 4)
        rough = 1 - nail
        for k in range(3):
            painted[i, 4 + k] = -rough * (0.090 * coarse[k] + 0.080 * small[k])
    return painted
