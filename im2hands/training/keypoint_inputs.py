"""Training and validation frames of keypoint refinement: true keypoints, and the worse ones that are the network's input.

The input is IntagHand's prediction for the frame, or true keypoints with fresh errors: normal noise and, for joint views, also
errors as detectors make them. The published network is given hands whose wrist is the true one (alignment `wrist`), joint views
get them where they were predicted (`camera`). Keypoints are of the kind `model`, camera frame, metres, hands in the order left,
right; the network's own millimetre frame is `hands.frames.RefinementKeypoints`.

Source: Im2Hands (CVPR 2023), keypoint refinement, trained on predictions alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from im2hands.datasets.frame_items import MIRROR, FrameItem, FrameSet, Rounds
from im2hands.datasets.frames import FrameTable, pair_id
from im2hands.datasets.keypoint_errors import with_errors
from im2hands.datasets.keypoints import Alignment, KeypointTable, aligned
from im2hands.datasets.occupancy_items import evenly_spaced
from im2hands.datasets.two_hand_item import Augmentation
from im2hands.hands.frames import MILLIMETRES, RefinementKeypoints
from im2hands.hands.joints import WRIST
from im2hands.io.errors import DataError
from im2hands.io.hashing import seed_of
from im2hands.networks.image_encoder import normalise

Given = Literal["mixture", "predicted", "perturbed"]
VALIDATION_NOISE_MM = 10.0
"""Standard deviation per coordinate of the noise on validation's perturbed keypoints, as in the source `perturbed_10mm`."""
VALIDATION_BATCH_FRAMES = 16


@dataclass(frozen=True)
class KeypointBatch:
    """Some frames of a split; of each, one or more samples, those of a frame in a row.

    images: as the encoder takes them, None if only a frozen encoder needs them, which knows the frame by its number.
    frame_index: place in the split's frame set.  intrinsics: of the crops.  true: camera frame relative to its own origin.
    given: the keypoints to refine, by kind.
    """

    images: Float[Tensor, "frames 3 256 256"] | None
    frame_index: Tensor
    intrinsics: Float[Tensor, "samples 3 3"]
    true: RefinementKeypoints
    given: Mapping[Given, RefinementKeypoints]

    def to(self, device: torch.device, non_blocking: bool = True) -> KeypointBatch:
        return self._with(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> KeypointBatch:
        return self._with(Tensor.pin_memory)

    def _with(self, moved) -> KeypointBatch:
        def keypoints(of: RefinementKeypoints) -> RefinementKeypoints:
            return RefinementKeypoints(moved(of.left), moved(of.right), moved(of.origin))

        images = None if self.images is None else moved(self.images)
        given = {kind: keypoints(of) for kind, of in self.given.items()}
        return KeypointBatch(images, moved(self.frame_index), moved(self.intrinsics), keypoints(self.true), given)


@dataclass(frozen=True)
class TrueAndPredicted:
    """Keypoints of one frame, camera frame (m), and the frame itself."""

    item: FrameItem
    true: Float[np.ndarray, "2 21 3"]
    predicted: Float[np.ndarray, "2 21 3"]


class KeypointFrames:
    """The usable frames of a split.

    frames: their images, cameras and true hands.  predictions: keypoint file of the same split.  with_images: whether batches
    contain images.  predicted_only: leaves out frames without usable prediction, which else have NaN in its place.
    alignment: whether predicted and perturbed hands are moved to the true wrists.
    Raises DataError if the predictions are those of other frames, or no frame is left.
    """

    def __init__(
        self,
        frames: FrameSet,
        predictions: str | os.PathLike,
        with_images: bool,
        predicted_only: bool = False,
        alignment: Alignment = "wrist",
    ) -> None:
        self.frames, self.with_images, self.alignment = frames, with_images, alignment
        table = KeypointTable.read(predictions)
        pair_ids = [pair_id(*key) for key in FrameTable.read(frames.frames_path).pair_keys]
        table.require_frames(pair_ids, frames.frames_path)
        usable = table.usable[frames.frame_ids]
        self._places = np.flatnonzero(usable | (not predicted_only))
        self.without_prediction = int((~usable[self._places]).sum())
        if not len(self._places):
            raise DataError(
                f"{predictions}: no frame of {frames.frames_path} has usable keypoints; predict them again."
            )
        self._predicted = table.keypoints()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> TrueAndPredicted:
        return self.augmented(index, None)

    def augmented(self, index: int, augmentation: Augmentation | None) -> TrueAndPredicted:
        """A frame, its image changed as `augmentation` says and its keypoints with it."""
        item = self.frames.item(int(self._places[index]), self.with_images)
        predicted = aligned(self._predicted[self.frame_id(index)], item.wrist, self.alignment)
        if augmentation is not None:
            item = item.augmented(augmentation)
            if item.mirrored:
                predicted = predicted[::-1] @ MIRROR
        return TrueAndPredicted(item, item.camera.to_camera(item.keypoints), item.camera.to_camera(predicted))

    def frame_id(self, index: int) -> int:
        return int(self.frames.frame_ids[self._places[index]])


def batch_of(
    samples: Sequence[TrueAndPredicted], given: Mapping[Given, Float[np.ndarray, "samples 2 21 3"]]
) -> KeypointBatch:
    """given: the keypoints to refine, camera frame, m; of every frame equally many, those of a frame in a row."""
    images = [sample.item.image for sample in samples]
    each = len(next(iter(given.values()))) // len(samples)
    intrinsics = np.repeat(np.stack([sample.item.camera.intrinsics for sample in samples]), each, 0)
    true = np.repeat(np.stack([sample.true for sample in samples]), each, 0)
    return KeypointBatch(
        None if images[0] is None else normalise(torch.from_numpy(np.stack(images))),
        torch.tensor([sample.item.frame for sample in samples]),
        torch.from_numpy(intrinsics),
        refinement_keypoints(true),
        {kind: refinement_keypoints(keypoints) for kind, keypoints in given.items()},
    )


def refinement_keypoints(keypoints: Float[np.ndarray, "frames 2 21 3"]) -> RefinementKeypoints:
    """Camera-frame keypoints (m) as the network takes them."""
    left, right = torch.from_numpy(np.ascontiguousarray(keypoints)).unbind(1)
    return RefinementKeypoints.of(left, right)


def with_noise(
    true: Float[np.ndarray, "2 21 3"],
    sigma_mm: Float[np.ndarray, "#2"],
    random: np.random.Generator,
    alignment: Alignment = "wrist",
) -> Float[np.ndarray, "2 21 3"]:
    """Keypoints (m) with normal noise in every coordinate of every joint, then moved back to the true wrists or not.

    sigma_mm: standard deviation for each hand.
    """
    noisy = true + random.normal(size=true.shape) * sigma_mm[:, None, None] / MILLIMETRES
    return aligned(noisy, true[:, WRIST], alignment)


class RefinementSteps(Dataset):
    """Training batches; item i is that of global step i, a function of (seed, i).

    Every frame comes once per round, in a new order each.  predicted_share: part of the samples that are given IntagHand's
    prediction; the others, and those without a prediction, get noise whose standard deviation is drawn for each hand,
    uniformly up to `noise_mm`.  draws: samples of every frame.  detector_share: part of the noisy samples that get a detector's
    errors instead, of which some joints are missing: NaN.
    """

    def __init__(
        self,
        frames: KeypointFrames,
        batch_frames: int,
        predicted_share: float,
        noise_mm: float,
        augmentation: bool,
        seed: int,
        draws: int = 1,
        detector_share: float = 0.0,
    ) -> None:
        self.frames, self.batch_frames, self.seed = frames, batch_frames, seed
        self.predicted_share, self.noise_mm, self.augmentation = predicted_share, noise_mm, augmentation
        self.draws, self.detector_share = draws, detector_share
        self._order = Rounds(len(frames), seed, "order of frames")

    def __getitem__(self, step: int) -> KeypointBatch:
        random = np.random.default_rng(seed_of(self.seed, "inputs of keypoint refinement", step))
        samples = []
        for place in range(step * self.batch_frames, (step + 1) * self.batch_frames):
            augmentation = Augmentation.draw(random) if self.augmentation else None
            samples.append(self.frames.augmented(self._order[place], augmentation))
        given = [self._given(sample, random) for sample in samples for _ in range(self.draws)]
        return batch_of(samples, {"mixture": np.stack(given)})

    def _given(self, sample: TrueAndPredicted, random: np.random.Generator) -> Float[np.ndarray, "2 21 3"]:
        predicted = random.random() < self.predicted_share and np.isfinite(sample.predicted).all()
        noisy = with_noise(sample.true, random.uniform(0, self.noise_mm, 2), random, self.frames.alignment)
        if self.detector_share and random.random() < self.detector_share:
            noisy = with_errors(sample.true[None], random, 2 * self.noise_mm).keypoints[0]
        return sample.predicted if predicted else noisy


class RefinementValidation(Dataset):
    """Fixed batches of evenly spaced frames, each given the prediction and, seeded per frame, perturbed true keypoints."""

    def __init__(self, frames: KeypointFrames, most_frames: int, seed: int) -> None:
        self.frames, self.seed = frames, seed
        self.chosen = evenly_spaced(len(frames), most_frames)

    def __len__(self) -> int:
        return -(-len(self.chosen) // VALIDATION_BATCH_FRAMES)

    def __getitem__(self, index: int) -> KeypointBatch:
        if not 0 <= index < len(self):
            raise IndexError(f"validation batch {index} of {len(self)}")
        chosen = self.chosen[index * VALIDATION_BATCH_FRAMES : (index + 1) * VALIDATION_BATCH_FRAMES]
        samples = [self.frames[frame] for frame in chosen]
        perturbed = [
            self._perturbed(sample.true, self.frames.frame_id(f)) for f, sample in zip(chosen, samples, strict=True)
        ]
        return batch_of(
            samples, {"predicted": np.stack([s.predicted for s in samples]), "perturbed": np.stack(perturbed)}
        )

    def _perturbed(self, true: Float[np.ndarray, "2 21 3"], frame_id: int) -> Float[np.ndarray, "2 21 3"]:
        random = np.random.default_rng(seed_of(self.seed, "validation noise", frame_id))
        return with_noise(true, np.full(2, VALIDATION_NOISE_MM), random, self.frames.alignment)
