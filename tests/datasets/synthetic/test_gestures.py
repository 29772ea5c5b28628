"""Finger poses: inverse, limits, mirror, and what the angles do to a hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.datasets.synthetic.gestures import ANGLE_NAMES, GESTURES, GesturePrior, limits_of
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError

MODELS = builtin_hand_models()
PRIOR = GesturePrior(MODELS[Side.RIGHT])
FINGERTIPS = {"index": (5, 6, 7, 8), "middle": (9, 10, 11, 12), "ring": (13, 14, 15, 16), "little": (17, 18, 19, 20)}


def keypoints(angles, side=Side.RIGHT):
    pose = np.concatenate([np.zeros(3), PRIOR.pose(angles, side)])
    return MODELS[side].pose(pose[None], np.zeros((1, 10))).keypoints[0].numpy()


def turn(first, second):
    """Degrees between two bones."""
    return np.degrees(np.arccos(np.clip(first @ second / np.linalg.norm(first) / np.linalg.norm(second), -1, 1)))


@given(st.integers(0, 100_000), st.sampled_from(list(Side)))
@settings(max_examples=60)
def test_angles_are_read_back_and_within_limits(seed, side):
    angles, gesture = PRIOR.draw(np.random.default_rng(seed))
    assert gesture in GESTURES
    for name, angle in zip(ANGLE_NAMES, angles, strict=True):
        low, high = limits_of(name)
        assert low <= angle <= high, name
    np.testing.assert_allclose(PRIOR.angles_of(PRIOR.pose(angles, side), side), angles, atol=1e-8)


def test_left_hand_is_the_mirrored_right_hand():
    angles, _ = PRIOR.draw(np.random.default_rng(3))
    right, left = keypoints(angles, Side.RIGHT), keypoints(angles, Side.LEFT)
    np.testing.assert_allclose(Side.LEFT.mirror_points(left), right, atol=1e-6)


@pytest.mark.parametrize("finger", FINGERTIPS)
def test_flexion_is_the_angle_between_bones_and_bends_towards_the_palm(finger):
    """Anatomical angles measured on the posed keypoints, without the prior's own axes; the palm is at -y."""
    base, middle, outer, tip = FINGERTIPS[finger]
    angles = np.zeros(20)
    angles[ANGLE_NAMES.index(f"{finger}.pip")] = 60
    straight, bent = keypoints(np.zeros(20)), keypoints(angles)
    first, second = bent[middle] - bent[base], bent[outer] - bent[middle]
    assert turn(first, second) == pytest.approx(60, abs=0.5)
    assert (
        turn(straight[middle] - straight[base], straight[outer] - straight[middle]) < 6
    )  # the template bends sideways a little
    assert bent[tip, 1] < straight[tip, 1] - 0.01


def test_gestures_differ_in_how_closed_they_are():
    closed = {name: [] for name in GESTURES}
    rng = np.random.default_rng(0)
    pip = [ANGLE_NAMES.index(f"{finger}.pip") for finger in ("middle", "ring", "little")]
    for _ in range(600):
        angles, gesture = PRIOR.draw(rng)
        closed[gesture].append(angles[pip].mean())
    means = {name: np.mean(values) for name, values in closed.items()}
    assert means["open"] < 25 < means["relaxed"] < 60 < means["fist"]
    shares = {name: len(values) / 600 for name, values in closed.items()}
    assert all(abs(shares[name] - GESTURES[name][0]) < 0.07 for name in GESTURES)


def test_refuses_the_left_model():
    with pytest.raises(DataError, match="right"):
        GesturePrior(MODELS[Side.LEFT])
