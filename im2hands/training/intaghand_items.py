"""IntagHand's training batches: crops with masks, dense maps, heat maps and both hands' meshes, from the image shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from im2hands.config.choices import Behaviour
from im2hands.datasets.frame_items import FrameSet, Rounds
from im2hands.datasets.hands import HandTable
from im2hands.datasets.occupancy_items import evenly_spaced
from im2hands.datasets.two_hand_item import Augmentation, AugmentationRanges, TwoHandItem, TwoHandSample, two_hand_item
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.hashing import seed_of
from im2hands.training.intaghand_losses import TrueHands, TrueMaps

VALIDATION_BATCH_FRAMES = 8


@dataclass(frozen=True)
class IntagHandBatch:
    """images: as the encoder takes them.  true, maps: see `intaghand_losses`.

    joints: regressed ones, STANDARD order, in the units of `true`, relative to each hand's middle base; left, right.
    """

    images: Float[Tensor, "frames 3 256 256"]
    true: TrueHands
    maps: TrueMaps
    joints: Float[Tensor, "frames 2 21 3"]

    @classmethod
    def of(cls, items: Sequence[TwoHandItem]) -> IntagHandBatch:
        def stacked(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(item, name) for item in items]))

        vertices, pixels = stacked("vertices"), stacked("vertices_2d")
        true = TrueHands(
            {side: vertices[:, side.index] for side in Side},
            {side: pixels[:, side.index] for side in Side},
            stacked("root_offset"),
        )
        maps = TrueMaps(stacked("mask"), stacked("dense"), stacked("heat_maps"))
        return cls(stacked("image"), true, maps, stacked("joints"))

    def to(self, device: torch.device, non_blocking: bool = True) -> IntagHandBatch:
        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        true = TrueHands(
            {side: moved(each) for side, each in self.true.vertices.items()},
            {side: moved(each) for side, each in self.true.vertices_2d.items()},
            moved(self.true.root_offset),
        )
        maps = TrueMaps(*(moved(getattr(self.maps, name)) for name in ("masks", "dense_maps", "heat_maps")))
        return IntagHandBatch(moved(self.images), true, maps, moved(self.joints))


class TwoHandFrames:
    """The usable frames of a split with all that IntagHand is trained on. Picklable.

    axes: of the hands, see `TwoHandSample.of_hands`.
    Raises DataError if there is no such frame or the crops come without masks and dense maps.
    """

    def __init__(
        self,
        frames: str | os.PathLike,
        hands: str | os.PathLike,
        images: str | os.PathLike,
        axes: Behaviour = "consistent",
    ) -> None:
        self.axes = axes
        self.frames = FrameSet(frames, hands, images)
        table = HandTable.read(hands, ["vertices", "keypoints_regressed"])
        self._rows = [[table.rows[name] for name in pair] for pair in self.frames.hand_ids]
        self._vertices, self._joints = table.array("vertices"), table.array("keypoints_regressed")
        first = self.frames.crops[int(self.frames.frame_ids[0])]
        if first.masks is None or first.dense is None:
            raise DataError(
                f"{images}: the crops have no masks or dense maps, which IntagHand needs for training; "
                "set normalize_images.masks and dense_maps to true in params.yaml."
            )

    def __len__(self) -> int:
        return len(self.frames)

    def item(self, frame: int, augmentation: Augmentation, heat_maps: Behaviour) -> TwoHandItem:
        """The frame at a place of the set under an augmentation."""
        crop, rows = self.frames.crops[int(self.frames.frame_ids[frame])], self._rows[frame]
        mask = np.zeros(crop.image.shape, np.uint8)
        for side, channel in ((Side.LEFT, 2), (Side.RIGHT, 1)):
            mask[..., channel] = 255 * crop.masks[side.index]
        sample = TwoHandSample.of_hands(
            cv2.cvtColor(crop.image, cv2.COLOR_RGB2BGR),
            mask,
            np.rint(255 * crop.dense).astype(np.uint8),
            crop.camera,
            self._vertices[rows].astype(np.float64),
            self._joints[rows],
            self.axes,
        )
        return two_hand_item(sample, augmentation, heat_maps)


class IntagHandSteps(Dataset):
    """Training batches: item i is the batch of step i. Every frame comes once per epoch; a last incomplete batch is dropped.

    augmentation: its ranges, None for unchanged frames.
    """

    def __init__(
        self,
        frames: TwoHandFrames,
        batch_frames: int,
        seed: int,
        augmentation: AugmentationRanges | None,
        heat_maps: Behaviour,
    ) -> None:
        self.frames, self.seed = frames, seed
        self.augmentation, self.heat_maps = augmentation, heat_maps
        self.batch_frames = min(batch_frames, len(frames))
        self._order = Rounds(len(frames), seed, "order of frames")

    @property
    def steps_per_epoch(self) -> int:
        return len(self.frames) // self.batch_frames

    def __getitem__(self, step: int) -> IntagHandBatch:
        epoch, batch = divmod(step, self.steps_per_epoch)
        start = epoch * len(self.frames) + batch * self.batch_frames
        return IntagHandBatch.of([self._item(place) for place in range(start, start + self.batch_frames)])

    def _item(self, place: int) -> TwoHandItem:
        drawn = Augmentation()
        if self.augmentation is not None:
            random = np.random.default_rng(seed_of(self.seed, "augmentation", place))
            drawn = Augmentation.draw(random, self.augmentation)
        return self.frames.item(self._order[place], drawn, self.heat_maps)


class IntagHandValidation(Dataset):
    """Fixed batches of evenly spaced, unchanged frames."""

    def __init__(self, frames: TwoHandFrames, most_frames: int, heat_maps: Behaviour) -> None:
        self.frames, self.heat_maps = frames, heat_maps
        self.chosen = evenly_spaced(len(frames), most_frames)

    def __len__(self) -> int:
        return -(-len(self.chosen) // VALIDATION_BATCH_FRAMES)

    def __getitem__(self, index: int) -> IntagHandBatch:
        if not 0 <= index < len(self):
            raise IndexError(f"validation batch {index} of {len(self)}")
        chosen = self.chosen[index * VALIDATION_BATCH_FRAMES : (index + 1) * VALIDATION_BATCH_FRAMES]
        return IntagHandBatch.of([self.frames.item(frame, Augmentation(), self.heat_maps) for frame in chosen])
