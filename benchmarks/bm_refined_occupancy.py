"""Refined occupancy against its plain form (`tests/naive/refined_occupancy.py`), published sizes and options.

A field: both hands' query points in the rounds in which the surface search needs them; the plain form runs image and
anchor encoders again in every round, as the published mesh extraction does. A training step: loss, gradients and Adam of a
batch of 2 with 2,048 queries and 512 anchors per hand, penetration included.
"""

from __future__ import annotations

from benchmarks.harness import Benchmark  # first: it sets the number of threads

# isort: split
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.hand_pair import HandPair, hand_pair, octree_rounds
from im2hands.hands.sides import Side
from im2hands.networks.refined_occupancy import OPTIONS, RefinedOccupancyNetwork
from im2hands.training.refined_losses import PENETRATION_WEIGHT, optimiser, penetration
from tests.naive.refined_occupancy import naive_refined

BATCH, QUERIES = 2, 2048
FIELD_TARGET, STEP_TARGET, STEP_MEMORY_TARGET = 4.0, 1.3, 1.5
LIMIT = (
    "Matrix products at the speed of the processor are about half of the fast step, most of them in the three blocks in "
    "which all 128 anchors of a hand see each other (128 x 128 pairs, three products of 256 x 256 each). Computing pieces "
    "again costs one of four passes of these products and saves the memory. The image encoder, its gradient and the frozen "
    "image encoder are the same in both forms."
)
Occupancies = dict[Side, Tensor]


def network() -> RefinedOccupancyNetwork:
    torch.manual_seed(0)
    return RefinedOccupancyNetwork(**dict.fromkeys(OPTIONS, "published"))


def field_forms(most_rounds: int | None = None) -> dict[str, Callable[[], Any]]:
    """Both forms of a whole field, or of its first rounds with few points."""
    model, pair = network().eval().requires_grad_(False), hand_pair(1, 1)
    rounds = octree_rounds(pair)
    if most_rounds is not None:
        rounds = [{side: points[:, :64] for side, points in each.items()} for each in rounds[:most_rounds]]
    asked = [{side: pair.hands[side].with_points(points) for side, points in each.items()} for each in rounds]

    @torch.no_grad()
    def fast() -> list[Occupancies]:
        encoded = model.encode(pair.images, pair.anchors, pair.camera)
        return [
            {side: model.occupancy(encoded, hand, pair.camera) for side, hand in hands.items() if hand.points.shape[1]}
            for hands in asked
        ]

    @torch.no_grad()
    def naive() -> list[Occupancies]:
        kept = [{side: hand for side, hand in hands.items() if hand.points.shape[1]} for hands in asked]
        return [naive_refined(model, pair.images, pair.anchors, hands, pair.camera)[0] for hands in kept]

    return {"fast": fast, "naive": naive}


def step_forms() -> dict[str, Callable[[], float]]:
    """Both forms of a training step; each returns the loss."""
    model, pair = network().train(), hand_pair(BATCH, QUERIES)
    adam = optimiser(model.parameters())
    return {
        "fast": lambda: step(pair, adam, lambda: fast_values(model, pair)),
        "naive": lambda: step(pair, adam, lambda: naive_values(model, pair)),
    }


def fast_values(model: RefinedOccupancyNetwork, pair: HandPair) -> tuple[Occupancies, Occupancies]:
    encoded = model.encode(pair.images, pair.anchors, pair.camera)
    own = {side: model.occupancy(encoded, hand, pair.camera) for side, hand in pair.hands.items()}
    return own, model.penetration(encoded, pair.hands, pair.camera)


def naive_values(model: RefinedOccupancyNetwork, pair: HandPair) -> tuple[Occupancies, Occupancies]:
    return naive_refined(model, pair.images, pair.anchors, pair.hands, pair.camera, penetration=True)


def step(pair: HandPair, adam: torch.optim.Optimizer, values: Callable[[], tuple[Occupancies, Occupancies]]) -> float:
    own, others = values()
    labels = {side: (hand.points.norm(dim=-1) < 0.2).float() for side, hand in pair.hands.items()}
    loss = sum((own[side] - labels[side]).square().mean() for side in own)
    loss = loss + PENETRATION_WEIGHT * penetration(own, others, "published")
    loss.backward()
    adam.step()
    adam.zero_grad(set_to_none=True)
    return loss.item()


def parts_of_a_step() -> dict[str, float]:
    """CPU milliseconds of the forward pass of each part of the fast form, of all gradients and of Adam."""
    model, pair = network().train(), hand_pair(BATCH, QUERIES)
    spent: Counter[str] = Counter()
    watch(model.image_encoder, "forward", "image encoder", spent)
    watch(model.initial, "encode", "initial network: image encoder (frozen)", spent)
    watch(model.initial, "occupancy", "initial network: occupancy", spent)
    watch(model.initial, "penetration", "initial network: penetration", spent)
    watch(model.anchor_encoder, "each", "anchor encoder", spent)
    watch(model.decoder, "forward", "query decoder, both passes", spent)
    watch(torch.Tensor, "backward", "gradients of all parts", spent)
    adam = optimiser(model.parameters())
    watch(adam, "step", "Adam", spent)
    for _ in range(2):
        spent.clear()
        started = time.process_time()
        step(pair, adam, lambda: fast_values(model, pair))
        whole = time.process_time() - started
    torch.Tensor.backward = torch.Tensor.backward.__wrapped__
    spent["rest"] = whole - sum(spent.values())
    return {part: round(1e3 * seconds, 1) for part, seconds in spent.items()}


def watch(owner: nn.Module | type | torch.optim.Optimizer, name: str, label: str, spent: Counter[str]) -> None:
    """Adds the CPU time of calls of a method to what is spent under a label."""
    method = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        started = time.process_time()
        result = method(*args, **kwargs)
        spent[label] += time.process_time() - started
        return result

    timed.__wrapped__ = method
    setattr(owner, name, timed)


def main() -> None:
    torch.set_num_threads(1)
    benchmark = Benchmark("refined_occupancy", ("torch", "numpy"))
    rounds = octree_rounds(hand_pair(1, 1))
    queries = {side.value: sum(each[side].shape[1] for each in rounds) for side in Side}
    benchmark.compare_forms(
        "refined occupancy, whole field of two hands",
        field_forms,
        small=(2,),
        target=FIELD_TARGET,
        repeats=1,
        queries=queries,
        rounds=len(rounds),
    )
    benchmark.compare_forms(
        "refined occupancy, training step",
        step_forms,
        target=STEP_TARGET,
        memory_target=STEP_MEMORY_TARGET,
        repeats=2,
        batch=BATCH,
        queries_per_hand=QUERIES,
        parts_cpu_ms=parts_of_a_step(),
        limit=LIMIT,
    )
    benchmark.save()


if __name__ == "__main__":
    main()
