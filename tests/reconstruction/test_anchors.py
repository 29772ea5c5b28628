"""Anchors: where they lie, that they depend on nothing but hand, frame, draw and seed, and hands without a surface."""

from __future__ import annotations

import numpy as np
import pytest

from im2hands.datasets.anchors import AnchorSet
from im2hands.datasets.frame_items import FrameSet
from im2hands.geometry.isosurface import subdivision
from im2hands.hands.frames import PalmFrame
from im2hands.hands.joints import BONE_ENDS, BONE_STARTS
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance
from im2hands.networks.initial_occupancy import load_initial_occupancy
from im2hands.reconstruction import anchors
from im2hands.reconstruction.anchors import (
    BONE_RADIUS,
    AnchoredHand,
    AnchorSettings,
    AnchorWork,
    ImagedField,
    anchor_seed,
    anchors_of,
    anchors_of_frames,
    imaged_hands,
    write_anchors,
)
from stages import generate_anchors as stage
from tests.training.occupancy_frames import write_initial, write_queries
from tests.training.two_hand_frames import make_split

SETTINGS = AnchorSettings(resolution=64, draws=2, points=64)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_split(tmp_path_factory.mktemp("two_hands"), "train", poses=2)


@pytest.fixture(scope="module")
def initial(data, tmp_path_factory):
    return write_initial(tmp_path_factory.mktemp("initial"), data.hands, write_queries(data))


@pytest.fixture(scope="module")
def frames(data):
    return FrameSet(data.frames, data.hands, data.images)


def work_of(data, initial, settings=SETTINGS, seed=3):
    return AnchorWork(str(data.frames), str(data.hands), str(data.images), str(initial), settings, seed)


@pytest.fixture(scope="module")
def rows(data, initial):
    return work_of(data, initial)(range(4))


def points_of(row, side, settings=SETTINGS):
    return np.asarray(row[side.value]).reshape(-1, settings.points, 3)


def ball(radius):
    def field(items, points):
        return np.clip(0.5 + radius - np.linalg.norm(points, axis=1), 0, 1)

    return field


def hand_at(side, seed=0):
    random = np.random.default_rng(seed)
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    keypoints = random.normal(scale=0.05, size=(21, 3))
    return AnchoredHand(PalmFrame(side, random.normal(size=3), rotation), keypoints, [seed])


@pytest.mark.parametrize("side", list(Side))
def test_anchors_lie_on_the_surface_in_the_world(side):
    """A ball about the wrist, 0.25 palm units = 10 cm; within half a cell of the coarse grid."""
    hand, settings = hand_at(side), AnchorSettings(resolution=32, draws=3)
    (made,) = anchors_of(ball(0.25), [hand], settings)
    assert made.points.shape == (3, 512, 3)
    assert made.points.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(made.points - hand.frame.wrist, axis=-1), 0.1, atol=0.4 * 1.1 / 32 / 2)
    assert made.reason is None


def test_draws_are_different_and_do_not_depend_on_their_number():
    hands = [hand_at(Side.LEFT, 1), hand_at(Side.RIGHT, 2)]
    one, three = (anchors_of(ball(0.2), hands, AnchorSettings(resolution=32, draws=draws)) for draws in (1, 3))
    for few, many in zip(one, three, strict=True):
        np.testing.assert_array_equal(few.points[0], many.points[0])
        assert not np.array_equal(many.points[0], many.points[1])
    assert not np.array_equal(*(each.points[0] - hand.frame.wrist for each, hand in zip(one, hands, strict=True)))


@pytest.mark.parametrize(("value", "reason"), [(0.1, "nowhere above 0.5"), (np.nan, "NaN or infinite")])
def test_without_a_surface_anchors_are_around_the_bones(value, reason):
    """As far from the nearest bone as the skin or less; the other hand is not disturbed."""
    hand, other = hand_at(Side.LEFT), hand_at(Side.RIGHT)
    good = ball(0.2)

    def field(items, points):
        return np.where(items == 0, value, good(items, points))

    made, undisturbed = anchors_of(field, [hand, other], AnchorSettings(resolution=32, draws=2))
    assert reason in made.reason
    starts, ends = (hand.keypoints[list(joints)] for joints in (BONE_STARTS, BONE_ENDS))
    points = made.points.reshape(-1, 1, 3)
    along = np.clip(((points - starts) * (ends - starts)).sum(-1) / ((ends - starts) ** 2).sum(-1), 0, 1)
    distances = np.linalg.norm(points - starts - along[..., None] * (ends - starts), axis=-1)
    assert distances.min(axis=1).max() <= BONE_RADIUS + 1e-6
    assert distances.min(axis=1).mean() > BONE_RADIUS / 2
    assert len(np.unique(distances.argmin(axis=1))) == len(BONE_STARTS)
    (alone,) = anchors_of(good, [other], AnchorSettings(resolution=32, draws=2))
    np.testing.assert_array_equal(undisturbed.points, alone.points)
    assert undisturbed.reason is None


def test_anchors_of_frames_lie_on_the_initial_surface(frames, initial, rows):
    """The initial network, asked where the anchors are, is near its threshold; far from it elsewhere."""
    network, _ = load_initial_occupancy(initial)
    for place, row in enumerate(rows):
        item = frames.item(place)
        field = ImagedField(network, imaged_hands(network, item))
        for side in Side:
            assert row[f"{side.value}_reason"] is None
            frame = PalmFrame(side, item.wrist[side.index], item.palm_rotation[side.index])
            asked = frame.to_palm(points_of(row, side)[1])
            item_index = np.full(len(asked), side.index)
            values = field(item_index, asked)
            assert np.abs(values - 0.5).mean() < 0.05
            assert np.abs(field(item_index, asked * 1.3) - 0.5).mean() > 0.1


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_batches_and_shards_do_not_change_anchors(data, initial, rows, workers, monkeypatch):
    monkeypatch.setattr(anchors, "FRAMES_PER_TASK", 1)
    again = list(anchors_of_frames(work_of(data, initial), range(1, 4), workers))
    for first, second in zip(rows[1:], again, strict=True):
        assert first["frame_id"] == second["frame_id"]
        for side in Side:
            np.testing.assert_array_equal(first[side.value], second[side.value])


def test_frames_of_a_pose_and_seeds_have_their_own_draws(rows, data, initial):
    """Two cameras see the same hand; another master seed gives other points on the same surface."""
    seeds = {tuple(anchor_seed(3, frame, side)) for frame in range(4) for side in Side}
    assert len(seeds) == 8
    (other,) = work_of(data, initial, seed=4)([0])
    assert not np.array_equal(points_of(other, Side.LEFT), points_of(rows[0], Side.LEFT))


@pytest.mark.parametrize("depth_reference", ["published", "consistent"])
def test_size_of_calls_does_not_change_the_field(data, frames, initial, depth_reference):
    network, _ = load_initial_occupancy(initial)
    network.depth_reference = depth_reference
    hands = imaged_hands(network, frames.item(0))
    random = np.random.default_rng(0)
    points = random.uniform(-0.3, 0.3, (400, 3)).astype(np.float32)
    items = np.sort(random.integers(0, 2, 400))
    whole, parts = (ImagedField(network, hands, size)(items, points) for size in (65536, 37))
    np.testing.assert_allclose(whole, parts, atol=1e-6)


def test_stored_anchors_are_found_by_frame(data, initial, rows, tmp_path):
    """The stage writes what the functions make; shards in any split; a frame that is not there is named."""
    shards = [tmp_path / f"000{part}-of-0002.arrow" for part in range(2)]
    work = work_of(data, initial)
    for part, shard in enumerate(shards):
        assert write_anchors(shard, work, work.shard(part, 2), Provenance()) == []
    write_manifest(tmp_path / "manifest.json", shards)
    stored = AnchorSet(tmp_path / "manifest.json")
    assert len(stored) == 4
    for row in rows:
        assert stored.draws(row["frame_id"]) == 2
        for draw in range(2):
            both = np.stack([points_of(row, side)[draw] for side in SIDES])
            np.testing.assert_array_equal(stored.anchors(row["frame_id"], draw), both)
        assert stored.reasons(row["frame_id"]) == {Side.LEFT: None, Side.RIGHT: None}
    with pytest.raises(DataError, match=r"no anchors for frame 77 .*generate_anchors"):
        stored.anchors(77, 0)
    with pytest.raises(IndexError):
        stored.anchors(0, 2)


def test_stage(data, initial, tmp_path, capsys):
    """Its parameters reach the anchors."""
    from im2hands.config.sections import GenerateAnchors

    shards = {"train": 2, "val": 1, "test": 0}
    few = {"draws": 1, "frames_per_pose": 1}
    params = GenerateAnchors(shards=shards, threshold=0.4, grid="published", resolution=64, **few)
    output = tmp_path / "0000-of-0002.arrow"
    stage.main(str(data.frames), str(data.hands), str(data.images), str(initial), 0, 2, 3, str(output), params)
    write_manifest(tmp_path / "manifest.json", [output])
    settings = AnchorSettings("published", 64, 0.4, 1)
    (expected,) = work_of(data, initial, settings)([0])
    stored = AnchorSet(tmp_path / "manifest.json")
    np.testing.assert_array_equal(stored.anchors(0, 0)[0], points_of(expected, Side.LEFT, settings)[0])
    assert stored.per_pose == 1
    assert "1 frames, 0 hands without a surface" in capsys.readouterr().out
    assert subdivision(64, "published") == (8, 3)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "nowhere above 0.5"), (0.5, "all over the box"), (0.6, "nowhere below 0.5"), (np.nan, "NaN")],
)
def test_a_field_without_a_surface_has_anchors_around_the_bones(frames, value, words):
    """Whatever an untrained network says, what learns from its anchors has some."""
    item = frames.item(0)
    hand = AnchoredHand(
        PalmFrame(Side.LEFT, item.wrist[0], item.palm_rotation[0]), item.keypoints[0], anchor_seed(1, 0, Side.LEFT)
    )
    (made,) = anchors_of(lambda items, points: np.full(len(points), value), [hand], SETTINGS)
    assert words in made.reason
    assert np.linalg.norm(made.points - item.keypoints[0, 0], axis=-1).max() < 0.25
