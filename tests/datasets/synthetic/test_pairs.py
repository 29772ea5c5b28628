"""Drawn pairs and sequences: the quality bars of the dataset, by exact measures."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from im2hands.datasets.synthetic.contact import SurfaceSamples, share_inside_itself, shared_volume
from im2hands.datasets.synthetic.sequences import (
    SequenceId,
    draw_sequence,
    interpolate,
    key_frames,
    pose_fits,
    subject_shape,
)
from im2hands.hands.sides import Side
from tests.datasets.synthetic import bars

IDENTITY = SequenceId(seed=11, split=0, capture=0, sequence=0, subject=0)


@pytest.fixture(scope="module")
def frames(sampler):
    """A sequence of eight frames: fits and posed hands."""
    fits = draw_sequence(sampler, IDENTITY, 8)
    return fits, pose_fits(sampler.models, fits)


@pytest.fixture(scope="module")
def pairs(sampler):
    """Twelve independent pairs, as vertices."""
    rng = np.random.default_rng(5)
    drawn = [sampler.draw(rng, np.clip(rng.normal(size=10), -2, 2)) for _ in range(12)]
    return [(pair, vertices_of(sampler, pair)) for pair in drawn]


def vertices_of(sampler, pair):
    right, left = (sampler.hand(pair.angles[side], pair.shape, side).vertices for side in (Side.RIGHT, Side.LEFT))
    return {Side.RIGHT: right, Side.LEFT: left @ pair.left_rotation.T + pair.left_wrist}


def test_hands_do_not_run_through_themselves(sampler, pairs):
    for _, vertices in pairs:
        for side in Side:
            assert bars.share_inside_itself(vertices[side], sampler.models[side]) <= 0.03


def test_hands_hardly_run_through_one_another(sampler, pairs):
    for _, vertices in pairs:
        assert bars.shared_volume_cm3(vertices, sampler.models) <= 0.3
        for side in Side:
            samples = SurfaceSamples.of(vertices[side], sampler.models[side].faces)
            assert samples.depth_and_distance(vertices[side.other])[0] <= 0.003


def test_gap_is_the_distance_between_the_hands(sampler, pairs):
    """Touching pairs touch, others keep (about) their gap: measured with dense surface points."""
    for pair, vertices in pairs:
        dense = {side: bars.surface_points(vertices[side], sampler.models[side].faces) for side in Side}
        distance = cKDTree(dense[Side.RIGHT]).query(dense[Side.LEFT])[0].min()
        if pair.gap == 0:
            assert distance < 0.004
        else:
            assert 0.25 * pair.gap < distance < pair.gap + 0.004


def test_arms_belong_to_one_person(pairs):
    for pair, _ in pairs:
        left = pair.left_rotation @ [-1.0, 0, 0]
        elbows = np.array([0.23, 0, 0]) - (pair.left_wrist + 0.23 * left)
        assert np.linalg.norm(elbows) >= 0.17 and left[0] <= 0.75 and pair.left_rotation[2, 2] >= -0.35
        assert np.linalg.det(pair.left_rotation) == pytest.approx(1)


def test_exact_measures_find_what_is_wrong(sampler, pairs):
    """A hand pushed 2 cm into the other shares volume with it; a fist closed too far runs through itself."""
    models = sampler.models
    pair, vertices = next(item for item in pairs if item[0].gap == 0)
    pushed = vertices[Side.LEFT] - 0.02 * pair.retreat
    volume = shared_volume(vertices[Side.RIGHT], models[Side.RIGHT], pushed, models[Side.LEFT]) * 1e6
    assert volume > 0.5
    assert volume == pytest.approx(
        bars.shared_volume_cm3({Side.RIGHT: vertices[Side.RIGHT], Side.LEFT: pushed}, models, 200_000), rel=0.1
    )
    crushed = sampler.hand(np.full(20, 85.0), np.zeros(10), Side.RIGHT)
    assert share_inside_itself(crushed.vertices, models[Side.RIGHT]) > 0.05
    assert sampler.crosses_itself(crushed, Side.RIGHT)
    assert sampler.settle(replace(pair, angles={**pair.angles, Side.RIGHT: np.full(20, 85.0)})) is None


def test_key_frames():
    assert key_frames(1) == [0] and key_frames(2) == [0, 1] and key_frames(4) == [0, 3]
    assert key_frames(8) == [0, 2, 5, 7] and len(key_frames(16)) == 4


def test_interpolation_ends_in_its_key_pairs(sampler, pairs):
    (first, _), (last, _) = pairs[:2]
    for way, wanted in ((0.0, first), (1.0, last)):
        found = interpolate(first, last, way, wanted.shape)
        np.testing.assert_allclose(found.left_rotation, wanted.left_rotation, atol=1e-9)
        np.testing.assert_allclose(found.left_wrist, wanted.left_wrist, atol=1e-12)
        np.testing.assert_allclose(found.angles[Side.LEFT], wanted.angles[Side.LEFT])


def test_frames_of_a_sequence_meet_the_bars_too(sampler, frames):
    for k in range(8):
        vertices = {side: frames[1][side][0][k] for side in Side}
        assert bars.shared_volume_cm3(vertices, sampler.models) <= 0.3
        assert max(bars.share_inside_itself(vertices[side], sampler.models[side]) for side in Side) <= 0.03


def test_neighbouring_frames_resemble_one_another(sampler, frames):
    """In-between frames are nearer to their neighbours than key frames are to one another (finger angles, degrees)."""
    angles = np.array([sampler.prior.angles_of(fit[Side.RIGHT].pose[3:], Side.RIGHT) for fit in frames[0]])
    steps = np.abs(np.diff(angles, axis=0)).mean(1)
    assert steps[[0, 1]].max() < 0.8 * np.abs(angles[2] - angles[0]).mean() + 1e-9
    np.testing.assert_allclose(angles[1], (angles[0] + angles[2]) / 2, atol=0.3 * np.abs(angles[2] - angles[0]).max())


def test_hands_stand_in_the_world_as_described(frames):
    """Pair centre near (0, 1, 0) m, forearms from below; both hands share one shape near the subject's."""
    fits, posed = frames
    centres = np.concatenate([posed[side][0] for side in Side], axis=1).mean(1)
    assert np.abs(centres - [0, 1, 0]).max() < 0.08
    for fit in fits:
        assert np.array_equal(fit[Side.RIGHT].shape, fit[Side.LEFT].shape)
        assert np.abs(fit[Side.RIGHT].shape - subject_shape(11, 0)).max() < 0.6
        assert np.abs(fit[Side.RIGHT].shape).max() <= 2


def test_sequences_depend_on_their_identity_alone(sampler):
    again, other = (draw_sequence(sampler, replace(IDENTITY, sequence=k), 2) for k in (1, 2))
    same = draw_sequence(sampler, replace(IDENTITY, sequence=1), 2)
    for first, second, different in zip(again, same, other, strict=True):
        for side in Side:
            assert np.array_equal(first[side].pose, second[side].pose)
            assert not np.array_equal(first[side].pose, different[side].pose)
