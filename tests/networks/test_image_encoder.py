"""The image encoder: shapes, the order of its blocks, depths, and the reference's numbers against a plain form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from im2hands.networks.image_encoder import DEPTHS, HALVED, ImageEncoder, MapDecoder, normalise
from im2hands.networks.published import initial_occupancy as published
from im2hands.parity.network_fields import golden_image
from im2hands.parity.weights_rule import rule_weights
from tests.networks.comparing import full_float32
from tests.reference import FOLDER

GOLDEN = FOLDER.find("init_occ")


@pytest.fixture(scope="module")
def small() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder("resnet18").eval().requires_grad_(False)


def naive_maps(weights: dict[str, Tensor], prefix: str, coarsest: Tensor) -> list[Tensor]:
    """A decoder's stages from published tensors, upsampling by explicit interpolation matrices."""
    maps, features = [], coarsest
    for stage in range(4):
        if stage:
            features = torch.einsum(
                "ij,bcjk,lk->bcil", _doubling(features.shape[-1]), features, _doubling(features.shape[-1])
            )
        convolution, norm = (f"{prefix}models.{stage}.{place}" for place in ((0, 2) if stage == 0 else (1, 3)))
        weight = weights[f"{convolution}.weight"]
        features = F.relu(F.conv2d(features, weight, padding=weight.shape[-1] // 2))
        mean, variance = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
        features = (features - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        features = features * weights[f"{norm}.weight"][:, None, None] + weights[f"{norm}.bias"][:, None, None]
        maps.append(features)
    return maps


def _doubling(size: int) -> Tensor:
    """(2 size, size): linear interpolation in which the first and last samples keep their places."""
    places = torch.arange(2 * size) * (size - 1) / (2 * size - 1)
    return (1 - (places[:, None] - torch.arange(size)).abs()).clamp_min(0)


def test_decoder_stages_equal_the_plain_form():
    """Convolution, ReLU, batch norm in this order; upsampling with aligned corners; names of the published file."""
    weights = rule_weights(published.LAYOUT.shapes, 9)
    prefix = "image_encoder.hms_decoder."
    state = published.from_published(weights)
    decoder = MapDecoder(2048, 42).eval().requires_grad_(False)
    ours = "image_encoder.heat_map_decoder."
    decoder.load_state_dict({name.removeprefix(ours): t for name, t in state.items() if name.startswith(ours)})
    coarsest = torch.rand(1, 2048, 8, 8)
    last, maps = decoder([coarsest])
    for a, b in zip(maps, naive_maps(weights, prefix, coarsest), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4 * b.abs().max().item())
    expected = F.conv2d(maps[-1], weights[f"{prefix}final_layer.weight"], weights[f"{prefix}final_layer.bias"])
    torch.testing.assert_close(last, expected)


def test_plain_form_gives_the_reference_numbers():
    """From the reference's coarsest backbone map to its finest decoder map."""
    weights = rule_weights(published.LAYOUT.shapes, int(GOLDEN["seed_weights"]))
    encoder = ImageEncoder().eval().requires_grad_(False)
    own = "image_encoder."
    state = published.from_published(weights)
    encoder.load_state_dict({name.removeprefix(own): t for name, t in state.items() if name.startswith(own)})
    coarsest = encoder(golden_image(int(GOLDEN["seed_image"]), 1)).backbone[0]
    for published_name, field in (("hms", "hms_fmap3"), ("dp", "dp_fmap3")):
        finest = naive_maps(weights, f"image_encoder.{published_name}_decoder.", coarsest)[-1].reshape(-1)
        expected = GOLDEN[f"probe_{field}_value"]
        ours = finest[torch.from_numpy(GOLDEN[f"probe_{field}_index"])].numpy()
        np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


def test_maps_run_from_coarse_to_fine(small):
    features = small(torch.randn(2, 3, 256, 256))
    assert [tuple(m.shape[1:]) for m in features.backbone] == [(512, 8, 8), (256, 16, 16), (128, 32, 32), (64, 64, 64)]
    for maps in (features.of_heat_maps, features.of_dense_maps):
        assert [tuple(m.shape[1:]) for m in maps] == [(128, side, side) for side in (8, 16, 32, 64)]
    assert features.heat_maps.shape == (2, 42, 64, 64)
    assert features.masks.shape == (2, 2, 64, 64)
    assert features.dense_maps.shape == (2, 6, 64, 64)
    assert small.channels == [512, 256, 128, 64]


def test_images_of_a_batch_do_not_mix(small):
    images = torch.randn(2, 3, 256, 256)
    together, alone = small(images), small(images[1:])
    torch.testing.assert_close(together.of_dense_maps[3][1:], alone.of_dense_maps[3], rtol=0, atol=1e-4)


def test_unused_parts_get_no_gradient():
    """As in published training: the classifier and the last maps influence nothing that later networks read."""
    torch.manual_seed(0)
    encoder = ImageEncoder("resnet18")
    features = encoder(torch.randn(2, 3, 256, 256))
    (features.of_heat_maps[3].sum() + features.of_dense_maps[3].sum()).backward()
    without = {name for name, parameter in encoder.named_parameters() if parameter.grad is None}
    assert without == {
        f"{part}.{kind}"
        for part in ("resnet.fc", "heat_map_decoder.last", "dense_map_decoder.last")
        for kind in ("weight", "bias")
    }


def test_statistics_move_in_training_only(small):
    """Momentum 0.1: new = 0.9 old + 0.1 batch."""
    encoder = ImageEncoder("resnet18")
    norm, images = encoder.resnet.bn1, torch.randn(2, 3, 256, 256)
    encoder.eval()(images)
    assert norm.num_batches_tracked == 0
    encoder.train()(images)
    batch = encoder.resnet.conv1(images).mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, 0.1 * batch, rtol=1e-4, atol=1e-6)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-5, 0.1)


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_depth_gives_the_same_kinds_of_maps(depth):
    with torch.device("meta"):
        encoder = ImageEncoder(depth)
        features = encoder(torch.empty(1, 3, 256, 256))
    assert [m.shape[1] for m in features.backbone] == encoder.channels
    assert features.of_heat_maps[-1].shape == (1, encoder.decoder_channels, 64, 64)


def test_published_size_and_unknown_depth():
    with torch.device("meta"):
        encoder = ImageEncoder()
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 26_974_554
    with pytest.raises(ValueError, match="unknown image encoder 'resnet51'; choose one of resnet10_narrow"):
        ImageEncoder("resnet51")


def test_normalise_is_the_imagenet_one():
    images = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    images[0, 0, 1] = torch.tensor([255, 0, 51])
    ours = normalise(images)
    assert ours.shape == (1, 3, 2, 2)
    expected = (torch.tensor([1, 0, 0.2]) - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(ours[0, :, 0, 1], expected)


@pytest.mark.gpu
def test_gpu_equals_cpu(small):
    images = torch.randn(2, 3, 256, 256)
    expected = small(images).of_heat_maps[3]
    with full_float32():
        ours = small.cuda()(images.cuda()).of_heat_maps[3].cpu()
    small.cpu()
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-3 * expected.abs().max().item())


def test_finer_maps_are_added_before_each_stage():
    """Against the plain form; with kernels of zero they change nothing."""
    torch.manual_seed(0)
    decoder = MapDecoder(6, 3, 4, finer=(5, 3, 2)).eval().requires_grad_(False)
    backbone = [torch.randn(2, channels, side, side) for channels, side in ((6, 8), (5, 16), (3, 32), (2, 64))]
    _, maps = decoder(backbone)
    for level in range(1, 4):
        side = maps[level - 1].shape[-1]
        enlarged = torch.einsum("ai,bcij,dj->bcad", _doubling(side), maps[level - 1], _doubling(side))
        summed = enlarged + torch.einsum("oi,bihw->bohw", decoder.finer[level - 1].weight[:, :, 0, 0], backbone[level])
        torch.testing.assert_close(maps[level], decoder.stages[level](summed), atol=1e-5, rtol=1e-5)
    plain = MapDecoder(6, 3, 4).eval().requires_grad_(False)
    plain.load_state_dict({name: t for name, t in decoder.state_dict().items() if not name.startswith("finer.")})
    for kernel in decoder.finer:
        torch.nn.init.zeros_(kernel.weight)
    torch.testing.assert_close(decoder(backbone)[0], plain(backbone[:1])[0])


def test_the_halved_encoder_sees_the_image_at_half_the_resolution():
    """Maps have the sizes of the whole one; nothing finer than two pixels reaches it."""
    torch.manual_seed(0)
    encoder = ImageEncoder("efficientnet_lite2_half").eval().requires_grad_(False)
    image = torch.randn(1, 3, 256, 256)
    seen = encoder(image)
    assert [each.shape[-1] for each in seen.backbone] == [8, 16, 32, 64]
    assert [each.shape[1:] for each in (seen.heat_maps, seen.masks, seen.dense_maps)] == [
        (42, 64, 64),
        (2, 64, 64),
        (6, 64, 64),
    ]
    blurred = F.interpolate(F.avg_pool2d(image, 2), scale_factor=2, mode="nearest")
    assert not torch.allclose(blurred, image)
    torch.testing.assert_close(encoder(blurred).heat_maps, seen.heat_maps, atol=1e-4, rtol=1e-4)
    whole = ImageEncoder("efficientnet_lite2").eval().requires_grad_(False)
    whole.load_state_dict(encoder.state_dict())
    small = whole.seen(F.avg_pool2d(image, 2))
    assert small.heat_maps.shape[-1] == 32
    torch.testing.assert_close(seen.heat_maps, small.enlarged().heat_maps)


@pytest.mark.parametrize("blocks", [0, 3])
def test_frozen_blocks_keep_weights_and_statistics_while_the_rest_learns(blocks):
    encoder = ImageEncoder(HALVED)
    encoder.lite.freeze(blocks)
    encoder.eval().train()
    before = {name: tensor.clone() for name, tensor in encoder.lite.body.state_dict().items()}
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=1.0)
    features = encoder(torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(0)))
    features.heat_maps.square().mean().backward()
    optimiser.step()
    moved = {name for name, tensor in encoder.lite.body.state_dict().items() if not torch.equal(tensor, before[name])}
    kept = ("conv_stem", "bn1", *(f"blocks.{place}." for place in range(blocks)))
    statistics = {name for name in before if name.endswith("running_mean")}
    assert statistics - moved == ({name for name in statistics if name.startswith(kept)} if blocks else set())
    assert any(name.startswith(f"blocks.{blocks}.") and name.endswith("weight") for name in moved)
    assert not blocks or not any(name.startswith(kept) for name in moved)
