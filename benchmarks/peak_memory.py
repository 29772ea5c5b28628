"""Peak memory of one form of a job: how far the resident set grows during one run, in a process of its own (Linux)."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path


def peak_mebibytes(make: Callable[..., dict], form: str, threads: int, arguments: tuple, small: tuple | None) -> float:
    """What `make(*arguments)[form]()` needs at most, besides what is there before it. small: see `Benchmark.compare_forms`."""
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
