"""The keypoint prior: its hands are the hand model's, in whatever frame the keypoints are, with whatever joints are missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from im2hands.datasets.synthetic.hand_crowd import CrowdSampler
from im2hands.geometry.rotations import axis_angle_to_matrix
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.networks.keypoint_prior import KeypointPriorNetwork, load_keypoint_prior, rotations_of
from tests.training.untrained import write_prior


@pytest.fixture(scope="module")
def models():
    return builtin_hand_models()


@pytest.fixture(scope="module")
def network(models):
    torch.manual_seed(0)
    network = KeypointPriorNetwork(width=32, blocks=2)
    network.start_from(models)
    torch.nn.init.normal_(network.leave[1].weight, std=0.05)
    return network.requires_grad_(False).double()


@pytest.fixture(scope="module")
def keypoints(models):
    return CrowdSampler(models).draw(np.random.default_rng(0), 8).keypoints.double()


def test_keypoints_are_those_of_its_hand_parameters(network, models, keypoints):
    found = network(keypoints)
    for side in SIDES:
        hand = side.index
        whole = models[side].pose_by_rotations(found.rotations[:, hand], found.shape, found.translation[:, hand])
        torch.testing.assert_close(found.keypoints[:, hand], whole.keypoints, atol=1e-7, rtol=0)


def test_it_turns_and_moves_with_the_keypoints(network, keypoints):
    turn = axis_angle_to_matrix(torch.tensor([0.4, -1.1, 0.7], dtype=torch.float64))
    place = torch.tensor([0.1, -0.3, 0.6], dtype=torch.float64)
    found, moved = network(keypoints), network(keypoints @ turn.mT + place)
    torch.testing.assert_close(moved.keypoints, found.keypoints @ turn.mT + place, atol=1e-9, rtol=0)
    torch.testing.assert_close(moved.sigma, found.sigma, atol=1e-9, rtol=0)


def test_the_mirror_image_of_a_pair_gives_the_mirror_image(network, keypoints):
    """The built-in hands are mirror images of each other, so a left hand fares as a right one."""
    mirrored = Side.LEFT.mirror_points(keypoints.flip(1))
    torch.testing.assert_close(
        network(mirrored).keypoints, Side.LEFT.mirror_points(network(keypoints).keypoints.flip(1)), atol=1e-6, rtol=0
    )


def test_a_missing_joint_has_no_influence(network, keypoints):
    """Whatever the sigma of a joint that is not there; and there is always an answer, also for a hand without joints."""
    gone, sigma = keypoints.clone(), torch.full(keypoints.shape[:-1], 0.005, dtype=torch.float64)
    gone[0, 0, 7], gone[1, 1] = torch.nan, torch.nan
    sigma_of_gone = sigma.clone()
    sigma_of_gone[0, 0, 7] = 0.5
    found, other = network(gone, sigma), network(gone, sigma_of_gone)
    assert torch.equal(found.keypoints, other.keypoints)
    assert found.keypoints.isfinite().all() and found.sigma.isfinite().all()
    nothing = network(torch.full_like(keypoints, torch.nan))
    assert nothing.keypoints.isfinite().all()


def test_sigmas_change_the_answer_and_unknown_is_not_a_number(network, keypoints):
    exact = network(keypoints, torch.full(keypoints.shape[:-1], 0.001, dtype=torch.float64))
    rough = network(keypoints, torch.full(keypoints.shape[:-1], 0.03, dtype=torch.float64))
    unknown = network(keypoints, torch.full(keypoints.shape[:-1], torch.nan, dtype=torch.float64))
    assert (exact.keypoints - rough.keypoints).abs().max() > 1e-5
    assert torch.equal(unknown.keypoints, network(keypoints).keypoints)


def test_a_joint_of_large_sigma_hardly_turns_the_hand(network, models, keypoints):
    """The frame of a hand follows the joints that are certain."""
    sigma = torch.full(keypoints.shape[:-1], 0.002, dtype=torch.float64)
    sigma[:, :, 0] = 0.1
    moved = keypoints.clone()
    moved[:, :, 0] += 0.03
    frames = [network._frames(points, points.isfinite().all(-1), sigma)[0] for points in (keypoints, moved)]
    angle = torch.rad2deg(torch.arccos(((frames[0] @ frames[1].mT).diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2))
    assert angle.max() < 1.0


def test_rotations_are_rotations():
    rotations = rotations_of(torch.randn(50, 6, dtype=torch.float64))
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(50, dtype=torch.float64))
    assert torch.equal(rotations_of(torch.zeros(6)), torch.eye(3))


def test_weights_are_enough(tmp_path):
    """A folder gives the network back, with the skeleton that it was trained with."""
    network, card = load_keypoint_prior(write_prior(tmp_path / "prior"))
    assert card.network == "keypoint_prior" and card.architecture == {"width": 16, "blocks": 1}
    assert network.skeleton.joints.abs().max() > 0.05
