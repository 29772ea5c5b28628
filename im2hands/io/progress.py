"""Progress of long work: a bar on a terminal, a log line with rate and time left every few seconds elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

LOG_INTERVAL_S = 10.0


def progress(items: Iterable[Item], label: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Yields `items` while showing how many are done, the rate and the estimated time left.

    total: number of items; taken from `len(items)` when it has one.
    """
    from tqdm import tqdm

    interactive = sys.stderr.isatty()
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    yield from tqdm(
        items,
        desc=label,
        total=total,
        unit=unit,
        file=sys.stderr,
        ascii=not interactive,
        mininterval=0.2 if interactive else LOG_INTERVAL_S,
        bar_format=None if interactive else "{desc}: {n_fmt}/{total_fmt} {unit} {rate_fmt}, {remaining} left\n",
    )
