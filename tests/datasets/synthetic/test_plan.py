"""What the dataset consists of: counts, subjects, frame numbers, hard cases; and the camera rig."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from im2hands.datasets.synthetic.cameras import MIN_VALID_JOINTS, draw_rig, inside_image
from im2hands.datasets.synthetic.plan import SPLITS, HardCase, captures_of, plan
from im2hands.io.errors import ConfigError, DataError
from tests.datasets.synthetic.conftest import MINI

DEMO = replace(MINI, poses={"train": 64, "val": 16, "test": 16}, subjects={"train": 4, "val": 2, "test": 2})


def frames(settings, split):
    return [hard for capture in plan(settings, split) for sequence in capture.sequences for hard in sequence.hard]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    "settings", [DEMO, MINI, replace(DEMO, scale=3.3), replace(MINI, poses=dict.fromkeys(SPLITS, 0))]
)
def test_usable_poses_are_exactly_as_many_as_asked_for_and_hard_cases_come_in_addition(settings, split):
    found = Counter(frames(settings, split))
    assert found.pop(None, 0) == round(settings.poses[split] * settings.scale)
    assert found == dict.fromkeys(HardCase, 1)


def test_subjects_are_disjoint_between_splits_and_all_used():
    subjects = {split: {capture.subject for capture in plan(DEMO, split)} for split in SPLITS}
    assert [len(subjects[split]) for split in SPLITS] == [4, 2, 2]
    assert len(set.union(*subjects.values())) == 8


def test_captures_have_two_sequences_and_frame_numbers_with_gaps():
    for capture in plan(DEMO, "train"):
        touching = [sequence for sequence in capture.sequences if sequence.hard[0] is None]
        assert len(touching) == 2
        numbers = [number for sequence in capture.sequences for number in sequence.frame_numbers]
        assert len(set(numbers)) == len(numbers) and min(numbers) > 0
        assert (np.diff(touching[0].frame_numbers) == 3).all()
        assert len({sequence.name for sequence in capture.sequences}) == len(capture.sequences)


def test_large_sets_have_more_captures_rather_than_long_sequences():
    large = replace(DEMO, scale=20)
    assert captures_of(large, "train") == 40
    assert max(len(sequence.hard) for capture in plan(large, "train") for sequence in capture.sequences) <= 16


def test_a_split_needs_a_subject():
    with pytest.raises(ConfigError, match=r"subjects\.val"):
        replace(MINI, subjects={"train": 1, "val": 0, "test": 1})


@pytest.fixture
def cloud():
    """Three frames of points about the hands' place, and one forearm towards +z."""
    points = np.random.default_rng(0).normal(0, 0.04, (3, 42, 3)) + np.array([0, 1, 0])
    return points, points, np.array([[0.0, 0, 1]])


def test_rig_sees_the_hands_with_proper_cameras(cloud):
    rig = draw_rig(1, 0, 0, 4, *cloud)
    assert len({camera.name for camera in rig}) == 4 and all(len(camera.name) == 6 for camera in rig)
    for drawn in rig:
        camera = drawn.camera
        assert np.linalg.det(drawn.rotation) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(drawn.rotation @ drawn.rotation.T, np.eye(3), atol=1e-5)
        np.testing.assert_allclose(camera.to_camera(drawn.centre_mm / 1000), 0, atol=1e-9)
        assert 0.8 < np.linalg.norm(drawn.centre_mm / 1000 - [0, 1, 0]) < 1.2
        assert camera.to_camera(np.array([0, 1.2, 0]))[1] < camera.to_camera(np.array([0, 1.0, 0]))[1]  # y is up
        assert (inside_image(camera.project(cloud[1])).sum(1) >= MIN_VALID_JOINTS).all()
    assert [camera.name for camera in draw_rig(1, 0, 0, 4, *cloud)] == [camera.name for camera in rig]
    azimuths = [np.arctan2(camera.centre_mm[0], -camera.centre_mm[2]) for camera in rig]
    assert np.min(np.diff(np.sort(azimuths))) > 0 and np.ptp(azimuths) > np.radians(50)


def test_hands_that_no_camera_can_see_are_refused(cloud):
    far = cloud[0] + np.array([0.7, 0, 0])
    with pytest.raises(DataError, match="no camera"):
        draw_rig(1, 0, 0, 1, far, far, cloud[2])
