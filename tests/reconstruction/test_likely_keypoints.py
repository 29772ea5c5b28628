"""The stage that corrects a keypoint source with the prior: rows, reasons and places stay; the hands are the prior's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from im2hands.datasets.keypoints import KeypointTable
from im2hands.io.errors import DataError
from im2hands.networks.keypoint_prior import load_keypoint_prior
from im2hands.reconstruction.likely_keypoints import likely_keypoints
from stages import apply_keypoint_prior
from tests.training.two_hand_frames import TwoHandSplit, make_split, write_noisy
from tests.training.untrained import write_prior


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TwoHandSplit:
    return make_split(tmp_path_factory.mktemp("two_hands"), "test", poses=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_prior(tmp_path_factory.mktemp("model"))


def test_the_stage_writes_the_priors_hands(data, model, tmp_path):
    """Rows without hands keep their reason; the others are what the network says, also far from the origin."""
    given = KeypointTable.read(data.keypoints("noisy")).keypoints() + np.array([3.0, -2.0, 5.0])
    source = write_noisy(data, given, [None, "no hand was found", *[None] * 4], "far")
    output = tmp_path / "far_prior" / "test.parquet"
    words = {"frames": data.frames, "keypoints": source, "model": model, "output": output}
    apply_keypoint_prior.main(**{name: str(path) for name, path in words.items()}, source="far_prior", split="test")
    written = KeypointTable.read(output)
    assert (written.source, written.parameters["origin"]) == ("far_prior", "far, corrected by the prior")
    assert written.reasons == [None, "no hand was found", *[None] * 4]
    network, rows = load_keypoint_prior(model)[0].double(), [0, 2, 3, 4, 5]
    with torch.no_grad():
        expected = network(torch.from_numpy(given[rows])).keypoints.numpy()
    np.testing.assert_allclose(written.keypoints()[rows], expected, atol=2e-6)


def test_a_network_that_makes_no_hands_is_a_reason(data, model):
    network = load_keypoint_prior(model)[0]
    network.leave[1].bias.fill_(torch.nan)
    found, reasons = likely_keypoints(network, KeypointTable.read(data.keypoints("noisy")))
    assert reasons == ["corrected to no hands: not all are numbers"] * 6 and np.isnan(found).all()


def test_keypoints_of_other_frames_are_refused(data, model, tmp_path):
    other = make_split(tmp_path, "val", poses=2).keypoints("noisy")
    with pytest.raises(DataError, match="its keypoints do not belong to the frames"):
        apply_keypoint_prior.main(
            str(data.frames), str(other), str(model), "x_prior", "test", str(tmp_path / "out.parquet")
        )
    assert not (tmp_path / "out.parquet").exists()
