"""Training curves as a CSV file with one row per step, also after resumed runs."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment

from im2hands.io.atomic import write_text

COLUMNS = ("step", "learning_rate", "train_loss", "val_loss", "val_iou")
EMPTY_CURVES = ",".join(COLUMNS) + "\n"
"""Of a model that was not trained here."""


class CurvesLogger(Logger):
    """A Lightning logger that keeps rows by step and writes them whole.

    A row logged again (a resumed run repeats the steps after its checkpoint) takes the place of the former one.
    """

    def __init__(self, path: str | os.PathLike, columns: tuple[str, ...] = COLUMNS) -> None:
        super().__init__()
        self.path, self.columns = Path(path), columns
        self._rows: dict[int, dict[str, float]] = {}

    @property
    def name(self) -> str:
        return "curves"

    @property
    def version(self) -> str:
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> CurvesLogger:
        return self

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        known = {name: float(value) for name, value in metrics.items() if name in self.columns}
        if step is not None and known:
            self._rows.setdefault(step, {}).update(known)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Parameters are on the model card."""

    def state(self) -> list[dict[str, float]]:
        """Rows for a checkpoint."""
        return [{"step": step, **self._rows[step]} for step in sorted(self._rows)]

    def restore(self, rows: list[dict[str, float]]) -> None:
        """Keeps the rows up to the checkpoint from which the run continues; later ones are dropped."""
        self._rows = {int(row["step"]): {k: v for k, v in row.items() if k != "step"} for row in rows}

    def text(self) -> str:
        """The file's content: six digits, empty where a step has no such value or it is not defined."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.state():
            writer.writerow([_shown(row.get(column)) for column in self.columns])
        return buffer.getvalue()

    def save(self) -> None:
        """Writes the file."""
        write_text(self.path, self.text())


def _shown(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6g}" if isinstance(value, float) else str(value)
