"""Small two-hand data as the stages before training write them: frames, hands, crops and keypoints of a split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from im2hands.datasets.frames import FrameTable, index_frames, pair_id, write_index
from im2hands.datasets.hands import HandTable, fit_hands, write_hands
from im2hands.datasets.images import write_crop_shard
from im2hands.datasets.keypoints import write_keypoints
from im2hands.datasets.perturbed_keypoints import perturbed_keypoints
from im2hands.datasets.surface_maps import SurfaceMaps
from im2hands.hands.model_files import builtin_hand_models
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance
from tests.datasets.made_up_interhand import made_up_interhand

PROVENANCE = Provenance({"dataset": "made-up hands", "angle_clamp": "consistent"})


@dataclass(frozen=True)
class TwoHandSplit:
    """Paths of a split."""

    folder: Path
    split: str

    @property
    def frames(self) -> Path:
        return self.folder / "frames" / f"{self.split}.parquet"

    @property
    def hands(self) -> Path:
        return self.folder / "hands" / f"{self.split}.parquet"

    @property
    def images(self) -> Path:
        return self.folder / "images" / self.split / "manifest.json"

    def keypoints(self, source: str) -> Path:
        return self.folder / "keypoints" / source / f"{self.split}.parquet"

    def inputs(self) -> dict[str, Path]:
        """Files by the names of a training's inputs."""
        files = {name: getattr(self, name) for name in ("frames", "hands", "images")}
        files["predictions"] = self.keypoints("noisy")
        return {f"{self.split}_{name}": path for name, path in files.items()}

    @property
    def frame_table(self) -> FrameTable:
        return FrameTable.read(self.frames)

    @property
    def pair_ids(self) -> list[str]:
        return [pair_id(*key) for key in self.frame_table.pair_keys]


def make_split(folder: Path, split: str, poses: int, noise_mm: float = 8.0, maps: bool = False) -> TwoHandSplit:
    """Two frames per pose; the keypoint source `noisy` replaces predictions. maps: crops with masks and dense maps."""
    data = TwoHandSplit(folder, split)
    root = made_up_interhand(folder / "raw", poses, split, seed=len(split)).root
    table, audit = index_frames(root, split, 0.0)
    write_index(data.frames, folder / f"audit_{split}.parquet", table, audit, PROVENANCE)
    frames = FrameTable(table)
    hands, audit = fit_hands(root, split, frames, builtin_hand_models(), 20.0)
    write_hands(data.hands, folder / f"audit_hands_{split}.parquet", hands, audit, PROVENANCE)
    shard = data.images.parent / "0000-of-0001.arrow"
    drawn = SurfaceMaps.of_models(builtin_hand_models(), maps, maps)
    write_crop_shard(shard, root, split, frames, HandTable(hands.combine_chunks()), PROVENANCE, 0.0, maps=drawn)
    write_manifest(data.images, [shard])
    keypoints, reasons = perturbed_keypoints(frames, HandTable(hands.combine_chunks()), noise_mm, seed=1)
    write_noisy(data, keypoints, reasons)
    return data


def write_noisy(data: TwoHandSplit, keypoints: np.ndarray, reasons: list[str | None], source: str = "noisy") -> Path:
    """Writes a keypoint source of the split and returns its path."""
    write_keypoints(data.keypoints(source), data.pair_ids, keypoints, reasons, Provenance({"source": source}))
    return data.keypoints(source)
