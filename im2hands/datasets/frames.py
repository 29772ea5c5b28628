"""The table of kept two-hand frames of a split, and the selection that fills it.

The selection is the one of IntagHand's pre-processing: annotated as interacting and valid, both hands fitted, image not
black. A frame's id is its place among the kept ones, in the order of the data file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from im2hands.datasets.audit import AUDIT, Audit, Finding, Reason, RowBuffer, Unusable, require_few_damaged
from im2hands.datasets.image_files import find_image, image_size, inspect_image, resizing
from im2hands.datasets.interhand26m import AnnotatedImage, Cameras, InterHand26M, hand_fit
from im2hands.geometry.cameras import Camera, crop_intrinsics
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.parallel import chunks, ordered_map
from im2hands.io.progress import progress
from im2hands.io.tables import Layout, Provenance, read_parquet, write_parquet

FRAMES = Layout(
    "frames",
    1,
    pa.schema(
        [
            ("frame_id", pa.int64()),
            ("image_id", pa.int64()),
            ("annotation_id", pa.int64()),
            ("file_name", pa.string()),
            ("split", pa.string()),
            ("capture", pa.int64()),
            ("subject", pa.int64()),
            ("sequence", pa.string()),
            ("camera", pa.string()),
            ("frame_idx", pa.int64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("K", pa.list_(pa.float64(), 9)),
            ("R", pa.list_(pa.float64(), 9)),
            ("t", pa.list_(pa.float64(), 3)),
        ]
    ),
)
"""width, height, K: pixels of the image file, row-major; R, t: world -> camera, metres."""

MIN_IMAGE_MEAN = 10.0
NEAREST_CAMERA = 0.02
"""Metres from the world's origin; positions of cameras within it are looked at, whether they are in metres."""
IMAGES_PER_TASK = 32


@dataclass(frozen=True)
class Frame:
    """A kept frame: one image of one camera."""

    frame_id: int
    image_id: int
    annotation_id: int
    file_name: str
    split: str
    capture: int
    subject: int
    sequence: str
    camera_name: str
    frame_idx: int
    width: int
    height: int
    camera: Camera

    @property
    def pair_id(self) -> str:
        return pair_id(self.capture, self.frame_idx)


@dataclass(frozen=True)
class FrameTable:
    """Kept frames in the order of their ids."""

    table: pa.Table

    @classmethod
    def read(cls, path: str | os.PathLike) -> FrameTable:
        return cls(read_parquet(path, FRAMES).combine_chunks())

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, index: int) -> Frame:
        """The frame in row `index`."""
        row = {name: self.table.column(name)[index].as_py() for name in self.table.column_names}
        intrinsics, rotation = (np.array(row.pop(name)).reshape(3, 3) for name in ("K", "R"))
        camera = Camera(intrinsics, rotation, np.array(row.pop("t")))
        return Frame(**row | {"camera": camera, "camera_name": row["camera"]})

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def shard(self, index: int, count: int) -> FrameTable:
        """Part `index` of `count` nearly equal consecutive parts. Raises DataError outside 0 .. count - 1."""
        start, stop = shard_range(len(self), index, count)
        return FrameTable(self.table.slice(start, stop - start))

    @cached_property
    def pair_keys(self) -> list[tuple[int, int]]:
        """(capture, frame_idx) of every row."""
        return list(zip(self.table["capture"].to_pylist(), self.table["frame_idx"].to_pylist(), strict=True))

    def pairs(self) -> list[tuple[int, int]]:
        """Distinct (capture, frame_idx) by first occurrence: one two-hand pose each, seen by many cameras."""
        return list(dict.fromkeys(self.pair_keys))


def pair_id(capture: int, frame_idx: int) -> str:
    return f"{capture}_{frame_idx}"


def hand_id(capture: int, frame_idx: int, side: Side) -> str:
    return f"{pair_id(capture, frame_idx)}_{side.value}"


def hands_of(frames: FrameTable) -> list[str]:
    """hand_id of both hands of every pose that the frames show."""
    return [hand_id(capture, frame_idx, side) for capture, frame_idx in frames.pairs() for side in Side]


def shard_range(rows: int, index: int, count: int) -> tuple[int, int]:
    """First and one-past-last row of part `index` of `count` nearly equal consecutive parts of `rows`."""
    if not 0 <= index < count:
        raise DataError(f"there is no shard {index} of {count}; shards are numbered from 0.")
    return rows * index // count, rows * (index + 1) // count


def index_frames(
    root: str | os.PathLike,
    split: str,
    max_unreadable_fraction: float,
    min_image_mean: float = MIN_IMAGE_MEAN,
    threads: int = 1,
) -> tuple[pa.Table, Audit]:
    """The kept frames of a split (FRAMES) and the audit of all others.

    min_image_mean: grey levels; darker images are black (IntagHand: 10).
    max_unreadable_fraction: largest part of the two-hand frames whose entry, image, camera or fit may be damaged.
    threads: worker processes; the result does not depend on it.
    Frames of images that were resized as a whole get the intrinsics of the resized image, and are noted as IMAGE_SCALED.
    Raises DataError if more is damaged or nothing is kept, and for everything that `InterHand26M` refuses.
    """
    dataset = InterHand26M.open(root)
    dataset.require_images(split)
    audit = Audit()
    candidates, cameras = RowBuffer(FRAMES.schema), dataset.cameras(split)
    poses = hand_poses(dataset, split)
    for image in progress(dataset.annotated_images(split), f"read annotations of {split}", unit="images"):
        problem = _problem(image, cameras, poses)
        if problem is None:
            candidates.append(**_frame_row(image, split, cameras))
        else:
            audit.note(problem, **_audit_columns(image._asdict()))
    table = candidates.table()
    kept, resized = np.ones(len(table), bool), {}
    for index, (finding, size) in enumerate(_inspect(dataset, split, table, min_image_mean, threads)):
        if finding is not None:
            row = table.slice(index, 1).to_pylist()[0]
            audit.note(finding, **_audit_columns(row))
            kept[index] = finding.reason.keeps
        if size is not None:
            resized[index] = size
    two_hand = len(table) + sum(n for reason, n in audit.counts.items() if reason in DROPPED_TWO_HAND)
    require_few_damaged(
        audit.counts, two_hand, max_unreadable_fraction, f"{root}: two-hand frames of {split}", audit.first_damage
    )
    table = _resized(table, resized).filter(pa.array(kept))
    if len(table) == 0:
        raise DataError(f"{root}: no frame of the split {split} has two fitted hands; dropped: {audit.summary()}.")
    frame_id = pa.array(np.arange(len(table)), pa.int64())
    return table.set_column(0, "frame_id", frame_id), audit


DROPPED_TWO_HAND = frozenset(
    reason for reason in Reason if reason.value.startswith(("entry_", "fit_", "camera_")) and not reason.keeps
)
"""Reasons of `index_frames` that are given to two-hand frames before their image is looked at."""


def write_index(
    frames: str | os.PathLike, audit: str | os.PathLike, table: pa.Table, notes: Audit, provenance: Provenance
) -> None:
    """Writes the frame table and its audit."""
    write_parquet(audit, notes.table(), AUDIT, provenance)
    write_parquet(frames, table, FRAMES, provenance)


Pose = Finding | Float[np.ndarray, "2 3"]
"""What is wrong with the fits of a frame, or both hands' translations (m, world) if both can be built."""


def hand_poses(dataset: InterHand26M, split: str) -> dict[str, dict[str, Pose]]:
    """capture -> frame_idx -> pose, of all fits of a split."""
    poses: dict[str, dict[str, Pose]] = {}
    for capture, frame, entry in progress(dataset.fits(split), f"read fits of {split}", unit="poses"):
        try:
            pose = np.stack([hand_fit(entry, side).translation for side in Side])
        except Unusable as unusable:
            pose = unusable.finding
        poses.setdefault(capture, {})[frame] = pose
    return poses


def _problem(image: AnnotatedImage, cameras: Cameras, poses: dict[str, dict[str, Pose]]) -> Finding | None:
    """Why the frame is dropped before its image is looked at, in the order of the published selection."""
    if image.hand_type in ("right", "left"):
        return Finding(Reason.SINGLE_HAND, image.hand_type)
    if image.fault:
        return Finding(Reason.ENTRY_MALFORMED, image.fault)
    if not image.hand_type_valid:
        return Finding(Reason.HAND_TYPE_INVALID)
    frames = poses.get(str(image.capture))
    if frames is None:
        return Finding(Reason.FIT_CAPTURE_MISSING)
    pose = frames.get(str(image.frame_idx), Finding(Reason.FIT_FRAME_MISSING))
    if isinstance(pose, Finding):
        return pose
    try:
        camera = cameras.get(image.capture, image.camera)
    except Unusable as unusable:
        return unusable.finding
    return position_in_metres(camera, pose, (image.width, image.height))


def position_in_metres(camera: Camera, places: Float[np.ndarray, "hands 3"], size: tuple[int, int]) -> Finding | None:
    """The finding that a camera's position was given in metres instead of millimetres; None if nothing speaks for it.

    places: where the hands are about, m, world.  size: (width, height) of the image.
    It is in metres if the camera is next to the world's origin and does not see the hands, but would see them from a
    thousand times as far.
    """
    distance = float(np.linalg.norm(camera.translation))
    if not 0 < distance < NEAREST_CAMERA or _sees(camera, places, size):
        return None
    if not _sees(replace(camera, translation=camera.translation * 1000), places, size):
        return None
    detail = "distance of the camera from the origin in metres; is its position in metres instead of millimetres?"
    return Finding(Reason.CAMERA_POSITION_IMPLAUSIBLE, detail, distance)


def _sees(camera: Camera, places: Float[np.ndarray, "hands 3"], size: tuple[int, int]) -> bool:
    """Whether all positions are in the image, or outside it by less than half its size."""
    try:
        shares = camera.project(places) / size
    except DataError:
        return False
    return bool((np.abs(shares - 0.5) < 1).all())


def _frame_row(image: AnnotatedImage, split: str, cameras: Cameras) -> dict[str, Any]:
    camera = cameras.get(image.capture, image.camera)
    row = image._asdict()
    del row["hand_type"], row["hand_type_valid"], row["fault"]
    matrices = {"K": camera.intrinsics.reshape(-1), "R": camera.rotation.reshape(-1), "t": camera.translation}
    return {"frame_id": -1, "split": split, **row, **matrices}


def _audit_columns(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("image_id", "file_name", "capture", "camera", "frame_idx")}


Size = tuple[int, int]
"""(width, height) in pixels."""


def _resized(table: pa.Table, sizes: dict[int, Size]) -> pa.Table:
    """The rows of FRAMES, those in `sizes` with the size and the intrinsics of their resized image."""
    if not sizes:
        return table
    columns = {name: table[name].to_pylist() for name in ("width", "height", "K")}
    for row, size in sizes.items():
        change = resizing(size, (columns["width"][row], columns["height"][row]))
        columns["K"][row] = crop_intrinsics(np.reshape(columns["K"][row], (3, 3)), change).ravel().tolist()
        columns["width"][row], columns["height"][row] = size
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    return table


def _inspect(
    dataset: InterHand26M, split: str, table: pa.Table, min_mean: float, threads: int
) -> Iterator[tuple[Finding | None, Size | None]]:
    columns = (table[name].to_pylist() for name in ("file_name", "width", "height"))
    tasks = chunks(list(zip(*columns, strict=True)), IMAGES_PER_TASK)
    label = f"inspect images of {split} (x{IMAGES_PER_TASK})"
    for found in ordered_map(partial(_inspect_chunk, dataset.images / split, min_mean), tasks, threads, label):
        yield from found


def _inspect_chunk(
    folder: Path, min_mean: float, task: list[tuple[str, int, int]]
) -> list[tuple[Finding | None, Size | None]]:
    """What is wrong with each image, and the size of those that were resized."""
    results = []
    for name, width, height in task:
        path = find_image(folder, name)
        finding = inspect_image(path, min_mean, width, height)
        scaled = finding is not None and finding.reason is Reason.IMAGE_SCALED
        results.append((finding, image_size(path) if scaled else None))
    return results
