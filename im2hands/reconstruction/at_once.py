"""Several photographs in work at the same time, in threads: one picture alone leaves cores idle in every part that is not a
large matrix product."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from im2hands.io.errors import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_threads(function: Callable[[Task], Result], tasks: Iterable[Task], at_once: int) -> Iterator[Result]:
    """Yields function(task) in order. At most `at_once` tasks are in work or wait to be taken, which bounds the memory.

    The threads that torch has on this machine are shared among them, at least one each.
    Raises what `function` and `tasks` raise, in their turn, and DataError for less than one task.
    """
    if at_once < 1:
        raise DataError(f"{at_once} photographs at once are none; use 1 or more.")
    if at_once == 1:
        yield from map(function, tasks)
        return
    threads = torch.get_num_threads()
    share = max(1, threads // at_once)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(at_once, initializer=lambda: torch.set_num_threads(share)) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
                if len(waiting) == at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            torch.set_num_threads(threads)  # what the next thread that asks torch begins with
