"""The skeleton gives the keypoints of the whole hand model."""

from __future__ import annotations

import pytest
import torch

from im2hands.geometry.rotations import axis_angle_to_matrix
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.hands.skeleton import HandSkeleton, both_sides, both_sides_rotations


@pytest.fixture(scope="module")
def models():
    models = builtin_hand_models()
    left = models[Side.LEFT].to(dtype=models[Side.LEFT].dtype)
    # As with MANO files, the left hand is not exactly the mirror image of the right one.
    object.__setattr__(left, "template", left.template * torch.tensor([1.0, 1.02, 0.99]))
    return {Side.LEFT: left, Side.RIGHT: models[Side.RIGHT]}


def test_keypoints_are_those_of_the_whole_model(models):
    torch.manual_seed(0)
    rotations = axis_angle_to_matrix(torch.randn(7, 2, 16, 3))
    shape, translation = torch.randn(7, 2, 10), torch.randn(7, 2, 3)
    skeleton = HandSkeleton.of(models)
    found = both_sides(skeleton.keypoints(both_sides_rotations(rotations), shape, both_sides(translation)))
    for side in SIDES:
        hand = side.index
        whole = models[side].pose_by_rotations(rotations[:, hand], shape[:, hand], translation[:, hand])
        torch.testing.assert_close(found[:, hand], whole.keypoints, atol=2e-6, rtol=0, check_dtype=False)


def test_rest_keypoints_are_those_without_turns(models):
    skeleton = HandSkeleton.of(models)
    still = torch.eye(3).expand(1, 2, 16, 3, 3)
    posed = skeleton.keypoints(still, torch.zeros(1, 2, 10), torch.zeros(1, 2, 3))
    torch.testing.assert_close(posed[0], skeleton.rest_keypoints(), atol=1e-6, rtol=0, check_dtype=False)
