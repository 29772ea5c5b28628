"""Feature lookup: exact where it should be, and off by the published amount where that is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from im2hands.geometry.cameras import Camera
from im2hands.geometry.feature_sampling import sample_features, to_camera, to_pixels
from im2hands.io.errors import DataError


def ramp(size):
    """A map over a 256 image whose two channels are the column and the row, in pixels, at the cells' centres."""
    centres = (torch.arange(size).double() + 0.5) * 256 / size - 0.5
    return torch.stack([centres.expand(size, size), centres[:, None].expand(size, size)])[None]


@pytest.mark.parametrize("size", [256, 64, 8])
def test_consistent_lookup_reads_pixels_exactly_at_every_map_size(size):
    pixels = torch.from_numpy(np.random.default_rng(size).uniform(16, 239, (1, 50, 2)))
    assert (sample_features(ramp(size), pixels) - pixels).abs().max() < 1e-10


def test_published_lookup_reads_too_far_left():
    pixels = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (1, 50, 2)))
    assert (sample_features(ramp(256), pixels, "published") - pixels * 255 / 256).abs().max() < 1e-10


@pytest.mark.parametrize("lookup", ["published", "consistent"])
def test_outside_counts_as_zero_neighbour_by_neighbour(lookup):
    ones = torch.ones(1, 1, 256, 256)
    pixels = torch.tensor([[[-0.5, 100.0], [-3.0, 100.0], [400.0, 400.0], [100.0, 100.0]]])
    assert sample_features(ones, pixels, lookup)[0, :, 0].tolist() == pytest.approx([0.5, 0, 0, 1], abs=2e-3)


def test_no_points_are_no_features():
    assert sample_features(torch.zeros(2, 5, 8, 8), torch.zeros(2, 0, 2)).shape == (2, 0, 5)


def test_unknown_lookup_is_named():
    with pytest.raises(DataError, match="feature_lookup"):
        sample_features(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 2), "bilinear")


def test_batched_cameras_equal_the_single_camera():
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    camera = Camera(np.array([[500.0, 0, 128], [0, 510, 120], [0, 0, 1]]), rotation, np.array([0.1, 0.2, 3.0]))
    points = rng.normal(size=(1, 20, 3)) * 0.1
    batched = [torch.from_numpy(value)[None] for value in (camera.rotation, camera.translation, camera.intrinsics)]
    seen = to_camera(torch.from_numpy(points), *batched[:2])
    assert np.abs(seen.numpy()[0] - camera.to_camera(points[0])).max() < 1e-14
    assert np.abs(to_pixels(seen, batched[2]).numpy()[0] - camera.project(points[0])).max() < 1e-11
