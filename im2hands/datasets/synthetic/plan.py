"""Contents of the synthetic dataset: captures, sequences, frame numbers and hard cases, as functions of the settings.

A capture is one subject in front of one camera rig; it has two sequences of touching hands. Capture 0 of every split also
contains the hard cases: frames that a reader must drop, each for a different reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from im2hands.datasets.synthetic.sequences import SequenceId
from im2hands.io.errors import ConfigError
from im2hands.io.hashing import seed_of

SPLITS = ("train", "val", "test")
SEQUENCES_PER_CAPTURE = 2
MAX_FRAMES_PER_SEQUENCE = 16
FRAME_STEP = 3
WORDS = ("Touch", "Fingers", "Palms", "Meet", "Greet", "Point", "Rest", "Clasp")


class HardCase(StrEnum):
    """Why a frame is not usable."""

    SINGLE_RIGHT = "single_right"
    SINGLE_LEFT = "single_left"
    NULL_FIT = "null_fit"
    FRAME_NOT_FITTED = "frame_not_fitted"
    BLACK_IMAGE = "black_image"
    HAND_TYPE_INVALID = "hand_type_invalid"


HARD_SEQUENCES = {
    "Single": (HardCase.SINGLE_RIGHT, HardCase.SINGLE_LEFT),
    "Mixed": (HardCase.NULL_FIT, HardCase.BLACK_IMAGE, HardCase.FRAME_NOT_FITTED, HardCase.HAND_TYPE_INVALID),
}


@dataclass(frozen=True)
class Settings:
    """What the content of the dataset depends on.

    poses: usable two-hand poses per split, before `scale`.  subjects: people per split, none of them in two splits.
    supersampling: images are drawn this many times larger.
    """

    poses: Mapping[str, int]
    subjects: Mapping[str, int]
    cameras: int
    scale: float
    supersampling: int
    jpeg_quality: int
    seed: int

    def __post_init__(self) -> None:
        for split in SPLITS:
            if self.subjects[split] < 1:
                raise ConfigError(f"synthesize_dataset: subjects.{split} must be at least 1.")

    def usable_poses(self, split: str) -> int:
        return round(self.poses[split] * self.scale)

    def first_subject(self, split: str) -> int:
        """Number of a split's first subject within the dataset."""
        return sum(self.subjects[earlier] for earlier in SPLITS[: SPLITS.index(split)])


@dataclass(frozen=True)
class PlannedSequence:
    """A sequence to make. hard: per frame, why it is not usable, or None."""

    identity: SequenceId
    name: str
    frame_numbers: tuple[int, ...]
    hard: tuple[HardCase | None, ...]


@dataclass(frozen=True)
class PlannedCapture:
    split: str
    capture: int
    subject: int
    sequences: tuple[PlannedSequence, ...]


def captures_of(settings: Settings, split: str) -> int:
    """One capture per subject, or more where the sequences would become long."""
    per_capture = SEQUENCES_PER_CAPTURE * MAX_FRAMES_PER_SEQUENCE
    return max(settings.subjects[split], -(-settings.usable_poses(split) // per_capture))


def plan(settings: Settings, split: str) -> list[PlannedCapture]:
    """The captures of a split; their usable frames are exactly `usable_poses`, the hard cases come in addition."""
    captures, poses = captures_of(settings, split), settings.usable_poses(split)
    sequences = captures * SEQUENCES_PER_CAPTURE
    sizes = [poses * (k + 1) // sequences - poses * k // sequences for k in range(sequences)]
    return [
        _capture(settings, split, capture, sizes[capture * SEQUENCES_PER_CAPTURE :][:SEQUENCES_PER_CAPTURE])
        for capture in range(captures)
    ]


def _capture(settings: Settings, split: str, capture: int, sizes: list[int]) -> PlannedCapture:
    number = SPLITS.index(split)
    subject = settings.first_subject(split) + capture % settings.subjects[split]
    rng = np.random.default_rng(seed_of(settings.seed, number, capture, "frame numbers"))
    words = rng.permutation(WORDS)
    wanted = [(str(word), (None,) * size) for word, size in zip(words, sizes, strict=False) if size]
    if capture == 0:
        wanted += list(HARD_SEQUENCES.items())
    sequences, frame = [], 0
    for index, (word, hard) in enumerate(wanted):
        frame += int(rng.integers(5, 90))
        frames = tuple(frame + FRAME_STEP * k for k in range(len(hard)))
        frame = frames[-1]
        identity = SequenceId(settings.seed, number, capture, index, subject)
        sequences.append(PlannedSequence(identity, f"ROM{index + 1:02d}_Synthetic_{word}", frames, hard))
    return PlannedCapture(split, capture, subject, tuple(sequences))
