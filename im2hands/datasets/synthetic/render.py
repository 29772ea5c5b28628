"""Pictures of two hands: skin, one key light with a soft shadow, a fill light and the open sky, forearms, a background.

Drawn larger and averaged down in linear light, then tone curve and sensor noise. World in metres; camera frame OpenCV.
Source: docs/synthetic-dataset.md, section "Rendering".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numba
import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from im2hands.datasets.synthetic.backdrop import backdrop
from im2hands.datasets.synthetic.forearm import Arm, Forearm
from im2hands.datasets.synthetic.sequences import Fit
from im2hands.datasets.synthetic.skin import BLOOD, NAIL, PALM, SkinFields, paint
from im2hands.geometry.cameras import Camera, project
from im2hands.hands.model import FACES, VERTICES, HandModel
from im2hands.hands.sides import Side
from im2hands.rendering.rasterizer import COMPILE, Raster, rasterize
from im2hands.rendering.shading import ShadowMap, openness, tone_curve, vertex_normals
from im2hands.rendering.subdivision import Subdivision

SHADOW_CELL, SHADOW_SIZE, SHADOW_BIAS = 0.0012, 448, 0.0020
SHADOW_SOFTNESS, SHADOW_TAPS, MAX_SHADOW_BIAS = 0.0042, 16, 0.014
SKY_RADIUS = 0.230
SENSOR_NOISE = 0.008
ARM_ENDS = 0.1
"""Triangles of arms that come nearer to the camera than this (m) are not drawn; they are out of the picture by then."""
LABELS = {Side.RIGHT: 1, Side.LEFT: 2}
"""Labels of the hands; the forearms have two more."""


@dataclass(frozen=True)
class Picture:
    """A drawn frame.

    image: sRGB, 8 bit.  labels: 0 nothing, 1 right hand, 2 left hand, 3 and 4 their forearms.  depth: metres, 0 where nothing
    is.  rest: template coordinate of the hand that is seen (metres, each hand's own space), 0 elsewhere.
    """

    image: Int[np.ndarray, "height width 3"]
    labels: Int[np.ndarray, "height width"]
    depth: Float[np.ndarray, "height width"]
    rest: Float[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Light:
    """The light of a picture, camera frame, linear. key, fill: unit directions towards the lights."""

    key: Float[np.ndarray, "3"]
    key_colour: Float[np.ndarray, "3"]
    fill: Float[np.ndarray, "3"]
    fill_colour: Float[np.ndarray, "3"]
    sky: Float[np.ndarray, "3"]
    ground: Float[np.ndarray, "3"]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Light:
        key = np.array([rng.uniform(-0.9, 0.9), rng.uniform(-1.0, -0.15), -rng.uniform(0.45, 1.0)])
        fill = np.array([-np.sign(key[0]) * rng.uniform(0.4, 1.0), rng.uniform(-0.5, 0.3), -rng.uniform(0.3, 1.0)])
        warm, strength = rng.uniform(-0.03, 0.10), rng.uniform(0.85, 1.35)
        ambient = rng.uniform(0.26, 0.46)
        return cls(
            key / np.linalg.norm(key),
            strength * np.array([1 + warm, 1.0, 1 - 1.4 * warm]),
            fill / np.linalg.norm(fill),
            rng.uniform(0.05, 0.22) * strength * np.array([1 - warm, 1.0, 1 + warm]),
            ambient * np.array([0.96, 0.99, 1.05]),
            ambient * rng.uniform(0.35, 0.65) * np.array([1.05, 0.98, 0.92]),
        )

    def rows(self) -> Float[np.ndarray, "6 3"]:
        """All of it as one array, in the order of the attributes."""
        return np.stack([self.key, self.key_colour, self.fill, self.fill_colour, self.sky, self.ground])


@dataclass(frozen=True)
class Scene:
    """Both hands (or one) and their forearms as one mesh, camera frame, metres.

    label: label of every triangle.  coarse_faces: triangles of the meshes before they were made finer, which throw the shadows.
    fields: what the painter needs (see SkinFields).  sky: openness of the vertices.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    label: Int[np.ndarray, "faces"]
    coarse_faces: Int[np.ndarray, "coarse 3"]
    normals: Float[np.ndarray, "vertices 3"]
    sky: Float[np.ndarray, "vertices"]
    fields: Float[np.ndarray, "vertices 5"]
    template: Float[np.ndarray, "vertices 3"]


class HandPainter:
    """Draws frames of the hand models it was made for."""

    def __init__(self, models: Mapping[Side, HandModel]) -> None:
        self.models = models
        self.forearms = {side: Forearm(models[side]) for side in Side}
        self.skin = SkinFields.of(models[Side.RIGHT], self.forearms[Side.RIGHT])
        self.finer = {side: Subdivision(arm.faces, len(self.skin.fields)) for side, arm in self.forearms.items()}

    def draw(
        self,
        fits: Mapping[Side, Fit],
        arms: Mapping[Side, Arm],
        camera: Camera,
        height: int,
        width: int,
        supersampling: int,
        tone: Float[np.ndarray, "3"],
        skin_seed: int,
        rng: np.random.Generator,
    ) -> Picture:
        """The picture of the hands of `fits`.

        tone, skin_seed: skin of the person.  rng: light, background and noise.
        """
        scene = self.scene(fits, arms, camera)
        rows, columns = height * supersampling, width * supersampling
        far = scene.vertices[:, 2] >= ARM_ENDS
        drawn = scene.vertices[np.flatnonzero(far)[np.cumsum(far) - 1]]  # any far vertex in place of a near one
        pixels = (project(drawn, camera.intrinsics) + 0.5) * supersampling - 0.5
        raster = rasterize(pixels, np.where(far, scene.vertices[:, 2], 0.0), scene.faces, rows, columns)
        light, background = Light.draw(rng), backdrop(rng, height, width)
        canvas = cv2.resize(background, (columns, rows), interpolation=cv2.INTER_LINEAR)
        canvas[raster.covered] = self.colours(scene, raster, light, tone, skin_seed)
        image = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
        image = tone_curve(image) + rng.normal(0, SENSOR_NOISE, image.shape)
        middle = (slice(supersampling // 2, None, supersampling),) * 2
        return Picture(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), *_maps(scene, raster, middle))

    def scene(self, fits: Mapping[Side, Fit], arms: Mapping[Side, Arm], camera: Camera) -> Scene:
        """Hands and forearms in the frame of the camera, finer and with all that painting needs."""
        coarse, faces, offset = [], [], 0
        for side, fit in fits.items():
            hand = self.models[side].pose(fit.pose[None], fit.shape[None], fit.translation[None]).vertices[0].numpy()
            root = Rotation.from_rotvec(fit.pose[:3]).as_matrix()
            arm = self.forearms[side].vertices(hand, root, arms[side].bend, arms[side].elbow)
            coarse.append(camera.to_camera(np.concatenate([hand, arm])))
            faces.append(self.forearms[side].faces + offset)
            offset += len(coarse[-1])
        together, all_faces = np.concatenate(coarse), np.concatenate(faces)
        normals = vertex_normals(together, all_faces)
        middle = np.concatenate([part[:VERTICES] for part in coarse]).mean(0)
        sky = openness(together, normals, all_faces, middle, SKY_RADIUS)
        parts, offset = [], 0
        for place, side in enumerate(fits):
            finer, forearm = self.finer[side], self.forearms[side]
            own = slice(place * len(coarse[0]), (place + 1) * len(coarse[0]))
            vertices = finer.vertices(coarse[place], normals[own])
            label = LABELS[side] + len(LABELS) * (np.arange(len(forearm.faces)) >= FACES).repeat(4)
            template = np.concatenate([self.models[side].template.numpy(), forearm.rest])
            given = np.column_stack([normals[own], sky[own], self.skin.fields, template])
            parts.append(
                (
                    vertices,
                    finer.faces + offset,
                    label.astype(np.uint8),
                    forearm.faces + offset,
                    finer.attributes(given),
                )
            )
            offset += len(vertices)
        vertices, all_faces, label, coarse_faces, given = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Scene(vertices, all_faces, label, coarse_faces, given[:, :3], given[:, 3], given[:, 4:9], given[:, 9:])

    def colours(
        self,
        scene: Scene,
        raster: Raster,
        light: Light,
        tone: Float[np.ndarray, "3"],
        skin_seed: int,
    ) -> Float[np.ndarray, "covered 3"]:
        """Linear colours of the covered pixels."""
        given = np.column_stack([scene.vertices, scene.normals, scene.sky, scene.fields])
        at = raster.interpolate(given, scene.faces)
        points, rest = at[:, :3], np.ascontiguousarray(at[:, 7:10])
        facing = np.clip(at[:, 3:6] @ light.key, 0.15, 1.0)
        bias = SHADOW_BIAS + SHADOW_SOFTNESS * (
            np.sqrt(1 - facing**2) / facing
        )  # the disc of taps lies across the light
        shadow = ShadowMap(scene.vertices, scene.coarse_faces, light.key, SHADOW_CELL, points.mean(0), SHADOW_SIZE)
        reached = shadow.light(
            points + 0.0010 * at[:, 3:6], np.minimum(bias, MAX_SHADOW_BIAS), SHADOW_SOFTNESS, SHADOW_TAPS
        )
        painted = paint(
            rest, at[:, 10], at[:, 11], self.skin.nails, self.skin.creases, tone, PALM, NAIL, BLOOD, skin_seed
        )
        return _lit(points, at[:, 3:6], at[:, 6], reached, painted, light.rows())


def _maps(scene: Scene, raster: Raster, middle: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, depth and rest coordinates at the samples nearest to the pixel centres."""
    triangle = raster.triangle[middle]
    seen = triangle >= 0
    labels = np.where(seen, scene.label[triangle], 0).astype(np.uint8)
    depth = np.where(seen, raster.depth[middle], 0).astype(np.float32)
    hand = (labels > 0) & (labels <= len(LABELS))
    sampled = Raster(raster.depth[middle], np.where(hand, triangle, -1), raster.barycentric[middle])
    rest = np.zeros((*triangle.shape, 3), np.float32)
    rest[hand] = sampled.interpolate(scene.template, scene.faces)
    return labels, depth, rest


@numba.njit(**COMPILE)
def _lit(points, normals, skies, reached, painted, lights):
    """Linear colours of skin. painted: rows of `skin.paint`.  lights: see `Light.rows`."""
    count, lights = points.shape[0], as_numbers(lights)
    colours = np.empty((count, 3))
    for i in range(count):
        colour = (painted[i, 0], painted[i, 1], painted[i, 2])
        hidden = (
            skies[i] ** (1.0 - 0.25 * colour[0]),
            skies[i] ** (1.0 - 0.25 * colour[1]),
            skies[i] ** (1.0 - 0.25 * colour[2]),
        )
        colours[i, 0], colours[i, 1], colours[i, 2] = lit_at(
            (points[i, 0], points[i, 1], points[i, 2]),
            (normals[i, 0], normals[i, 1], normals[i, 2]),
            (painted[i, 4], painted[i, 5], painted[i, 6]),
            colour,
            painted[i, 3],
            skies[i],
            hidden,
            reached[i],
            lights,
        )
    return colours


@numba.njit(inline="always", **COMPILE)
def as_numbers(lights):
    """Rows of `Light.rows` as numbers, which loops over `lit_at` need to be compiled for several points at a time."""
    key, key_colour, fill, fill_colour, sky, ground = lights[0], lights[1], lights[2], lights[3], lights[4], lights[5]
    return (
        (key[0], key[1], key[2]),
        (key_colour[0], key_colour[1], key_colour[2]),
        (fill[0], fill[1], fill[2]),
        (fill_colour[0], fill_colour[1], fill_colour[2]),
        (sky[0], sky[1], sky[2]),
        (ground[0], ground[1], ground[2]),
    )


@numba.njit(inline="always", **COMPILE)
def lit_at(point, normal, tilt, colour, nail, open_sky, hidden, light, lights):
    """Linear colour of lit skin: wrapped diffuse (light that travels under the skin), two highlights, sky and ground.

    point: camera frame, metres.  normal: of any length; tilt is added to it.  hidden: open_sky ** (1 - colour / 4) per colour,
    for light bounces between bright skin.  light: share of the key light that arrives.  lights: see `as_numbers`.
    """
    nx, ny, nz = normal
    length = 1.0 / (np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12)
    nx, ny, nz = nx * length, ny * length, nz * length
    tx, ty, tz = tilt
    across = tx * nx + ty * ny + tz * nz
    bx, by, bz = nx + tx - across * nx, ny + ty - across * ny, nz + tz - across * nz
    length = 1.0 / np.sqrt(bx * bx + by * by + bz * bz)
    bx, by, bz = bx * length, by * length, bz * length
    px, py, pz = point
    distance = 1.0 / np.sqrt(px * px + py * py + pz * pz)
    vx, vy, vz = -px * distance, -py * distance, -pz * distance

    facing = bx * lights[0][0] + by * lights[0][1] + bz * lights[0][2]
    side = bx * lights[2][0] + by * lights[2][1] + bz * lights[2][2]
    hx, hy, hz = lights[0][0] + vx, lights[0][1] + vy, lights[0][2] + vz
    length = 1.0 / np.sqrt(hx * hx + hy * hy + hz * hz)
    mirror = max((bx * hx + by * hy + bz * hz) * length, 0.0)
    gloss = 0.055 * mirror**14 + 0.050 * mirror**55 + nail * (0.10 * mirror**40 + 0.28 * mirror**220)
    gloss *= light * min(max(facing * 4, 0.0), 1.0)
    grazing = 1 - max(bx * vx + by * vy + bz * vz, 0.0)
    sheen = (0.02 + 0.06 * nail + 0.08 * grazing**4) * open_sky * open_sky
    up = 0.5 - 0.5 * by
    return (
        _lit_channel(0, 0.42, facing, side, up, colour[0], open_sky, hidden[0], light, gloss, sheen, lights),
        _lit_channel(1, 0.20, facing, side, up, colour[1], open_sky, hidden[1], light, gloss, sheen, lights),
        _lit_channel(2, 0.14, facing, side, up, colour[2], open_sky, hidden[2], light, gloss, sheen, lights),
    )


@numba.njit(inline="always", **COMPILE)
def _lit_channel(k, w, facing, side, up, colour, open_sky, hidden, light, gloss, sheen, lights):
    key, fill, sky, ground = lights[1][k], lights[3][k], lights[4][k], lights[5][k]
    diffuse = max((facing + w) / (1 + w), 0.0)
    through = light + (1 - light) * w * 0.30 * open_sky
    around = (ground + (sky - ground) * up) * hidden
    spread = max((side + 0.3) / 1.3, 0.0) * (0.35 + 0.65 * open_sky) * open_sky
    lit = colour * (diffuse * through * key + around + spread * fill)
    return lit + (gloss * key + sheen * sky)
