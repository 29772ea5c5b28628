"""What drawn crops add to the skin and light of `render`: clothes, jewellery, clutter behind, things in front, the camera.

Colours are linear light until `photographed`. All draws come from the generator that is passed.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from im2hands.datasets.synthetic.backdrop import backdrop
from im2hands.datasets.synthetic.render import SENSOR_NOISE
from im2hands.rendering.shading import to_linear, tone_curve

SLEEVE_SHARE, WATCH_SHARE, RING_SHARE, NAIL_SHARE = 0.45, 0.12, 0.15, 0.12
SLEEVE_FROM = (35.0, 140.0)
"""Where a sleeve may begin, mm behind the wrist."""
CLUTTER_SHARE, OCCLUDER_SHARE, GREY_SHARE, TINT_SHARE, BLUR_SHARE = 0.5, 0.15, 0.12, 0.3, 0.15
NOISES, NOISE_SHARES = (SENSOR_NOISE, 2 * SENSOR_NOISE, 0.03), (0.5, 0.37, 0.13)
QUALITIES = (55, 97)
"""Of the photograph's JPEG file."""
RING_AT, RING_WIDTH = 0.35, 2.2
"""Where on the first phalanx (share of its length), and half of how wide (mm)."""


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


def dressed(
    painted: Float[np.ndarray, "n 7"],
    rest: Float[np.ndarray, "n 3"],
    label: Int[np.ndarray, "n"],
    clothing: Clothing,
    joints: Float[np.ndarray, "16 3"],
) -> Float[np.ndarray, "n 7"]:
    """What `skin.paint` painted, with clothes, rings and nail polish.

    rest: template coordinates, mm, right-hand space.  label: 1, 2 hands, 3, 4 forearms.  joints: of the template, mm.
    """
    behind = rest[:, 0] - joints[0, 0]
    if clothing.nails is not None:
        share = painted[:, 3:4] * 0.85
        painted[:, :3] = (1 - share) * painted[:, :3] + share * clothing.nails
    for side, finger in clothing.rings:
        first = 1 + 3 * finger
        bone = joints[first + 1] - joints[first]
        length = np.linalg.norm(bone)
        offset = rest - (joints[first] + RING_AT * bone)
        along = offset @ (bone / length)
        near = (label == side) & (np.abs(along) < RING_WIDTH) & (np.linalg.norm(offset, axis=1) < 13)
        _cover(painted, near, clothing.metal, shine=1.0)
    forearm = label >= 3
    if clothing.watch is not None:
        start, end = clothing.watch
        _cover(painted, forearm & (behind > start) & (behind < end) & (label == 4), clothing.stripe * 0.5, shine=0.5)
    if clothing.sleeve is not None:
        cloth = forearm & (behind > clothing.sleeve)
        wave = np.sin(2 * np.pi * behind[cloth] / clothing.stripe_width)[:, None]
        colour = np.where(wave > 0.3, clothing.stripe, clothing.cloth)
        grain = 1 + 0.18 * np.sin(rest[cloth] * 2.9).prod(1, keepdims=True)
        painted[cloth, :3], painted[cloth, 3:] = colour * grain, 0.0
    return painted


def _cover(painted: np.ndarray, where: Bool[np.ndarray, "n"], colour: np.ndarray, shine: float) -> None:
    painted[where, :3], painted[where, 3], painted[where, 4:] = colour, shine, 0.0


def background(rng: np.random.Generator, size: int) -> Float[np.ndarray, "size size 3"]:
    """A room out of focus, a cluttered surface, or a plain one; linear, float32."""
    image = backdrop(rng, size, size).astype(np.float32)
    if rng.uniform() < CLUTTER_SHARE:
        for _ in range(rng.integers(3, 14)):
            image = _clutter(rng, image)
        texture = fractal_noise(rng, size, rng.uniform(0.6, 1.6))
        image *= 1 + rng.uniform(0, 0.9) * texture[..., None]
        if rng.uniform() < 0.5:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 3.0) * size / 256)
    return np.maximum(image, 0)


def fractal_noise(rng: np.random.Generator, size: int, slope: float) -> Float[np.ndarray, "size size"]:
    """Noise whose octaves fade with their frequency as those of photographs do, in -1 .. 1 or so; float32."""
    total, weight, side = np.zeros((size, size), np.float32), 0.0, 3
    while side < size:
        layer = rng.uniform(-1, 1, (side, side)).astype(np.float32)
        amount = side**-slope
        total += amount * cv2.resize(layer, (size, size), interpolation=cv2.INTER_CUBIC)
        weight += amount
        side *= 2
    return total / weight * 1.5


def _clutter(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
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
    colour = any_colour(rng).astype(np.float32)
    x, y, width, height = cv2.boundingRect(layer)
    part = (slice(y, y + height), slice(x, x + width))
    opacity = (layer[part].astype(np.float32) * (rng.uniform(0.5, 1.0) / 255))[..., None]
    if rng.uniform() < 0.3:
        ramp = np.sin(np.arange(size, dtype=np.float32) * rng.uniform(0.05, 1.2))
        stripes = ramp[part[0], None, None] if rng.uniform() < 0.5 else ramp[None, part[1], None]
        colour = colour * (1 + 0.5 * stripes)
    image[part] += (colour - image[part]) * opacity
    return image


def occluded(rng: np.random.Generator, image: Float[np.ndarray, "size size 3"]) -> Float[np.ndarray, "size size 3"]:
    """In a share of the pictures, with something in front of everything."""
    if rng.uniform() < OCCLUDER_SHARE:
        size = image.shape[0]
        layer = np.zeros((size, size), np.uint8)
        centre = rng.uniform(0.1, 0.9, 2) * size
        box = (tuple(centre), tuple(rng.uniform(0.04, 0.25, 2) * size * (1.0, 2.5)), rng.uniform(0, 180))
        cv2.fillConvexPoly(layer, np.round(cv2.boxPoints(box)).astype(np.int32), 255, cv2.LINE_AA)
        opacity = layer[..., None].astype(np.float32) / 255
        texture = 1 + 0.5 * fractal_noise(rng, size, 1.0)
        thing = any_colour(rng).astype(np.float32) * texture[..., None]
        image = image * (1 - opacity) + thing * opacity
    return image


def photographed(
    rng: np.random.Generator, light: Float[np.ndarray, "size size 3"], output: int
) -> UInt8[np.ndarray, "output output 3"]:
    """The picture that a camera makes of linear light: blur, exposure, tint or grey, noise, JPEG, then resized; RGB."""
    if rng.uniform() < BLUR_SHARE:
        light = cv2.filter2D(light, -1, _motion(rng), borderType=cv2.BORDER_REPLICATE)
    light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.35, 0.8))  # samples are points: edges would be stairs
    light = light * rng.uniform(0.7, 1.35)
    if rng.uniform() < TINT_SHARE:
        light = light * (1 + rng.normal(0, 0.12, 3)).astype(np.float32)
    image = _tone(light)
    if rng.uniform() < GREY_SHARE:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.choice(NOISES, p=NOISE_SHARES)
    image = np.rint(np.clip(image + noise, 0, 1) * 255).astype(np.uint8)
    quality = int(rng.integers(*QUALITIES))
    stored = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    image = cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1]
    return cv2.resize(np.ascontiguousarray(image), (output, output), interpolation=cv2.INTER_LINEAR)


TONE_STEPS = 4096
BRIGHTEST = 4.0
TONES = tone_curve(np.linspace(0, BRIGHTEST, TONE_STEPS)).astype(np.float32)


def _tone(light: Float[np.ndarray, "size size 3"]) -> Float[np.ndarray, "size size 3"]:
    """`tone_curve` by a table."""
    return TONES[np.clip(light * ((TONE_STEPS - 1) / BRIGHTEST), 0, TONE_STEPS - 1).astype(np.int32)]


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
    return to_linear(np.clip(grey + rng.normal(0, rng.choice((0.04, 0.22)), 3), 0.02, 0.98))
