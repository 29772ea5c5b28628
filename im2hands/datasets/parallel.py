"""Independent tasks over worker processes, results in the order of the tasks whatever the number of workers."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import cv2

from im2hands.io.progress import progress

Task = TypeVar("Task")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Task], Result], tasks: Sequence[Task], threads: int, label: str, unit: str = "it"
) -> Iterator[Result]:
    """Yields function(task) in order, with progress; each worker runs its libraries on one thread.

    function: a module-level function (workers import it by name); with threads <= 1 it runs in this process.
    """
    workers = min(threads, len(tasks))
    if workers <= 1:
        yield from progress(map(function, tasks), label, total=len(tasks), unit=unit)
        return
    with multiprocessing.get_context("fork").Pool(workers, initializer=_single_threaded) as pool:
        yield from progress(pool.imap(function, tasks), label, total=len(tasks), unit=unit)


def chunks(items: Sequence[Task], size: int) -> list[Sequence[Task]]:
    """`items` in consecutive pieces of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def _single_threaded() -> None:
    cv2.setNumThreads(1)
