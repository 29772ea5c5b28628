"""A frozen image encoder: its maps are computed once per frame, one image at a time, and kept in a temporary file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from math import prod

import torch
from jaxtyping import Integer
from torch import Tensor

from im2hands.datasets.frame_items import FrameSet
from im2hands.io.errors import ConfigError
from im2hands.networks.frame_batches import FrameBatch
from im2hands.networks.image_encoder import ImageEncoder, ImageFeatures, normalise
from im2hands.training.keypoint_inputs import KeypointBatch

KEPT: Mapping[str, tuple[int, ...]] = {"backbone": (3,), "of_heat_maps": (0, 3), "of_dense_maps": (0, 3)}
"""The maps that the networks after IntagHand use, places in the lists of ImageFeatures: coarsest and finest."""
LEVELS = 4
BUDGET_BYTES = 1 << 30


class FrozenEncoder:
    """What an encoder that is no longer trained sees in the frames of a set.

    Images are encoded one by one, so that the maps of a frame do not depend on its neighbours in a batch, nor on how many
    frames fit into the budget.
    encoder: left in evaluation mode, without gradients.  device: where the maps are wanted.
    budget_bytes: size of the file of kept maps; frames beyond it, or beyond what the disk takes, are encoded each time.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        frames: FrameSet,
        device: torch.device,
        budget_bytes: int = BUDGET_BYTES,
        maps: Mapping[str, Sequence[int]] = KEPT,
    ) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self.frames, self.device, self.maps = frames, device, maps
        self._room = budget_bytes
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  (it lives as long as the encoder)
        self._kept: dict[int, int] = {}  # frame -> its place in the file, bytes
        self._shapes: list[torch.Size] = []

    def features(self, frame_index: Integer[Tensor, " frames"]) -> ImageFeatures:
        """Maps of some frames of the set (places, not frame ids); those that are not in `maps` are empty."""
        each = [self._of(int(frame)) for frame in frame_index]
        batch = iter(torch.stack(parts).to(self.device) for parts in zip(*each, strict=True))
        none = torch.empty(len(each), 0)
        lists = {
            name: [next(batch) if level in self.maps.get(name, ()) else none for level in range(LEVELS)]
            for name in ("backbone", "of_heat_maps", "of_dense_maps")
        }
        return ImageFeatures(heat_maps=none, masks=none, dense_maps=none, **lists)

    @torch.no_grad()
    def _of(self, frame: int) -> list[Tensor]:
        if frame in self._kept:
            return self._read(self._kept[frame])
        image = normalise(torch.from_numpy(self.frames.image(frame))[None]).to(self.device)
        self.encoder.eval()
        with torch.autocast(self.device.type, enabled=False):
            found = self.encoder(image)
        parts = [
            getattr(found, name)[level][0].cpu()
            for name in ("backbone", "of_heat_maps", "of_dense_maps")
            for level in range(LEVELS)
            if level in self.maps.get(name, ())
        ]
        self._keep(frame, parts)
        return parts

    def _keep(self, frame: int, parts: list[Tensor]) -> None:
        maps = torch.cat([part.flatten() for part in parts])
        if maps.nbytes > self._room:
            return
        place = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(memoryview(maps.numpy()).cast("B"))
        except OSError:  # the disk is full
            written = 0
        if written < maps.nbytes:
            self._room = 0
            return
        self._room -= maps.nbytes
        self._shapes = [part.shape for part in parts]
        self._kept[frame] = place

    def _read(self, place: int) -> list[Tensor]:
        sizes = [prod(shape) for shape in self._shapes]
        maps = torch.empty(sum(sizes))
        self._file.seek(place)
        self._file.readinto(memoryview(maps.numpy()).cast("B"))
        return [part.view(shape) for part, shape in zip(maps.split(sizes), self._shapes, strict=True)]


def features_of(
    batch: FrameBatch | KeypointBatch,
    encoder: ImageEncoder,
    frozen: tuple[FrozenEncoder, FrozenEncoder] | None,
    training: bool,
) -> ImageFeatures:
    """What an image encoder, trained or frozen, sees in a batch of the training or of the validation frames."""
    if frozen is None:
        return encoder(batch.images)
    return frozen[0 if training else 1].features(batch.frame_index)


def frozen_encoders(
    image_encoder: str,
    encoder: ImageEncoder,
    sets: tuple[FrameSet, FrameSet],
    device: torch.device,
    maps: Mapping[str, Sequence[int]],
) -> tuple[FrozenEncoder, FrozenEncoder] | None:
    """The maps of the training and of the validation frames; None for an encoder that is trained."""
    if image_encoder != "frozen":
        return None
    return FrozenEncoder(encoder, sets[0], device, maps=maps), FrozenEncoder(encoder, sets[1], device, maps=maps)


def require_no_augmentation(image_encoder: str, augmentation: bool, section: str) -> None:
    """Raises ConfigError if images change although the encoder is frozen. section: name in params.yaml, for the message."""
    if image_encoder == "frozen" and augmentation:
        raise ConfigError(
            f"{section}: a frozen image encoder computes its maps once per frame, so images cannot be augmented; "
            "set augmentation: false or image_encoder: trained."
        )
