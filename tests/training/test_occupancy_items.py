"""Batches are functions of (seed, step), every hand comes once per round, labels belong to their points."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from im2hands.datasets.occupancy_items import (
    LabelledHands,
    TrainingSteps,
    ValidationBatches,
    bone_centre_map,
    points_per_set,
)
from im2hands.hands.bone_frames import canonical_frames, world_to_palm
from im2hands.hands.joints import BONE_ENDS, BONE_STARTS
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from tests.training.conftest import write_split


@pytest.fixture(scope="module")
def hands(balls):
    return LabelledHands(balls / "queries/train/manifest.json", balls / "train.parquet")


def steps_of(hands, seed=0, batch_hands=5):
    return TrainingSteps(hands, batch_hands, points_per_set(hands, 256, 0.5), seed)


def same(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def test_bone_centres_follow_the_lengths_of_every_hand(tmp_path):
    """Built-in hands of other shapes and poses: their canonical bones lie where the map of some hands says."""
    models = builtin_hand_models()
    rng = np.random.default_rng(2)
    fitted, hands_in_all = 64, 72
    axis_angles, shapes = 0.3 * rng.standard_normal((hands_in_all, 48)), rng.standard_normal((hands_in_all, 10))
    hands = models[Side.RIGHT].pose(torch.from_numpy(axis_angles), torch.from_numpy(shapes))
    frames = canonical_frames(hands.keypoints, Side.RIGHT)
    palm = world_to_palm(hands.keypoints, frames.wrist, frames.palm_rotation, Side.RIGHT)
    middles = (palm[:, list(BONE_STARTS)] + palm[:, list(BONE_ENDS)]) / 2
    rotated = (frames.bone_from_palm[..., :3, :3] @ middles[..., None])[..., 0]
    centres = rotated + frames.bone_from_palm[..., :3, 3]
    slopes = bone_centre_map(centres[:fitted].numpy(), frames.bone_lengths[:fitted].numpy())
    found = np.einsum("kil,hl->hki", slopes, frames.bone_lengths[fitted:].numpy())
    error_mm = np.linalg.norm(found - centres[fitted:].numpy(), axis=-1) * 400
    spread_mm = np.linalg.norm(centres[fitted:].numpy() - centres[:fitted].numpy().mean(0), axis=-1) * 400
    assert error_mm.max() < 2
    assert spread_mm.mean() > 4 * error_mm.mean()


def test_labels_belong_to_points_and_bones_to_hands(hands):
    batch = steps_of(hands)[3]
    radii = batch.bone_lengths[:, :1] / 0.4
    assert torch.equal(batch.labels > 0.5, batch.points.norm(dim=-1) < radii)
    assert batch.points.shape == (5, 256, 3)
    assert batch.bone_from_palm.shape == (5, 16, 4, 4)


def test_hands_of_random_size_keep_true_labels(hands):
    """The radius of a ball is told by its bone lengths, which scale with its points."""
    steps = TrainingSteps(hands, 12, points_per_set(hands, 256, 0.5), 0, size_spread=0.3)
    batch, plain = steps[0], steps_of(hands, batch_hands=12)[0]
    factors = batch.bone_lengths[:, 0] / plain.bone_lengths[:, 0]
    assert factors.std() > 0.1
    torch.testing.assert_close(batch.points, plain.points * factors[:, None, None])
    assert torch.equal(batch.labels, plain.labels)
    inside = batch.points.norm(dim=-1) < batch.bone_lengths[:, :1] / 0.4
    assert (inside != (batch.labels > 0.5)).float().mean() < 1e-3


def test_a_step_is_the_same_whoever_asks_and_when(hands):
    steps = steps_of(hands)
    first = steps[17]
    for other in (3, 16, 18):
        steps[other]
    assert same(steps[17], first)
    assert same(pickle.loads(pickle.dumps(steps_of(hands)))[17], first)
    assert not same(steps_of(hands, seed=1)[17], first)


def test_two_loader_workers_give_what_none_gives(hands):
    steps = steps_of(hands)
    alone, together = (list(DataLoader(steps, sampler=range(7, 12), batch_size=None, num_workers=n)) for n in (0, 2))
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


def test_every_hand_comes_once_per_round_in_changing_order(hands):
    steps = steps_of(hands, batch_hands=4)
    rounds = [torch.cat([steps[3 * turn + i].bone_lengths[:, 0] for i in range(3)]) for turn in range(3)]
    for found in rounds:
        assert torch.equal(found.sort().values, hands.bone_lengths[:, 0].sort().values)
    assert not torch.equal(rounds[0], rounds[1])


def test_uniform_share_is_split_over_the_stored_sets(hands):
    assert points_per_set(hands, 101, 0.5) == {"near_surface": 51, "uniform_cube": 25, "uniform_hand": 25}
    assert points_per_set(hands, 100, 0.0) == {"near_surface": 100}
    assert points_per_set(hands, 3, 1.0) == {"uniform_cube": 1, "uniform_hand": 2}


def test_a_set_that_is_not_stored_is_named(tmp_path):
    write_split(tmp_path, "train", 2, {"near_surface": 0, "uniform_cube": 64, "uniform_hand": 0})
    hands = LabelledHands(tmp_path / "queries/train/manifest.json", tmp_path / "train.parquet")
    assert points_per_set(hands, 64, 1.0) == {"uniform_cube": 64}
    with pytest.raises(DataError, match="contains no near_surface points"):
        points_per_set(hands, 64, 0.5)
    with pytest.raises(DataError, match="64 uniform_cube points, but 100 are needed"):
        TrainingSteps(hands, 1, {"uniform_cube": 100}, 0)[0]


def test_validation_is_fixed_and_prefers_the_uniform_points_of_the_hand(hands):
    validation = ValidationBatches(hands, points_per_hand=100, most_hands=3)
    assert validation.set_name == "uniform_hand"
    assert validation.chosen == [0, 6, 11]
    assert len(validation) == 1
    whole = hands.queries.points(6, "uniform_hand")
    assert np.array_equal(validation[0].points[1].numpy(), whole.points[:100])
    with pytest.raises(IndexError):
        validation[1]


def test_hands_of_another_run_are_refused(balls, tmp_path):
    write_split(tmp_path, "train", 2)
    with pytest.raises(DataError, match=r"has no row for hand 1_0_left .*\(10 missing\)"):
        LabelledHands(balls / "queries/train/manifest.json", tmp_path / "train.parquet")


def test_a_damaged_shard_is_named(balls, tmp_path):
    shutil.copytree(balls / "queries/train", tmp_path / "queries")
    shard = sorted((tmp_path / "queries").glob("*.arrow"))[0]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"0000-of-0002\.arrow"):
        LabelledHands(tmp_path / "queries/manifest.json", balls / "train.parquet")
