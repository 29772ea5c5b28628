"""Drawn crops as the tables and image shards that every training reads: frames, hands, images.

One shard per person, so that a killed run continues where it was; a crop depends neither on how many there are nor on who
draws it. A frame's image is the crop itself; a pair's name is (person, pose).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from im2hands.datasets.frames import FRAMES, FrameTable
from im2hands.datasets.hands import pose_fits, write_hands
from im2hands.datasets.images import IMAGES, encode_jpeg
from im2hands.datasets.interhand26m import HandFit
from im2hands.datasets.surface_maps import SurfaceMaps
from im2hands.datasets.synthetic.crop_poses import PAIRS_PER_PERSON
from im2hands.datasets.synthetic.crops import VIEWS, CropSource
from im2hands.geometry.cameras import CROP_SIZE
from im2hands.hands.model_files import builtin_hand_models
from im2hands.io.manifest import write_manifest
from im2hands.io.parallel import ordered_map
from im2hands.io.tables import Provenance, ShardReader, ShardWriter, flat, write_parquet

DATASET = "drawn crops"
CROPS_PER_PERSON = VIEWS * PAIRS_PER_PERSON
JPEG_QUALITY = 92
NO_CROP = np.eye(2, 3)


@dataclass(frozen=True)
class CropRange:
    """Persons `first` .. `first + persons` of a seed, each with CROPS_PER_PERSON crops."""

    seed: int
    first: int
    persons: int

    def provenance(self) -> Provenance:
        return Provenance({"dataset": DATASET, "first": self.first, "persons": self.persons}, seed=self.seed)


def draw_crops(output: str | os.PathLike, split: str, crops: CropRange, threads: int = 1) -> None:
    """Writes frames.parquet, hands.parquet, audit.parquet and images/ of a split into a folder; keeps shards that are whole.

    threads: worker processes; the files do not depend on it.
    """
    folder = Path(output)
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    shards = [images / f"person-{crops.first + place:06d}.arrow" for place in range(crops.persons)]
    numbers = [number for number, shard in enumerate(shards, crops.first) if not shard.is_file()]
    write = partial(_write_person, images, crops)
    for _ in ordered_map(write, numbers, threads, f"draw crops of {split} (x{CROPS_PER_PERSON})"):
        pass
    write_manifest(images / "manifest.json", shards)
    frames = _frames(split, crops, shards)
    provenance = crops.provenance()
    write_parquet(folder / "frames.parquet", frames, FRAMES, provenance)
    source = CropSource(builtin_hand_models(), crops.seed)
    fits = {
        (person, pose): {
            side: HandFit(fit.pose, fit.shape, fit.translation)
            for side, fit in source.pairs.pair(person * PAIRS_PER_PERSON + pose).fits.items()
        }
        for person in range(crops.first, crops.first + crops.persons)
        for pose in range(PAIRS_PER_PERSON)
    }
    table, audit = pose_fits(FrameTable(frames), fits, {}, source.pairs.models, float("inf"))
    write_hands(folder / "hands.parquet", folder / "audit.parquet", table, audit, provenance)


def _write_person(folder: Path, crops: CropRange, person: int) -> None:
    """The shard of a person's crops."""
    torch.set_num_threads(1)
    source, maps = _drawing(crops.seed)
    provenance = Provenance({"dataset": DATASET, "first": crops.first}, seed=crops.seed)
    with ShardWriter(folder / f"person-{person:06d}.arrow", IMAGES, provenance) as shard:
        for place in range(CROPS_PER_PERSON):
            crop = source.crop(person * CROPS_PER_PERSON + place)
            camera = crop.camera
            shard.append(
                {
                    "frame_id": (person - crops.first) * CROPS_PER_PERSON + place,
                    "jpeg": encode_jpeg(crop.image[..., ::-1], JPEG_QUALITY),
                    "crop_affine": flat(NO_CROP),
                    "crop_K": flat(camera.intrinsics),
                    "R": flat(camera.rotation),
                    "t": camera.translation,
                    "quarantined": False,
                    **maps.encoded(camera, crop.vertices, CROP_SIZE),
                }
            )


@lru_cache(1)
def _drawing(seed: int) -> tuple[CropSource, SurfaceMaps]:
    models = builtin_hand_models()
    return CropSource(models, seed), SurfaceMaps.of_models(models, masks=True, dense_maps=True)


def _frames(split: str, crops: CropRange, shards: list[Path]) -> pa.Table:
    """The frame table of the crops that were drawn."""
    rows: list[dict[str, Any]] = []
    for person, shard in enumerate(shards, crops.first):
        reader = ShardReader(shard, IMAGES)
        for place in range(len(reader)):
            stored = reader.row(place, ["crop_K", "R", "t"])
            rows.append(
                {
                    "frame_id": len(rows),
                    "image_id": person * CROPS_PER_PERSON + place,
                    "annotation_id": person * CROPS_PER_PERSON + place,
                    "file_name": f"drawn/{person:06d}/{place:03d}.jpg",
                    "split": split,
                    "capture": person,
                    "subject": person,
                    "sequence": f"drawn{person}",
                    "camera": f"view{place % VIEWS}",
                    "frame_idx": place // VIEWS,
                    "width": CROP_SIZE,
                    "height": CROP_SIZE,
                    "K": stored["crop_K"],
                    "R": stored["R"],
                    "t": stored["t"],
                }
            )
    return pa.Table.from_pylist(rows, schema=FRAMES.schema)
