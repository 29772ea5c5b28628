"""The rule by which golden cases fill a network: every tensor's values follow from its key, its shape and a seed."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def rule_weights(shapes: Mapping[str, Sequence[int]], seed: int) -> OrderedDict[str, Tensor]:
    """A state dict, in the order of `shapes` (key -> shape); float32, counters int64."""
    return OrderedDict((key, torch.from_numpy(_values(key, tuple(shape), seed))) for key, shape in shapes.items())


def _values(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    random = np.random.default_rng(zlib.crc32(key.encode()) + seed)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_var"):
        values = random.uniform(0.5, 1.5, shape)
    else:
        values = random.standard_normal(shape)
        if key.endswith("running_mean"):
            values = 0.1 * values
        elif len(shape) == 1:
            values = 1 + 0.1 * values if key.endswith(".weight") else 0.05 * values
        else:
            values = values / np.sqrt(np.prod(shape[1:]))
    return np.asarray(values, np.float32)
