"""Runs every golden case found in a folder and says, per file, what was compared and how far ours is from it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from im2hands.io.errors import Im2HandsError
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder
from im2hands.parity.registry import all_cases


@dataclass(frozen=True)
class Outcome:
    """The result of one golden file. failure: why the comparison could not be made, if so."""

    file: Path
    case: Case
    comparisons: tuple[Comparison, ...] = ()
    unused: tuple[str, ...] = ()
    failure: str | None = None

    @property
    def status(self) -> str:
        compared_something = bool(self.comparisons)
        passed = compared_something and not self.failure and all(each.passed for each in self.comparisons)
        return "pass" if passed else "FAIL"


@dataclass(frozen=True)
class Report:
    outcomes: tuple[Outcome, ...]
    unknown: tuple[Path, ...]
    damaged: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """True if anything deviates, could not be compared or could not be read, or if nothing was compared at all."""
        return bool(self.damaged) or not self.outcomes or any(outcome.status == "FAIL" for outcome in self.outcomes)

    def lines(self) -> Iterator[str]:
        for outcome in self.outcomes:
            yield from _describe(outcome)
        for message in self.damaged:
            yield f"DAMAGED  {message}"
        if self.unknown:
            yield f"unknown files: {', '.join(path.name for path in self.unknown)}"
        statuses = [outcome.status for outcome in self.outcomes]
        yield (
            f"{statuses.count('pass')} passed, {statuses.count('FAIL') + len(self.damaged)} failed, "
            f"{len(self.unknown)} unknown"
        )


def run_parity(folder: str | os.PathLike) -> Report:
    """Compares every golden file of `folder`. Raises DataError if there is no such folder."""
    golden_folder = GoldenFolder(Path(folder), all_cases())
    outcomes = [
        _run(case, file, golden_folder) for case in golden_folder.cases for file in golden_folder.files_of(case.name)
    ]
    return Report(tuple(outcomes), tuple(golden_folder.unknown), tuple(golden_folder.damaged))


def _run(case: Case, file: Path, folder: GoldenFolder) -> Outcome:
    golden = Golden(file, case.name)
    comparisons: list[Comparison] = []
    failure = None
    try:
        comparisons.extend(case.run(golden, folder))
    except Im2HandsError as error:
        failure = str(error)
    except Exception as error:  # altered inputs may break anything; the run goes on to the next file
        failure = f"{type(error).__name__}: {error}"
    return Outcome(file, case, tuple(comparisons), tuple(golden.unused), failure)


def _describe(outcome: Outcome) -> Iterator[str]:
    yield (
        f"{outcome.case.name} ({outcome.file.name}): {outcome.status}, {len(outcome.comparisons)} fields compared, "
        f"{len(outcome.unused)} unused"
    )
    if outcome.comparisons:
        worst = max(outcome.comparisons, key=_severity)
        yield f"  largest deviation {worst.deviation:.3g} of {worst.tolerance:.3g} allowed, in {worst.field}"
    for comparison in outcome.comparisons:
        if not comparison.passed:
            yield f"  FAIL {comparison.field}: {comparison.deviation:.3g} > {comparison.tolerance:.3g}"
    if outcome.unused:
        yield f"  unused fields: {', '.join(outcome.unused)}"
    if outcome.failure:
        yield f"  FAIL {outcome.failure}"


def _severity(comparison: Comparison) -> tuple[float, float]:
    if comparison.tolerance == 0:
        return (float("inf") if comparison.deviation > 0 else 0.0, comparison.deviation)
    return (comparison.deviation / comparison.tolerance, comparison.deviation)
