"""Furthest point sampling against the kernel's rules step by step, with its dead ball, its ties and too few points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from im2hands.geometry.furthest_points import DEAD_BALL, furthest_points, published_order
from im2hands.io.errors import DataError
from tests.naive.point_transformer import naive_furthest_points

OPTIONS = ["published", "consistent"]


def cloud(n: int, spread: float = 0.05, seed: int = 0) -> torch.Tensor:
    return spread * torch.randn(1, n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("n", [1, 7, 64, 100, 512, 700])
def test_picks_are_those_of_the_rules(n, option):
    points = torch.cat([cloud(n, seed=seed) for seed in range(3)])
    picks = furthest_points(points, max(1, n // 2), option)
    for each, ours in zip(points.numpy(), picks.tolist(), strict=True):
        assert ours == naive_furthest_points(each, max(1, n // 2), option == "published")


@pytest.mark.parametrize("option", OPTIONS)
def test_repeated_points_follow_the_tie_rule(option):
    """Padding by repetition makes ties; also float32 and a count that exceeds the distinct points."""
    points = cloud(10, 0.2)[:, torch.arange(40) % 10].float()
    assert furthest_points(points, 30, option)[0].tolist() == naive_furthest_points(
        points[0].numpy(), 30, option == "published"
    )


def test_published_rule_leaves_the_dead_ball_alone():
    points = cloud(200, 0.03)
    inside = (points**2).sum(-1)[0] <= DEAD_BALL
    assert 5 < inside.sum() < 195
    published, consistent = (furthest_points(points, int((~inside).sum()), option)[0] for option in OPTIONS)
    assert not inside[published[1:]].any()
    assert inside[consistent[1:]].any()


def test_too_few_candidates_repeat_points():
    """Three points outside the ball: picked ones come again; none outside: index 0 to the end."""
    points = torch.zeros(1, 8, 3)
    points[0, [2, 5, 6], 0] = torch.tensor([0.1, 0.21, 0.3])
    assert furthest_points(points, 7, "published")[0].tolist() == naive_furthest_points(points[0].numpy(), 7, True)
    assert furthest_points(points, 7, "published")[0, :4].tolist() == [0, 6, 2, 5]
    assert furthest_points(torch.zeros(2, 8, 3), 5, "published").tolist() == [[0] * 5] * 2


def test_order_of_ties():
    """Threads 0, 2, 1, 3 (bit-reversed 0, 1, 2, 3), then the lower index."""
    assert published_order(6) == (0, 4, 2, 1, 5, 3)
    assert sorted(published_order(1000)) == list(range(1000))


def test_bad_requests_say_what_to_do():
    with pytest.raises(DataError, match="at least 9"):
        furthest_points(torch.zeros(1, 8, 3), 9)
    with pytest.raises(DataError, match="published"):
        furthest_points(torch.zeros(1, 8, 3), 2, "other")


@pytest.mark.gpu
@pytest.mark.parametrize("option", OPTIONS)
def test_same_picks_on_a_gpu(option):
    points = torch.cat([cloud(512, seed=seed) for seed in range(4)]).float()
    assert np.array_equal(furthest_points(points, 256, option), furthest_points(points.cuda(), 256, option).cpu())
