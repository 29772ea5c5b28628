"""Peak memory of one form of a job: how far the resident set grows during one run, in a process of its own (Linux)."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path


def peak_mebibytes(make: Callable[..., dict], form: str, threads: int, arguments: tuple, small: tuple | None) -> float:
    """Peak memory of `make(*arguments)[form]()`, beyond what was in use before. small: see `Benchmark.compare_forms`."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_report, args=(sender, make, form, threads, arguments, small))
    child.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        child.join()


def _report(
    sender: Connection, make: Callable[..., dict], form: str, threads: int, arguments: tuple, small: tuple | None
) -> None:
    import torch

    torch.set_num_threads(threads)
    job = make(*arguments)[form]
    warm_up = job if small is None else make(*small)[form]
    warm_up()
    del warm_up
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the kernel's record of the largest resident set starts anew
    before = resident_kibibytes("VmRSS")
    job()
    sender.send((resident_kibibytes("VmHWM") - before) / 1024)


def resident_kibibytes(kind: str) -> int:
    """A line of the process's status: VmRSS (now) or VmHWM (the most since the last reset)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind))


def peak_of_all_processes(job: Callable[[], object], every_s: float = 0.2) -> float:
    """Largest number of MiB that this process and its children use while `job` runs, pages that they share counted once."""
    found, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(every_s):
            found[0] = max(found[0], sum(map(proportional_kibibytes, with_descendants(os.getpid()))) / 1024)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        job()
    finally:
        done.set()
        watcher.join()
    return found[0]


def with_descendants(process: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return [process]
    return [process, *(each for child in children for each in with_descendants(child))]


def proportional_kibibytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
