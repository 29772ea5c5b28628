"""HALO's bone decoders against their plain form (`tests/naive/bone_decoders.py`), 1 and 2 threads."""

from __future__ import annotations

from benchmarks.harness import Benchmark  # first: it sets the number of threads

# isort: split
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from im2hands.networks.halo import HaloNetwork
from tests.naive.bone_decoders import naive_bone_logits

HANDS, POINTS = 4, 512
GRID_POINTS = 32768
TARGET = 1.3


def hands_of(hands: int, points: int) -> tuple[HaloNetwork, list[Tensor]]:
    """The published size and random hands: points, bone frames, bone lengths."""
    torch.manual_seed(0)
    frames = torch.eye(4).repeat(hands, 16, 1, 1)
    frames[:, :, :3, :3] = torch.linalg.qr(torch.randn(hands, 16, 3, 3))[0]
    frames[:, :, :3, 3] = 0.2 * torch.randn(hands, 16, 3)
    return HaloNetwork(), [0.5 * torch.rand(hands, points, 3) - 0.25, frames, 0.02 + 0.03 * torch.rand(hands, 16)]


def forms(hands: int, points: int) -> dict[str, Callable[[], Any]]:
    """Logits of the strongest bones."""
    network, inputs = hands_of(hands, points)
    return {
        "fast": torch.no_grad()(lambda: network.logits(*inputs)),
        "naive": torch.no_grad()(lambda: naive_bone_logits(network.decoders, *inputs).amax(-1)),
    }


def training_forms(hands: int, points: int) -> dict[str, Callable[[], Any]]:
    """Loss, gradients and Adam."""
    network, inputs = hands_of(hands, points)
    labels = (torch.rand(hands, points) < 0.3).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step(logits: Tensor) -> None:
        (logits.sigmoid() - labels).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return {
        "fast": lambda: step(network.logits(*inputs)),
        "naive": lambda: step(naive_bone_logits(network.decoders, *inputs).amax(-1)),
    }


def main() -> None:
    benchmark = Benchmark("bone_decoders", ("torch", "numpy"))
    few, many = (HANDS, POINTS), (1, GRID_POINTS)
    for job, make, sizes, repeats in (
        ("training step", training_forms, few, 15),
        ("evaluation", forms, few, 21),
        ("evaluation", forms, many, 5),
    ):
        name = f"HALO {job}, {sizes[0]} x {sizes[1]} points"
        benchmark.compare_forms(name, make, sizes, target=TARGET, repeats=repeats)
    benchmark.save()


if __name__ == "__main__":
    main()
