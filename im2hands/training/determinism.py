"""Training whose result depends only on the seed and the data, not on when it was interrupted.

Data order, query sampling and dropout are functions of (seed, global step): nothing draws from a generator whose state would
have to survive a kill.
"""

from __future__ import annotations

import os

import numpy as np
import torch

from im2hands.io.hashing import seed_of


def deterministic_torch(threads: int) -> None:
    """Fixes the number of CPU threads (sums depend on it) and asks PyTorch for repeatable algorithms."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(max(1, threads))
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = (
        False  # it fills every new tensor, and nothing reads one unwritten
    )


def seed_torch(*parts: int | str) -> None:
    """Seeds PyTorch's generators on every device from the parts, e.g. seed, purpose and global step."""
    state = np.random.SeedSequence(seed_of(*parts)).generate_state(2, np.uint32)
    torch.manual_seed(int(state[0]) << 32 | int(state[1]))
