"""Golden cases: numbers that the original code gave, recognised by their fields and compared with ours field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from im2hands.io.arrays import npz_names, read_npz
from im2hands.io.errors import DataError
from im2hands.parity.tolerances import TOLERANCES


@dataclass(frozen=True)
class Comparison:
    """One field against ours. deviation: largest difference beyond relative part and slack."""

    field: str
    deviation: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.deviation <= self.tolerance


class Golden(Mapping):
    """A golden file; remembers which fields were read and which were compared."""

    def __init__(self, path: Path, case: str | None = None) -> None:
        self.path, self.case = Path(path), case
        self._fields = read_npz(path, "golden file")
        self.read: set[str] = set()
        self.compared: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._fields:
            raise DataError(f"{self.path}: the field `{name}`, which this case needs, is missing in the golden file.")
        self.read.add(name)
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    @property
    def unused(self) -> list[str]:
        return sorted(set(self._fields) - self.read - self.compared)

    def compare(
        self,
        name: str,
        ours: Any,
        tolerance: str | None = None,
        where: Any = ...,
        relative_to: Literal["largest", "each"] | None = None,
        slack: Any = 0.0,
    ) -> Comparison:
        """Our value of a field against the file's.

        tolerance: key in this case's tolerance table (default: the field's own name, then `default`).
        where: index or mask of the part that is compared (default: all of it).
        relative_to: deviations are fractions of the part's largest magnitude, or of each golden number (of 1 where it is 0).
        slack: what each number may deviate in addition to the tolerance; broadcast to the part.
        NaN equals NaN; shapes must agree; text, integers and booleans must be equal.
        """
        if name not in self._fields:
            raise DataError(
                f"{self.path}: the field `{name}`, which this case compares, is missing in the golden file."
            )
        self.compared.add(name)
        allowed, golden = tolerance_of(self.case, tolerance or name), self._fields[name][where]
        if relative_to and golden.dtype.kind == "f" and np.shape(ours) == golden.shape:
            scale = np.abs(golden.astype(np.float64))
            scale = scale.max(initial=0.0, where=np.isfinite(scale)) if relative_to == "largest" else scale
            scale = np.where(scale > 0, scale, 1.0)
            ours, golden = np.asarray(ours, np.float64) / scale, golden / scale
        return Comparison(name, largest_deviation(ours, golden, allowed, slack), allowed.absolute)


@dataclass(frozen=True)
class Tolerance:
    """|ours - golden| <= absolute + relative * |golden|."""

    absolute: float
    relative: float = 0.0


def tolerance_of(case: str | None, key: str) -> Tolerance:
    table = TOLERANCES.get(case or "", {})
    entry = table.get(key, table.get("default", 0.0))
    return Tolerance(*entry) if isinstance(entry, tuple) else Tolerance(entry)


def largest_deviation(ours: Any, golden: np.ndarray, tolerance: Tolerance | None = None, slack: Any = 0.0) -> float:
    """Largest |ours - golden| - relative part - slack, infinite where shapes, NaN, text or whole numbers differ."""
    ours = np.asarray(ours)
    if ours.shape != golden.shape:
        return float("inf")
    if golden.dtype.kind not in "fc":
        if golden.dtype.kind in "iu" and tolerance is not None and tolerance.absolute > 0:
            return float(np.abs(ours.astype(np.float64) - golden.astype(np.float64)).max(initial=0.0))
        return 0.0 if np.array_equal(ours, golden) else float("inf")
    ours, golden = ours.astype(np.float64), golden.astype(np.float64)
    if not np.array_equal(np.isnan(ours), np.isnan(golden)):
        return float("inf")
    same = np.isnan(golden) | (ours == golden)
    allowed = (tolerance.relative if tolerance else 0.0) * np.abs(golden) + np.asarray(slack, np.float64)
    excess = np.where(same, 0.0, np.abs(ours - golden) - allowed)
    return float(np.nan_to_num(excess, nan=np.inf).max(initial=0.0))


Run = Callable[["Golden", "GoldenFolder"], Iterator[Comparison]]


@dataclass(frozen=True)
class Case:
    """A kind of golden file.

    signature: fields that only this kind has.  run: compares every output field.
    """

    name: str
    signature: frozenset[str]
    run: Run


@dataclass
class GoldenFolder:
    """A folder of golden files, whatever they are called; cases may look for one another in it."""

    path: Path
    cases: tuple[Case, ...]
    _found: dict[str, list[Path]] = field(default_factory=dict)
    unknown: list[Path] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path = Path(self.path)
        if not self.path.is_dir():
            raise DataError(
                f"{self.path}: the folder of golden files does not exist; give the folder that contains the .npz files."
            )
        for file in sorted(path for path in self.path.iterdir() if path.is_file() or path.suffix == ".npz"):
            case = self._recognise(file)
            if case is None:
                self.unknown.append(file)
            else:
                self._found.setdefault(case.name, []).append(file)

    def _recognise(self, file: Path) -> Case | None:
        if file.suffix != ".npz":
            return None
        try:
            names = set(npz_names(file, "golden file"))
        except DataError as error:  # reported, not skipped
            self.damaged.append(str(error))
            return None
        return next((case for case in self.cases if case.signature <= names), None)

    def files_of(self, case: str) -> list[Path]:
        return self._found.get(case, [])

    def find(self, case: str) -> Golden:
        """The golden file of another case, for its inputs. Raises DataError if the folder has none."""
        files = self.files_of(case)
        if not files:
            raise DataError(f"{self.path}: this comparison needs a golden file of the kind {case}, which is missing.")
        return Golden(files[0], case)
