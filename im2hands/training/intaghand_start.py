"""What IntagHand's start hands are made of: mean and principal components of the training hands, and their projections."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.datasets.occupancy_items import evenly_spaced
from im2hands.datasets.two_hand_item import Augmentation
from im2hands.hands.sides import Side
from im2hands.networks.hand_graphs import USED_LEVELS
from im2hands.networks.intaghand import CROP, HandGraphs
from im2hands.networks.start_hands import StartStatistics
from im2hands.training.intaghand_items import IntagHandBatch, TwoHandFrames
from im2hands.training.intaghand_losses import TrueHands

MOST_FRAMES = 256
TURNS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""In-plane turns of every frame whose hands are looked at, in shares of the largest one of augmentation."""


def start_statistics(
    frames: TwoHandFrames, graphs: HandGraphs, components: int, largest_turn: float
) -> StartStatistics:
    """Of evenly spaced frames, turned by up to `largest_turn` degrees and mirrored as augmentation does.

    components: how many; fewer are zero if the frames have no more.
    """
    chosen = evenly_spaced(len(frames), MOST_FRAMES)
    true = IntagHandBatch.of([frames.item(frame, Augmentation(), "consistent") for frame in chosen]).true
    views = [turned(pair, turn * largest_turn) for pair in both_ways(true) for turn in TURNS]
    meshes = torch.cat([_coarse(graphs, pairs) for pairs in views])
    mean = meshes.mean(0)
    spread = (meshes - mean).flatten(1).double()
    _, sizes, directions = torch.linalg.svd(spread, full_matrices=False)
    found = (sizes[:, None] / math.sqrt(len(meshes)) * directions)[:components].float().unflatten(1, mean.shape)
    made = mean.new_zeros(components, *mean.shape)
    made[: len(found)] = found
    projections = torch.cat([best_projection(true.placed(side), true.vertices_2d[side]) for side in Side])
    return StartStatistics(mean, made, projections.mean(0), projections.std(0, correction=0))


def both_ways(true: TrueHands) -> list[Float[Tensor, "frames 2 778 3"]]:
    """Hands relative to the left middle base, left and right, as they are and mirrored, when they change sides."""
    left, right = true.vertices[Side.LEFT], true.vertices[Side.RIGHT]
    offset, mirror = true.root_offset[:, None], left.new_tensor([-1.0, 1.0, 1.0])
    return [torch.stack([left, right + offset], 1), torch.stack([right * mirror, (left - offset) * mirror], 1)]


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


def _coarse(graphs: HandGraphs, pairs: Float[Tensor, "frames 2 778 3"]) -> Float[Tensor, "frames 2 nodes 3"]:
    return torch.stack([graphs[side].pooled(pairs[:, side.index], USED_LEVELS - 1) for side in _by_index()], 1)


def _by_index() -> list[Side]:
    return sorted(Side, key=lambda side: side.index)
