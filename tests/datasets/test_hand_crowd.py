"""Hands by the thousand: they are those of the hand model, as wide in pose as people's, and a function of the generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from im2hands.datasets.synthetic.gestures import ANGLE_NAMES, LIMITS, GesturePrior
from im2hands.datasets.synthetic.hand_crowd import BEYOND, CrowdSampler, draw_angles, finger_rotations
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side


@pytest.fixture(scope="module")
def models():
    return builtin_hand_models()


@pytest.fixture(scope="module")
def crowd(models):
    return CrowdSampler(models).draw(np.random.default_rng(1), 400)


def test_rotations_are_those_of_single_poses(models):
    axes = GesturePrior(models[Side.RIGHT])
    angles = draw_angles(np.random.default_rng(0), 40)
    many = finger_rotations(axes, angles)
    for one, rotations in zip(angles, many, strict=True):
        vectors = axes.pose(one, Side.RIGHT).reshape(15, 3) + axes.mean_pose
        np.testing.assert_allclose(rotations, Rotation.from_rotvec(vectors).as_matrix(), atol=1e-5)


@pytest.mark.parametrize("side", SIDES)
def test_keypoints_are_those_of_the_whole_hand_model(models, crowd, side):
    hand = side.index
    whole = models[side].pose_by_rotations(crowd.rotations[:, hand], crowd.shape, crowd.translation[:, hand])
    torch.testing.assert_close(whole.keypoints.float(), crowd.keypoints[:, hand], atol=1e-6, rtol=0)


def test_the_same_generator_gives_the_same_hands(models, crowd):
    again = CrowdSampler(models).draw(np.random.default_rng(1), 400)
    other = CrowdSampler(models).draw(np.random.default_rng(2), 400)
    assert torch.equal(again.keypoints, crowd.keypoints)
    assert not torch.equal(other.keypoints, crowd.keypoints)


def test_angles_fill_the_range_of_motion():
    """Every joint reaches both ends of its range, and fingers move on their own as well as together."""
    angles = draw_angles(np.random.default_rng(3), 4000)
    low, high = np.array([LIMITS[name.split(".")[1]] for name in ANGLE_NAMES]).T
    assert (angles >= low - BEYOND).all() and (angles <= high + BEYOND).all()
    assert (np.quantile(angles, 0.02, axis=0) < low + 0.15 * (high - low)).all()
    assert (np.quantile(angles, 0.98, axis=0) > high - 0.15 * (high - low)).all()
    together = np.corrcoef(angles[:, ANGLE_NAMES.index("index.pip")], angles[:, ANGLE_NAMES.index("ring.pip")])[0, 1]
    assert 0.15 < together < 0.8


def test_most_pairs_are_close_and_some_are_apart(crowd):
    nearest = torch.cdist(crowd.keypoints[:, 0], crowd.keypoints[:, 1]).flatten(1).amin(1)
    assert (nearest < 0.03).float().mean() > 0.7
    assert (nearest > 0.06).float().mean() > 0.05
    torch.testing.assert_close(crowd.keypoints.mean(dim=(1, 2)), torch.zeros(400, 3), atol=1e-5, rtol=0)
