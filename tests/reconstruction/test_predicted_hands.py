"""IntagHand's hands in the world: their pixels in the crop's camera, their depth, and predictions that cannot be placed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from im2hands.datasets.two_hand_item import BONE_LENGTH
from im2hands.geometry.cameras import Camera
from im2hands.hands.joints import MIDDLE_BASE, PALM
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.networks.intaghand import CROP, HandPairPrediction
from im2hands.reconstruction.predicted_hands import halfway, hands_in, placed, placed_mirrored
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


# ---- axes of the crop


def in_axes_of_the_crop(made: HandPairPrediction) -> HandPairPrediction:
    return replace(made, axes="consistent")


def mirrored(made: HandPairPrediction) -> HandPairPrediction:
    """What a network that makes no difference between a picture and its mirror image says of the latter."""
    hands = {}
    for side in Side:
        hand = made.hands[side.other]
        shift = torch.stack([-hand.shift[:, 0] - 1 / 128, hand.shift[:, 1]], 1)  # pixel 255 - x
        hands[side] = replace(hand, vertices=hand.vertices * torch.tensor([-1, 1, 1]), shift=shift)
    return replace(made, hands=hands)


def test_hands_in_the_crops_axes_are_turned_to_the_ray_through_its_middle(models, camera):
    """At the edge of a picture the camera sees a hand from the side: by the angle between that ray and its axis."""
    made = prediction(models, [3.0, 3.0], [[0.0, 0.0]] * 2)
    beside = camera.cropped(np.array([[1.0, 0, 700], [0, 1.0, 0]]))
    plain, turned = (placed(each, 0, 0, beside, models) for each in (made, in_axes_of_the_crop(made)))
    hands = [beside.to_camera(each.vertices[0]) for each in (plain, turned)]
    found, rssd = Rotation.align_vectors(hands[1] - hands[1].mean(0), hands[0] - hands[0].mean(0))
    ray = np.linalg.solve(beside.intrinsics, [127.5, 127.5, 1])
    assert rssd < 1e-5
    assert found.apply([0, 0, 1]) == pytest.approx(ray / np.linalg.norm(ray), abs=1e-6)


@pytest.mark.parametrize("axes", ["published", "consistent"])
def test_the_mirror_image_shows_the_same_hands(models, camera, axes):
    """Skewed pixels and a crop beside the middle too."""
    camera.intrinsics[0, 1] = 20
    made = replace(prediction(models, [3.0, 3.0], [[0.2, -0.1], [0.3, 0.1]]), axes=axes)
    seen, again = placed(made, 0, 5, camera, models), placed_mirrored(mirrored(made), 0, 5, camera, models)
    assert again.frame == 5
    np.testing.assert_allclose(again.vertices, seen.vertices, atol=1e-6)
    np.testing.assert_allclose(again.keypoints, seen.keypoints, atol=1e-6)


class Seeing:
    """In place of IntagHand: a prediction for crops that are bright on the left, another for those that are dark there."""

    def __init__(self, bright: HandPairPrediction, dark: HandPairPrediction) -> None:
        self.answers, self.crops = {True: bright, False: dark}, 0

    def __call__(self, crops: torch.Tensor) -> HandPairPrediction:
        self.crops += len(crops)
        return self.answers[bool(crops[0, 0, 0, 0] > crops[0, 0, 0, -1])]


def test_a_crop_and_its_mirror_image_are_asked_and_their_mean_is_taken(models, camera):
    image = np.zeros((CROP, CROP, 3), np.uint8)
    image[:, :128] = 255
    one, other = (in_axes_of_the_crop(prediction(models, [s, s], [[0.1, 0.0]] * 2)) for s in (3.0, 4.0))
    network = Seeing(one, mirrored(other))
    (found,) = hands_in(network, models, [image], [camera])
    both = [placed(each, 0, 0, camera, models) for each in (one, other)]
    np.testing.assert_allclose(found.vertices, np.mean([each.vertices for each in both], 0), atol=1e-6)
    np.testing.assert_allclose(found.keypoints, np.mean([each.keypoints for each in both], 0), atol=1e-6)
    assert network.crops == 2


def test_one_of_the_two_answers_is_enough(models, camera):
    image = np.zeros((CROP, CROP, 3), np.uint8)
    image[:, :128] = 255
    good, nowhere = (in_axes_of_the_crop(prediction(models, [s, s], [[0.1, 0.0]] * 2)) for s in (3.0, -1.0))
    expected = placed(good, 0, 0, camera, models)
    for network in (Seeing(good, nowhere), Seeing(nowhere, mirrored(good))):
        (found,) = hands_in(network, models, [image], [camera])
        assert found.reason is None
        np.testing.assert_allclose(found.vertices, expected.vertices, atol=1e-6)
    (none,) = hands_in(Seeing(nowhere, nowhere), models, [image], [camera])
    assert "puts the hands nowhere" in none.reason


def test_a_published_network_sees_a_crop_once(models, camera):
    network = Seeing(*[prediction(models, [3.0, 3.0], [[0.1, 0.0]] * 2)] * 2)
    hands_in(network, models, [np.zeros((CROP, CROP, 3), np.uint8)], [camera])
    assert network.crops == 1


@pytest.mark.parametrize("angle", [0.0, 40.0, 170.0])
def test_the_hand_halfway_between_two_turned_hands_is_a_hand(models, angle):
    """Turned by half the angle about the same axis, with the shape of both; a plain mean would lose half its width."""
    hand = models[Side.RIGHT].regress(models[Side.RIGHT].template[None])[0].numpy()
    axis = np.array([0.6, 0.64, 0.48])
    centre, away = hand[list(PALM)].mean(0), np.array([0.01, 0.02, -0.04])

    def turned(degrees: float) -> np.ndarray:
        return Rotation.from_rotvec(np.radians(degrees) * axis).apply(hand - centre) + centre

    found = halfway(turned(10) + away, turned(10 + angle) - away)
    np.testing.assert_allclose(found, turned(10 + angle / 2), atol=1e-9)
