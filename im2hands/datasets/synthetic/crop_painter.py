"""Hands on a canvas: the surface, skin and light of `render` for many views of one pose, in one pass over the pixels.

What does not depend on the camera is computed once per pose (`CropPainter.scene`) or once per person (the painted skin). The
plain form, tests/naive/crop_painter.py, is `HandPainter.colours`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.spatial.transform import Rotation

from im2hands.datasets.synthetic.crop_clothes import Clothing, worn_at
from im2hands.datasets.synthetic.crop_poses import DrawnPair, Person
from im2hands.datasets.synthetic.crop_skin import TexelPlan, read_texel, texel_at
from im2hands.datasets.synthetic.forearm import Arm
from im2hands.datasets.synthetic.render import (
    ARM_ENDS,
    LABELS,
    MAX_SHADOW_BIAS,
    SHADOW_BIAS,
    SHADOW_SOFTNESS,
    SKY_RADIUS,
    HandPainter,
    Light,
    as_numbers,
    lit_at,
)
from im2hands.geometry.cameras import Camera
from im2hands.hands.model import FACES, HandModel
from im2hands.hands.sides import SIDES, Side
from im2hands.rendering.closed_meshes import SoftShadow, front_triangles, light_at, open_sky, seen_by
from im2hands.rendering.rasterizer import COMPILE
from im2hands.rendering.shading import vertex_normals

RIGHT, LEFT = LABELS[Side.RIGHT], LABELS[Side.LEFT]
FINER = 4
"""Triangles that one becomes in a `Subdivision`."""
SHADOW_CELL, SHADOW_SIZE, SHADOW_TAPS = 0.0016, 336, 8
BLOCK = 256
"""Pixels that are lit together."""
DARKEST = 0.02
"""Least openness whose bounced light is told apart."""
LIFT = 0.0010
"""How far (m) above the surface its shadow is looked up."""


@dataclass(frozen=True)
class CropScene:
    """Both hands and their forearms in the world, metres; left, then right, each with the right hand's triangles.

    middle: of the hands.  given: per vertex the normal (3), openness to the sky, logarithm of what light bounced between
    white skin adds to it, and template coordinate (mm, right-hand space; 3).
    """

    middle: Float[np.ndarray, "3"]
    vertices: Float[np.ndarray, "vertices 3"]
    given: Float32[np.ndarray, "vertices 8"]


class CropPainter:
    """Paints scenes of both hands.

    faces: triangles of a scene.  connected: those before they were made finer, which throw the shadows; of the vertices `old`.
    """

    def __init__(self, models: Mapping[Side, HandModel]) -> None:
        painter, model = HandPainter(models), models[Side.RIGHT]
        self.forearms, self.skin, self.finer = painter.forearms, painter.skin, painter.finer[Side.RIGHT]
        one_side, fields = self.forearms[Side.RIGHT].faces, self.finer.attributes(self.skin.fields)
        self.coarse, self.count = len(self.skin.fields), len(fields)
        self.connected = _of_both(one_side, self.coarse)
        self.faces = _of_both(self.finer.faces, self.count)
        self.old = np.concatenate([np.arange(self.coarse), self.count + np.arange(self.coarse)])
        self.rest, self.plan = fields[:, :3], TexelPlan.of(fields, self.finer.faces)
        self.joints = 1000 * (model.joint_regressor @ model.template).numpy()
        self.texels = lru_cache(1)(lambda person: self.plan.painted(self.skin, person.tone, person.skin_seed))

    def scene(self, pair: DrawnPair, arms: Mapping[Side, Arm]) -> CropScene:
        """The hands of a pair with their forearms."""
        together = []
        for side in SIDES:
            root = Rotation.from_rotvec(pair.fits[side].pose[:3]).as_matrix()
            arm = self.forearms[side].vertices(pair.vertices[side], root, arms[side].bend, arms[side].elbow)
            together += [pair.vertices[side], arm]
        vertices = np.concatenate(together)
        normals = vertex_normals(vertices, self.connected)
        middle = (pair.vertices[Side.LEFT].mean(0) + pair.vertices[Side.RIGHT].mean(0)) / 2
        sky = open_sky(vertices, normals, self.connected, middle, SKY_RADIUS)
        finer, given = np.empty((2, self.count, 3)), np.empty((2, self.count, 8), np.float32)
        for place in range(2):
            own = slice(place * self.coarse, (place + 1) * self.coarse)
            finer[place] = self.finer.vertices(vertices[own], normals[own])
            brighter = -0.25 * np.log(np.maximum(sky[own], DARKEST))
            given[place, :, :5] = self.finer.attributes(np.column_stack([normals[own], sky[own], brighter]))
            given[place, :, 5:] = self.rest
        return CropScene(middle, finer.reshape(-1, 3), given.reshape(-1, 8))

    def paint(
        self,
        canvas: Float32[np.ndarray, "height width 3"],
        scene: CropScene,
        camera: Camera,
        light: Light,
        person: Person,
        clothing: Clothing,
    ) -> None:
        """Draws the hands over what is on the canvas; linear light. camera: of the canvas's pixels.  light: camera frame."""
        points, pixels, inverse = seen_by(scene.vertices, camera, ARM_ENDS)
        triangle = front_triangles(pixels, inverse, self.faces, *canvas.shape[:2])
        shadow = SoftShadow(
            points[self.old],
            self.connected,
            light.key,
            SHADOW_CELL,
            camera.to_camera(scene.middle),
            SHADOW_SIZE,
            SHADOW_SOFTNESS,
            SHADOW_TAPS,
        )
        _shade(
            canvas,
            triangle,
            pixels,
            inverse,
            points,
            self.faces,
            scene.given,
            camera.rotation,
            (self.plan.starts, self.plan.sides, self.texels(person)),
            clothing.rows(self.joints),
            (shadow.frame, shadow.origin, shadow.maps, shadow.offsets),
            light.rows(),
        )


def _of_both(faces: Int[np.ndarray, "faces 3"], vertices: int) -> Int[np.ndarray, "both 3"]:
    """Triangles of the left hand, wound the other way round as it is mirrored, and of the right hand."""
    return np.ascontiguousarray(np.concatenate([faces[:, [0, 2, 1]], faces + vertices]), np.uint32)


@numba.njit(**COMPILE)
def _shade(canvas, triangle, pixels, inverse, points, faces, given, rotation, skin, clothing, shadow, lights):
    """Colours the pixels that see a triangle, BLOCK at a time: what each shows, then the light on all of them."""
    starts, sides, texels = skin
    worn, rings = clothing
    frame, origin, maps, offsets = shadow
    one_side, count, lights = starts.shape[0], 0, as_numbers(lights)
    # Made here and of known sizes, so that the loop over `lit_at` is compiled for several points at a time.
    at, colours, places = np.empty((16, BLOCK)), np.empty((3, BLOCK)), np.empty((2, BLOCK), np.int32)
    height, width = triangle.shape
    for row in range(height):
        for column in range(width):
            face = triangle[row, column]
            if face >= 0:
                a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
                xa, ya = pixels[a, 0], pixels[a, 1]
                xb, yb, xc, yc = pixels[b, 0] - xa, pixels[b, 1] - ya, pixels[c, 0] - xa, pixels[c, 1] - ya
                x, y, over = column - xa, row - ya, 1.0 / (xb * yc - xc * yb)
                second = (x * yc - xc * y) * over
                third = (xb * y - x * yb) * over
                first = (1.0 - second - third) * inverse[a]
                second *= inverse[b]
                third *= inverse[c]
                over = 1.0 / (first + second + third)
                first, second, third = first * over, second * over, third * over
                px = first * points[a, 0] + second * points[b, 0] + third * points[c, 0]
                py = first * points[a, 1] + second * points[b, 1] + third * points[c, 1]
                pz = first * points[a, 2] + second * points[b, 2] + third * points[c, 2]
                wx = first * given[a, 0] + second * given[b, 0] + third * given[c, 0]
                wy = first * given[a, 1] + second * given[b, 1] + third * given[c, 1]
                wz = first * given[a, 2] + second * given[b, 2] + third * given[c, 2]
                nx = rotation[0, 0] * wx + rotation[0, 1] * wy + rotation[0, 2] * wz
                ny = rotation[1, 0] * wx + rotation[1, 1] * wy + rotation[1, 2] * wz
                nz = rotation[2, 0] * wx + rotation[2, 1] * wy + rotation[2, 2] * wz
                x = first * given[a, 5] + second * given[b, 5] + third * given[c, 5]
                y = first * given[a, 6] + second * given[b, 6] + third * given[c, 6]
                z = first * given[a, 7] + second * given[b, 7] + third * given[c, 7]

                right = face >= one_side
                own = face - one_side if right else face
                texel = texel_at(starts, sides, own, second if right else third, third if right else second)
                label = (RIGHT if right else LEFT) + (2 if own >= FINER * FACES else 0)
                read = worn_at(read_texel(texels, texel), x, y, z, label, worn, rings)
                facing = min(max(nx * lights[0][0] + ny * lights[0][1] + nz * lights[0][2], 0.15), 1.0)
                bias = min(SHADOW_BIAS + SHADOW_SOFTNESS * math.sqrt(1 - facing * facing) / facing, MAX_SHADOW_BIAS)
                at[0, count], at[1, count], at[2, count] = px, py, pz
                at[3, count], at[4, count], at[5, count] = nx, ny, nz
                at[6, count], at[7, count], at[8, count] = read[4], read[5], read[6]
                at[9, count], at[10, count], at[11, count], at[12, count] = read[0], read[1], read[2], read[3]
                at[13, count] = first * given[a, 3] + second * given[b, 3] + third * given[c, 3]
                at[14, count] = first * given[a, 4] + second * given[b, 4] + third * given[c, 4]
                px, py, pz = px + LIFT * nx, py + LIFT * ny, pz + LIFT * nz
                at[15, count] = light_at(px, py, pz, bias, frame, origin, maps, offsets)
                places[0, count], places[1, count] = row, column
                count += 1
            if count == BLOCK or (row == height - 1 and column == width - 1):
                for i in range(count):
                    red, green, blue, sky, bright = at[9, i], at[10, i], at[11, i], at[13, i], at[14, i]
                    hidden = (
                        sky * _exponential(bright * red),
                        sky * _exponential(bright * green),
                        sky * _exponential(bright * blue),
                    )
                    colours[0, i], colours[1, i], colours[2, i] = lit_at(
                        (at[0, i], at[1, i], at[2, i]),
                        (at[3, i], at[4, i], at[5, i]),
                        (at[6, i], at[7, i], at[8, i]),
                        (red, green, blue),
                        at[12, i],
                        sky,
                        hidden,
                        at[15, i],
                        lights,
                    )
                for i in range(count):
                    for k in range(3):
                        canvas[places[0, i], places[1, i], k] = colours[k, i]
                count = 0


@numba.njit(inline="always", **COMPILE)
def _exponential(x):
    """exp(x) for x in 0 .. 1, to half a per cent."""
    return 1 + x * (1 + x * (1 / 2 + x * (1 / 6 + x / 24)))
