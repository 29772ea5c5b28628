"""What the tests of fast forms share: values and gradients, and their comparison with those of the plain forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def with_gradients(output: Tensor, leaves: Iterable[Tensor], all_used: bool = False) -> list[Tensor | None]:
    """An output, then gradients of a fixed sum of it for every leaf (None where there is none, unless all must be used)."""
    factors = torch.linspace(-1, 1, output.numel(), dtype=output.dtype, device=output.device).reshape(output.shape)
    return [output, *torch.autograd.grad((output * factors).sum(), list(leaves), allow_unused=not all_used)]


def values_and_gradients(
    function: Callable[..., Tensor], inputs: Iterable[Tensor | None], weights: Iterable[Tensor], all_used: bool = False
) -> list[Tensor | None]:
    """The output of a function, then its gradients for copies of the inputs (but for None) and for the weights."""
    inputs = [tensor.clone().requires_grad_() for tensor in inputs if tensor is not None]
    return with_gradients(function(*inputs), [*inputs, *weights], all_used)


def assert_same(ours: list[Tensor | None], plain: list[Tensor | None], tolerance: float, relative: float = 0.0) -> None:
    """Within `tolerance`, or this share of the largest number where that is above 1."""
    for one, other in zip(ours, plain, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            scale = max(1.0, other.abs().max().item()) if other.numel() else 1.0
            torch.testing.assert_close(one, other, rtol=relative, atol=tolerance * scale)


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
