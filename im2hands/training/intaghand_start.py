"""Statistics for IntagHand's start hands: mean and principal components of the training hands, their rotations and
projections."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.datasets.occupancy_items import evenly_spaced
from im2hands.datasets.two_hand_item import Augmentation
from im2hands.geometry.rotations import rotation_of_axes
from im2hands.hands.joints import INDEX_BASE, LITTLE_BASE, MIDDLE_BASE, PALM, WRIST
from im2hands.hands.sides import SIDES, Side
from im2hands.networks.hand_graphs import USED_LEVELS
from im2hands.networks.intaghand import CROP, HandGraphs
from im2hands.networks.start_hands import StartStatistics
from im2hands.training.intaghand_items import IntagHandBatch, TwoHandFrames
from im2hands.training.intaghand_losses import TrueHands

MOST_FRAMES = 256
FRAMES_AT_ONCE = 8
TURNS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""In-plane turns of every frame whose hands are looked at, in shares of the largest one of augmentation."""
ALIGNMENTS = 3
"""Rounds in which hands are turned to the mean of the round before."""


def start_statistics(
    frames: TwoHandFrames, graphs: HandGraphs, components: int, largest_turn: float
) -> StartStatistics:
    """Of evenly spaced frames, turned by up to `largest_turn` degrees and mirrored as augmentation does.

    components: how many; fewer are zero if the frames have no more.
    """
    true, both_joints = true_hands(frames, evenly_spaced(len(frames), MOST_FRAMES))
    hands = torch.cat([side.mirror_points(true.vertices[side]) for side in Side])
    joints = torch.cat([side.mirror_points(both_joints[:, side.index]) for side in Side])
    frame_of_hand = hand_frames(joints)
    mean, directions = principal_components(hands @ frame_of_hand, components)
    turns = [largest_turn * share for share in TURNS]
    axes = torch.cat([turned(frame_of_hand.mT[:, :2], turn) for turn in turns])
    offsets = torch.cat([turned(offset, turn) for offset in both_ways(true.root_offset) for turn in turns])
    projections = torch.cat([best_projection(true.placed(side), true.vertices_2d[side]) for side in Side])

    def coarse(points: Float[Tensor, "*batch 778 3"]) -> Float[Tensor, "*batch 2 nodes 3"]:
        return torch.stack([graphs[side].pooled(points, USED_LEVELS - 1) for side in SIDES], -3)

    return StartStatistics(
        coarse(mean),
        coarse(directions),
        *_mean_and_spread(axes),
        *_mean_and_spread(offsets),
        *_mean_and_spread(projections),
    )


def true_hands(frames: TwoHandFrames, chosen: Sequence[int]) -> tuple[TrueHands, Float[Tensor, "frames 2 21 3"]]:
    """The true hands of some frames, and their joints. A few frames at a time: images and maps of all fill the memory."""
    vertices, pixels, offsets, joints = ({side: [] for side in Side}, {side: [] for side in Side}, [], [])
    for start in range(0, len(chosen), FRAMES_AT_ONCE):
        some = chosen[start : start + FRAMES_AT_ONCE]
        batch = IntagHandBatch.of([frames.item(frame, Augmentation(), "consistent") for frame in some])
        for side in Side:
            vertices[side].append(batch.true.vertices[side])
            pixels[side].append(batch.true.vertices_2d[side])
        offsets.append(batch.true.root_offset)
        joints.append(batch.joints)
    true = TrueHands(
        *({side: torch.cat(each[side]) for side in Side} for each in (vertices, pixels)), torch.cat(offsets)
    )
    return true, torch.cat(joints)


def hand_frames(joints: Float[Tensor, "hands 21 3"]) -> Float[Tensor, "hands 3 3"]:
    """The axes of every hand's frame (see `networks.start_hands`) as columns: the frames in which the palms agree best.

    joints: in right-hand space.
    """
    palms = joints[:, PALM]
    rotations = palm_axes(joints)
    for _ in range(ALIGNMENTS):
        rotations = closest_rotations(palms, (palms @ rotations).mean(0))
    # The mean palm may have turned a little on the way; the frame is its own.
    return rotations @ palm_axes((joints @ rotations).mean(0))


def palm_axes(joints: Float[Tensor, "*hands 21 3"]) -> Float[Tensor, "*hands 3 3"]:
    """Columns: from the wrist to the middle base, across the palm towards the index base, and at right angles to both."""
    along = joints[..., MIDDLE_BASE, :] - joints[..., WRIST, :]
    return rotation_of_axes(along, joints[..., INDEX_BASE, :] - joints[..., LITTLE_BASE, :])


def closest_rotations(points: Float[Tensor, "batch n 3"], common: Float[Tensor, "n 3"]) -> Float[Tensor, "batch 3 3"]:
    """Rotations R for which points @ R come closest to common ones, both about their means (Kabsch)."""
    centred = points - points.mean(1, keepdim=True)
    left, _, right = torch.linalg.svd(centred.mT @ (common - common.mean(0)))
    signs = torch.ones(len(points), 3, dtype=points.dtype)
    signs[:, 2] = torch.linalg.det(left @ right)
    return left * signs[:, None] @ right


def principal_components(
    points: Float[Tensor, "hands n 3"], count: int
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "count n 3"]]:
    """Mean, and principal components times their standard deviations, the largest first; zero beyond those that there are."""
    mean = points.mean(0)
    spread = (points - mean).flatten(1).double()
    # Of hands, of which there are fewer than coordinates.
    variances, weights = torch.linalg.eigh(spread @ spread.mT / len(points))
    found = (weights.flip(1).mT @ spread)[:count] / math.sqrt(len(points))
    found[variances.flip(0)[:count] <= variances[-1] * 1e-9] = 0
    components = spread.new_zeros(count, spread.shape[1])
    components[: len(found)] = found
    return mean, components.to(mean.dtype).unflatten(1, mean.shape)


def both_ways(root_offset: Float[Tensor, "frames 3"]) -> list[Float[Tensor, "frames 3"]]:
    """Right middle base minus left one, unchanged and mirrored with the hands swapped."""
    return [root_offset, -Side.LEFT.mirror_points(root_offset)]


def turned(points: Float[Tensor, "*batch 3"], degrees: float) -> Float[Tensor, "*batch 3"]:
    """Points turned about the optical axis."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return points @ points.new_tensor([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])


def best_projection(points: Float[Tensor, "batch n 3"], pixels: Float[Tensor, "batch n 2"]) -> Float[Tensor, "batch 3"]:
    """(scale, shift x, shift y) of the projection that brings points closest to their pixels, by least squares."""
    flat = points[..., :2]
    middle, target = flat.mean(1), pixels.mean(1)
    spread = flat - middle[:, None]
    scale = (spread * (pixels - target[:, None])).sum((1, 2)) / spread.square().sum((1, 2)) / CROP
    shift = 2 * target / CROP - 1 - 2 * scale[:, None] * middle
    return torch.cat([scale[:, None], shift], dim=1)


def _mean_and_spread(values: Float[Tensor, "n *shape"]) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    return values.mean(0), values.std(0, correction=0)
