"""Hands on a canvas, one step after another over whole arrays: z-buffer, skin, clothes, shadow, light."""

import numpy as np

from im2hands.datasets.synthetic import render
from im2hands.datasets.synthetic.crop_clothes import POLISH, RING_AT, RING_WIDTH
from im2hands.datasets.synthetic.skin import BLOOD, NAIL, PALM, paint
from im2hands.geometry.cameras import project
from im2hands.rendering.rasterizer import rasterize
from im2hands.rendering.shading import ShadowMap


def painted_canvas(painter, scene, light, intrinsics, person, clothing, joints, canvas):
    """The canvas with the hands, and the pixels that show them.

    painter: HandPainter.  scene: its scene in the camera frame.  joints: of the template, mm.  canvas: linear light.
    """
    depth = np.where(scene.vertices[:, 2] >= render.ARM_ENDS, scene.vertices[:, 2], 0.0)
    in_front = np.where(depth[:, None] > 0, scene.vertices, [0, 0, 1.0])
    raster = rasterize(project(in_front, intrinsics), depth, scene.faces, *canvas.shape[:2])
    given = np.column_stack([scene.vertices, scene.normals, scene.sky, scene.fields])
    at = raster.interpolate(given, scene.faces)
    points, normals, sky, rest = at[:, :3], at[:, 3:6], at[:, 6], np.ascontiguousarray(at[:, 7:10])
    facing = np.clip(normals @ light.key, 0.15, 1.0)
    bias = render.SHADOW_BIAS + render.SHADOW_SOFTNESS * np.sqrt(1 - facing**2) / facing
    shadow = ShadowMap(
        scene.vertices, scene.coarse_faces, light.key, render.SHADOW_CELL, points.mean(0), render.SHADOW_SIZE
    )
    bias = np.minimum(bias, render.MAX_SHADOW_BIAS)
    reached = shadow.light(points + 0.001 * normals, bias, render.SHADOW_SOFTNESS, render.SHADOW_TAPS)
    skin = painter.skin
    painted = paint(
        rest, at[:, 10], at[:, 11], skin.nails, skin.creases, person.tone, PALM, NAIL, BLOOD, person.skin_seed
    )
    painted = dressed(painted, rest, scene.label[raster.triangle[raster.covered]], clothing, joints)
    canvas = canvas.copy()
    canvas[raster.covered] = render._lit(points, normals, sky, reached, painted, light.rows())
    return canvas, raster.covered


def dressed(painted, rest, label, clothing, joints):
    """Rows of `skin.paint` with clothes, rings and nail polish. rest: template, mm.  label: 1, 2 hands, 3, 4 forearms."""
    painted = painted.copy()
    behind = rest[:, 0] - joints[0, 0]
    if clothing.nails is not None:
        share = painted[:, 3:4] * POLISH
        painted[:, :3] = (1 - share) * painted[:, :3] + share * clothing.nails
    for side, finger in clothing.rings:
        first = 1 + 3 * finger
        bone = joints[first + 1] - joints[first]
        offset = rest - (joints[first] + RING_AT * bone)
        along = offset @ (bone / np.linalg.norm(bone))
        near = (label == side) & (np.abs(along) < RING_WIDTH) & (np.linalg.norm(offset, axis=1) < 13)
        cover(painted, near, clothing.metal, shine=1.0)
    if clothing.watch is not None:
        start, end = clothing.watch
        cover(painted, (label == 4) & (behind > start) & (behind < end), clothing.stripe * 0.5, shine=0.5)
    if clothing.sleeve is not None:
        cloth = (label >= 3) & (behind > clothing.sleeve)
        wave = np.sin(2 * np.pi * behind[cloth] / clothing.stripe_width)[:, None]
        colour = np.where(wave > 0.3, clothing.stripe, clothing.cloth)
        grain = 1 + 0.18 * np.sin(rest[cloth] * 2.9).prod(1, keepdims=True)
        painted[cloth, :3], painted[cloth, 3:] = colour * grain, 0.0
    return painted


def cover(painted, where, colour, shine):
    painted[where, :3], painted[where, 3], painted[where, 4:] = colour, shine, 0.0
