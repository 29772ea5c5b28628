"""Folded, batched bone decoders against the plain form, and what callers rely on."""

from __future__ import annotations

import pytest
import torch

from im2hands.geometry import pieces
from im2hands.networks.bone_decoders import BoneDecoders
from tests.naive.bone_decoders import naive_bone_logits
from tests.networks.comparing import assert_same, values_and_gradients

TOLERANCES = [(torch.float32, 2e-5), (torch.float64, 1e-12)]


def random_hands(hands: int, points: int, dtype: torch.dtype, features: int = 0) -> tuple:
    """Random points and rigid bone frames (palm units), bone lengths (m), point features or None."""
    generator = torch.Generator().manual_seed(points + 1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    frames = torch.eye(4, dtype=torch.float64).repeat(hands, 16, 1, 1)
    frames[:, :, :3, :3] = torch.linalg.qr(random(hands, 16, 3, 3))[0]
    frames[:, :, :3, 3] = 0.3 * random(hands, 16, 3)
    inputs = 0.3 * random(hands, points, 3), frames, 0.03 + 0.01 * random(hands, 16)
    extra = random(hands, points, features) if features else None
    return (*(tensor.to(dtype) for tensor in inputs), None if extra is None else extra.to(dtype))


def decoders_of(dtype: torch.dtype, features: int = 0, width: int = 24) -> BoneDecoders:
    torch.manual_seed(0)
    decoders = BoneDecoders(width, features=features)
    decoders.start_as_balls(torch.randn(16, 3, 16))
    return decoders.to(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("features", [0, 19])
@pytest.mark.parametrize("points", [0, 1, 33])
def test_logits_equal_naive(dtype, tolerance, features, points):
    """Folding constants, transforms and residuals changes the cost, not values or gradients."""
    decoders, inputs = decoders_of(dtype, features), random_hands(3, points, dtype, features)
    naive = values_and_gradients(lambda *x: naive_bone_logits(decoders, *x), inputs, decoders.parameters())
    assert_same(values_and_gradients(decoders, inputs, decoders.parameters()), naive, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("features", [0, 19])
@pytest.mark.parametrize("points", [0, 1, 33])
def test_strongest_equals_largest_naive_logit(dtype, tolerance, features, points):
    """Computing only the winner with a graph gives the gradients of the maximum over all bones."""
    decoders, inputs = decoders_of(dtype, features), random_hands(3, points, dtype, features)
    naive = values_and_gradients(lambda *x: naive_bone_logits(decoders, *x).amax(-1), inputs, decoders.parameters())
    assert_same(values_and_gradients(decoders.strongest, inputs, decoders.parameters()), naive, tolerance)


def test_strongest_does_not_depend_on_pieces(monkeypatch):
    """Cutting the points so that activations fit the cache is invisible, up to the order of sums."""
    decoders, inputs = decoders_of(torch.float64), random_hands(2, 50, torch.float64)
    with torch.no_grad():
        whole = decoders.strongest(*inputs)
        monkeypatch.setattr(pieces, "CACHE_BYTES", 7 * 4 * 16 * 24 * 8)
        torch.testing.assert_close(decoders.strongest(*inputs), whole, rtol=0, atol=1e-13)
        torch.testing.assert_close(decoders(*inputs).amax(-1), whole, rtol=0, atol=1e-13)


def test_hands_do_not_mix():
    """A hand's logits are the same alone as in a batch."""
    decoders, (points, frames, lengths, _) = decoders_of(torch.float64), random_hands(3, 9, torch.float64)
    with torch.no_grad():
        together = decoders.strongest(points, frames, lengths)
        for hand in range(3):
            own = slice(hand, hand + 1)
            alone = decoders.strongest(points[own], frames[own], lengths[own])
            torch.testing.assert_close(alone, together[own], rtol=0, atol=1e-13)


def test_a_rotation_of_the_palm_frame_changes_nothing():
    """Points enter only through their place in the bone frames."""
    decoders, (points, frames, lengths, _) = decoders_of(torch.float64), random_hands(1, 20, torch.float64)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    turned = frames.clone()
    turned[:, :, :3, :3] = frames[:, :, :3, :3] @ turn
    with torch.no_grad():
        expected = decoders(points, frames, lengths)
        torch.testing.assert_close(decoders(points @ turn, turned, lengths), expected, rtol=0, atol=1e-12)


def test_features_are_demanded_and_refused():
    points, frames, lengths, features = random_hands(1, 4, torch.float32, 19)
    with pytest.raises(ValueError, match="take 19 features per point, got 0"):
        decoders_of(torch.float32, 19).strongest(points, frames, lengths)
    with pytest.raises(ValueError, match="take 0 features per point, got 19"):
        decoders_of(torch.float32)(points, frames, lengths, features)


def test_balls_are_positive_at_their_centres_and_negative_far_away():
    torch.manual_seed(3)
    decoders, centres_of_lengths = BoneDecoders(64), torch.randn(16, 3, 16)
    decoders.start_as_balls(centres_of_lengths)
    identity = torch.eye(4).repeat(1, 16, 1, 1)
    directions = torch.nn.functional.normalize(torch.randn(16, 100, 3), dim=-1)
    for size in (0.02, 0.04):
        lengths = size * (1 + 0.3 * torch.rand(1, 16))
        centres = centres_of_lengths @ lengths[0]
        with torch.no_grad():
            at_centre = decoders(centres[None], identity, lengths)[0].diagonal()
            far = (centres[:, None] + 0.15 * directions).reshape(1, -1, 3)
            own = decoders(far, identity, lengths).view(16, 100, 16)
        assert (at_centre > 0).all()
        assert (torch.stack([own[bone, :, bone] for bone in range(16)]) < 0).all()


@pytest.mark.gpu
@pytest.mark.parametrize("mixed", [False, True])
def test_gpu_equals_cpu(mixed):
    decoders, (points, frames, lengths, _) = decoders_of(torch.float32, width=64), random_hands(2, 200, torch.float32)
    expected = decoders.strongest(points, frames, lengths).detach()
    with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
        ours = decoders.cuda().strongest(points.cuda(), frames.cuda(), lengths.cuda())
    deviation = (ours.float().cpu() - expected).abs() / (1 + expected.abs())
    assert deviation.max() < (0.1 if mixed else 1e-3)
