"""The report's colours for ground truth, predictions and errors, shared by pictures, charts and the 3-D view.

Red, green, blue in sRGB from 0 to 1. Ground truth is cool, predictions are warm, the left hand is the lighter of a pair; the
error scale runs from pale to dark so that it reads the same in grey, in print and with colour-vision deficiencies.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from im2hands.hands.sides import Side

TRUTH = {Side.RIGHT: (0.141, 0.506, 0.541), Side.LEFT: (0.463, 0.718, 0.741)}
PREDICTION = {Side.RIGHT: (0.847, 0.416, 0.220), Side.LEFT: (0.949, 0.659, 0.349)}

PENETRATION = (0.118, 0.353, 1.0)
"""Of surface inside the other hand: a blue that the error scale does not have."""

ERROR_STOPS = (
    (0.00, (0.914, 0.906, 0.871)),
    (0.20, (0.953, 0.808, 0.549)),
    (0.40, (0.937, 0.604, 0.329)),
    (0.60, (0.835, 0.341, 0.302)),
    (0.80, (0.608, 0.161, 0.388)),
    (1.00, (0.278, 0.075, 0.322)),
)
"""Share of the scale -> colour; linear in between. Lightness falls all the way."""

SCALE_LIMITS_MM = (1, 2, 3, 5, 10, 15, 20, 30, 50, 100)


def error_colours(errors_mm: Float[np.ndarray, " n"], limit_mm: float) -> Float[np.ndarray, "n 3"]:
    """Colours of distances on the scale from 0 to `limit_mm`; larger ones have the colour of the limit."""
    share = np.clip(np.asarray(errors_mm, np.float64) / limit_mm, 0, 1)
    stops = [stop for stop, _ in ERROR_STOPS]
    return np.stack([np.interp(share, stops, [colour[i] for _, colour in ERROR_STOPS]) for i in range(3)], -1)


def scale_limit(errors_mm: Float[np.ndarray, " n"], share: float = 0.95) -> int:
    """The smallest round limit (mm) that `share` of the distances do not exceed; the largest if none does."""
    if not len(errors_mm):
        return SCALE_LIMITS_MM[0]
    reached = float(np.quantile(errors_mm, share))
    return next((limit for limit in SCALE_LIMITS_MM if limit >= reached), SCALE_LIMITS_MM[-1])


def css(colour: tuple[float, float, float]) -> str:
    """The colour as #rrggbb."""
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in colour)


def error_gradient() -> str:
    """The error scale as a CSS gradient from left (0) to right (limit)."""
    return f"linear-gradient(90deg, {', '.join(f'{css(colour)} {100 * stop:g}%' for stop, colour in ERROR_STOPS)})"
