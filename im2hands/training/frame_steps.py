"""Batches of frames with labelled query points of both hands: item i is the batch of global step i, independent of who
requests it.

Frames: see `networks.two_hands`. Left and right draw their query points independently.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from torch.utils.data import Dataset

from im2hands.datasets.frame_items import FrameItem, FrameSet, Rounds
from im2hands.datasets.occupancy_items import VALIDATION_SETS, LabelledHands, evenly_spaced, points_per_set
from im2hands.datasets.queries import QueryPoints
from im2hands.datasets.two_hand_item import Augmentation
from im2hands.io.errors import DataError
from im2hands.io.hashing import seed_of
from im2hands.networks.frame_batches import FrameBatch, frame_batch

VALIDATION_BATCH_FRAMES = 2
AnchorsOf = Callable[[FrameItem, np.random.Generator | None], Float[np.ndarray, "2 points 3"]]
"""A frame, and a generator in training -> anchors of both hands (world, m), as the item's mirroring requires."""


class LabelledFrames:
    """The frames of a split with the stored query points of their hands.

    with_images: whether batches contain images.  anchors: anchors for refined occupancy.
    Raises DataError if a hand of a frame has no query points.
    """

    def __init__(
        self, frames: FrameSet, hands: LabelledHands, with_images: bool, anchors: AnchorsOf | None = None
    ) -> None:
        self.frames, self.hands, self.with_images, self.anchors = frames, hands, with_images, anchors
        rows = {name: row for row, name in enumerate(hands.queries.hand_ids)}
        missing = [name for pair in frames.hand_ids for name in pair if name not in rows]
        if missing:
            raise DataError(
                f"{hands.manifest}: contains no query points for hand {missing[0]} ({len(missing)} missing), which is in "
                f"{frames.frames_path}; run sample_queries again."
            )
        self.rows = rows

    def __len__(self) -> int:
        return len(self.frames)


class FrameSteps(Dataset):
    """Training batches. Every frame comes once per round, in a new random order each round.

    points_per_hand, uniform_share: see `occupancy_items.points_per_set`.  augmentation: random changes of every frame.
    """

    def __init__(
        self,
        frames: LabelledFrames,
        batch_frames: int,
        points_per_hand: int,
        uniform_share: float,
        seed: int,
        augmentation: bool = False,
    ) -> None:
        self.frames, self.batch_frames, self.seed, self.augmentation = frames, batch_frames, seed, augmentation
        self.counts = points_per_set(frames.hands, points_per_hand, uniform_share)
        self._order = Rounds(len(frames), seed, "order of frames")

    def __getitem__(self, step: int) -> FrameBatch:
        items, points, anchors = [], [], []
        for place in range(step * self.batch_frames, (step + 1) * self.batch_frames):
            random = np.random.default_rng(seed_of(self.seed, "frame", place))
            item = self.frames.frames.item(self._order[place], self.frames.with_images)
            if self.augmentation:
                item = item.augmented(Augmentation.draw(random))
            items.append(item)
            queries, rows = self.frames.hands.queries, self.frames.rows
            points.append([queries.block(rows[name], random, self.counts) for name in item.hand_ids])
            if self.frames.anchors is not None:
                anchors.append(self.frames.anchors(item, random))
        return frame_batch(items, points, anchors or None)


class FrameValidation(Dataset):
    """Fixed batches: the first points of one set of the hands of evenly spaced frames."""

    def __init__(self, frames: LabelledFrames, most_frames: int, points_per_hand: int) -> None:
        hands = frames.hands
        self.frames = frames
        self.set_name = next((name for name in VALIDATION_SETS if hands.has(name)), None)
        if self.set_name is None:
            raise DataError(f"{hands.manifest}: contains no points; raise their numbers in sample_queries.")
        self.points_per_hand = min(points_per_hand, hands.queries.count(0, self.set_name))
        self.chosen = evenly_spaced(len(frames), most_frames)

    def __len__(self) -> int:
        return -(-len(self.chosen) // VALIDATION_BATCH_FRAMES)

    def __getitem__(self, index: int) -> FrameBatch:
        if not 0 <= index < len(self):
            raise IndexError(f"validation batch {index} of {len(self)}")
        chosen = self.chosen[index * VALIDATION_BATCH_FRAMES : (index + 1) * VALIDATION_BATCH_FRAMES]
        items = [self.frames.frames.item(frame, self.frames.with_images) for frame in chosen]
        points = [[self._first_points(name) for name in item.hand_ids] for item in items]
        anchors = self.frames.anchors
        return frame_batch(items, points, None if anchors is None else [anchors(item, None) for item in items])

    def _first_points(self, hand_id: str) -> QueryPoints:
        whole = self.frames.hands.queries.points(self.frames.rows[hand_id], self.set_name)
        return QueryPoints(whole.points[: self.points_per_hand], whole.labels[: self.points_per_hand])
