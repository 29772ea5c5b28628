"""Nearest points against a full sort, ties included, and gathering with its gradient."""

from __future__ import annotations

import pytest
import torch

from im2hands.geometry.neighbours import gathered, nearest_points
from im2hands.io.errors import DataError
from tests.naive.point_transformer import naive_neighbours, rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("centres", [0, 1, 33])
@pytest.mark.parametrize("count", [1, 9, 40])
def test_same_neighbours_as_a_full_sort(dtype, centres, count):
    generator = torch.Generator().manual_seed(count)
    points = torch.randn(2, 40, 3, generator=generator, dtype=dtype)
    others = torch.randn(2, centres, 3, generator=generator, dtype=dtype)
    ours = nearest_points(others, points, count).sort(-1).values
    assert torch.equal(ours, naive_neighbours(others, points, count).sort(-1).values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_equally_near_points_the_lower_index(dtype):
    points = torch.zeros(1, 20, 3, dtype=dtype)
    points[0, :4] = 1
    assert nearest_points(points[:, 5:6], points, 6).sort(-1).values.tolist() == [[[4, 5, 6, 7, 8, 9]]]


def test_too_few_points_are_refused():
    with pytest.raises(DataError, match="9 neighbours"):
        nearest_points(torch.zeros(1, 3, 3), torch.zeros(1, 8, 3), 9)


def test_gathering_and_its_gradient():
    features = torch.randn(3, 7, 5, dtype=torch.float64, requires_grad=True)
    indices = torch.randint(0, 7, (3, 4, 6), generator=torch.Generator().manual_seed(0))
    assert torch.equal(gathered(features, indices), rows(features, indices))
    assert torch.autograd.gradcheck(lambda each: gathered(each, indices), features)
