"""Frames of the networks: what "consistent" repairs, and round trips."""

from __future__ import annotations

import numpy as np
import torch

from im2hands.hands.bone_frames import canonical_frames
from im2hands.hands.frames import (
    PalmFrames,
    RefinementKeypoints,
    anchors_centre,
    anchors_to_world,
    attention_coordinates,
    mirrored_wrist,
    other_hands_points,
    published_initial_mesh,
    refinement_coordinates,
)
from im2hands.hands.sides import Side
from tests.hands.test_bone_frames import hands


def palm_frames(side, seed=0):
    keypoints = hands(seed, 3, side)
    frames = canonical_frames(keypoints, side)
    return PalmFrames(frames.wrist, frames.palm_rotation, side), keypoints


def random_points(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def test_consistent_depth_does_not_depend_on_order_or_chunks():
    points, wrist = random_points(0, 2, 10, 3), random_points(1, 2, 3)
    whole = attention_coordinates(points, wrist)
    chunks = torch.cat([attention_coordinates(part, wrist) for part in points.split(3, 1)], 1)
    assert torch.equal(chunks, whole)
    assert torch.equal(attention_coordinates(points.flip(1), wrist).flip(1), whole)
    assert attention_coordinates(wrist[:, None], wrist)[..., 2].abs().max() == 0
    published = attention_coordinates(points, wrist, "published")
    assert published[:, 0, 2].abs().max() == 0
    assert not torch.equal(attention_coordinates(points.flip(1), wrist, "published").flip(1), published)


def test_consistent_penetration_points_stay_where_they_are_in_the_world():
    """The other hand's own keypoints, handed over, are at the same world positions in this hand's frame."""
    this, _ = palm_frames(Side.RIGHT)
    other, keypoints = palm_frames(Side.LEFT, seed=1)
    moved = other_hands_points(other.from_world(keypoints), other, this)
    assert (this.to_world(moved) - keypoints).abs().max() < 1e-14
    published = other_hands_points(other.from_world(keypoints), other, this, "published")
    assert (this.to_world(published) - keypoints).abs().max() > 1e-2


def test_refinement_keypoints_come_back():
    left, right = random_points(2, 3, 21, 3), random_points(3, 3, 21, 3)
    pair = RefinementKeypoints.of(left, right)
    assert pair.left[:, 9].abs().max() == 0
    back = pair.in_camera()
    assert (back[0] - left).abs().max() < 1e-14
    assert (back[1] - right).abs().max() < 1e-14


def test_anchors_and_meshes_of_published_files():
    palm, keypoints = palm_frames(Side.LEFT)
    exported = published_initial_mesh(palm.from_world(keypoints), palm)
    assert (exported - (keypoints - keypoints[:, :1]) * 1000).abs().max() < 1e-9
    assert (anchors_to_world(exported, palm.wrist) - keypoints).abs().max() < 1e-12
    assert torch.equal(mirrored_wrist(mirrored_wrist(palm.wrist, Side.LEFT), Side.LEFT), palm.wrist)


def test_refinement_coordinates_and_their_centre():
    points = random_points(4, 2, 8, 3)
    assert torch.equal(refinement_coordinates(refinement_coordinates(points)), points)
    centred = points - anchors_centre(points)
    assert (centred.amax(1) + centred.amin(1)).abs().max() < 1e-15
