"""Joints as heat maps show them: places, what is read there, and start hands made of them."""

import pytest
import torch

from im2hands.datasets.heat_maps import draw_heat_maps
from im2hands.networks.image_encoder import HEAT_MAPS, ImageFeatures
from im2hands.networks.seen_joints import SeenJoints, read_at, seen_places
from im2hands.training.intaghand_losses import places_loss

CHANNELS, DECODER, WIDTH, OUTPUTS = (8, 6, 4, 2), 5, 16, 7


def features(seed: int = 0) -> ImageFeatures:
    """Random maps of two images, of the encoder's shapes."""
    drawn = torch.Generator().manual_seed(seed)

    def maps(channels: int, side: int) -> torch.Tensor:
        return torch.randn(2, channels, side, side, generator=drawn)

    sides = (8, 16, 32, 64)
    return ImageFeatures(
        maps(HEAT_MAPS, 64) * 4,
        maps(2, 64),
        maps(6, 64),
        [maps(channels, side) for channels, side in zip(CHANNELS, sides, strict=True)],
        [maps(DECODER, side) for side in sides],
        [maps(DECODER, side) for side in sides],
    )


def test_the_place_of_a_bright_spot_is_that_of_its_crop_pixel():
    joints = torch.tensor([[20.3, 41.8], [5.0, 60.0], [33.2, 8.9]])
    maps = torch.from_numpy(draw_heat_maps(joints.numpy()))[None].clamp_min(1e-9).log()
    places, trust = seen_places(maps)
    pixels = (places[0] + 1) * 128 - 0.5
    assert torch.allclose(pixels[[0, 2]], 4 * joints[[0, 2]], atol=0.05)
    assert torch.allclose(pixels[1], 4 * joints[1], atol=1.5)  # the border cuts a part of the spot
    flat, _ = seen_places(torch.zeros(1, 3, 64, 64))
    assert flat.abs().max() < 0.02
    assert (trust[0, :, 0] < seen_places(maps * 0.01)[1][0, :, 0]).all()


def test_a_joint_reads_the_cell_that_it_is_seen_in():
    maps = torch.arange(16 * 16.0).view(1, 1, 16, 16)
    row, column = 11, 4
    place = torch.tensor([[[(2 * column + 1) / 16 - 1, (2 * row + 1) / 16 - 1]]])
    assert read_at(maps, place).item() == pytest.approx(16 * row + column)


def test_untrained_numbers_are_zero_and_training_changes_them_by_the_image():
    torch.manual_seed(0)
    seen = SeenJoints(CHANNELS, DECODER, WIDTH, OUTPUTS)
    assert seen(features()).shape == (2, OUTPUTS)
    assert not seen(features()).any()
    torch.nn.init.normal_(seen.numbers.weight)
    assert not torch.allclose(seen(features())[0], seen(features())[1])


def test_hands_do_not_pull_at_heat_maps():
    """Heat maps learn from joints in the image alone: a place is a given."""
    seen, given = SeenJoints(CHANNELS, DECODER, WIDTH, OUTPUTS), features()
    torch.nn.init.normal_(seen.numbers.weight)
    for tensor in (given.heat_maps, given.backbone[0]):
        tensor.requires_grad_()
    seen(given).sum().backward()
    assert given.heat_maps.grad is None
    assert given.backbone[0].grad.abs().sum() > 0


def test_cross_entropy_is_least_at_the_true_maps_and_leaves_out_joints_outside():
    joints = torch.tensor([[20.3, 41.8], [70.0, 10.0]])  # the second one is outside
    true = torch.from_numpy(draw_heat_maps(joints.numpy()))[None]
    best = true.clamp_min(1e-12).log()
    entropy = places_loss(best, true)
    for seed in range(3):
        other = best + torch.randn(best.shape, generator=torch.Generator().manual_seed(seed))
        assert places_loss(other, true) > entropy
    moved = best.clone()
    moved[:, 1] += torch.randn(64, 64)
    assert places_loss(moved, true) == pytest.approx(entropy.item())
    assert torch.isfinite(places_loss(best[:, 1:], true[:, 1:]))
