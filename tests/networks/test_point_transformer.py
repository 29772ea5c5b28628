"""The anchor encoder against its plain form: values, gradients, running statistics; repeated anchors; options."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from im2hands.networks.point_transformer import PointTransformer
from tests.naive.point_transformer import naive_encoding
from tests.networks.comparing import values_and_gradients

TOLERANCES = [(torch.float32, 1e-5), (torch.float64, 1e-10)]


def small_encoder(dtype: torch.dtype, option: str = "consistent") -> PointTransformer:
    torch.manual_seed(2)
    encoder = PointTransformer(6, (12, 16), (24, 12), neighbours=5, final_blocks=2, fps_dead_ball=option)
    for name, buffer in encoder.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return encoder.to(dtype)


def inputs(dtype: torch.dtype, batch: int = 2, points: int = 48) -> tuple[Tensor, Tensor]:
    """Of a seed with which no unit is so near the bend of its ReLU that float32 decides."""
    generator = torch.Generator().manual_seed(10 + batch)
    positions = 0.06 * torch.randn(batch, points, 3, generator=generator, dtype=torch.float64)
    return positions.to(dtype), torch.randn(batch, points, 6, generator=generator, dtype=torch.float64).to(dtype)


def fast(encoder: PointTransformer, positions: Tensor, features: Tensor) -> tuple[Tensor, ...]:
    anchors = encoder(positions, features)
    return anchors.positions, anchors.features, anchors.code


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("option", ["published", "consistent"])
@pytest.mark.parametrize("training", [False, True])
def test_same_values_and_gradients_as_the_plain_form(dtype, tolerance, option, training):
    encoder = small_encoder(dtype, option).train(training)
    plain = copy.deepcopy(encoder)
    ours, theirs = (
        values_and_gradients(
            lambda *x, form=form, own=own: torch.cat([part.flatten() for part in form(own, *x)]),
            inputs(dtype),
            own.parameters(),
            all_used=True,
        )
        for form, own in ((fast, encoder), (naive_encoding, plain))
    )
    scale = max(1.0, max(each.abs().max().item() for each in theirs))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * scale)
    for name, statistics in encoder.named_buffers():
        if "running" in name:
            torch.testing.assert_close(statistics, plain.get_buffer(name), rtol=tolerance, atol=tolerance)


def test_hands_update_running_statistics_one_after_the_other():
    """In training every hand has its own batch statistics and moves the running ones, in the order given."""
    encoder = small_encoder(torch.float64).train()
    plain, swapped = copy.deepcopy(encoder), copy.deepcopy(encoder)
    hands = [inputs(torch.float64, batch=2), tuple(3 * each for each in inputs(torch.float64, batch=2))]
    together = encoder.each(hands)
    for (positions, features), anchors in zip(hands, together, strict=True):
        torch.testing.assert_close(anchors.code, naive_encoding(plain, positions, features)[2])
    for name, ours in encoder.named_buffers():
        if "running" in name:
            torch.testing.assert_close(ours, plain.get_buffer(name))
    swapped.each(hands[::-1])
    assert encoder.begin.norm.num_batches_tracked == 2
    assert not torch.allclose(encoder.begin.norm.running_mean, swapped.begin.norm.running_mean)


def test_hands_encoded_together_are_those_encoded_alone():
    encoder = small_encoder(torch.float64).eval()
    hands = [inputs(torch.float64, batch=2), tuple(2 * each for each in inputs(torch.float64, batch=2))]
    for hand, anchors in zip(hands, encoder.each(hands), strict=True):
        for ours, alone in zip((anchors.positions, anchors.features, anchors.code), fast(encoder, *hand), strict=True):
            torch.testing.assert_close(ours, alone)


@pytest.mark.parametrize("option", ["published", "consistent"])
def test_repeated_anchors(option):
    """Short samples are padded by repeating points: which of the copies is taken does not matter."""
    encoder = small_encoder(torch.float64, option).eval()
    positions, features = (each[:, torch.arange(48) % 30] for each in inputs(torch.float64))
    for ours, plain in zip(
        fast(encoder, positions, features), naive_encoding(encoder, positions, features), strict=True
    ):
        torch.testing.assert_close(ours, plain)


def test_dead_ball_changes_the_anchors():
    positions, features = inputs(torch.float64)
    published, consistent = (
        fast(small_encoder(torch.float64, option).eval(), positions / 3, features)[0]
        for option in ("published", "consistent")
    )
    assert not torch.equal(published, consistent)


@pytest.mark.gpu
def test_same_on_a_gpu():
    encoder = small_encoder(torch.float64).eval()
    on_cpu = fast(encoder, *inputs(torch.float64))
    on_gpu = fast(encoder.cuda(), *(each.cuda() for each in inputs(torch.float64)))
    for one, other in zip(on_cpu, on_gpu, strict=True):
        torch.testing.assert_close(one, other.cpu())
