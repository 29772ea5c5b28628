"""IntagHand's hands in the world: their pixels in the crop's camera, their depth, and predictions that cannot be placed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from im2hands.datasets.two_hand_item import BONE_LENGTH
from im2hands.geometry.cameras import Camera
from im2hands.hands.joints import MIDDLE_BASE
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.networks.intaghand import CROP
from im2hands.reconstruction.predicted_hands import placed
from tests.reconstruction.rest_prediction import prediction


@pytest.fixture(scope="module")
def models():
    return builtin_hand_models()


@pytest.fixture
def camera() -> Camera:
    """A crop's camera, turned and displaced; the two focal lengths are equal, as a crop's are."""
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    intrinsics = np.array([[2000.0, 0, 140], [0, 2000.0, 110], [0, 0, 1]])
    return Camera(intrinsics, turn, np.array([0.1, -0.2, 0.3]))


def test_placed_hands_appear_where_their_projection_puts_them(models, camera):
    """The middle base projects exactly; the rest to the perspective of a hand that is 10 cm deep at 2 m."""
    made = prediction(models, [3.9, 3.9], [[0.1, -0.2], [0.1, -0.2]])
    hands = placed(made, 0, 7, camera, models)
    assert hands.frame == 7 and hands.reason is None
    for side in Side:
        pixels = camera.project(hands.vertices[side.index])
        assert np.abs(pixels - made.hands[side].vertices_2d[0].numpy()).max() < 0.1 * CROP
        expected = models[side].regress(torch.from_numpy(hands.vertices[side.index])[None].to(models[side].dtype))
        np.testing.assert_allclose(hands.keypoints[side.index], expected[0].numpy(), atol=1e-6)
    root = camera.project(hands.keypoints[Side.LEFT.index, MIDDLE_BASE])
    np.testing.assert_allclose(root, np.array([0.1, -0.2]) * 128 + 128, atol=1e-2)


def test_depth_makes_a_hand_appear_as_large_as_predicted(models, camera):
    """At the predicted scale, a length across the view is as many pixels as its projection: fx / depth a metre."""
    hands = placed(prediction(models, [4.0, 2.0], [[0.0, 0.0]] * 2), 0, 0, camera, models)
    depth = camera.to_camera(hands.keypoints[Side.LEFT.index, MIDDLE_BASE])[2]
    assert depth == pytest.approx(2000 / (CROP * 3.0), rel=1e-5)


def test_shape_and_relative_depth_are_the_predicted_ones(models, camera):
    """In the camera's axes the meshes are the predicted ones, in metres: the unit of BONE_LENGTH; hands keep their offset."""
    made = prediction(models, [3.0, 3.0], [[0.3, 0.0]] * 2)
    hands = placed(made, 0, 0, camera, models)
    seen = camera.to_camera(hands.vertices)
    first = made.hands[Side.LEFT].vertices[0].numpy()
    for side in Side:
        vertices = made.hands[side].vertices[0].numpy()
        np.testing.assert_allclose(seen[side.index] - seen[Side.LEFT.index][0], vertices - first[0], atol=1e-6)
    assert BONE_LENGTH == 0.095


def test_every_hand_stands_where_its_own_projection_puts_it(models, camera):
    """Other shifts move a hand across the view and not in depth."""
    together = placed(prediction(models, [3.0, 3.0], [[0.0, 0.0], [0.0, 0.0]]), 0, 0, camera, models)
    apart = placed(prediction(models, [3.0, 3.0], [[0.0, 0.0], [0.5, 0.0]]), 0, 0, camera, models)
    moved = camera.to_camera(apart.keypoints) - camera.to_camera(together.keypoints)
    np.testing.assert_allclose(moved[Side.LEFT.index], 0, atol=1e-9)
    np.testing.assert_allclose(moved[Side.RIGHT.index], np.tile([0.5 / (2 * 3.0), 0, 0], (21, 1)), atol=1e-6)


@pytest.mark.parametrize("scales", [[0.0, 0.0], [-3.0, -3.0], [float("nan"), 3.0], [1e-4, 1e-4], [float("inf"), 3.0]])
def test_scales_that_put_hands_nowhere_are_said(models, camera, scales):
    hands = placed(prediction(models, scales, [[0.0, 0.0]] * 2), 0, 0, camera, models)
    assert "puts the hands nowhere" in hands.reason
    assert np.isnan(hands.vertices).all() and np.isnan(hands.keypoints).all()


def test_a_prediction_that_is_no_number_is_said(models, camera):
    made = prediction(models, [3.0, 3.0], [[0.0, 0.0]] * 2)
    made.hands[Side.RIGHT].vertices[0, 5] = float("inf")
    hands = placed(made, 0, 0, camera, models)
    assert hands.reason == "the prediction is not finite"
    assert np.isnan(hands.keypoints).all()
