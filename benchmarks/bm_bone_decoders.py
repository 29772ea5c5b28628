"""HALO's bone decoders against their plain form (`tests/naive/bone_decoders.py`): evaluation and training step, one thread."""

from __future__ import annotations

import torch

from benchmarks.harness import Benchmark
from im2hands.networks.halo import HaloNetwork
from tests.naive.bone_decoders import naive_bone_logits

HANDS, POINTS = 4, 512
GRID_POINTS = 32768


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = HaloNetwork()
    points, lengths = 0.5 * torch.rand(HANDS, POINTS, 3) - 0.25, 0.02 + 0.03 * torch.rand(HANDS, 16)
    frames = torch.eye(4).repeat(HANDS, 16, 1, 1)
    frames[:, :, :3, :3] = torch.linalg.qr(torch.randn(HANDS, 16, 3, 3))[0]
    frames[:, :, :3, 3] = 0.2 * torch.randn(HANDS, 16, 3)
    labels = (torch.rand(HANDS, POINTS) < 0.3).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def naive_logits() -> torch.Tensor:
        return naive_bone_logits(network.decoders, points, frames, lengths).amax(-1)

    def fast_logits() -> torch.Tensor:
        return network.logits(points, frames, lengths)

    def step(logits) -> None:
        optimizer.zero_grad()
        (logits().sigmoid() - labels).square().mean().backward()
        optimizer.step()

    @torch.no_grad()
    def evaluate(logits) -> None:
        logits()

    benchmark = Benchmark("bone_decoders", ("torch", "numpy"))
    sizes = {"hands": HANDS, "points_per_hand": POINTS, "width": network.architecture["width"]}
    for job, run, target in (("training step", step, 1.3), ("evaluation", evaluate, 1.0)):
        benchmark.compare(
            f"HALO {job}",
            lambda run=run: run(fast_logits),
            {"naive": lambda run=run: run(naive_logits)},
            target={"naive": target},
            repeats=21,
            **sizes,
        )
    grid = 0.5 * torch.rand(1, GRID_POINTS, 3) - 0.25
    one = frames[:1], lengths[:1]
    with torch.no_grad():
        benchmark.compare(
            f"HALO evaluation of {GRID_POINTS} points of a hand",
            lambda: network.logits(grid, *one),
            {"naive": lambda: naive_bone_logits(network.decoders, grid, *one).amax(-1)},
            target={"naive": 1.3},
            repeats=7,
        )
    benchmark.save()


if __name__ == "__main__":
    main()
