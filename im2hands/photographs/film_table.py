"""The table of a film's hands: keypoints, their uncertainty and parameters of the hand model for every picture.

Keypoints and translations in the world of the cameras, metres; a hand that is not there is null. Poses are 16 axis-angles in
MANO's order and convention: the root's, then the fingers' minus the hand model's mean pose.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from im2hands.hands.sides import SIDES
from im2hands.io.errors import DataError
from im2hands.io.tables import Layout, Provenance, file_card, read_parquet, write_parquet
from im2hands.photographs.landmark_files import GivenHands

WIDTHS = {"": 63, "_sigma_mm": 21, "_distance_m": 3, "_pose": 48, "_shape": 10, "_translation": 3}
"""Numbers of a side's columns: left, left_sigma_mm ..."""
FILM = Layout(
    "film keypoints",
    1,
    pa.schema(
        [
            ("image", pa.string()),
            ("time", pa.float64()),
            *((f"{side.value}{name}", pa.list_(pa.float64())) for side in SIDES for name in WIDTHS),
            *((f"{side.value}_seen", pa.bool_()) for side in SIDES),
        ]
    ),
)


@dataclass(frozen=True, eq=False)
class FilmTable:
    """A film's hands.

    names: of the pictures.  times: s.  keypoints: m.  sigma, distance: as of GivenHands.  seen: False for a bridged hand, and
    for one that is not there.  pose, shape, translation: NaN where a hand is not there.  parameters: how it was made.
    """

    names: Sequence[str]
    times: Float[np.ndarray, " pictures"]
    keypoints: Float[np.ndarray, "pictures 2 21 3"]
    sigma: Float[np.ndarray, "pictures 2 21"]
    distance: Float[np.ndarray, "pictures 2 3"]
    pose: Float[np.ndarray, "pictures 2 48"]
    shape: Float[np.ndarray, "pictures 2 10"]
    translation: Float[np.ndarray, "pictures 2 3"]
    seen: Bool[np.ndarray, "pictures 2"]
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def present(self) -> Bool[np.ndarray, "pictures 2"]:
        """Which hands are there, seen or bridged."""
        return np.isfinite(self.keypoints).all(axis=(2, 3))

    def given(self, names: Sequence[str], path: str) -> GivenHands:
        """The hands of a picture that may go by any of `names`. path: for the message. Raises DataError if none is there."""
        row = next((self._rows[name] for name in names if name in self._rows), None)
        if row is None or not self.present[row].any():
            raise DataError(f"{path}: has no hand for the picture {names[0] if row is None else self.names[row]}.")
        return GivenHands(self.keypoints[row], self.sigma[row], self.distance[row])

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}

    def write(self, path: str | os.PathLike) -> None:
        """Completely or not at all."""
        columns: dict[str, Any] = {"image": list(self.names), "time": self.times}
        values = {
            "": self.keypoints,
            "_sigma_mm": 1000 * self.sigma,
            "_distance_m": self.distance,
            "_pose": self.pose,
            "_shape": self.shape,
            "_translation": self.translation,
        }
        for side in SIDES:
            for name, numbers in values.items():
                rows = numbers[:, side.index].reshape(len(self.names), -1)
                columns[f"{side.value}{name}"] = [row.tolist() if np.isfinite(row).all() else None for row in rows]
            columns[f"{side.value}_seen"] = self.seen[:, side.index]
        write_parquet(path, pa.table(columns, FILM.schema), FILM, Provenance(self.parameters))

    @classmethod
    def read(cls, path: str | os.PathLike) -> FilmTable:
        """Raises DataError if it is missing, DamagedFileError if it is another file or its rows have other lengths."""
        table = read_parquet(path, FILM).combine_chunks()
        numbers = {
            name: np.stack([_column(path, table, f"{side.value}{name}", width) for side in SIDES], 1)
            for name, width in WIDTHS.items()
        }
        return cls(
            table["image"].to_pylist(),
            table["time"].to_numpy(),
            numbers[""].reshape(-1, len(SIDES), 21, 3),
            numbers["_sigma_mm"] / 1000,
            numbers["_distance_m"],
            numbers["_pose"],
            numbers["_shape"],
            numbers["_translation"],
            np.stack([np.array(table[f"{side.value}_seen"].to_pylist(), bool) for side in SIDES], 1),
            file_card(path)["provenance"]["parameters"],
        )


def is_film_table(path: str | os.PathLike) -> bool:
    """Whether a path is such a table."""
    path = Path(path)
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return False
    return file_card(path, "Parquet file", "make or copy it again", foreign=True).get("layout") == FILM.name


def _column(path: str | os.PathLike, table: pa.Table, name: str, width: int) -> np.ndarray:
    rows = table[name].to_pylist()
    if any(row is not None and (len(row) != width or None in row) for row in rows):
        raise DataError(f"{path}: a row of {name} has not {width} numbers; make the table again.")
    return np.array([[np.nan] * width if row is None else row for row in rows], np.float64).reshape(len(rows), width)
