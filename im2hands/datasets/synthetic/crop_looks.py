"""What drawn crops add to the skin and light of `render`: clutter behind, things in front, the camera.

Colours are linear light until `photographed`. All draws come from the generator that is passed.
"""

from __future__ import annotations

import cv2
import numba
import numpy as np
from jaxtyping import Float, Float32, UInt8

from im2hands.datasets.synthetic import backdrop
from im2hands.datasets.synthetic.render import SENSOR_NOISE
from im2hands.rendering.rasterizer import COMPILE
from im2hands.rendering.shading import to_linear, tone_curve

CLUTTER_SHARE, OCCLUDER_SHARE, GREY_SHARE, TINT_SHARE, BLUR_SHARE = 0.5, 0.15, 0.12, 0.3, 0.15
NOISES, NOISE_SHARES = (SENSOR_NOISE, 2 * SENSOR_NOISE, 0.03), (0.5, 0.37, 0.13)
REDUCTION = 6
"""Pixels per pixel that is computed of the room out of focus."""
QUALITIES = (55, 97)
"""Of the photograph's JPEG file."""


def background(rng: np.random.Generator, size: int) -> Float32[np.ndarray, "size size 3"]:
    """A room out of focus, a cluttered surface, or a plain one; linear, a little below 0 in places."""
    side = -(-size // REDUCTION)
    image = backdrop.soft_room(rng, side, side, backdrop.REDUCTION / REDUCTION).astype(np.float32)
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    if rng.uniform() < CLUTTER_SHARE:
        for _ in range(rng.integers(3, 14)):
            _clutter(rng, image)
        _modulate(image, fractal_noise(rng, size, rng.uniform(0.6, 1.6)), rng.uniform(0, 0.9))
        if rng.uniform() < 0.5:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 3.0) * size / 256)
    return image


def fractal_noise(rng: np.random.Generator, size: int, slope: float) -> Float32[np.ndarray, "size size"]:
    """Noise whose octaves fade with their frequency as those of photographs do, in -1 .. 1 or so."""
    total, weight, side = np.zeros((1, 1), np.float32), 0.0, 3
    while side < size:
        amount = side**-slope
        layer = rng.random((side, side), dtype=np.float32) * np.float32(2 * amount) - np.float32(amount)
        total = cv2.resize(total, (side, side), interpolation=cv2.INTER_CUBIC) + layer
        weight += amount
        side *= 2
    return cv2.resize(total, (size, size), interpolation=cv2.INTER_CUBIC) * np.float32(1.5 / weight)


def _clutter(rng: np.random.Generator, image: Float32[np.ndarray, "size size 3"]) -> None:
    """A thing with edges: a polygon, an ellipse or a line, plain or striped."""
    size = image.shape[0]
    layer = np.zeros((size, size), np.uint8)
    centre, extent = rng.uniform(0, size, 2), rng.uniform(0.05, 0.5, 2) * size
    kind = rng.integers(3)
    if kind == 0:
        turn = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        corners = centre + np.stack([np.cos(turn), np.sin(turn)], 1) * extent
        cv2.fillPoly(layer, [np.round(corners).astype(np.int32)], 255, cv2.LINE_AA)
    elif kind == 1:
        axes = tuple(int(e) for e in np.maximum(extent, 1))
        cv2.ellipse(layer, tuple(int(c) for c in centre), axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    else:
        end = centre + rng.normal(0, 0.6 * size, 2)
        cv2.line(layer, *(tuple(int(c) for c in p) for p in (centre, end)), 255, int(rng.integers(1, 12)), cv2.LINE_AA)
    colour, opacity, shades = any_colour(rng), rng.uniform(0.5, 1.0), np.ones((1, 1), np.float32)
    if rng.uniform() < 0.3:
        shades = 1 + 0.5 * np.sin(np.arange(size, dtype=np.float32) * rng.uniform(0.05, 1.2))
        shades = shades[:, None] if rng.uniform() < 0.5 else shades[None]
    _cover(image, layer, opacity, colour, np.broadcast_to(shades, layer.shape))


def occluded(rng: np.random.Generator, image: Float32[np.ndarray, "size size 3"]) -> Float32[np.ndarray, "size size 3"]:
    """In a share of the pictures, with something in front of everything. Changes the picture."""
    if rng.uniform() < OCCLUDER_SHARE:
        size = image.shape[0]
        layer = np.zeros((size, size), np.uint8)
        centre = rng.uniform(0.1, 0.9, 2) * size
        box = (tuple(centre), tuple(rng.uniform(0.04, 0.25, 2) * size * (1.0, 2.5)), rng.uniform(0, 180))
        cv2.fillConvexPoly(layer, np.round(cv2.boxPoints(box)).astype(np.int32), 255, cv2.LINE_AA)
        _cover(image, layer, 1.0, any_colour(rng), 1 + 0.5 * fractal_noise(rng, size, 1.0))
    return image


@numba.njit(**COMPILE)
def _cover(image, layer, opacity, colour, shades):
    """Blends a colour, times a shade per pixel, into the image. layer: 255 where it covers all but for its opacity."""
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            if layer[row, column] > 0:
                share, shade = layer[row, column] * (opacity / 255), shades[row, column]
                for k in range(3):
                    image[row, column, k] += share * (shade * colour[k] - image[row, column, k])


@numba.njit(**COMPILE)
def _modulate(image, texture, amount):
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            factor = np.float32(1 + amount * texture[row, column])
            for k in range(3):
                image[row, column, k] *= factor


def photographed(
    rng: np.random.Generator, light: Float32[np.ndarray, "size size 3"], output: int
) -> UInt8[np.ndarray, "output output 3"]:
    """The picture that a camera makes of linear light: blur, exposure, tint or grey, noise, JPEG, then resized; RGB."""
    if rng.uniform() < BLUR_SHARE:
        light = cv2.filter2D(light, -1, _motion(rng), borderType=cv2.BORDER_REPLICATE)
    light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.35, 0.8))  # samples are points: edges would be stairs
    exposure = np.full(3, rng.uniform(0.7, 1.35))
    if rng.uniform() < TINT_SHARE:
        exposure *= 1 + rng.normal(0, 0.12, 3)
    grey = rng.uniform() < GREY_SHARE
    noise = rng.choice(NOISES, p=NOISE_SHARES)
    rows = rng.integers(0, len(NOISE) - light[0].size, len(light))
    image = _developed(light, exposure, grey, noise, rows, NOISE, TONES)
    quality = int(rng.integers(*QUALITIES))
    stored = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    image = cv2.resize(cv2.imdecode(stored, cv2.IMREAD_COLOR), (output, output), interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


TONE_STEPS = 4096
BRIGHTEST = 4.0
TONES = tone_curve(np.linspace(0, BRIGHTEST, TONE_STEPS)).astype(np.float32)
NOISE = np.random.default_rng(0).standard_normal(1 << 16, dtype=np.float32)
"""Sensor noise of a row of pixels is a part of it."""
GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey picture (ITU-R BT.601)."""


@numba.njit(**COMPILE)
def _developed(light, exposure, grey, amount, rows, noise, tones):
    """8-bit BGR picture of linear light, with noise. tones: `tone_curve` as a table.  rows: where each row's noise begins."""
    height, width = light.shape[:2]
    image = np.empty((height, width, 3), np.uint8)
    step = (tones.shape[0] - 1) / BRIGHTEST
    toned = np.empty(3, np.float32)
    for row in range(height):
        for column in range(width):
            for k in range(3):
                place = int(min(max(light[row, column, k] * exposure[k] * step, 0.0), tones.shape[0] - 1.0))
                toned[k] = tones[place]
            if grey:
                toned[:] = GREY[0] * toned[0] + GREY[1] * toned[1] + GREY[2] * toned[2]
            for k in range(3):
                value = toned[k] + noise[rows[row] + 3 * column + k] * amount
                image[row, column, 2 - k] = int(min(max(value, 0.0), 1.0) * 255 + 0.5)
    return image


def _motion(rng: np.random.Generator) -> Float[np.ndarray, "side side"]:
    """The kernel of a straight movement of a few pixels."""
    side = 11
    kernel = np.zeros((side, side), np.float32)
    reach = rng.uniform(0.5, 3.0) * np.array([np.cos(turn := rng.uniform(0, np.pi)), np.sin(turn)])
    ends = [tuple(int(c) for c in np.round((side // 2 + sign * reach) * 16)) for sign in (-1, 1)]
    cv2.line(kernel, *ends, 1.0, 1, cv2.LINE_AA, 4)
    return kernel / max(kernel.sum(), 1e-6)


def any_colour(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Any colour, linear: mostly dull, some strong."""
    grey = rng.uniform(0.03, 0.95)
    return to_linear(np.clip(rng.normal(grey, 0.04 if rng.uniform() < 0.5 else 0.22, 3), 0.02, 0.98))
