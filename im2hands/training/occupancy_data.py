"""Data for training occupancy from photographs: frames with images and the query points of both hands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.occupancy_items import LabelledHands
from im2hands.training.frame_steps import AnchorsOf, FrameSteps, FrameValidation, LabelledFrames
from im2hands.training.frozen_encoder import require_no_augmentation
from im2hands.training.run import Data, FrameInputs, Job, upstream_parameters


@dataclass(frozen=True)
class OccupancyInputs(FrameInputs):
    """*_queries: manifests of query points."""

    train_queries: str
    val_queries: str


def occupancy_data(job: Job, network: str, anchors: Callable[[FrameSet, str], AnchorsOf | None]) -> Data:
    """Both splits of `job.inputs`. anchors: a set and the name of its split -> the anchors of its frames, if it needs any.

    Raises ConfigError if images are to be augmented that a frozen encoder sees.
    """
    section, inputs = job.section, job.inputs
    require_no_augmentation(section.image_encoder, section.augmentation, f"training.{network}")
    splits = []
    for split in ("train", "val"):
        frames, hands, images = inputs.of(split)
        seen = FrameSet(frames, hands, images)
        labelled = LabelledHands(getattr(inputs, f"{split}_queries"), hands)
        splits.append(LabelledFrames(seen, labelled, section.image_encoder == "trained", anchors(seen, split)))
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
