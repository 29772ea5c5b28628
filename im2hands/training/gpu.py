"""Chooses the device of a job. Snakemake counts GPUs but does not assign them; jobs on one machine share them with locks."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import IO

import torch

from im2hands.io.errors import ConfigError

_held: list[IO] = []
"""Open lock files; the kernel frees a lock when the process ends, however it ends."""


def claim_device(gpus: int, locks: str | os.PathLike = "checkpoints/gpu") -> torch.device:
    """The device to use: a GPU that no other job of this checkout uses, or the CPU.

    gpus: how many the workflow granted; 0 means the CPU, one is used at most.
    locks: folder of the lock files, shared by the jobs.
    A set CUDA_VISIBLE_DEVICES (a cluster's choice) is obeyed. Call this before anything touches CUDA.
    Raises ConfigError if all GPUs are taken.
    """
    if gpus < 1:
        return torch.device("cpu")
    if os.environ.get("CUDA_VISIBLE_DEVICES") is None:
        count = torch.cuda.device_count()
        if count:
            index = claim_index(count, locks)
            os.environ["CUDA_VISIBLE_DEVICES"] = str(index)
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    print("warning: the job was given a GPU but PyTorch finds none; computing on the CPU", file=sys.stderr)
    return torch.device("cpu")


def claim_index(count: int, locks: str | os.PathLike) -> int:
    """The first of `count` indices whose lock is free; held for the life of this process."""
    folder = Path(locks)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        file = (folder / f"{index}.lock").open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _held.append(file)
        return index
    raise ConfigError(
        f"all {count} GPUs are in use by other jobs; run with at most --resources gpu={count}, or with gpu=0."
    )
