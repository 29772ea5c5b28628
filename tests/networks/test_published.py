"""Published weight files: read without executing anything, converted both ways without changing a bit."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch

from im2hands.io.errors import CheckpointError
from im2hands.networks.halo import load_halo
from im2hands.networks.published import halo
from im2hands.networks.published.importing import import_weights
from im2hands.networks.published.reader import read_published
from im2hands.parity.weights_rule import rule_weights
from tests.hostile import Hostile


def published_file(path, weights=None, **others):
    """A file in the published structure: weights by rule, Adam's state, counters, a NumPy scalar as best loss."""
    weights = rule_weights(halo.LAYOUT.shapes, seed=3) if weights is None else weights
    optimizer = {
        "state": {0: {"step": torch.tensor(5.0), "exp_avg": torch.ones(8, 48)}},
        "param_groups": [{"lr": 1e-4}],
    }
    content = {"model": weights, "optimizer": optimizer, "epoch_it": 1398, "it": 1029000}
    torch.save({**content, "loss_val_best": np.float64(0.9358), **others}, path)
    return path


@pytest.fixture
def checkpoint(tmp_path):
    return published_file(tmp_path / "halo.pt")


def test_numpy_scalars_are_read_as_numbers(checkpoint):
    notes = read_published(checkpoint).notes
    assert notes == {"epoch_it": 1398, "it": 1029000, "loss_val_best": 0.9358}
    assert type(notes["loss_val_best"]) is float


def test_imported_network_is_ready_to_use(checkpoint, tmp_path):
    list(import_weights([checkpoint], tmp_path))
    network, card = load_halo(tmp_path)
    assert card.origin["kind"] == "imported"
    assert card.origin["notes"]["it"] == 1029000
    weights = rule_weights(halo.LAYOUT.shapes, seed=3)
    assert torch.equal(network.decoders.layers[2].weight[11], weights["decoder.lin11_2.weight"])
    occupancy = network.occupancy(torch.zeros(1, 3, 3), torch.eye(4).repeat(1, 16, 1, 1), torch.full((1, 16), 0.03))
    assert ((occupancy > 0) & (occupancy < 1)).all()


def test_missing_misshapen_and_unknown_tensors_are_reported(tmp_path):
    weights = rule_weights(halo.LAYOUT.shapes, seed=3)
    del weights["decoder.lin4_1.bias"]
    weights["decoder.lin5_1.weight"] = torch.ones(64, 83)
    weights["encoder.extra"] = torch.ones(2)
    lines = list(import_weights([published_file(tmp_path / "f.pt", weights)], tmp_path / "model"))
    assert "loaded: 194 tensors" in lines
    assert "initial: 2 tensors" in lines
    assert "  decoder.lin4_1.bias" in lines
    assert "  decoder.lin5_1.weight (shape (64, 83) in the file, (64, 64) here)" in lines
    assert lines[-2:] == ["ignored: 1 tensors", "  encoder.extra"]


def test_a_plain_state_dict_with_module_prefix_is_understood(tmp_path):
    weights = rule_weights(halo.LAYOUT.shapes, seed=3)
    torch.save(OrderedDict((f"module.{key}", tensor) for key, tensor in weights.items()), tmp_path / "f.pt")
    assert list(read_published(tmp_path / "f.pt").weights) == list(weights)


def test_weights_of_no_known_network_are_refused(tmp_path):
    torch.save({"model": {"conv1.weight": torch.ones(3)}}, tmp_path / "f.pt")
    with pytest.raises(CheckpointError, match=r"none of its 1 tensors \(the first is conv1.weight\)"):
        list(import_weights([tmp_path / "f.pt"], tmp_path / "model"))
    assert not (tmp_path / "model").exists()


def test_hostile_file_is_refused_and_nothing_runs(tmp_path):
    published_file(tmp_path / "f.pt", evil=Hostile(tmp_path / "ran"))
    with pytest.raises(CheckpointError, match=r"f\.pt: refused, because loading it would run \w+\.system"):
        read_published(tmp_path / "f.pt")
    assert not (tmp_path / "ran").exists()


class ObjectScalar:
    """A NumPy scalar of type object: NumPy's own constructor would take any object from it."""

    def __reduce__(self):
        return np._core.multiarray.scalar, (np.dtype("O"), b"abc")


def test_numpy_scalars_other_than_numbers_are_refused(tmp_path):
    published_file(tmp_path / "f.pt", loss_val_best=ObjectScalar())
    with pytest.raises(CheckpointError, match="not a plain number"):
        read_published(tmp_path / "f.pt")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_truncated_file_is_one_sentence(checkpoint, tmp_path, share):
    content = checkpoint.read_bytes()
    broken = tmp_path / "broken.pt"
    broken.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"broken\.pt: damaged or not a PyTorch weight file") as caught:
        read_published(broken)
    assert "\n" not in str(caught.value)


def test_missing_file_and_file_without_weights(tmp_path):
    with pytest.raises(CheckpointError, match="missing"):
        read_published(tmp_path / "no.pt")
    torch.save({"it": 3}, tmp_path / "f.pt")
    with pytest.raises(CheckpointError, match="contains no weights"):
        read_published(tmp_path / "f.pt")
    torch.save([1, 2], tmp_path / "g.pt")
    with pytest.raises(CheckpointError, match="contains a list"):
        read_published(tmp_path / "g.pt")


def test_smaller_networks_keep_their_size(tmp_path):
    """Sizes are read off the file, so an exported small network can be imported again."""
    shapes = {
        key: tuple(16 if n == 64 else n for n in shape) if ".lin" in key else shape
        for key, shape in halo.LAYOUT.shapes.items()
    }
    list(import_weights([published_file(tmp_path / "f.pt", rule_weights(shapes, 1))], tmp_path / "model"))
    assert load_halo(tmp_path / "model")[0].architecture["width"] == 16
