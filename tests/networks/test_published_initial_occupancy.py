"""Published files of initial occupancy, and the files of other networks from which it starts."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from im2hands.io.errors import CheckpointError
from im2hands.networks.halo import HaloNetwork
from im2hands.networks.initial_occupancy import InitialOccupancyNetwork, load_initial_occupancy
from im2hands.networks.keypoint_refinement import load_keypoint_refinement
from im2hands.networks.model_folder import ModelCard, write_model
from im2hands.networks.published import halo, initial_occupancy, keypoint_refinement
from im2hands.networks.published.importing import export_weights, import_weights
from im2hands.networks.published.reader import read_published
from im2hands.parity.weights_rule import rule_weights
from tests.reference import FOLDER

GOLDEN = FOLDER.find("init_occ")
ENCODER_TENSORS, DECODER_TENSORS, ALL_TENSORS = 372, 196, 848


@pytest.fixture(scope="module")
def weights() -> OrderedDict:
    return rule_weights(initial_occupancy.LAYOUT.shapes, int(GOLDEN["seed_weights"]))


def intaghand_file(path: Path, weights: OrderedDict, prefix: str) -> Path:
    """A plain state dict: IntagHand's encoder by rule, and parts that no network of Im2Hands has."""
    content = {
        key.replace("image_encoder.", f"{prefix}encoder."): tensor
        for key, tensor in weights.items()
        if key.startswith("image_encoder.")
    }
    content[f"{prefix}decoder.unsample_layer.weight"] = torch.ones(778, 252)
    content[f"{prefix}mid_model.convs.0.0.weight"] = torch.ones(256, 256, 1, 1)
    torch.save(content, path)
    return path


def halo_file(path: Path, feature_columns: int = 0) -> Path:
    shapes = {
        key: (64, 64 + feature_columns) if key.endswith("_2.weight") and ".lin" in key else shape
        for key, shape in halo.LAYOUT.shapes.items()
    }
    torch.save({"model": rule_weights(shapes, 5), "it": 3, "loss_val_best": np.float64(0.9)}, path)
    return path


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("network", ["initial_occupancy", "keypoint_refinement"])
def test_intaghands_file_fills_the_image_encoder(weights, tmp_path, prefix, network):
    file = intaghand_file(tmp_path / "intaghand_baseline.pth", weights, prefix)
    lines = list(import_weights([file], tmp_path / network))
    assert lines[1] == f"loaded: {ENCODER_TENSORS} tensors"
    assert lines[-3:] == ["ignored: 2 tensors", "  decoder.unsample_layer.weight", "  mid_model.convs.0.0.weight"]
    published, load = {
        "initial_occupancy": (initial_occupancy, load_initial_occupancy),
        "keypoint_refinement": (keypoint_refinement, load_keypoint_refinement),
    }[network]
    assert f"initial: {len(published.LAYOUT.shapes) - ENCODER_TENSORS} tensors" in lines
    loaded, _ = load(tmp_path / network)
    state = published.to_published(loaded.state_dict())
    assert all(torch.equal(state[key], tensor) for key, tensor in weights.items() if key.startswith("image_encoder."))
    assert (loaded.image_projection.bias == 0.01).all()


def test_halos_decoder_starts_both_hands_and_ignores_the_image_at_first(tmp_path):
    """64 x 64 weights get zeros for the image features, so that both hands are HALO until training moves them."""
    lines = list(import_weights([halo_file(tmp_path / "halo_baseline.pt")], tmp_path / "initial_occupancy"))
    assert lines[1:3] == [f"loaded: {2 * DECODER_TENSORS} tensors", "filled up with zeros: 32 tensors"]
    assert lines[-1] == "ignored: 0 tensors"
    network, _ = load_initial_occupancy(tmp_path / "initial_occupancy")
    plain = HaloNetwork()
    plain.load_state_dict(halo.from_published(rule_weights(halo.LAYOUT.shapes, 5)))
    points, frames, lengths = torch.randn(2, 9, 3), torch.randn(2, 16, 4, 4), torch.rand(2, 16)
    for decoder in network.decoders.values():
        ours = decoder(points, frames, lengths, torch.randn(2, 9, 19))
        torch.testing.assert_close(ours, plain(points, frames, lengths), rtol=1e-4, atol=1e-4)


def test_halos_decoder_with_feature_columns_is_taken_as_it_is(tmp_path):
    file = halo_file(tmp_path / "halo_baseline.pt", feature_columns=19)
    lines = list(import_weights([file], tmp_path / "initial_occupancy"))
    assert lines[1] == f"loaded: {2 * DECODER_TENSORS} tensors"
    assert not any(line.startswith("filled up") for line in lines)
    network, _ = load_initial_occupancy(tmp_path / "initial_occupancy")
    stored = read_published(file).weights["decoder.lin7_2.weight"]
    for decoder in network.decoders.values():
        assert torch.equal(decoder.layers[2].weight[7], stored)


def test_several_files_together_make_the_published_start(weights, tmp_path):
    """HALO's decoder and IntagHand's encoder: what is left at its initial value is what the specification says."""
    files = [halo_file(tmp_path / "h.pt"), intaghand_file(tmp_path / "i.pth", weights, "module.")]
    lines = list(import_weights(files, tmp_path / "initial_occupancy"))
    counted = [line for line in lines if not line.startswith("  ")]
    assert counted == [
        f"{files[0]} -> {tmp_path / 'initial_occupancy'}",
        f"loaded: {2 * DECODER_TENSORS} tensors",
        "filled up with zeros: 32 tensors",
        "ignored: 0 tensors",
        f"{files[1]} -> {tmp_path / 'initial_occupancy'}",
        f"loaded: {ENCODER_TENSORS} tensors",
        "ignored: 2 tensors",
        f"initial: {ALL_TENSORS - 2 * DECODER_TENSORS - ENCODER_TENSORS} tensors",
    ]
    _, card = load_initial_occupancy(tmp_path / "initial_occupancy")
    initial = {key.partition(".")[0] for key in card.origin["initial"]}
    assert initial == {
        "image_final_layer",
        "left_pt_embeddings",
        "right_pt_embeddings",
        "img_ex_left",
        "img_ex_right",
    }
    assert card.origin["file"] == "h.pt, i.pth"


def test_tensors_of_another_shape_stay_initial_and_are_named_first(tmp_path):
    wrong, right = torch.ones(7), torch.ones(32, 256, 1, 1)
    torch.save({"image_final_layer.bias": wrong, "image_final_layer.weight": right}, tmp_path / "f.pt")
    lines = list(import_weights([tmp_path / "f.pt"], tmp_path / "initial_occupancy"))
    assert lines[1:4] == [
        "loaded: 1 tensors",
        f"initial: {ALL_TENSORS - 1} tensors",
        "  image_final_layer.bias (shape (7,) in the file, (32,) here)",
    ]


def test_other_sizes_are_model_folders_too_but_have_no_published_layout(tmp_path):
    network = InitialOccupancyNetwork("resnet18", width=8)
    compat = {"depth_reference": "consistent", "penetration_frame": "published"}
    card = ModelCard("initial_occupancy", network.architecture, {"kind": "trained"}, "none", "none", compat=compat)
    write_model(tmp_path / "model", network.state_dict(), card)
    again, _ = load_initial_occupancy(tmp_path / "model")
    assert (again.depth_reference, again.penetration_frame) == ("consistent", "published")
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(CheckpointError, match="only the published sizes"):
        export_weights(tmp_path / "model", tmp_path / "back.pt")
    (tmp_path / "model" / "model.safetensors").unlink()
    write_model(tmp_path / "model", {"some": torch.ones(1)}, card)
    with pytest.raises(CheckpointError, match=r"do not fit the network that card\.json describes"):
        load_initial_occupancy(tmp_path / "model")
