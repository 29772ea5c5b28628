"""Backgrounds: an out-of-focus room in linear light. Made small and smooth, so that it costs little and hides no hand."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

from im2hands.rendering.shading import to_linear

REDUCTION = 4


def backdrop(rng: np.random.Generator, height: int, width: int) -> Float[np.ndarray, "height width 3"]:
    """A random background: `soft_room`, made larger."""
    image = soft_room(rng, -(-height // REDUCTION), -(-width // REDUCTION), 1.0)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.maximum(image, 0.0)


def soft_room(rng: np.random.Generator, rows: int, columns: int, blur: float) -> Float[np.ndarray, "rows columns 3"]:
    """A lit wall, soft shapes in front of it, discs of light out of focus, darker corners.

    blur: how soft, in units of what suits a picture `REDUCTION` times as large.
    """
    y, x = np.mgrid[0:rows, 0:columns] / rows
    image = _wall(rng, x, y)
    for _ in range(rng.integers(1, 5)):
        image = _shape(rng, image, blur)
    for _ in range(rng.integers(0, 9)):
        image = _disc_of_light(rng, image, blur)
    centre = rng.uniform(0.3, 0.7, 2) * (columns / rows, 1.0)
    away = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    image *= (1 - rng.uniform(0.1, 0.6) * np.clip(away / 0.5, 0, 1))[..., None]
    return image


def _wall(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two tones that run into one another in some direction."""
    base = to_linear(rng.uniform(0.16, 0.62))
    tint = 1 + rng.normal(0, 0.08, 3)
    turn = rng.uniform(0, 2 * np.pi)
    ramp = 0.5 + 0.7 * ((x - 0.33) * np.cos(turn) + (y - 0.5) * np.sin(turn))
    other = tint * (1 + rng.normal(0, 0.10, 3)) * rng.uniform(0.35, 1.1)
    ramp = np.clip(ramp, 0, 1)[..., None]
    return base * np.clip((1 - ramp) * tint + ramp * other, 0.2, 2.0)


def _shape(rng: np.random.Generator, image: np.ndarray, blur: float) -> np.ndarray:
    """A blurred bar or box: furniture, a door frame, a cable."""
    rows, columns = image.shape[:2]
    layer = np.zeros((rows, columns), np.float32)
    centre = rng.uniform(0, 1, 2) * (columns, rows)
    size = np.array([rng.uniform(0.02, 0.35), rng.uniform(0.4, 1.6)]) * rows
    corners = cv2.boxPoints((tuple(centre), tuple(size), rng.uniform(0, 180)))
    cv2.fillConvexPoly(layer, np.round(corners).astype(np.int32), 1.0, cv2.LINE_AA)
    layer = cv2.GaussianBlur(layer, (0, 0), blur * rng.uniform(1.5, 7.0))[..., None]
    colour = to_linear(rng.uniform(0.1, 0.6)) * (1 + rng.normal(0, 0.13, 3))
    opacity = rng.uniform(0.2, 0.8)
    return image * (1 - opacity * layer) + np.clip(colour, 0, 1) * opacity * layer


def _disc_of_light(rng: np.random.Generator, image: np.ndarray, blur: float) -> np.ndarray:
    """A far lamp out of focus."""
    rows, columns = image.shape[:2]
    layer = np.zeros((rows, columns), np.float32)
    centre = np.round(rng.uniform(0, 1, 2) * (columns, rows) * 16).astype(int)
    radius = rng.uniform(0.012, 0.075) * rows
    cv2.circle(layer, tuple(int(c) for c in centre), int(radius * 16), 1.0, -1, cv2.LINE_AA, 4)
    layer = cv2.GaussianBlur(layer, (0, 0), blur * 0.8 + 0.25 * radius)[..., None]
    warm = rng.normal(0, 0.22)
    colour = rng.uniform(0.03, 0.22) * np.clip(1 + np.array([warm, 0.0, -warm]) + rng.normal(0, 0.05, 3), 0.3, 2)
    return image + layer * colour
