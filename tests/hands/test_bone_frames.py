"""Keypoints to palm and bone frames: what must not change under motion, mirroring and batching; degenerate hands."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from im2hands.hands.bone_frames import (
    PALM_UNIT,
    canonical_frames,
    palm_to_world,
    published_decoder_inputs,
    world_to_palm,
)
from im2hands.hands.joints import BONE_ENDS, BONE_STARTS, JointOrder, reorder
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.hands.unfolding import unfold
from im2hands.io.errors import DataError

MODELS = builtin_hand_models()
SEEDS = st.integers(0, 2**32 - 1)

METACARPALS = (
    (-0.848800046, -0.279351620, 0.448888799),
    (-0.980066578, 0.0, 0.198669331),
    (-1.0, 0.0, 0.0),
    (-0.980066578, -0.039469503, -0.194709171),
    (-0.921847756, -0.115277143, -0.370010668),
)
"""Canonical directions of the five metacarpals, the same for every hand (HALO preparation)."""


def hands(seed, count=4, side=Side.RIGHT):
    """Keypoints of random poses and shapes, metres, anywhere in the world."""
    rng = np.random.default_rng(seed)
    pose = rng.normal(size=(count, 48)) * np.r_[np.ones(3), np.full(45, 0.3)]
    posed = MODELS[side].pose(pose, rng.normal(size=(count, 10)), rng.normal(size=(count, 3)))
    return posed.keypoints


@settings(max_examples=25)
@given(SEEDS, st.sampled_from(["published", "consistent"]), st.sampled_from(list(Side)))
def test_rigid_motion_changes_nothing(seed, angle_clamp, side):
    keypoints = hands(seed, side=side)
    rng = np.random.default_rng(seed)
    rotation = torch.from_numpy(Rotation.random(rng=rng).as_matrix())
    moved = keypoints @ rotation.mT + torch.from_numpy(rng.normal(size=3))
    before, after = (canonical_frames(points, side, angle_clamp=angle_clamp) for points in (keypoints, moved))
    assert (before.bone_from_palm - after.bone_from_palm).abs().max() < 1e-6
    assert (before.bone_lengths - after.bone_lengths).abs().max() < 1e-12
    palm = [
        world_to_palm(points, c.wrist, c.palm_rotation, side) for points, c in ((keypoints, before), (moved, after))
    ]
    assert (palm[0] - palm[1]).abs().max() < 1e-9


@settings(max_examples=25)
@given(SEEDS)
def test_mirrored_hand_of_the_other_side_has_the_same_frames_exactly(seed):
    keypoints = hands(seed)
    right = canonical_frames(keypoints, Side.RIGHT)
    left = canonical_frames(Side.LEFT.mirror_points(keypoints), Side.LEFT)
    for name in ("palm_rotation", "bone_from_palm", "bone_lengths"):
        assert torch.equal(getattr(right, name), getattr(left, name)), name
    assert torch.equal(left.wrist, Side.LEFT.mirror_points(right.wrist))


@settings(max_examples=25)
@given(SEEDS, st.sampled_from(["published", "consistent"]))
def test_every_block_is_a_rotation(seed, angle_clamp):
    frames = canonical_frames(hands(seed), Side.RIGHT, angle_clamp=angle_clamp)
    blocks = torch.cat([frames.bone_from_palm[..., :3, :3].flatten(0, 1), frames.palm_rotation])
    assert (blocks @ blocks.mT - torch.eye(3)).abs().max() < 1e-12
    assert (torch.linalg.det(blocks) - 1).abs().max() < 1e-12
    assert torch.equal(frames.bone_from_palm[:, 0], torch.eye(4).double().expand(4, 4, 4))


@settings(max_examples=15)
@given(SEEDS, st.sampled_from(list(Side)))
def test_bones_become_straight_fingers_of_their_length(seed, side):
    """Every bone lies along its metacarpal's canonical direction, and begins where the one before it ends."""
    keypoints = hands(seed, side=side)
    frames = canonical_frames(keypoints, side)
    palm = world_to_palm(keypoints, frames.wrist, frames.palm_rotation, side)

    def placed(joints):
        points = palm[:, list(joints)]
        moved = frames.bone_from_palm[..., :3, :3] @ points[..., None]
        return (moved[..., 0] + frames.bone_from_palm[..., :3, 3])[:, 1:]

    starts, ends = placed(BONE_STARTS), placed(BONE_ENDS)
    fingers = [1, 1, 1, 2, 2, 2, 4, 4, 4, 3, 3, 3, 0, 0, 0]
    along = torch.tensor(METACARPALS).double()[fingers]
    spans = frames.bone_lengths[:, 1:, None] / PALM_UNIT * along
    assert (ends - starts - spans).abs().max() < 1e-7  # the table above has nine digits
    by_finger = starts.unflatten(1, (5, 3)), ends.unflatten(1, (5, 3))
    assert (by_finger[0][:, :, 1:] - by_finger[1][:, :, :-1]).abs().max() < 1e-12


def test_bone_lengths_are_distances_between_keypoints():
    keypoints = hands(0)
    expected = torch.linalg.vector_norm(keypoints[:, list(BONE_ENDS)] - keypoints[:, list(BONE_STARTS)], dim=-1)
    assert (canonical_frames(keypoints, Side.RIGHT).bone_lengths - expected).abs().max() < 1e-14


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_batch_is_its_hands_one_at_a_time(count):
    """Also for three hands, where the published cross products went along the wrong axis."""
    keypoints = torch.cat([hands(count, count), hands(count + 1, count, Side.LEFT)])
    sides = [Side.RIGHT] * count + [Side.LEFT] * count
    together = canonical_frames(keypoints, sides)
    for hand in range(2 * count):
        alone = canonical_frames(keypoints[hand : hand + 1], sides[hand : hand + 1])
        for name in ("wrist", "palm_rotation", "bone_from_palm", "bone_lengths"):
            assert (getattr(together, name)[hand] - getattr(alone, name)[0]).abs().max() < 1e-13


def test_no_hands_are_no_frames():
    frames = canonical_frames(torch.zeros(0, 21, 3), [])
    assert frames.bone_from_palm.shape == (0, 16, 4, 4)
    assert frames.rejected == []


def test_straight_fingers_get_no_bend_unless_published():
    """The published clamp bends straight fingers by 0.00142 rad to a random side."""
    straight = hands(1, 1)
    bases = straight[:, [5, 9, 13, 17]]
    directions = torch.nn.functional.normalize(bases - straight[:, :1], dim=-1)
    for step in (1, 2, 3):
        straight[:, [5 + step, 9 + step, 13 + step, 17 + step]] = bases + 0.03 * step * directions
    biomech = reorder(straight - straight[:, :1], JointOrder.STANDARD, JointOrder.BIOMECH)
    fingers = torch.tensor([level * 5 + finger for level in (1, 2, 3) for finger in (1, 2, 3, 4)])
    assert unfold(biomech, "consistent").bends[0, fingers].abs().max() < 1e-12
    assert unfold(biomech, "published").bends[0, fingers].abs().min() > 1.4e-3


# -- degenerate hands -------------------------------------------------------------------------------------------------------


def degenerate(kind):
    hand = hands(2, 1)[0] - hands(2, 1)[0, 0]
    if kind == "not finite":
        hand[7, 1] = torch.nan
    elif kind == "lies on the wrist":
        hand[17] = hand[0]
    elif kind == "another unit":
        hand = hand * 1000
    elif kind == "thumb and index finger are parallel":
        hand[1] = 0.7 * hand[5]
    elif kind == "ring and little finger are parallel":
        hand[17] = 1.1 * hand[13]
    return hand


@pytest.mark.parametrize(
    "kind",
    [
        "not finite",
        "lies on the wrist",
        "another unit",
        "thumb and index finger are parallel",
        "ring and little finger are parallel",
    ],
)
def test_degenerate_hand_is_rejected_alone(kind):
    good = hands(3, 2)
    keypoints = torch.stack([good[0], degenerate(kind), good[1]])
    frames = canonical_frames(keypoints, Side.RIGHT)
    assert frames.rejected[0] is None
    assert frames.rejected[2] is None
    assert kind in frames.rejected[1]
    for name in ("palm_rotation", "bone_from_palm", "bone_lengths"):
        assert getattr(frames, name)[1].isnan().all()
    alone = canonical_frames(good, Side.RIGHT)
    assert (frames.bone_from_palm[[0, 2]] - alone.bone_from_palm).abs().max() < 1e-13
    assert canonical_frames(keypoints, Side.RIGHT, degenerate_hands="published").rejected == [None] * 3


def test_palms_opposite_to_the_target_are_turned_half_round():
    """The middle metacarpal may point anywhere, also exactly away from where it is turned to."""
    hand = hands(4, 1)
    frames = canonical_frames(hand, Side.RIGHT)
    aligned = world_to_palm(hand, frames.wrist, frames.palm_rotation, Side.RIGHT)[0]  # middle along -x, normal along +y
    opposite = (
        torch.stack([aligned[:, 2], -aligned[:, 0], -aligned[:, 1]], -1)[None] * PALM_UNIT
    )  # middle +y, normal -z
    assert opposite[0, 9, 1] > 0
    turned = canonical_frames(opposite, Side.RIGHT)
    assert (turned.bone_from_palm - frames.bone_from_palm).abs().max() < 1e-6
    left_alone = canonical_frames(opposite, Side.RIGHT, degenerate_hands="published")
    assert (left_alone.palm_rotation - turned.palm_rotation).abs().max() > 0.5


# -- palm frame ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", Side)
def test_palm_frame_lies_as_described(side):
    keypoints = hands(5, side=side)
    frames = canonical_frames(keypoints, side)
    palm = world_to_palm(keypoints, frames.wrist, frames.palm_rotation, side)
    assert palm[:, 0].abs().max() == 0
    assert palm[:, 9, 1:].abs().max() < 1e-12
    assert (palm[:, 9, 0] + frames.bone_lengths[:, 0] / PALM_UNIT).abs().max() < 1e-12
    normal = torch.linalg.cross(palm[:, 9], palm[:, 5])
    assert (torch.nn.functional.normalize(normal, dim=-1) - torch.tensor([0, 1.0, 0])).abs().max() < 1e-12


def test_world_and_palm_are_inverse_for_batches_single_hands_numpy_and_torch():
    keypoints = torch.cat([hands(6, 2), hands(6, 2, Side.LEFT)])
    sides = [Side.RIGHT, Side.RIGHT, Side.LEFT, Side.LEFT]
    frames = canonical_frames(keypoints, sides)
    points = torch.from_numpy(np.random.default_rng(7).normal(size=(4, 9, 3)))
    palm = world_to_palm(points, frames.wrist, frames.palm_rotation, sides)
    assert (palm_to_world(palm, frames.wrist, frames.palm_rotation, sides) - points).abs().max() < 1e-14
    arrays = [value.numpy() for value in (points, frames.wrist, frames.palm_rotation)]
    assert np.abs(world_to_palm(*arrays, sides) - palm.numpy()).max() < 1e-14
    for hand, side in enumerate(sides):
        single = world_to_palm(*(array[hand] for array in arrays), side)
        assert np.abs(single - palm[hand].numpy()).max() < 1e-14


def test_published_inputs_are_the_same_product():
    """Matrices for points / 0.4, as published decoders get them, move points like bone_from_palm."""
    matrices = canonical_frames(hands(8), Side.RIGHT).bone_from_palm
    point = torch.tensor([0.1, -0.2, 0.3, 1.0], dtype=torch.float64)
    scaled = point / torch.tensor([PALM_UNIT, PALM_UNIT, PALM_UNIT, 1.0], dtype=torch.float64)
    assert (matrices @ point - published_decoder_inputs(matrices) @ scaled).abs().max() < 1e-14


def test_wrong_shapes_are_named():
    with pytest.raises(DataError, match="pass one hand as"):
        canonical_frames(torch.zeros(21, 3), Side.RIGHT)
    with pytest.raises(DataError, match="got 1 sides for 2 hands"):
        canonical_frames(hands(9, 2), [Side.RIGHT])
