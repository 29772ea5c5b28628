"""Normalised images: the square crop around both hands of every kept frame, in Arrow shards, and their reader.

A crop's camera is the frame's camera with new intrinsics; rotation and translation stay. Shard i of n contains the i-th of n
consecutive parts of the frame table, so row and frame id agree over all shards together. A frame whose image or hands
cannot be used keeps its row, without an image, marked as quarantined with a reason.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, UInt8

from im2hands.datasets.audit import Finding, Reason, Unusable, require_few_damaged
from im2hands.datasets.frames import Frame, FrameTable, hand_id
from im2hands.datasets.hands import HandTable
from im2hands.datasets.image_files import find_image, read_image
from im2hands.datasets.interhand26m import InterHand26M
from im2hands.datasets.surface_maps import SurfaceMaps, decode_dense_map, decode_masks
from im2hands.geometry.cameras import CROP_SIZE, HAND_SHARE, Affine, Camera, square_crop
from im2hands.hands.sides import SIDES
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.manifest import Manifest
from im2hands.io.parallel import chunks, ordered_map
from im2hands.io.tables import Layout, Provenance, ShardWriter, as_array

IMAGES = Layout(
    "images",
    1,
    pa.schema(
        [
            ("frame_id", pa.int64()),
            ("jpeg", pa.binary()),
            ("crop_affine", pa.list_(pa.float64(), 6)),
            ("crop_K", pa.list_(pa.float64(), 9)),
            ("R", pa.list_(pa.float64(), 9)),
            ("t", pa.list_(pa.float64(), 3)),
            ("mask_png", pa.binary()),
            ("dense_png", pa.binary()),
            ("quarantined", pa.bool_()),
            ("reason", pa.string()),
        ]
    ),
)
"""crop_affine: original -> crop pixels. crop_K: pixels of the crop. R, t: world -> camera, metres. mask_png, dense_png: see
`surface_maps`, null where not requested. A quarantined row has neither an image nor a crop."""

JPEG_QUALITY = 95
FRAMES_PER_TASK = 8


@dataclass(frozen=True)
class CropSettings:
    """size: side in pixels.  hand_share: part of it that the hands' box fills.  jpeg_quality: 4:2:0 chroma."""

    size: int = CROP_SIZE
    hand_share: float = HAND_SHARE
    jpeg_quality: int = JPEG_QUALITY


def crop_image(image: UInt8[np.ndarray, "h w 3"], affine: Affine, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The crop, bilinear without prefilter, black outside the image.

    OpenCV 4 rounds coordinates to 1/32 pixel and OpenCV 5 does not: their crops differ by a few grey levels.
    """
    return cv2.warpAffine(image, affine, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def hands_crop(
    camera: Camera, vertices: Float[np.ndarray, "hands n 3"], settings: CropSettings = CropSettings()
) -> tuple[Affine, Camera]:
    """The crop around all vertices (m, world), and the camera of its pixels.

    Raises DataError if a vertex lies behind the camera.
    """
    affine = square_crop(camera.project(vertices.reshape(-1, 3)), settings.size, settings.hand_share)
    return affine, camera.cropped(affine)


def encode_jpeg(image: UInt8[np.ndarray, "h w 3"], quality: int = JPEG_QUALITY) -> bytes:
    """JPEG bytes of a BGR image."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def write_crop_shard(
    output: str | os.PathLike,
    root: str | os.PathLike,
    split: str,
    frames: FrameTable,
    hands: HandTable,
    provenance: Provenance,
    max_unreadable_fraction: float,
    settings: CropSettings = CropSettings(),
    maps: SurfaceMaps | None = None,
    threads: int = 1,
) -> Counter[Reason]:
    """Writes the crops of `frames` (already cut to one shard) and counts the quarantined ones by reason.

    hands: must contain the vertices of all hands of `frames`.  maps: what else to draw; None for images only.
    threads: worker processes; the file does not depend on it.
    Raises DataError if more than `max_unreadable_fraction` of the frames cannot be used.
    """
    folder = InterHand26M.open(root).images / split
    vertices, rows = hands.array("vertices"), hands.rows
    tasks = [(frame, _both_hands(frame, vertices, rows)) for frame in frames]
    function = partial(_crop_chunk, folder, settings, maps)
    counts: Counter[Reason] = Counter()
    card = {"opencv": cv2.__version__, "size": settings.size}
    with ShardWriter(output, IMAGES, provenance, card) as shard:
        for part in ordered_map(function, chunks(tasks, FRAMES_PER_TASK), threads, f"crop images of {split} (x8)"):
            for row, finding in part:
                shard.append(row)
                if finding is not None:
                    counts[finding.reason] += 1
        require_few_damaged(counts, len(frames), max_unreadable_fraction, f"{output}: frames of this shard")
    return counts


def _both_hands(
    frame: Frame, vertices: Float[np.ndarray, "hands 778 3"], rows: Mapping[str, int]
) -> Float[np.ndarray, "2 778 3"] | None:
    found = [rows.get(hand_id(frame.capture, frame.frame_idx, side)) for side in SIDES]
    return None if None in found else vertices[found].astype(np.float64)


def _crop_chunk(
    folder: Path, settings: CropSettings, maps: SurfaceMaps | None, tasks: list[tuple[Frame, np.ndarray | None]]
) -> list[tuple[dict[str, Any], Finding | None]]:
    return [_crop_row(folder, settings, maps, frame, vertices) for frame, vertices in tasks]


def _crop_row(
    folder: Path, settings: CropSettings, maps: SurfaceMaps | None, frame: Frame, vertices: np.ndarray | None
) -> tuple[dict[str, Any], Finding | None]:
    """The row of one frame; with a finding if it is quarantined."""
    camera = frame.camera
    row = {"frame_id": frame.frame_id, "R": camera.rotation.reshape(-1), "t": camera.translation, "quarantined": False}
    try:
        if vertices is None:
            raise Unusable(Reason.HAND_MISSING, f"a hand of {frame.pair_id} was set aside")
        try:
            affine, crop_camera = hands_crop(camera, vertices, settings)
        except DataError as error:
            raise Unusable(Reason.HANDS_NOT_PROJECTABLE, str(error)) from None
        image = read_image(find_image(folder, frame.file_name))
        if image.shape[:2] != (frame.height, frame.width):
            found = f"indexed with {frame.width} x {frame.height} pixels, found {image.shape[1]} x {image.shape[0]}"
            raise Unusable(Reason.IMAGE_SIZE_DIFFERS, f"{found}; run index_frames again")
        crop = crop_image(image, affine, settings.size)
    except Unusable as unusable:
        finding = unusable.finding
        return row | {"quarantined": True, "reason": f"{finding.reason}: {finding.detail}"}, finding
    row |= {
        "jpeg": encode_jpeg(crop, settings.jpeg_quality),
        "crop_affine": affine.reshape(-1),
        "crop_K": crop_camera.intrinsics.reshape(-1),
    }
    return row | (maps.encoded(crop_camera, vertices, settings.size) if maps else {}), None


@dataclass(frozen=True)
class Crop:
    """A normalised image as stored.

    image: RGB, None if quarantined.  camera: with the crop's intrinsics.  affine: original -> crop pixels.
    masks: pixels of the left and the right hand.  dense: rest-pose coordinates in [0, 1], 0 outside the hands.
    """

    frame_id: int
    image: UInt8[np.ndarray, "size size 3"] | None
    camera: Camera | None
    affine: Affine | None
    masks: Bool[np.ndarray, "2 size size"] | None
    dense: Float[np.ndarray, "size size 3"] | None
    quarantined: bool
    reason: str | None


class CropSet:
    """The crops of a split by frame id. Picklable: shards are opened where they are used.

    manifest: manifest.json of the folder of shards, all of them, in order.
    """

    def __init__(self, manifest: str | os.PathLike) -> None:
        self.path = Path(manifest)
        self._shards = Manifest.read(manifest).open(IMAGES)

    def __len__(self) -> int:
        return len(self._shards)

    def __iter__(self) -> Iterator[Crop]:
        return (self[frame_id] for frame_id in range(len(self)))

    def __getitem__(self, frame_id: int) -> Crop:
        """The crop of a frame with its maps. Raises IndexError outside the set, DamagedFileError if rows are displaced."""
        row = self._row(frame_id, None)
        if row["quarantined"]:
            return Crop(frame_id, None, None, None, None, None, True, row["reason"])
        return Crop(
            frame_id,
            decode_rgb(row["jpeg"]),
            Camera(*(as_array(row[name], np.float64, shape) for name, shape in CAMERA_COLUMNS.items())),
            as_array(row["crop_affine"], np.float64, (2, 3)),
            None if row["mask_png"] is None else decode_masks(row["mask_png"]),
            None if row["dense_png"] is None else decode_dense_map(row["dense_png"]),
            False,
            None,
        )

    def image(self, frame_id: int) -> UInt8[np.ndarray, "size size 3"]:
        """Only the RGB image, the fast path of training items. Raises DataError for a quarantined frame."""
        row = self._row(frame_id, ["frame_id", "jpeg", "reason"])
        if row["jpeg"] is None:
            raise DataError(f"{self.path}: frame {frame_id} has no image ({row['reason']}); leave it out.")
        return decode_rgb(row["jpeg"])

    def photograph(
        self, frame_id: int, with_image: bool = True
    ) -> tuple[UInt8[np.ndarray, "size size 3"] | None, Camera]:
        """The RGB image, if it is wanted, and its camera. Raises DataError for a quarantined frame."""
        row = self._row(frame_id, ["frame_id", "reason", *CAMERA_COLUMNS, *(["jpeg"] if with_image else [])])
        if row["crop_K"] is None:
            raise DataError(f"{self.path}: frame {frame_id} has no image ({row['reason']}); leave it out.")
        camera = Camera(*(as_array(row[name], np.float64, shape) for name, shape in CAMERA_COLUMNS.items()))
        return (decode_rgb(row["jpeg"]) if with_image else None), camera

    def usable(self) -> Bool[np.ndarray, "frames"]:
        """Which frames have an image."""
        return ~np.array(self._shards.column("quarantined"), bool)

    def _row(self, frame_id: int, columns: list[str] | None) -> dict[str, Any]:
        row = self._shards.row(frame_id, columns)
        if row["frame_id"] != frame_id:
            raise DamagedFileError(
                f"{self.path}: row {frame_id} contains frame {row['frame_id']}; the shards belong to different frame tables: "
                "delete the folder and run normalize_images again."
            )
        return row


CAMERA_COLUMNS = {"crop_K": (3, 3), "R": (3, 3), "t": (3,)}


def decode_rgb(jpeg: bytes | memoryview) -> UInt8[np.ndarray, "h w 3"]:
    """An RGB image from JPEG bytes of ours."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
