"""Frames as items of the image networks: what is usable, and augmentation that keeps image, camera and hands together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from im2hands.datasets.frame_items import FrameItem, FrameSet, Rounds
from im2hands.datasets.hands import HANDS
from im2hands.datasets.images import CropSet
from im2hands.datasets.two_hand_item import Augmentation
from im2hands.hands.frames import PalmFrames
from im2hands.hands.sides import SIDES
from im2hands.io.errors import DataError
from im2hands.io.tables import read_parquet, write_parquet
from tests.training.two_hand_frames import PROVENANCE, TwoHandSplit, make_split

AUGMENTATIONS = st.builds(
    Augmentation,
    angle=st.floats(-90, 90),
    scale=st.floats(0.9, 1.1),
    shift=st.tuples(st.floats(-8, 8), st.floats(-8, 8)),
    flip=st.booleans(),
)


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> TwoHandSplit:
    return make_split(tmp_path_factory.mktemp("two_hands"), "train", 2)


@pytest.fixture(scope="module")
def frames(split) -> FrameSet:
    return FrameSet(split.frames, split.hands, split.images)


def expected_pixels(pixels: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """Where pixels (left hand's, right hand's) of a 256 x 256 image go."""
    affine = augmentation.affine(256)
    moved = pixels @ affine[:, :2].T + affine[:, 2]
    return moved[::-1] * (-1, 1) + (255, 0) if augmentation.flip else moved


def palm_points_in_image(item: FrameItem, points: np.ndarray) -> np.ndarray:
    """Pixels of palm-frame points of both hands."""
    worlds = [
        PalmFrames(item.wrist[side.index][None], item.palm_rotation[side.index][None], side).to_world(points[None])[0]
        for side in SIDES
    ]
    return item.camera.project(np.stack(worlds))


@given(augmentation=AUGMENTATIONS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_joints_and_palm_points_go_where_the_pixels_go(frames, augmentation):
    """With the new camera, the new hands' joints, and points of their palm frames, are where the image was moved to."""
    item = frames.item(1, with_image=False)
    after = item.augmented(augmentation)
    expected = expected_pixels(item.camera.project(item.keypoints), augmentation)
    np.testing.assert_allclose(after.camera.project(after.keypoints), expected, atol=1e-6)
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (20, 3))
    expected = expected_pixels(palm_points_in_image(item, points), augmentation)
    np.testing.assert_allclose(palm_points_in_image(after, points), expected, atol=1e-4)
    rotation = after.camera.rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(rotation) > 0


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", [0.0, -70.0, 35.0])
def test_joints_land_on_the_same_image_content(frames, angle, flip):
    """A spot painted over a joint is found again where the augmented camera sees that joint."""
    item = frames.item(0)
    rows, columns = np.mgrid[:256, :256]
    for side in SIDES:
        joint = item.camera.project(item.keypoints)[side.index, 9]
        spot = 255 * np.exp(-((columns - joint[0]) ** 2 + (rows - joint[1]) ** 2) / (2 * 3.0**2))
        painted = replace(item, image=np.repeat(spot[..., None], 3, axis=2).astype(np.uint8))
        after = painted.augmented(Augmentation(angle=angle, scale=1.07, shift=(3.0, -2.0), flip=flip))
        weights = after.image[..., 0].astype(float)
        found = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
        there = side.other.index if flip else side.index
        np.testing.assert_allclose(found, after.camera.project(after.keypoints)[there, 9], atol=0.2)


def test_tint_changes_the_image_alone(frames):
    item = frames.item(0)
    after = item.augmented(Augmentation(gains=(1.0, 1.0, 0.5)))
    np.testing.assert_array_equal(after.image[..., 1:], item.image[..., 1:])
    np.testing.assert_allclose(after.image[..., 0], item.image[..., 0] // 2, atol=1)
    np.testing.assert_allclose(after.camera.intrinsics, item.camera.intrinsics)


def test_mirroring_twice_is_nothing(frames):
    item = frames.item(2)
    once, twice = item.flipped(), item.flipped().flipped()
    assert once.mirrored and not twice.mirrored
    assert once.hand_ids == item.hand_ids[::-1]
    np.testing.assert_array_equal(once.bone_from_palm[0], item.bone_from_palm[1])
    for name in ("image", "wrist", "palm_rotation", "bone_from_palm", "bone_lengths", "keypoints"):
        np.testing.assert_array_equal(getattr(twice, name), getattr(item, name))
    for name in ("intrinsics", "rotation", "translation"):
        np.testing.assert_allclose(getattr(twice.camera, name), getattr(item.camera, name), atol=1e-9)


def test_items_are_the_tables_rows(frames, split):
    """Image and camera of the frame, hands left then right."""
    item = frames.item(3)
    frame = split.frame_table[3]
    assert item.hand_ids == tuple(f"{frame.capture}_{frame.frame_idx}_{side.value}" for side in SIDES)
    image, camera = CropSet(split.images).photograph(3)
    np.testing.assert_array_equal(item.image, image)
    np.testing.assert_array_equal(frames.image(3), image)
    np.testing.assert_array_equal(item.camera.intrinsics, camera.intrinsics)
    hands = read_parquet(split.hands, HANDS).to_pylist()
    wrists = {hand["hand_id"]: hand["wrist"] for hand in hands}
    np.testing.assert_allclose(item.wrist, [wrists[name] for name in item.hand_ids])


def test_frames_without_a_crop_or_a_fitted_hand_are_left_out(split, tmp_path, monkeypatch):
    """Both frames of a pose without one of its hands, and a frame whose crop is quarantined."""
    hands = read_parquet(split.hands, HANDS)
    write_parquet(tmp_path / "hands.parquet", hands.slice(1), HANDS, PROVENANCE)
    pose = hands["pair_id"][0].as_py()
    kept = [number for number, name in enumerate(split.pair_ids) if name != pose]
    assert FrameSet(split.frames, tmp_path / "hands.parquet", split.images).frame_ids.tolist() == kept
    monkeypatch.setattr(CropSet, "usable", lambda self: np.array([True, False, True, True]))
    assert FrameSet(split.frames, split.hands, split.images).frame_ids.tolist() == [0, 2, 3]


def test_files_that_do_not_belong_together_are_refused(split, tmp_path):
    other = make_split(tmp_path, "val", 1)
    with pytest.raises(DataError, match=r"2 crops for the 4 frames.*normalize_images"):
        FrameSet(split.frames, split.hands, other.images)
    empty: Path = tmp_path / "hands.parquet"
    write_parquet(empty, read_parquet(split.hands, HANDS).slice(0, 0), HANDS, PROVENANCE)
    with pytest.raises(DataError, match="two fitted hands"):
        FrameSet(split.frames, empty, split.images)


def test_rounds_visit_everything_in_an_order_of_their_own():
    rounds = Rounds(7, seed=3, purpose="frames")
    places = [rounds[place] for place in range(21)]
    turns = [places[start : start + 7] for start in (0, 7, 14)]
    assert all(sorted(turn) == list(range(7)) for turn in turns)
    assert len({tuple(turn) for turn in turns}) == 3
    assert [Rounds(7, 3, "frames")[place] for place in (20, 0, 9)] == [places[20], places[0], places[9]]
    assert [Rounds(7, 4, "frames")[place] for place in range(21)] != places
