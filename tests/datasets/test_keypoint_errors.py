"""Detectors' errors: of the stated sizes and kinds, missing joints marked, one hand of a pair always left."""

from __future__ import annotations

import numpy as np
import pytest

from im2hands.datasets.keypoint_errors import with_errors

PAIRS = 3000


@pytest.fixture(scope="module")
def given():
    return with_errors(np.zeros((PAIRS, 2, 21, 3)), np.random.default_rng(0), 20.0)


def test_a_pair_keeps_one_hand(given):
    seen = np.isfinite(given.keypoints).all(-1)
    assert seen.any(-1).any(-1).all()
    assert 0.03 < (~seen.any(-1)).any(-1).mean() < 0.12
    assert 0.05 < (~seen).mean() < 0.2
    assert (np.isnan(given.keypoints).any(-1) == np.isnan(given.keypoints).all(-1)).all()


def test_told_sigmas_are_those_of_the_errors(given):
    """Errors about the hand's own shift, over told sigmas, have about a unit deviation, whatever their kind."""
    told = np.isfinite(given.sigma).all(-1) & np.isfinite(given.keypoints).any(axis=(2, 3))
    assert 0.4 < told.mean() < 0.7
    errors = given.keypoints[told] - np.nanmedian(given.keypoints[told], axis=1, keepdims=True)
    ratio = np.nanmedian(np.abs(errors / given.sigma[told][..., None]))
    assert 0.45 < ratio < 0.8  # of a normal distribution: 0.67


def test_errors_grow_along_fingers_for_some_hands(given):
    """Tips of one finger share more of their error with the joint below than with the neighbour's tip."""
    errors = given.keypoints.reshape(-1, 21, 3)
    errors = errors[np.isfinite(errors).all((1, 2)) & (np.abs(errors).max((1, 2)) < 0.03)]
    own = (errors[:, 8] * errors[:, 7]).sum(-1).mean()
    neighbour = (errors[:, 8] * errors[:, 12]).sum(-1).mean()
    assert own > 1.1 * neighbour > 0


def test_the_largest_size_is_kept(given):
    errors = given.keypoints.reshape(-1, 21, 3)
    errors = errors[np.isfinite(errors).any(axis=(1, 2))]
    sizes = np.nanmedian(np.abs(errors - np.nanmedian(errors, axis=1, keepdims=True)), axis=(1, 2)) / 0.67
    assert np.nanquantile(sizes, 0.99) < 0.022 and np.nanquantile(sizes, 0.02) < 0.002
