"""A pair of built-in hands before a camera, in batches, with anchors and query points: what the image networks are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from im2hands.geometry.inside import InsideTest
from im2hands.geometry.isosurface import grid_points
from im2hands.geometry.octree import refine
from im2hands.hands.bone_frames import canonical_frames, world_to_palm
from im2hands.hands.frames import PalmFrames
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.networks.two_hands import CameraBatch, HandBatch, Hands

ANCHORS, START, DEPTH = 512, 32, 3
"""Anchors per hand; first grid and doublings of the published search for a surface."""


@dataclass(frozen=True)
class HandPair:
    """images: noise.  anchors: points of the surfaces, world, m.  surfaces: sealed vertices in the palm frame, of sample 0."""

    images: Tensor
    anchors: dict[Side, Tensor]
    hands: Hands
    camera: CameraBatch
    surfaces: dict[Side, np.ndarray]


def hand_pair(batch: int, queries: int) -> HandPair:
    """Hands in slightly bent poses, 20 cm apart, 0.8 m before the camera; queries near the surface, Gaussian (palm units)."""
    rng, models = np.random.default_rng(0), builtin_hand_models()
    anchors, hands, surfaces = {}, {}, {}
    for side, x in ((Side.LEFT, 0.06), (Side.RIGHT, -0.06)):
        model = models[side]
        place = np.tile([x, 0.0, 0.0], (batch, 1))
        posed = model.pose(rng.normal(0, 0.2, (batch, 48)), rng.normal(0, 1, (batch, 10)), place)
        vertices = torch.as_tensor(posed.vertices).double()
        frames = canonical_frames(posed.keypoints, side)
        chosen = np.stack([rng.permutation(vertices.shape[1])[:ANCHORS] for _ in range(batch)])
        anchors[side] = torch.stack([each[rows] for each, rows in zip(vertices, chosen, strict=True)]).float()
        sealed = torch.as_tensor(model.seal(vertices.numpy()))
        palm = world_to_palm(sealed, frames.wrist, frames.palm_rotation, side)
        rows = torch.from_numpy(rng.integers(0, palm.shape[1], (batch, queries)))
        points = torch.gather(palm, 1, rows[..., None].expand(-1, -1, 3))
        points = points + torch.from_numpy(rng.normal(0, 0.02, points.shape))
        hand = HandBatch(
            side,
            PalmFrames(frames.wrist, frames.palm_rotation, side),
            frames.bone_from_palm,
            frames.bone_lengths,
            points,
        )
        hands[side], surfaces[side] = hand.to(torch.float32), palm[0].numpy()
    intrinsics = torch.tensor([[520.0, 0, 128], [0, 520, 128], [0, 0, 1]])
    camera = CameraBatch(torch.eye(3), torch.tensor([0.0, 0, 0.8]), intrinsics)
    camera = CameraBatch(
        *(each.expand(batch, *each.shape) for each in (camera.rotation, camera.translation, intrinsics))
    )
    images = torch.from_numpy(rng.normal(0, 1, (batch, 3, 256, 256)).astype(np.float32))
    return HandPair(images, anchors, hands, camera, surfaces)


def octree_rounds(pair: HandPair) -> list[dict[Side, Tensor]]:
    """Per round of the published search the points (1, n, 3) that it asks of each hand; a finished hand has none."""
    sides, rounds = tuple(Side), []
    models = builtin_hand_models()
    tests = [InsideTest(pair.surfaces[side], models[side].sealed_faces) for side in sides]

    def inside(items: np.ndarray, index: np.ndarray) -> np.ndarray:
        points = grid_points(index, START << DEPTH)
        rounds.append({side: torch.from_numpy(points[items == item])[None] for item, side in enumerate(sides)})
        values = np.zeros(len(points))
        for item, test in enumerate(tests):
            values[items == item] = test.contains(points[items == item])
        return values

    refine(inside, len(sides), START, DEPTH, 0.5)
    return rounds
