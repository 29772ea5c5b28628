"""Start hands: mirrored numbers give mirrored hands, gradients flow, bounds hold; folders of the earlier form are refused."""

from __future__ import annotations

import pytest
import torch

from im2hands.hands.sides import Side
from im2hands.networks.start_hands import AXES, LEAST_WIDTH, MOST_DEVIATIONS, VIEW, StartHands, StartStatistics, within

COMPONENTS, NODES = 3, 20
OF_HAND = AXES + COMPONENTS + VIEW


@pytest.fixture
def starts() -> StartHands:
    """Statistics whose left hands are mirrored right hands, as the training hands' are."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    mean, components = 0.05 * normal(NODES, 3), 0.01 * normal(COMPONENTS, NODES, 3)
    made = StartHands([8], COMPONENTS, NODES)
    made.adopt(
        StartStatistics(
            mean.expand(2, -1, -1),
            components[:, None].expand(-1, 2, -1, -1),
            normal(2, 3),
            0.3 + normal(2, 3).abs(),
            torch.tensor([0.1, 0.0, 0.0]),
            torch.tensor([0.05, 0.04, 0.03]),
            torch.tensor([4.0, 0.0, 0.1]),
            torch.tensor([0.5, 0.2, 0.2]),
        )
    )
    return made


def drawn(size: float = 1.0) -> torch.Tensor:
    return size * torch.randn(5, 2 * OF_HAND + 3, generator=torch.Generator().manual_seed(1))


def test_exchanged_numbers_give_the_mirrored_pair(starts):
    """The left hand of one pair is the mirror image of the right hand of the other, and the offset mirrors with them."""
    numbers = drawn()
    left, right, place = numbers.split([OF_HAND, OF_HAND, 3], dim=1)
    exchanged = torch.cat([right, left, place * torch.tensor([1.0, -1.0, -1.0])], dim=1)
    ours, theirs = starts.hands(numbers), starts.hands(exchanged)

    def pair(of, first: Side) -> torch.Tensor:
        middle = starts.offset + starts.offset_spread * within(place if of is ours else exchanged[:, -3:])
        shift = 0.0 if first is Side.LEFT else middle[:, None]
        return torch.stack([of[side][0] - shift for side in (first, first.other)], 1)

    for side in Side:
        torch.testing.assert_close(
            Side.LEFT.mirror_points(pair(theirs, side)), pair(ours, side.other), atol=1e-6, rtol=0
        )
        torch.testing.assert_close(theirs[side][1], ours[side.other][1])


@pytest.mark.parametrize("size", [0.0, 1.0, 1e6])
def test_placement_is_a_rotation_of_a_narrowed_hand(starts, size):
    """Length is kept; width and thickness shrink alike, to no less than their least part; nothing is mirrored."""
    placement = starts.placement(drawn(size)[:, :AXES].unflatten(1, (2, 3)))
    widths = torch.linalg.norm(placement, dim=1)
    torch.testing.assert_close(widths[:, 0], torch.ones(5))
    torch.testing.assert_close(widths[:, 1], widths[:, 2])
    assert widths.min() > LEAST_WIDTH - 1e-6 and widths.max() < 1 + 1e-6
    gram = placement.mT @ placement
    torch.testing.assert_close(gram, torch.diag_embed(widths.square()), atol=1e-6, rtol=0)
    assert (torch.linalg.det(placement) > 0).all()


def test_hands_without_any_direction_are_hands(starts):
    """Axes of no length, and parallel ones, still turn a hand somewhere."""
    aims = torch.stack(
        [torch.zeros(2, 3), torch.tensor([[0.0, 2, 0], [0, 3, 0]]), torch.tensor([[0.0, 0, 0], [1, 0, 0]])]
    )
    placement = starts.placement((aims - starts.axes) / starts.axes_spread)
    torch.testing.assert_close(torch.linalg.norm(placement, dim=1)[:, 0], torch.ones(3))
    assert torch.linalg.det(placement).min() > 0.99 * LEAST_WIDTH**2


def test_gradients_reach_every_number(starts):
    """Also of untrained numbers, and finite ones where the hands have no direction."""
    numbers = torch.zeros(2, 2 * OF_HAND + 3)
    numbers[1, :AXES] = -(starts.axes / starts.axes_spread).flatten()
    numbers.requires_grad_()
    hands = starts.hands(numbers)
    weights = torch.linspace(-1, 1, NODES * 3).reshape(NODES, 3).square()
    sum((mesh * weights).sum() + (view - 10).square().sum() for mesh, view in hands.values()).backward()
    assert torch.isfinite(numbers.grad).all()
    assert (numbers.grad[0].abs() > 1e-9).all()


def test_bounded_numbers_are_themselves_near_zero():
    numbers = torch.tensor([-1e30, -1.0, -1e-3, 0.0, 1e-3, 1.0, 1e30])
    bounded = within(numbers)
    torch.testing.assert_close(bounded[2:5], numbers[2:5], atol=1e-8, rtol=1e-6)
    assert bounded.abs().max() <= MOST_DEVIATIONS and (bounded.diff() > 0).all()
