"""Placing a detector's landmarks: exact without noise, millimetres with it, the same in every picture of the same hands."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from im2hands.geometry.cameras import Camera, project
from im2hands.hands.joints import WRIST
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.landmarks import (
    Landmarks,
    keypoints_from_landmarks,
    palm_size,
    place_hand,
    typical_palm,
)

INTRINSICS = np.array([[1200.0, 0, 300], [0, 1190, 260], [0, 0, 1]])
MODELS = builtin_hand_models()
SEEDS = st.integers(0, 10_000)


def true_hand(seed: int, side: Side = Side.RIGHT) -> np.ndarray:
    """Keypoints of a posed hand before the camera, m."""
    random = np.random.default_rng(seed)
    pose = np.concatenate([random.normal(0, 1, 3), random.normal(0, 0.3, 45)])
    posed = MODELS[side].pose(torch.tensor(pose)[None], torch.tensor(random.normal(0, 1, (1, 10))))
    hand = posed.keypoints[0].numpy()
    return hand - hand[WRIST] + random.uniform([-0.1, -0.1, 0.5], [0.1, 0.1, 1.0])


def seen(hand: np.ndarray, unit: float = 7.0) -> Landmarks:
    """What a detector without error says of it; its 3-D landmarks in a unit of their own."""
    return Landmarks(project(hand, INTRINSICS), (hand - hand[WRIST]) * unit + [3.0, -2.0, 5.0])


def error_mm(found: np.ndarray, true: np.ndarray) -> float:
    return float(1e3 * np.linalg.norm(found - true, axis=-1).mean())


@settings(max_examples=20)
@given(seed=SEEDS, unit=st.floats(1e-3, 1e4), turn=st.floats(0, 0.5))
@pytest.mark.parametrize("axes", ["camera", "free"])
def test_exact_without_noise_if_the_palm_is_known(axes, seed, unit, turn):
    hand = true_hand(seed)
    landmarks = seen(hand, unit)
    if axes == "free":
        relative = Rotation.from_rotvec([turn, -turn, turn / 2]).apply(landmarks.relative)
        landmarks = Landmarks(landmarks.pixels, relative)
    placed = place_hand(landmarks, INTRINSICS, palm_size(hand), axes)
    assert error_mm(placed.keypoints, hand) < 0.01
    assert placed.errors.max() < 0.01


def test_axes_along_the_ray_undo_the_turn_of_a_crop():
    hand = np.add(true_hand(3), [0.25, -0.1, 0])
    middle = hand.mean(axis=0) / np.linalg.norm(hand.mean(axis=0))
    axis = np.cross([0, 0, 1], middle)
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.arccos(middle[2]))
    landmarks = Landmarks(project(hand, INTRINSICS), turn.inv().apply(hand))
    along = place_hand(landmarks, INTRINSICS, palm_size(hand), "ray").keypoints
    as_camera = place_hand(landmarks, INTRINSICS, palm_size(hand), "camera").keypoints
    assert error_mm(along, hand) < 5 < error_mm(as_camera, hand)


@settings(max_examples=15)
@given(seed=SEEDS, zoom=st.floats(0.2, 5), shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)))
def test_scaling_and_cropping_the_picture_changes_nothing(seed, zoom, shift):
    hand = true_hand(seed)
    landmarks = noisy(hand, np.random.default_rng(seed), pixels=1.0)
    change = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]], [0, 0, 1]])
    changed = Landmarks(landmarks.pixels * zoom + shift, landmarks.relative)
    one, other = place_hand(landmarks, INTRINSICS), place_hand(changed, change @ INTRINSICS)
    np.testing.assert_allclose(other.keypoints, one.keypoints, atol=2e-5)
    np.testing.assert_allclose(other.errors, one.errors * zoom, rtol=1e-2, atol=1e-2)


@settings(max_examples=15)
@given(seed=SEEDS)
def test_a_mirrored_picture_gives_the_mirrored_hand(seed):
    landmarks = noisy(true_hand(seed), np.random.default_rng(seed), pixels=1.0)
    flip = np.diag([-1.0, 1, 1])
    centre = INTRINSICS[0, 2]
    mirrored = Landmarks(landmarks.pixels * [-1, 1] + [2 * centre, 0], landmarks.relative @ flip)
    found = place_hand(mirrored, INTRINSICS).keypoints @ flip
    np.testing.assert_allclose(found, place_hand(landmarks, INTRINSICS).keypoints, atol=2e-5)


def noisy(hand: np.ndarray, random: np.random.Generator, pixels: float = 0.0, millimetres: float = 0.0) -> Landmarks:
    landmarks = seen(hand, unit=1.0)
    return Landmarks(
        landmarks.pixels + random.normal(0, pixels, (21, 2)),
        landmarks.relative + random.normal(0, 1e-3 * millimetres, (21, 3)),
    )


@pytest.mark.parametrize(
    ("pixels", "millimetres", "wrong", "allowed_mm"), [(1, 0, 0, 3), (1, 0, 2, 5), (1, 3, 0, 30), (0, 0, 2, 3)]
)
def test_error_under_noise_and_wrong_landmarks(pixels, millimetres, wrong, allowed_mm):
    """Mean over 40 hands half a metre to a metre away; nearly all of it is distance from the camera."""
    errors = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        hand = true_hand(seed, list(Side)[seed % 2])
        landmarks = noisy(hand, random, pixels, millimetres)
        landmarks.pixels[random.choice(21, wrong, replace=False)] += 80
        errors.append(error_mm(place_hand(landmarks, INTRINSICS, palm_size(hand)).keypoints, hand))
    assert 0 < np.mean(errors) < allowed_mm


def test_as_good_as_opencv_where_the_orientation_is_free():
    """OpenCV's solution, refined, without weights; noise without outliers."""
    for seed in range(10):
        hand = true_hand(seed)
        landmarks = noisy(hand, np.random.default_rng(seed), pixels=0.5)
        scaled = landmarks.relative * palm_size(hand) / palm_size(landmarks.relative)
        _, *begin = cv2.solvePnP(scaled, landmarks.pixels, INTRINSICS, None, flags=cv2.SOLVEPNP_SQPNP)
        turn, place = cv2.solvePnPRefineLM(scaled, landmarks.pixels, INTRINSICS, None, *begin)
        by_opencv = scaled @ cv2.Rodrigues(turn)[0].T + place.ravel()
        ours = place_hand(landmarks, INTRINSICS, palm_size(hand), "free").keypoints
        assert error_mm(ours, by_opencv) < 0.3


def test_no_place_nearby_fits_better():
    landmarks = noisy(true_hand(5), np.random.default_rng(5), pixels=0.5)
    found = place_hand(landmarks, INTRINSICS).keypoints

    def squared(keypoints: np.ndarray) -> float:
        return float(np.square(project(keypoints, INTRINSICS) - landmarks.pixels).sum())

    moves = np.random.default_rng(0).normal(0, 1e-3, (200, 3)) * [1, 1, 5]
    assert all(squared(found + move) > squared(found) * 0.999 for move in moves)


def test_both_hands_share_the_error_of_an_assumed_palm():
    """A wrong size moves both hands along their rays alike: their distance is less wrong than their place."""
    turned = Camera(INTRINSICS, Rotation.from_rotvec([0.2, 0.5, -0.1]).as_matrix(), np.array([0.1, -0.2, 0.3]))
    hands = {}
    for side in Side:
        hand = true_hand(11, side)
        hands[side] = hand - hand[WRIST] + [0.06 * (1 if side is Side.RIGHT else -1), 0, 0.7]
    landmarks = {side: seen(hand) for side, hand in hands.items()}
    true = np.stack([turned.to_world(hands[side]) for side in SIDES])
    palm = palm_size(hands[Side.LEFT])
    assert error_mm(keypoints_from_landmarks(landmarks, turned, palm), true) < 0.1
    found = keypoints_from_landmarks(landmarks, turned, 1.05 * palm)
    apart = np.linalg.norm((found[0] - found[1] - true[0] + true[1])[WRIST])
    assert apart < 0.01 < 0.03 < error_mm(found, true) / 1e3 < 0.04
    one = keypoints_from_landmarks({Side.RIGHT: landmarks[Side.RIGHT]}, turned)
    assert np.isnan(one[Side.LEFT.index]).all() and np.isfinite(one[Side.RIGHT.index]).all()


def test_unseen_landmarks_are_filled_in():
    hand = true_hand(2)
    landmarks = seen(hand)
    landmarks.pixels[[4, 8, 12, 16, 20]] = np.nan
    placed = place_hand(landmarks, INTRINSICS, palm_size(hand))
    assert error_mm(placed.keypoints, hand) < 0.01
    assert np.flatnonzero(np.isnan(placed.errors)).tolist() == [4, 8, 12, 16, 20]


def test_typical_palm_is_that_of_an_adult_hand():
    assert 0.07 < typical_palm() < 0.11


def few(landmarks: Landmarks) -> Landmarks:
    pixels = landmarks.pixels.copy()
    pixels[5:] = np.nan
    return Landmarks(pixels, landmarks.relative)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda one: Landmarks(one.pixels[:20], one.relative), "not (21, 2) and (21, 3)"),
        (lambda one: Landmarks(one.pixels, one.relative * np.nan), "not finite"),
        (few, "only 5 landmarks have pixels"),
        (lambda one: Landmarks(one.pixels * 0, one.relative), "in one pixel"),
        (lambda one: Landmarks(one.pixels, one.relative * 0), "no size"),
        (lambda one: Landmarks(one.pixels * [-1, -1], one.relative), "behind the camera"),
    ],
)
def test_bad_landmarks_are_named_with_their_hand(damage, sentence):
    camera = Camera(INTRINSICS, np.eye(3), np.zeros(3))
    with pytest.raises(DataError) as caught:
        keypoints_from_landmarks({Side.LEFT: damage(seen(true_hand(1)))}, camera)
    assert str(caught.value).startswith("left hand: ") and sentence in str(caught.value)
