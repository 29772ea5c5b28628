"""Training curves of a network from its log: one chart per quantity, with training and validation.

The log is a CSV file with the column `step` and columns named `<split>_<quantity>`, such as `val_iou`; a cell is empty where
nothing was logged (see training/curves.py).
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

import numpy as np
import pandas as pd

from im2hands.io.errors import DamagedFileError
from im2hands.io.limits import LARGEST_DOCUMENT, read_text
from im2hands.report.charts import Chart, Line, running_median

QUANTITIES = {"loss": "Loss", "iou": "Intersection over union"}
"""Quantities that are drawn, in this order, and how they are called."""
SPLITS = {"train": "training", "val": "validation"}
RATIO_FOR_LOG = 4
SMOOTHED_FROM = 60


@dataclass(frozen=True)
class Curve:
    """A chart. caption: the last and the best values in words."""

    chart: Chart
    caption: str


def read_log(path: str | os.PathLike) -> pd.DataFrame:
    """A training log. Raises DataError if the file is missing, DamagedFileError if it cannot be read."""
    text = read_text(path, "training log", LARGEST_DOCUMENT, "run the training again")
    try:
        return pd.read_csv(io.StringIO(text))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise DamagedFileError(f"{path}: not a readable training log ({error}); delete it and train again.") from None


def training_curves(path: str | os.PathLike) -> list[Curve]:
    """The curves of a log; none if it has no rows, as for weights that were not trained here.

    Raises as read_log, and DamagedFileError if it has no column `step`, or rows and none of the quantities.
    """
    log = read_log(path)
    if "step" in log.columns and log.empty:
        return []
    curves = []
    for quantity, title in QUANTITIES.items():
        lines = []
        for split, label in SPLITS.items():
            if {"step", f"{split}_{quantity}"} <= set(log.columns):
                lines += _lines(log["step"], log[f"{split}_{quantity}"], label, f"series-{split}")
        if lines:
            curves.append(_curve(title, quantity, lines))
    if not curves:
        raise DamagedFileError(
            f"{path}: the training log has no column `step` with one of `train_loss`, `val_loss`, `val_iou`; it was "
            "written by another version: train again."
        )
    return curves


def _lines(steps: pd.Series, values: pd.Series, label: str, style: str) -> list[Line]:
    logged = values.notna()
    x, y = steps[logged].to_numpy(float), values[logged].to_numpy(float)
    if not len(x):
        return []
    if len(x) < SMOOTHED_FROM:
        return [Line(label, x, y, style, dots=len(x) <= 40)]
    smooth = running_median(y, window=max(9, len(y) // 25))
    return [Line(label, x, y, style, faint=True), Line(label, x, smooth, style)]


def _curve(title: str, quantity: str, lines: list[Line]) -> Curve:
    solid = [line for line in lines if not line.faint]
    values = np.concatenate([line.y for line in solid])
    positive = values[values > 0]
    higher_is_better = quantity == "iou"
    log = not higher_is_better and len(positive) > 0 and positive.max() / positive.min() > RATIO_FOR_LOG
    sentences = []
    for line in solid:
        best = int(np.argmax(line.y) if higher_is_better else np.argmin(line.y))
        sentence = f"{line.label.capitalize()}: {line.y[-1]:.4g} after {line.x[-1]:.0f} steps"
        if best < len(line.y) - 1:
            sentence += f", best {line.y[best]:.4g} at step {line.x[best]:.0f}"
        sentences.append(sentence + ".")
    caption = " ".join(sentences)
    if any(line.faint for line in lines):
        caption += " Strong line: running median."
    name = title + (", logarithmic" if log else "")
    limits = (0.0, 1.0) if higher_is_better else None
    chart = Chart(f"{name}, over optimiser steps. {caption}", "optimiser step", name, lines, log=log, limits=limits)
    return Curve(chart, caption)
