"""Many hands in one field: order, chunking and neighbours do not change a hand's values."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.io.errors import DataError
from im2hands.networks.halo import HaloNetwork
from im2hands.reconstruction.fields import BoneField, choose_device


def hands(count, seed=0):
    rng = np.random.default_rng(seed)
    frames = np.tile(np.eye(4), (count, 16, 1, 1))
    frames[:, :, :3, 3] = rng.normal(scale=0.2, size=(count, 16, 3))
    return frames, rng.uniform(0.02, 0.1, (count, 16))


def network():
    torch.manual_seed(0)
    return HaloNetwork(width=8, length_hidden=8, translation_code=2).eval().requires_grad_(False)


@pytest.mark.parametrize("points_per_call", [1, 7, 64, 10_000])
def test_ragged_calls_equal_one_hand_at_a_time(points_per_call):
    """Hand 1 has no points, hand 3 has one: whatever the pieces, every point gets the value of its own hand."""
    frames, lengths = hands(5)
    rng = np.random.default_rng(1)
    items = np.repeat(np.arange(5), [40, 0, 90, 1, 16])
    points = rng.uniform(-0.5, 0.5, (len(items), 3)).astype(np.float32)
    model = network()
    field = BoneField(model.occupancy, frames, lengths, points_per_call=points_per_call)
    values = field(items, points)
    for hand in range(5):
        own = torch.from_numpy(points[items == hand])[None]
        expected = model.occupancy(own, *(torch.tensor(x[[hand]], dtype=torch.float32) for x in (frames, lengths)))
        np.testing.assert_allclose(values[items == hand], expected[0].numpy(), atol=1e-6)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 50))
def test_order_of_points_does_not_matter(seed, count):
    rng = np.random.default_rng(seed)
    field = BoneField(network().occupancy, *hands(4), points_per_call=16)
    items, points = rng.integers(0, 4, count), rng.uniform(-0.5, 0.5, (count, 3)).astype(np.float32)
    order = rng.permutation(count)
    np.testing.assert_allclose(field(items, points)[order], field(items[order], points[order]), atol=1e-6)


def test_a_hand_does_not_depend_on_its_neighbours():
    """On a CPU to the last bit, so that results do not depend on how hands are batched."""
    frames, lengths = hands(3)
    points = np.random.default_rng(2).uniform(-0.5, 0.5, (500, 3)).astype(np.float32)
    together = BoneField(network().occupancy, frames, lengths, points_per_call=4096)
    alone = BoneField(network().occupancy, frames[1:2], lengths[1:2], points_per_call=4096)
    values = together(np.repeat(np.arange(3), 500), np.tile(points, (3, 1)))
    np.testing.assert_array_equal(values[500:1000], alone(np.zeros(500, int), points))


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("sizes", [[5], [3, 3, 3, 3], [100, 1, 1], [1, 30, 2, 17]])
def test_no_call_exceeds_the_bound(device, sizes):
    """Padding counts; a GPU (here: any device but the CPU) takes several hands per call."""
    field = BoneField(network().occupancy, *hands(len(sizes)), points_per_call=12, device=device)
    items = np.repeat(np.arange(len(sizes)), sizes)
    pieces = list(field._pieces(items))
    covered = [
        index for piece in pieces for a, b in zip(piece.starts, piece.stops, strict=True) for index in range(a, b)
    ]
    assert covered == list(range(len(items)))
    assert all((piece.stops - piece.starts).max() * len(piece.hands) <= 12 for piece in pieces)
    if device == "cpu":
        assert all(len(piece.hands) == 1 for piece in pieces)
    elif sizes == [3, 3, 3, 3]:
        assert len(pieces) == 1


def test_empty_call_and_bad_bound():
    field = BoneField(network().occupancy, *hands(1), points_per_call=8)
    assert field(np.zeros(0, int), np.zeros((0, 3), np.float32)).shape == (0,)
    with pytest.raises(DataError, match="points_per_call"):
        BoneField(network().occupancy, *hands(1), points_per_call=0)


def test_without_a_gpu_the_cpu_is_used_with_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(0).type == "cpu"
    assert not caplog.records
    assert choose_device(1).type == "cpu"
    assert "CUDA is not available" in caplog.text
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(1).type == "cuda"
    assert choose_device(0).type == "cpu"


@pytest.mark.gpu
def test_gpu_gives_the_values_of_the_cpu():
    frames, lengths = hands(6)
    rng = np.random.default_rng(3)
    items = np.repeat(np.arange(6), [4000, 0, 900, 1, 16, 5000])
    points = rng.uniform(-0.5, 0.5, (len(items), 3)).astype(np.float32)
    cpu = BoneField(network().occupancy, frames, lengths, points_per_call=4096)(items, points)
    model = network().cuda()
    gpu = BoneField(model.occupancy, frames, lengths, points_per_call=4096, device="cuda")(items, points)
    np.testing.assert_allclose(gpu, cpu, atol=1e-3)  # TF32 products
