"""What the hands of drawn crops wear: sleeves, watches, rings, nail polish; and how it changes a point of the skin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float

from im2hands.datasets.synthetic.crop_looks import any_colour
from im2hands.rendering.rasterizer import COMPILE
from im2hands.rendering.shading import to_linear

SLEEVE_SHARE, WATCH_SHARE, RING_SHARE, NAIL_SHARE = 0.45, 0.12, 0.15, 0.12
SLEEVE_FROM = (35.0, 140.0)
"""Where a sleeve may begin, mm behind the wrist."""
RING_AT, RING_WIDTH, RING_RADIUS = 0.35, 2.2, 13.0
"""Where on the first phalanx (share of its length), half of how wide and how far from the bone (mm)."""
POLISH = 0.85
"""Opacity of nail polish."""
NOWHERE = math.inf


@dataclass(frozen=True)
class Clothing:
    """What a person wears. Colours linear.  sleeve, watch: where they begin and end, mm behind the wrist, or None.

    rings: (side's label, finger 0..3 from the index).  nails: their colour, or None.
    """

    cloth: Float[np.ndarray, "3"]
    stripe: Float[np.ndarray, "3"]
    stripe_width: float
    sleeve: float | None
    watch: tuple[float, float] | None
    metal: Float[np.ndarray, "3"]
    rings: tuple[tuple[int, int], ...]
    nails: Float[np.ndarray, "3"] | None

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Clothing:
        start = rng.uniform(12, 40)
        return cls(
            any_colour(rng),
            any_colour(rng),
            rng.uniform(3, 30),
            rng.uniform(*SLEEVE_FROM) if rng.uniform() < SLEEVE_SHARE else None,
            (start, start + rng.uniform(8, 30)) if rng.uniform() < WATCH_SHARE else None,
            to_linear(rng.uniform(0.5, 0.95)) * np.array([1.0, rng.uniform(0.75, 1.0), rng.uniform(0.4, 1.0)]),
            tuple((int(rng.integers(1, 3)), int(rng.integers(0, 4))) for _ in range(rng.integers(1, 3)))
            if rng.uniform() < RING_SHARE
            else (),
            any_colour(rng) if rng.uniform() < NAIL_SHARE else None,
        )

    def rows(self, joints: Float[np.ndarray, "16 3"]) -> tuple[Float[np.ndarray, "6 3"], Float[np.ndarray, "rings 7"]]:
        """What `worn_at` reads: colours and places, and per ring its side, centre and direction. joints: template, mm."""
        wrist, watch = joints[0, 0], self.watch or (NOWHERE, NOWHERE)
        sleeve = NOWHERE if self.sleeve is None else wrist + self.sleeve
        places = [[sleeve, self.stripe_width, wrist], [wrist + watch[0], wrist + watch[1], POLISH]]
        if self.nails is None:
            places[1][2] = 0.0
        nails = np.zeros(3) if self.nails is None else self.nails
        rings = np.zeros((len(self.rings), 7))
        for row, (side, finger) in zip(rings, self.rings, strict=True):
            first = 1 + 3 * finger
            bone = joints[first + 1] - joints[first]
            row[0], row[1:4], row[4:] = side, joints[first] + RING_AT * bone, bone / np.linalg.norm(bone)
        return np.stack([self.cloth, self.stripe, self.metal, nails, *map(np.array, places)]), rings


@numba.njit(inline="always", **COMPILE)
def worn_at(skin, x, y, z, label, worn, rings):
    """A texel of skin (colour, nail, tilt: seven numbers), with what covers it.

    x, y, z: template, mm, right-hand space.  label: 1, 2 hands, 3, 4 forearms.  worn, rings: of `Clothing.rows`.
    """
    red, green, blue, nail, tilt_x, tilt_y, tilt_z = skin
    share = nail * worn[5, 2]
    if share > 0.0:
        red += share * (worn[3, 0] - red)
        green += share * (worn[3, 1] - green)
        blue += share * (worn[3, 2] - blue)
    for k in range(rings.shape[0]):
        dx, dy, dz = x - rings[k, 1], y - rings[k, 2], z - rings[k, 3]
        along = dx * rings[k, 4] + dy * rings[k, 5] + dz * rings[k, 6]
        near = abs(along) < RING_WIDTH and dx * dx + dy * dy + dz * dz < RING_RADIUS * RING_RADIUS
        if near and label == rings[k, 0]:
            red, green, blue, nail = worn[2, 0], worn[2, 1], worn[2, 2], 1.0
            tilt_x, tilt_y, tilt_z = 0.0, 0.0, 0.0
    if label >= 3:
        if label == 4 and x > worn[5, 0] and x < worn[5, 1]:
            red, green, blue, nail = worn[1, 0] * 0.5, worn[1, 1] * 0.5, worn[1, 2] * 0.5, 0.5
            tilt_x, tilt_y, tilt_z = 0.0, 0.0, 0.0
        if x > worn[4, 0]:
            grain = 1 + 0.18 * math.sin(x * 2.9) * math.sin(y * 2.9) * math.sin(z * 2.9)
            row = 1 if math.sin(2 * math.pi * (x - worn[4, 2]) / worn[4, 1]) > 0.3 else 0
            red, green, blue, nail = worn[row, 0] * grain, worn[row, 1] * grain, worn[row, 2] * grain, 0.0
            tilt_x, tilt_y, tilt_z = 0.0, 0.0, 0.0
    return red, green, blue, nail, tilt_x, tilt_y, tilt_z
