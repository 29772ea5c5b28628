"""Keypoint errors: hand-worked values, what the protocols ignore and what they must not, and the golden numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from im2hands.evaluation import interhand_metrics
from im2hands.evaluation.interhand_metrics import LEFT_WRIST, RIGHT_WRIST, HeatMapPrediction, InterHandTruth
from im2hands.evaluation.keypoint_metrics import (
    INTAGHAND,
    KNUCKLE_UNSCALED,
    PROTOCOLS,
    WRIST_UNSCALED,
    joint_errors,
    mean_error,
    point_errors,
    root_offset_error,
)
from im2hands.io.errors import DataError
from im2hands.parity.cases.metrics import CASE, errors_of, hands_of
from tests.reference import FOLDER


def joints(seed: int, samples: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, (samples, 21, 3))


def test_kinematic_joints_as_truth_give_another_number():
    """Using the wrong kind of true joints changes the mean by far more than the tolerance."""
    golden = FOLDER.find(CASE.name)
    for side, hand in hands_of(golden, FOLDER).items():
        wrong = joint_errors(hand["pred_joints"], golden[f"{side.value}_gt_joints_kinematic"])
        assert abs(wrong.mean() - errors_of(hand, INTAGHAND)[0].mean()) > 0.1


def test_hand_worked_errors():
    """One joint 3 mm off, the predicted hand twice as large and elsewhere."""
    true = np.zeros((1, 21, 3))
    true[0, 9] = [0, 0.1, 0]
    predicted = true.copy()
    predicted[0, 20, 0] = 0.003
    predicted = 2 * predicted + 5
    expected = np.zeros((1, 21))
    expected[0, 20] = 3
    np.testing.assert_allclose(joint_errors(predicted, true), expected, atol=1e-9)
    unscaled = joint_errors(predicted, true, WRIST_UNSCALED)
    np.testing.assert_allclose(unscaled[0, [0, 9, 20]], [0, 100, 6], atol=1e-9)
    assert joint_errors(predicted, true, KNUCKLE_UNSCALED)[0, 9] == 0


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_shifts_never_count_and_scale_counts_where_it_should(protocol):
    predicted, true = joints(0), joints(1)
    errors = joint_errors(predicted, true, protocol)
    assert (errors[:, protocol.root] == 0).all()
    np.testing.assert_allclose(joint_errors(predicted + np.array([1, -2, 3]), true - 7, protocol), errors, rtol=1e-9)
    assert np.allclose(joint_errors(1.3 * predicted, true, protocol), errors) == protocol.scaled
    quarter_turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert not np.allclose(joint_errors(predicted @ quarter_turn, true, protocol), errors)


def test_vertices_are_laid_over_by_their_joints():
    """Errors of the joints themselves, given as points, are the joint errors."""
    predicted, true = joints(0), joints(1)
    points = np.random.default_rng(2).normal(size=(2, 4, 30, 3))
    assert np.array_equal(point_errors(predicted, true, predicted, true), joint_errors(predicted, true))
    assert point_errors(points[0], points[1], predicted, true).shape == (4, 30)


def test_a_hand_without_size_is_counted_not_averaged():
    predicted, true = joints(0), joints(1)
    predicted[2] = 0.5
    errors = joint_errors(predicted, true)
    assert np.isnan(errors[2]).all()
    mean = mean_error(errors)
    assert (mean.samples, mean.unusable) == (4, 1)
    assert mean.millimetres == pytest.approx(errors[[0, 1, 3]].mean())
    assert np.isfinite(joint_errors(predicted, true, WRIST_UNSCALED)).all()
    assert np.isnan(mean_error(errors[2:3]).millimetres)


def test_shapes_that_do_not_correspond_are_refused():
    with pytest.raises(DataError, match="do not match"):
        joint_errors(joints(0), joints(1, samples=5))
    with pytest.raises(DataError, match=r"\(samples, 21, 3\)"):
        joint_errors(joints(0)[:, :20], joints(1)[:, :20])


def test_offset_between_hands_is_measured_apart_from_each_hand():
    left, right = joints(0), joints(1)
    error = root_offset_error(left[:, 0] + 1, right[:, 0] + 1, left[:, 0], right[:, 0])
    np.testing.assert_allclose(error, 0, atol=1e-9)
    moved = root_offset_error(left[:, 0], right[:, 0] + [0, 0.003, 0.004], left[:, 0], right[:, 0])
    np.testing.assert_allclose(moved, 5)


def perfect_detector(seed: int = 0) -> tuple[InterHandTruth, HeatMapPrediction]:
    """Made-up frames and the heat map coordinates that reproduce them exactly."""
    rng = np.random.default_rng(seed)
    frames = 5
    true = rng.normal(0, 60, (frames, 42, 3)) + np.array([0, 0, 1000])
    focal, principal = np.array([[1200.0, 1210.0]]), np.array([[170.0, 250.0]])
    affine = np.stack([np.array([[s, 0, 3.0], [0, s, -8.0]]) for s in rng.uniform(0.5, 2, frames)])
    pixels = true[..., :2] / true[..., 2:] * focal + principal
    crop = (pixels - affine[:, None, :, 2]) / affine[:, 0, 0][:, None, None]
    own = np.repeat([RIGHT_WRIST, LEFT_WRIST], 21)
    depth = ((true[..., 2] - true[:, own, 2]) / 400 + 0.5) * 64
    relative = ((true[:, LEFT_WRIST, 2] - true[:, RIGHT_WRIST, 2]) / 400 + 0.5) * 64
    kinds = ["interacting", "right", "left", "interacting", "right"]
    presence = np.array([[0.9, 0.8], [0.7, 0.1], [0.2, 0.6], [0.6, 0.9], [0.8, 0.4]])
    valid = np.ones((frames, 42), bool)
    truth = InterHandTruth(true, valid, kinds, np.ones(frames, bool), focal, principal, affine)
    return truth, HeatMapPrediction(np.concatenate([crop / 4, depth[..., None]], -1), relative, presence)


def test_a_perfect_detector_has_no_error():
    truth, prediction = perfect_detector()
    errors = interhand_metrics.joint_errors(truth, prediction)
    np.testing.assert_allclose(errors, 0, atol=1e-9)
    offsets = interhand_metrics.relative_root_errors(truth, prediction)
    assert np.array_equal(np.isfinite(offsets), truth.interacting)
    np.testing.assert_allclose(offsets[truth.interacting], 0, atol=1e-9)
    assert interhand_metrics.handedness_accuracy(truth, prediction) == 1


def test_joints_without_annotation_or_wrist_are_not_measured():
    truth, prediction = perfect_detector()
    valid = truth.valid.copy()
    valid[0, 3], valid[3, LEFT_WRIST] = False, False
    truth = replace(truth, valid=valid)
    errors = interhand_metrics.joint_errors(truth, prediction)
    assert np.isnan(errors[0, 3]) and np.isfinite(errors[0, 4])
    assert np.isnan(errors[3, 21:]).all() and np.isfinite(errors[3, :21]).all()
    assert np.isnan(interhand_metrics.relative_root_errors(truth, prediction)[3])


def test_mean_weighs_joints_not_observations():
    errors = np.full((3, 42), np.nan)
    errors[:, 0] = 1
    errors[0, 1] = 5
    assert interhand_metrics.mean_per_joint(errors) == 3
    assert np.isnan(interhand_metrics.mean_per_joint(errors[:, 2:]))


def test_wrists_keep_their_own_depth_in_the_offset():
    """Both wrists' own heat map depths shift the offset: without them the published number is missed."""
    truth, prediction = perfect_detector()
    coordinates = prediction.coordinates.copy()
    coordinates[:, LEFT_WRIST, 2] += 64 / 400
    errors = interhand_metrics.relative_root_errors(truth, replace(prediction, coordinates=coordinates))
    assert (errors[truth.interacting] >= 1).all()


@pytest.mark.parametrize(("presence", "expected"), [([0.5, 0.4], 0), ([0.6, 0.5], 0), ([0.6, 0.4], 1), ([0.6, 0.6], 0)])
def test_a_hand_counts_as_seen_strictly_above_one_half(presence, expected):
    truth, prediction = perfect_detector()
    single = replace(truth, type_valid=np.array([False, True, False, False, False]))
    seen = replace(prediction, presence=np.tile(presence, (5, 1)))
    assert interhand_metrics.handedness_accuracy(single, seen) == expected


def test_unknown_hand_types_are_refused():
    truth, _ = perfect_detector()
    with pytest.raises(DataError, match="unknown hand type 'both'"):
        replace(truth, hand_types=["both"] * 5)
