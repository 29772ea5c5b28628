"""A person's skin, painted once and then read by every crop: colour, nail and tilt at points spread over the triangles.

A triangle is cut into side x side smaller ones (texels), each with the value of `skin.paint` at its centre; they are smaller
than what a pixel of a crop sees. Eight numbers of 8 bits: square roots of the colour, nail, tilt, one that is not used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float, Int, UInt8

from im2hands.datasets.synthetic.skin import BLOOD, NAIL, PALM, SkinFields, paint
from im2hands.rendering.rasterizer import COMPILE

TEXEL = 1.4
"""Longest side of a texel (mm) on the hand; on the forearm it grows with the distance from the wrist."""
GROWS_FROM = 80.0
"""Distance from the wrist (mm)."""
MOST_PER_SIDE = 12
TILT_STEP = 0.4 / 127
BYTE = 1 / 255


@dataclass(frozen=True)
class TexelPlan:
    """Where the texels of a mesh lie.

    starts, sides: per triangle, its first texel and how many lie along a side.  points, palms, knuckles: of the texels, as
    `paint` takes them.
    """

    starts: Int[np.ndarray, "faces"]
    sides: Int[np.ndarray, "faces"]
    points: Float[np.ndarray, "texels 3"]
    palms: Float[np.ndarray, "texels"]
    knuckles: Float[np.ndarray, "texels"]

    @classmethod
    def of(
        cls, fields: Float[np.ndarray, "vertices 5"], faces: Int[np.ndarray, "faces 3"], texel: float = TEXEL
    ) -> TexelPlan:
        """fields: of the mesh's vertices, see SkinFields.  texel: mm."""
        corners = fields[faces][..., :3]
        longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
        size = texel * np.maximum(corners[..., 0].mean(1) / GROWS_FROM, 1)
        sides = np.clip(np.ceil(longest / size), 1, max(MOST_PER_SIDE, MOST_PER_SIDE * TEXEL / texel)).astype(np.int32)
        starts = (np.cumsum(sides**2) - sides**2).astype(np.int32)
        at = _centres(fields, faces, starts, sides)
        return cls(starts, sides, np.ascontiguousarray(at[:, :3]), at[:, 3].copy(), at[:, 4].copy())

    def painted(self, skin: SkinFields, tone: Float[np.ndarray, "3"], seed: int) -> UInt8[np.ndarray, "texels 8"]:
        """The texels of a person. tone, seed: see `skin.paint`."""
        values = paint(self.points, self.palms, self.knuckles, skin.nails, skin.creases, tone, PALM, NAIL, BLOOD, seed)
        return _stored(values)


@numba.njit(inline="always", **COMPILE)
def texel_at(starts, sides, face, second, third):
    """Number of the texel of a triangle at a place given by the weights of its second and third corner."""
    side = sides[face]
    i = min(max(int(second * side), 0), side - 1)
    j = min(max(int(third * side), 0), side - 1 - i)
    upper = second * side - i + third * side - j > 1.0 and i + j < side - 1
    return starts[face] + i * (2 * side - i) + 2 * j + (1 if upper else 0)


@numba.njit(inline="always", **COMPILE)
def read_texel(texels, number):
    """Linear colour (3), nail, tilt (3): one row of `skin.paint`."""
    red, green, blue = texels[number, 0] * BYTE, texels[number, 1] * BYTE, texels[number, 2] * BYTE
    return (
        red * red,
        green * green,
        blue * blue,
        texels[number, 3] * BYTE,
        (texels[number, 4] - 127.0) * TILT_STEP,
        (texels[number, 5] - 127.0) * TILT_STEP,
        (texels[number, 6] - 127.0) * TILT_STEP,
    )


@numba.njit(**COMPILE)
def _centres(fields, faces, starts, sides):
    """Fields at the centres of all texels, in the order of `texel_at`."""
    last = faces.shape[0] - 1
    values = np.empty((starts[last] + sides[last] ** 2, fields.shape[1]))
    for face in range(faces.shape[0]):
        side, number = sides[face], starts[face]
        for i in range(side):
            for half in range(2 * (side - i) - 1):
                inside = (1 + half % 2) / 3
                second, third = (i + inside) / side, (half // 2 + inside) / side
                for k in range(fields.shape[1]):
                    a, b, c = fields[faces[face, 0], k], fields[faces[face, 1], k], fields[faces[face, 2], k]
                    values[number, k] = a + second * (b - a) + third * (c - a)
                number += 1
    return values


@numba.njit(**COMPILE)
def _stored(painted):
    texels = np.zeros((painted.shape[0], 8), np.uint8)
    for i in range(painted.shape[0]):
        for k in range(3):
            texels[i, k] = int(np.sqrt(min(painted[i, k], 1.0)) / BYTE + 0.5)
            texels[i, 4 + k] = int(min(max(painted[i, 4 + k] / TILT_STEP + 127.0, 0.0), 254.0) + 0.5)
        texels[i, 3] = int(painted[i, 3] / BYTE + 0.5)
    return texels
