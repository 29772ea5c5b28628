"""Furthest point sampling and nearest neighbours of anchors against their plain forms (`tests/naive/point_transformer.py`).

The plain forms sample one cloud after the other in numpy and sort all distances. Sizes: the anchors of two hands of a batch of
2, and of 16 hands; a larger cloud; the neighbours in the anchor encoder and in the query decoder.
"""

from __future__ import annotations

from benchmarks.harness import Benchmark  # first: it sets the number of threads

# isort: split
from collections.abc import Callable
from typing import Any

import torch

from im2hands.geometry.furthest_points import furthest_points
from im2hands.geometry.neighbours import nearest_points
from tests.naive.point_transformer import naive_furthest_points, naive_neighbours

SAMPLINGS = ((4, 512, 256), (16, 512, 256), (1, 2048, 512))
"""Clouds, points of each, points kept."""
SEARCHES = ((4, 512, 512, 16), (1, 8192, 128, 9))
"""Clouds, centres, points, neighbours."""
NEIGHBOURS_TARGET = 2.0


def clouds_of(count: int, points: int, seed: int = 0) -> torch.Tensor:
    """Points as spread out as a hand's (m)."""
    return 0.06 * torch.randn(count, points, 3, generator=torch.Generator().manual_seed(seed))


def sampling_forms(clouds: int, points: int, kept: int) -> dict[str, Callable[[], Any]]:
    positions = clouds_of(clouds, points)
    return {
        "fast": lambda: furthest_points(positions, kept, "published"),
        "naive": lambda: [naive_furthest_points(each.numpy(), kept, True) for each in positions],
    }


def search_forms(clouds: int, centres: int, points: int, neighbours: int) -> dict[str, Callable[[], Any]]:
    asked, among = clouds_of(clouds, centres, 1), clouds_of(clouds, points)
    return {
        "fast": lambda: nearest_points(asked, among, neighbours),
        "naive": lambda: naive_neighbours(asked, among, neighbours),
    }


def main() -> None:
    benchmark = Benchmark("furthest_points", ("torch", "numpy"))
    for sizes in SAMPLINGS:
        forms = sampling_forms(*sizes)
        equal = forms["fast"]().tolist() == forms["naive"]()
        job = "furthest points, {} x {} -> {}".format(*sizes)
        benchmark.compare_forms(job, sampling_forms, sizes, repeats=7, same_points=equal)
    for sizes in SEARCHES:
        forms = search_forms(*sizes)
        equal = torch.equal(*(form().sort(dim=-1).values for form in forms.values()))
        job = "neighbours, {} x {} centres among {} points, {} each".format(*sizes)
        benchmark.compare_forms(job, search_forms, sizes, target=NEIGHBOURS_TARGET, repeats=7, same_neighbours=equal)
    benchmark.save()


if __name__ == "__main__":
    main()
