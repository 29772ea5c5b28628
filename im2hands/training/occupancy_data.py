"""Data for training occupancy from photographs: frames with images and the query points of both hands."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from im2hands.datasets.anchors import AnchorSet
from im2hands.datasets.frame_items import MIRROR, FrameItem, FrameSet
from im2hands.datasets.occupancy_items import LabelledHands
from im2hands.training.frame_steps import FrameSteps, FrameValidation, LabelledFrames
from im2hands.training.frozen_encoder import require_no_augmentation
from im2hands.training.run import Data, FrameInputs, Job, upstream_parameters


@dataclass(frozen=True)
class OccupancyInputs(FrameInputs):
    """*_queries: manifests of query points."""

    train_queries: str
    val_queries: str


class StoredAnchors:
    """Anchors of frames: in training one of the stored draws, otherwise the first. frames: those that have anchors."""

    def __init__(self, frames: FrameSet, manifest: str | os.PathLike) -> None:
        """frames: all usable ones of the split.  manifest: of ANCHORS shards. Raises DataError if a frame has none."""
        self.stored = AnchorSet(manifest)
        self.frames = frames.first_of_poses(self.stored.per_pose)
        self.stored.require([int(frame_id) for frame_id in self.frames.frame_ids])

    def __call__(self, item: FrameItem, random: np.random.Generator | None) -> Float[np.ndarray, "2 points 3"]:
        """World, m, in the order of `Side.index`; of a mirrored item those of the mirrored world."""
        frame_id = int(self.frames.frame_ids[item.frame])
        draw = 0 if random is None else int(random.integers(self.stored.draws(frame_id)))
        drawn = self.stored.anchors(frame_id, draw)
        return (drawn[::-1] @ MIRROR).astype(drawn.dtype) if item.mirrored else drawn


def occupancy_data(job: Job, network: str, anchors: Callable[[FrameSet, str], StoredAnchors] | None = None) -> Data:
    """Both splits of `job.inputs`. anchors: a set and the name of its split -> its anchors, and the frames that have some.

    Raises ConfigError if images are to be augmented that a frozen encoder sees.
    """
    section, inputs = job.section, job.inputs
    require_no_augmentation(section.image_encoder, section.augmentation, f"training.{network}")
    splits = []
    for split in ("train", "val"):
        frames, hands, images = inputs.of(split)
        seen = FrameSet(frames, hands, images)
        labelled = LabelledHands(getattr(inputs, f"{split}_queries"), hands)
        drawn = anchors and anchors(seen, split)
        used = drawn.frames if drawn else seen
        splits.append(LabelledFrames(used, labelled, section.image_encoder == "trained", drawn))
    train, val = splits
    validation = FrameValidation(val, section.validation_frames, section.validation_points)
    steps = FrameSteps(
        train, section.batch_frames, section.points_per_hand, section.uniform_share, job.seed, section.augmentation
    )
    return Data(
        steps,
        validation,
        sets=(train.frames, val.frames),
        used={
            "points_per_set": dict(steps.counts),
            "validation_frames": len(validation.chosen),
            "validation_points": validation.points_per_hand,
        },
        metrics={"val_frames": len(validation.chosen), "val_set": validation.set_name},
        made_of=upstream_parameters(inputs.train_queries, inputs.train_hands),
    )
