"""Independent tasks in worker processes, with results in the order of the tasks for any number of workers."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

import cv2

from im2hands.io.errors import Im2HandsError
from im2hands.io.progress import progress

Task = TypeVar("Task")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Task], Result], tasks: Sequence[Task], threads: int, label: str, unit: str = "it"
) -> Iterator[Result]:
    """Yields function(task) in order, with progress; each worker runs OpenCV on one thread.

    function: a module-level function or a partial of one (workers import it by name); with threads <= 1 it runs in this
    process. Workers are forked from a clean server process, never from this one: OpenCV's threads do not survive a fork.
    A script that calls this with threads > 1 needs the usual guard `if __name__ == "__main__"`.
    Raises what `function` raises, and Im2HandsError if a worker dies.
    """
    workers = min(threads, len(tasks))
    if workers <= 1:
        yield from progress(map(function, tasks), label, total=len(tasks), unit=unit)
        return
    died = f"{label}: a worker process was killed, probably because memory ran out; run again with fewer threads."
    multiprocessing.get_context("forkserver").set_forkserver_preload([getattr(function, "func", function).__module__])
    with _workers(workers, died) as pool:
        yield from progress(pool.map(function, tasks), label, total=len(tasks), unit=unit)


def ordered_stream(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int, start: Callable[[], object] | None = None
) -> Iterator[Result]:
    """Yields function(task) in order for tasks that come one by one, such as the frames of a film.

    At most `workers` tasks are in work or wait to be taken, which bounds the memory. function, start: as `function` of
    `ordered_map`; `start` is called once in every worker. With workers <= 1 `function` runs in this process, without `start`.
    Raises what `function` and `tasks` raise, in their turn, and Im2HandsError if a worker dies.
    """
    if workers <= 1:
        yield from map(function, tasks)
        return
    waiting: deque[Future[Result]] = deque()
    died = f"one of {workers} worker processes was killed, probably because memory ran out; run again with fewer."
    with _workers(workers, died, start) as pool:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) == workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def _workers(count: int, died: str, start: Callable[[], object] | None = None) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with the block, however it ends. died: the sentence for a worker that was killed."""
    server = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(count, mp_context=server, initializer=_start_worker, initargs=(start,)) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise Im2HandsError(died) from None
        except (KeyboardInterrupt, SystemExit):
            _end_workers()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def chunks(items: Sequence[Task], size: int) -> list[Sequence[Task]]:
    """`items` in consecutive pieces of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def _end_workers() -> None:
    """Called before a pool is abandoned: waiting for results that are no longer needed would take minutes."""
    for worker in multiprocessing.active_children():
        worker.terminate()


def _start_worker(start: Callable[[], object] | None = None) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches every process; the first one says so and ends the others
    cv2.setNumThreads(1)
    if start is not None:
        start()
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """Ends this worker when its parent process is gone, even killed; otherwise it would wait for tasks for ever."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
