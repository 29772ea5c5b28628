"""Line charts as inline SVG, coloured by the page's style sheet so that they follow its light and dark themes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from jaxtyping import Float

WIDTH, HEIGHT = 440, 290
LEFT, RIGHT, TOP, BOTTOM = 44, 78, 34, 44
MOST_POINTS = 400
"""Longer lines are thinned for the page; the first and the last point stay."""


@dataclass(frozen=True, eq=False)
class Line:
    """A series. style: class that the style sheet colours.  label: written at the line's end.  faint: background line.

    dots: also mark the points.
    """

    label: str
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    style: str
    faint: bool = False
    dots: bool = False


@dataclass(frozen=True, eq=False)
class Mark:
    """A point with a label."""

    x: float
    y: float
    label: str
    style: str


@dataclass(frozen=True, eq=False)
class Chart:
    """A chart. summary: description for readers who cannot see it.  limits: range of the y axis; None fits the lines.

    log: logarithmic y axis (for positive values).
    """

    summary: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = field(default_factory=tuple)
    log: bool = False
    limits: tuple[float, float] | None = None

    def svg(self) -> str:
        """The chart as an SVG element. An axis without any finite value is left empty."""
        x_low, x_high = _range([line.x for line in self.lines])
        low, high = self.limits or _range([line.y[line.y > 0] if self.log else line.y for line in self.lines])
        low, high = (low, high) if self.limits else _padded(low, high, self.log)

        def across(value: float) -> float:
            return LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

        def up(value: float) -> float:
            bottom, top, value = (math.log(v) if self.log else v for v in (low, high, value))
            return HEIGHT - BOTTOM - (value - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)

        parts = [
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.summary, quote=True)}">'
        ]
        for tick in _log_ticks(low, high) if self.log else _ticks(low, high):
            y = up(tick)
            parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_text(tick)}</text>')
        for tick in _ticks(x_low, x_high, 5):
            x = across(tick)
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_text(tick)}</text>'
            )
        parts.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f'<text class="name" x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(self.x_label)}</text>'
        )
        parts.append(f'<text class="name" x="0" y="12">{escape(self.y_label)}</text>')
        ends: list[tuple[float, Line]] = []
        for line in self.lines:
            points = [(across(x), up(y)) for x, y in _thinned(line, self.log)]
            if not points:
                continue
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            parts.append(f'<path class="line {line.style}{" faint" if line.faint else ""}" d="{path}"/>')
            if line.dots:
                parts += [f'<circle class="dot {line.style}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in points]
            if not line.faint:
                ends.append((points[-1][1], line))
        for y, line in _spread(ends):
            parts.append(
                f'<text class="label {line.style}" x="{WIDTH - RIGHT + 8}" y="{y + 4:.1f}">{escape(line.label)}</text>'
            )
        for mark in self.marks:
            x, y = across(mark.x), up(min(max(mark.y, low), high))
            side, step = ("end", -9) if x > (WIDTH - RIGHT) * 0.8 else ("start", 9)
            parts.append(f'<circle class="mark {mark.style}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>')
            if mark.label:
                parts.append(
                    f'<text class="note" x="{x + step:.1f}" y="{y - 8:.1f}" text-anchor="{side}">{escape(mark.label)}</text>'
                )
        return "".join([*parts, "</svg>"])


def running_median(values: Float[np.ndarray, " n"], window: int) -> Float[np.ndarray, " n"]:
    """Median of the `window` values around each one, fewer at the ends."""
    half = window // 2
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


def _range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    together = np.concatenate([v[np.isfinite(v)] for v in values] or [np.zeros(0)])
    if not len(together):
        return 0.0, 1.0
    low, high = float(together.min()), float(together.max())
    return (low, high) if high > low else (low, low + max(abs(low), 1e-6))


def _padded(low: float, high: float, log: bool) -> tuple[float, float]:
    if log:
        if low <= 0:
            return 0.1, 1.0
        factor = (high / low) ** 0.06
        return low / factor, high * factor
    return low - 0.06 * (high - low), high + 0.06 * (high - low)


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(ticks) >= 3:
            break
    return ticks


def _text(value: float) -> str:
    text = f"{value:.6g}"
    return f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 10_000 and "e" not in text else text


def _thinned(line: Line, log: bool) -> list[tuple[float, float]]:
    good = np.isfinite(line.x) & np.isfinite(line.y) & ((line.y > 0) | (not log))
    x, y = line.x[good], line.y[good]
    if len(x) > MOST_POINTS:
        chosen = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(int))
        x, y = x[chosen], y[chosen]
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _spread(ends: list[tuple[float, Line]], gap: float = 15) -> list[tuple[float, Line]]:
    """Heights of the labels at the lines' ends, moved apart so that none covers another."""
    placed: list[tuple[float, Line]] = []
    for y, line in sorted(ends, key=lambda end: end[0]):
        placed.append((max(y, placed[-1][0] + gap) if placed else y, line))
    too_low = placed[-1][0] - (HEIGHT - BOTTOM) if placed else 0
    return [(y - max(too_low, 0), line) for y, line in placed]
