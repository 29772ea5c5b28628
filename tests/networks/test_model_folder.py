"""Model folders: what is written comes back, and damage is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from im2hands.io.errors import CheckpointError, DamagedFileError, DataError
from im2hands.io.hashing import sha256_file
from im2hands.networks.halo import HaloNetwork, load_halo
from im2hands.networks.model_folder import SHIPPED, ModelCard, model_root, read_model, write_model


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    network = HaloNetwork(width=8)
    card = ModelCard("halo", network.architecture, {"kind": "trained"}, "made-up", "none", metrics={"val_iou": 0.5})
    write_model(tmp_path, network.state_dict(), card)
    return tmp_path


def test_round_trip(folder):
    network, card = load_halo(folder)
    torch.manual_seed(0)
    expected = HaloNetwork(width=8).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    assert card.metrics == {"val_iou": 0.5}
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_writing_twice_gives_the_same_bytes(folder, tmp_path_factory):
    weights, card = read_model(folder, "halo")
    other = tmp_path_factory.mktemp("other")
    write_model(other, weights, card)
    assert {path.name: path.read_bytes() for path in other.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


def test_another_network_is_refused(folder):
    with pytest.raises(CheckpointError, match="contains weights of halo, not of intaghand"):
        read_model(folder, "intaghand")


def test_missing_folder_and_weights(folder, tmp_path):
    with pytest.raises(DataError, match="model card is missing"):
        read_model(tmp_path / "nowhere", "halo")
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match="weights are missing"):
        read_model(folder, "halo")


def test_changed_weights_are_noticed(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"does not match card\.json"):
        read_model(folder, "halo")


def test_a_card_that_does_not_describe_the_weights(folder):
    card = json.loads((folder / "card.json").read_text())
    card["architecture"]["width"] = 9
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="do not fit the network"):
        load_halo(folder)
    del card["network"]
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(DamagedFileError, match="not a model card"):
        load_halo(folder)


def shared_encoder(tmp_path):
    """Two models, the second of which takes its image encoder from the first one."""
    kernel, head = torch.randn(3, 2, 1, 1, generator=torch.Generator().manual_seed(0)), torch.ones(4)
    write_model(tmp_path / "first", {"image_encoder.kernel": kernel, "other": head}, card_of("first"))
    checksum = sha256_file(tmp_path / "first" / "model.safetensors")
    shared = {"network": "first", "weights_sha256": checksum, "parts": ["", "inner."]}
    write_model(tmp_path / "second", {"head": 2 * head}, card_of("second", image_encoder_of=shared))
    return kernel, head


def card_of(network: str, **origin) -> ModelCard:
    return ModelCard(network, {}, {"kind": "trained", **origin}, "made-up", "none")


def test_an_image_encoder_is_stored_once_for_two_networks(tmp_path):
    kernel, head = shared_encoder(tmp_path)
    weights, _ = read_model(tmp_path / "second", "second")
    assert set(weights) == {"head", "image_encoder.kernel", "inner.image_encoder.kernel"}
    assert torch.equal(weights["image_encoder.kernel"], kernel) and torch.equal(weights["head"], 2 * head)
    assert torch.equal(weights["inner.image_encoder.kernel"], kernel)


def test_a_copy_of_a_model_with_a_stored_encoder_is_whole(tmp_path):
    """What `training.<network>.weights` does."""
    shared_encoder(tmp_path)
    write_model(tmp_path / "elsewhere" / "second", *read_model(tmp_path / "second", "second"))
    copied, _ = read_model(tmp_path / "elsewhere" / "second", "second")
    assert set(copied) == {"head", "image_encoder.kernel", "inner.image_encoder.kernel"}


def test_another_encoder_than_the_one_of_training_is_refused(tmp_path):
    _, head = shared_encoder(tmp_path)
    write_model(tmp_path / "first", {"image_encoder.kernel": torch.zeros(3), "other": head}, card_of("first"))
    with pytest.raises(DamagedFileError, match="whose weights are others now; take both folders from one place"):
        read_model(tmp_path / "second", "second")
    card = json.loads((tmp_path / "second" / "card.json").read_text())
    card["origin"]["image_encoder_of"] = "first"
    (tmp_path / "second" / "card.json").write_text(json.dumps(card))
    with pytest.raises(DamagedFileError, match="does not say whose encoder it is"):
        read_model(tmp_path / "second", "second")


def test_a_repository_of_the_hub_is_read_from_its_cache(tmp_path, monkeypatch):
    """Without a network; one that is not there is named with the remedy."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    stored = tmp_path / "models--someone--hands"
    folder = stored / "snapshots" / ("0" * 40)
    write_model(folder / "halo", {"kernel": torch.ones(2)}, card_of("halo"))
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("0" * 40)
    assert model_root("hf:someone/hands") == model_root(Path("hf:someone/hands")) == folder
    assert torch.equal(read_model(model_root("hf:someone/hands") / "halo", "halo")[0]["kernel"], torch.ones(2))
    for name in ("hf:someone/feet", "hf:someone/hands@other", "hf:not a name"):
        with pytest.raises(DataError, match=f"^{name}: not to be had .*; download the repository by hand"):
            model_root(name)


def test_builtin_is_the_folder_of_the_package(tmp_path):
    assert model_root("builtin") == SHIPPED
    assert model_root(tmp_path) == tmp_path
