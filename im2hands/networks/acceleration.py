"""Faster evaluation on a GPU, as options: compiled code and bf16; and full float32 where numbers are compared.

Nothing of this changes weights or what is stored. Default is plain float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

COMPILED_TOLERANCE = 1e-5
"""How far occupancies of compiled code may be from those of plain float32."""
MIXED_TOLERANCE = 0.02
"""How far occupancies in bf16 may be from those in float32."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def accelerated(
    function: Callable[Arguments, Result], device: torch.device | str, *, compiled: bool = False, mixed: bool = False
) -> Callable[Arguments, Result]:
    """The same function of tensors (say, a network's `occupancy`), faster.

    compiled: by `torch.compile` at the first call, which takes up to a minute; any number of points per call afterwards.
    Occupancies then differ by COMPILED_TOLERANCE at most.
    mixed: matrix products in bf16, coordinates still in float32. Occupancies then differ by MIXED_TOLERANCE at most.
    """
    if compiled:
        function = torch.compile(function, dynamic=True)
    if not mixed:
        return function
    kind = torch.device(device).type

    @wraps(function)
    def in_mixed_precision(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with torch.autocast(kind, torch.bfloat16):
            return function(*args, **kwargs)

    return in_mixed_precision


@contextmanager
def full_float32() -> Iterator[None]:
    """No TF32 in matrix products and convolutions: a GPU's float32 numbers can be compared with a CPU's."""
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = False
    try:
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value
