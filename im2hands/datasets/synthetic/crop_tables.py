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

import cv2
import numpy as np
import pyarrow as pa
import torch

from im2hands.datasets.audit import Audit
from im2hands.datasets.frames import FRAMES, FrameTable, write_index
from im2hands.datasets.hands import pose_fits, write_hands
from im2hands.datasets.images import IMAGES, encode_jpeg
from im2hands.datasets.interhand26m import HandFit
from im2hands.datasets.surface_maps import SurfaceMaps
from im2hands.datasets.synthetic.crop_poses import PAIRS_PER_PERSON
from im2hands.datasets.synthetic.crops import VIEWS, CropSource, DrawnCrop
from im2hands.geometry.cameras import CROP_SIZE
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DamagedFileError
from im2hands.io.hashing import digest, sha256_file
from im2hands.io.manifest import write_manifest
from im2hands.io.parallel import ordered_map
from im2hands.io.sources import sources
from im2hands.io.tables import Provenance, ShardReader, ShardWriter, file_card, flat

DATASET = "drawn crops"
PROJECT = Path(__file__).resolve().parents[3]
CROPS_PER_PERSON = VIEWS * PAIRS_PER_PERSON
JPEG_QUALITY = 92
NO_CROP = np.eye(2, 3)


@dataclass(frozen=True)
class CropRange:
    """Persons `first` .. `first + persons` of a seed, each with CROPS_PER_PERSON crops. hiding: see `CropSource`."""

    seed: int
    first: int
    persons: int
    hiding: float = 0.0

    def provenance(self) -> Provenance:
        """Of the tables."""
        return Provenance(
            {"dataset": DATASET, "first": self.first, "persons": self.persons, "hiding": self.hiding}, seed=self.seed
        )

    def shard_provenance(self) -> Provenance:
        """Of a person's shard, which does not depend on how many persons there are."""
        return Provenance(
            {"dataset": DATASET, "first": self.first, "hiding": self.hiding, "code": code_digest()}, seed=self.seed
        )


FIRST_PERSONS = {"train": 0, "val": 1_000_000, "test": 2_000_000}
"""No person is in two splits."""


@lru_cache(1)
def code_digest() -> str:
    """Changes when the code or the hand that decides about the crops does."""
    here = Path(__file__).resolve().relative_to(PROJECT).as_posix()
    return digest({file: sha256_file(PROJECT / file) for file in sources(here, PROJECT)})[:16]


def draw_crops(output: str | os.PathLike, split: str, crops: CropRange, threads: int = 1) -> None:
    """Writes the tables of frames and hands and the image shards of a split as the other stages do; keeps shards that are whole
    and of the same code and seed.

    output: folder that gets frames/, hands/ and images/.  threads: worker processes; the files do not depend on it.
    """
    folder = Path(output)
    images = folder / "images" / split
    images.mkdir(parents=True, exist_ok=True)
    shards = [images / f"person-{crops.first + place:06d}.arrow" for place in range(crops.persons)]
    made_by = crops.shard_provenance().as_json()
    numbers = [number for number, shard in enumerate(shards, crops.first) if not _is_of(shard, made_by)]
    for other in set(images.glob("person-*.arrow")) - set(shards):
        other.unlink()
    write = partial(_write_person, images, crops)
    for _ in ordered_map(write, numbers, threads, f"draw crops of {split} (x{CROPS_PER_PERSON})"):
        pass
    write_manifest(images / "manifest.json", shards)
    described = partial(_described, images, split, crops)
    persons = range(crops.first, crops.first + crops.persons)
    rows, fits = [], {}
    for of_frames, of_pairs in ordered_map(described, persons, threads, f"list crops of {split} (x{CROPS_PER_PERSON})"):
        rows += of_frames
        fits |= of_pairs
    frames, provenance = pa.Table.from_pylist(rows, schema=FRAMES.schema), crops.provenance()
    index = folder / "frames"
    write_index(index / f"{split}.parquet", index / f"audit_{split}.parquet", frames, Audit(), provenance)
    table, audit = pose_fits(FrameTable(frames), fits, {}, builtin_hand_models(), float("inf"))
    hands = folder / "hands"
    write_hands(hands / f"{split}.parquet", hands / f"audit_{split}.parquet", table, audit, provenance)


def _is_of(shard: Path, made_by: dict[str, Any]) -> bool:
    """Whether a shard is there and was made by the same code from the same seed."""
    if not shard.is_file():
        return False
    try:
        return file_card(shard)["provenance"] == made_by
    except DamagedFileError:
        return False


def _write_person(folder: Path, crops: CropRange, person: int) -> None:
    """The shard of a person's crops."""
    torch.set_num_threads(1)
    source, maps = _drawing(crops.seed, crops.hiding)
    with ShardWriter(folder / f"person-{person:06d}.arrow", IMAGES, crops.shard_provenance()) as shard:
        for place in range(CROPS_PER_PERSON):
            crop = source.crop(person * CROPS_PER_PERSON + place)
            camera = crop.camera
            shard.append(
                {
                    "frame_id": (person - crops.first) * CROPS_PER_PERSON + place,
                    "jpeg": stored_image(crop),
                    "crop_affine": flat(NO_CROP),
                    "crop_K": flat(camera.intrinsics),
                    "R": flat(camera.rotation),
                    "t": camera.translation,
                    "quarantined": False,
                    **maps.encoded(camera, crop.vertices, CROP_SIZE),
                }
            )


def stored_image(crop: DrawnCrop) -> bytes:
    """JPEG bytes of a crop."""
    return encode_jpeg(cv2.cvtColor(crop.image, cv2.COLOR_RGB2BGR), JPEG_QUALITY)


@lru_cache(1)
def _drawing(seed: int, hiding: float) -> tuple[CropSource, SurfaceMaps]:
    models = builtin_hand_models()
    return CropSource(models, seed, hiding), SurfaceMaps.of_models(models, masks=True, dense_maps=True)


def _described(
    folder: Path, split: str, crops: CropRange, person: int
) -> tuple[list[dict[str, Any]], dict[tuple[int, int], dict[Side, HandFit]]]:
    """Rows of the frame table of a person's crops, and the fits of its pairs by (person, pose)."""
    torch.set_num_threads(1)
    reader, rows = ShardReader(folder / f"person-{person:06d}.arrow", IMAGES), []
    for place in range(len(reader)):
        stored = reader.row(place, ["crop_K", "R", "t"])
        rows.append(
            {
                "frame_id": (person - crops.first) * CROPS_PER_PERSON + place,
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
    pairs = _drawing(crops.seed, crops.hiding)[0].pairs
    fits = {
        (person, pose): {
            side: HandFit(fit.pose, fit.shape, fit.translation)
            for side, fit in pairs.pair(person * PAIRS_PER_PERSON + pose).fits.items()
        }
        for pose in range(PAIRS_PER_PERSON)
    }
    return rows, fits
