"""Hands from pixels alone: they lie on their pixels, are as large as hands are, and say how far away they may be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from im2hands.datasets.synthetic.hand_crowd import CrowdSampler
from im2hands.geometry.cameras import Camera, project
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.landmarks import palm_size
from im2hands.photographs.pixel_hands import hands_from_pixels

INTRINSICS = np.array([[620.0, 0, 250], [0, 610, 260], [0, 0, 1]])
CAMERA = Camera(INTRINSICS, np.eye(3), np.zeros(3))


@pytest.fixture(scope="module")
def pairs() -> np.ndarray:
    """Pairs of hands before the camera, m."""
    drawn = CrowdSampler(builtin_hand_models()).draw(np.random.default_rng(7), 40).keypoints
    return drawn.double().numpy() + np.array([0.02, -0.03, 0.7])


def pixels_of(pair: np.ndarray, noise: float = 0.0, seed: int = 0) -> dict[Side, np.ndarray]:
    random = np.random.default_rng(seed)
    return {side: project(pair[side.index], INTRINSICS) + random.normal(0, noise, (21, 2)) for side in SIDES}


def about_wrist(keypoints: np.ndarray) -> np.ndarray:
    return keypoints - keypoints[:, :1]


def test_hands_come_out_near_the_true_ones_and_say_how_near(pairs):
    """3 pixels of noise: 15 mm about the wrist in the median; distances are in their intervals as often as they say."""
    errors, inside, within = [], [], []
    for number, pair in enumerate(pairs):
        found = hands_from_pixels(pixels_of(pair, 3.0, number), CAMERA)
        errors.append(1000 * np.linalg.norm(about_wrist(found.keypoints) - about_wrist(pair), axis=-1).mean())
        distance = pair[:, :, 2].mean(axis=1)
        inside += ((found.distance[:, 1] < distance) & (distance < found.distance[:, 2])).tolist()
        apart = np.abs(about_wrist(found.keypoints) - about_wrist(pair))[:, 1:]
        within.append((apart < 1.645 * found.sigma[:, 1:, None]).mean())
    assert np.median(errors) < 15
    assert np.mean(inside) > 0.8 and 0.8 < np.mean(within) < 0.98


def test_a_third_of_the_joints_may_be_missing(pairs):
    errors = []
    for number, pair in enumerate(pairs[:20]):
        pixels = pixels_of(pair, 3.0, number)
        for places in pixels.values():
            places[np.random.default_rng(number).permutation(21)[:6]] = np.nan
        found = hands_from_pixels(pixels, CAMERA).keypoints
        errors.append(1000 * np.linalg.norm(about_wrist(found) - about_wrist(pair), axis=-1).mean())
    assert np.median(errors) < 20


def test_one_hand_and_the_world(pairs):
    """A missing hand stays missing; the camera's place turns and moves what comes out, and nothing else."""
    pixels = {Side.LEFT: pixels_of(pairs[0])[Side.LEFT]}
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    here, there = hands_from_pixels(pixels, CAMERA), hands_from_pixels(pixels, Camera(INTRINSICS, turn, np.ones(3)))
    left, right = Side.LEFT.index, Side.RIGHT.index
    assert np.isnan(here.keypoints[right]).all() and np.isnan(here.distance[right]).all()
    np.testing.assert_allclose(there.keypoints[left] @ turn.T + 1, here.keypoints[left], atol=1e-9)


def test_a_known_palm_sets_the_size(pairs):
    """Hands of that size on the same pixels; nothing about the distance is open then but the pose."""
    free, scaled = hands_from_pixels(pixels_of(pairs[1]), CAMERA), hands_from_pixels(pixels_of(pairs[1]), CAMERA, 0.09)
    assert np.mean([palm_size(hand) for hand in scaled.keypoints]) == pytest.approx(0.09, rel=1e-6)
    for ours, theirs in zip(free.keypoints, scaled.keypoints, strict=True):
        np.testing.assert_allclose(project(ours, INTRINSICS), project(theirs, INTRINSICS), atol=1e-6)
    assert np.ptp(scaled.distance[:, 1:]) < np.ptp(free.distance[:, 1:])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda pixels: pixels * 0, "left hand: all landmarks are in one pixel"),
        (
            lambda pixels: np.where(np.arange(21)[:, None] < 16, np.nan, pixels),
            "left hand: only 5 landmarks have pixels",
        ),
    ],
)
def test_bad_pixels(pairs, damage, sentence):
    pixels = pixels_of(pairs[0])
    pixels[Side.LEFT] = damage(pixels[Side.LEFT])
    with pytest.raises(DataError, match=sentence):
        hands_from_pixels(pixels, CAMERA)


def test_the_same_on_every_call(pairs):
    torch.manual_seed(1)
    first = hands_from_pixels(pixels_of(pairs[2], 2.0), CAMERA)
    torch.manual_seed(2)
    assert np.array_equal(hands_from_pixels(pixels_of(pairs[2], 2.0), CAMERA).keypoints, first.keypoints)
