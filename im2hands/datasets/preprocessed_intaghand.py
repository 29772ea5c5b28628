"""Converts folders of IntagHand's own script into our tables of frames and hands and our shards of crops.

    <folder>/<split>/anno/<n>.pkl    camera of the crop, both fits, entries of data.json; read without executing anything
    <folder>/<split>/img/<n>.jpg     crop, 256 x 256
    <folder>/<split>/mask/<n>.jpg    channel 2 (of OpenCV's order) shows the left hand, channel 1 the right one
    <folder>/<split>/dense/<n>.jpg   rest-pose coordinates of the visible surface
    <folder>/<split>/{pred,gt}_joints/<n, seven digits>_<side>.ply   21 points each (Im2Hands); world, metres

Frames keep the order of their numbers n. The original photograph and its camera are not in these folders: a frame's K, width
and height are those of its crop, and crop_affine is the identity. Heat maps (`hms`) are drawn from the joints, not read.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float

from im2hands.datasets.audit import Audit, Finding, Reason, RowBuffer, Unusable, require_few_damaged
from im2hands.datasets.frames import FRAMES, FrameTable, shard_range
from im2hands.datasets.hands import Pair
from im2hands.datasets.image_files import read_image
from im2hands.datasets.images import IMAGES
from im2hands.datasets.interhand26m import HandFit, hand_fit
from im2hands.geometry.cameras import CROP_SIZE
from im2hands.geometry.mesh_files import read_points
from im2hands.geometry.rotations import matrix_to_axis_angle
from im2hands.hands.model import HandModel
from im2hands.hands.sides import SIDES, Side
from im2hands.io.atomic import atomic_path
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.pickles import array_names, load_pickle
from im2hands.io.progress import progress
from im2hands.io.tables import Provenance, ShardWriter

MASK_CHANNELS = {Side.LEFT: 2, Side.RIGHT: 1}
MASK_FROM = 128
"""Grey level from which a pixel of the JPEG mask belongs to the hand."""
JOINT_FOLDERS = ("pred_joints", "gt_joints")
SAME_FIT = 1e-4
"""Radians, metres: how far the fits of a pose may differ between the annotations of its frames."""


@dataclass(frozen=True)
class Preprocessed:
    """What the annotations of a split say.

    numbers: n of every frame, by row of the table.  fits: fits of every pose, as in MANO_NeuralAnnot.
    """

    folder: Path
    split: str
    frames: FrameTable
    audit: Audit
    numbers: list[int]
    fits: dict[Pair, dict[Side, HandFit]]


def read_annotations(
    folder: str | os.PathLike, split: str, models: Mapping[Side, HandModel], max_unreadable_fraction: float
) -> Preprocessed:
    """The annotations of a split. folder: above the splits.  models: whose pose components the fits are written in.

    Damaged annotations are noted in the audit. Raises DataError if there are none, more of them than
    `max_unreadable_fraction` are damaged, a pickle asks for anything except data, or the fits of a pose differ between frames.
    """
    place = Path(folder, split)
    numbers = sorted(int(path.stem) for path in (place / "anno").glob("*.pkl") if path.stem.isdigit())
    if not numbers:
        raise DataError(
            f"{place / 'anno'}: contains no annotations <number>.pkl; give the folder that contains the splits."
        )
    audit, rows, kept = Audit(), RowBuffer(FRAMES.schema), []
    fits: dict[Pair, dict[Side, HandFit]] = {}
    for number in progress(numbers, f"read annotations of {split}"):
        path = place / "anno" / f"{number}.pkl"
        try:
            row, found = _annotation(load_pickle(path, array_names()), models)
        except DamagedFileError as error:
            audit.note(Finding(Reason.PICKLE_UNREADABLE, str(error)), file_name=path.name)
            continue
        except Unusable as unusable:
            audit.note(unusable.finding, file_name=path.name)
            continue
        pair = row["capture"], row["frame_idx"]
        for side, fit in fits.setdefault(pair, found).items():
            if any(np.abs(a - b).max() > SAME_FIT for a, b in zip(fit, found[side], strict=True)):
                raise DataError(
                    f"{path}: its {side.value} fit differs from that of another frame of capture {pair[0]}, frame {pair[1]}; "
                    "the folder mixes two releases; preprocess it again."
                )
        rows.append(frame_id=len(kept), split=split, **row)
        kept.append(number)
    require_few_damaged(audit.counts, len(numbers), max_unreadable_fraction, f"{place / 'anno'}: annotations")
    if not kept:
        raise DataError(f"{place / 'anno'}: no annotation is usable: {audit.summary()}.")
    return Preprocessed(Path(folder), split, FrameTable(rows.table()), audit, kept, fits)


def _annotation(content: Any, models: Mapping[Side, HandModel]) -> tuple[dict[str, Any], dict[Side, HandFit]]:
    """Columns of FRAMES and both fits. Raises Unusable for what does not fit the layout."""
    try:
        image, camera, hands = content["image"], content["camera"], content["mano_params"]
        arrays = {name: np.asarray(camera[key], np.float64) for name, key in (("K", "camera"), ("R", "R"), ("t", "t"))}
        row = {
            "image_id": int(image["id"]),
            "annotation_id": int(content["annotation"]["id"]),
            "file_name": str(image["file_name"]),
            "capture": int(image["capture"]),
            "subject": int(image["subject"]),
            "sequence": str(image["seq_name"]),
            "camera": str(image["camera"]),
            "frame_idx": int(image["frame_idx"]),
            "width": CROP_SIZE,
            "height": CROP_SIZE,
            "K": arrays["K"].reshape(9),
            "R": arrays["R"].reshape(9),
            "t": arrays["t"].reshape(3),
        }
        fits = {side.value: _fit(hands[side.value], models[side]) for side in Side}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Unusable(
            Reason.PICKLE_UNREADABLE, f"no annotation of IntagHand: {type(error).__name__}: {error}"
        ) from None
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise Unusable(Reason.CAMERA_NOT_FINITE)
    return row, {side: hand_fit(fits, side) for side in Side}


def _fit(params: Mapping[str, Any], model: HandModel) -> dict[str, np.ndarray]:
    """A fit under the keys of MANO_NeuralAnnot: rotation matrix and pose components become axis-angles minus the mean pose."""
    rotation, coefficients = (np.asarray(params[key], np.float64) for key in ("R", "pose"))
    root = matrix_to_axis_angle(torch.from_numpy(rotation.reshape(3, 3))).numpy()
    fingers = coefficients.reshape(45) @ model.pose_components.double().cpu().numpy()
    return {"pose": np.concatenate([root, fingers]), "shape": params["shape"], "trans": params["trans"]}


def write_crops(
    output: str | os.PathLike,
    data: Preprocessed,
    shard: int,
    shards: int,
    provenance: Provenance,
    max_unreadable_fraction: float,
    masks: bool = True,
    dense_maps: bool = True,
) -> Counter[Reason]:
    """Writes part `shard` of `shards` of the crops with unchanged JPEG bytes. Returns the quarantined ones by reason.

    masks, dense_maps: whether to read them too, where the files are there.
    Raises DataError if more than `max_unreadable_fraction` of the part cannot be used.
    """
    start, stop = shard_range(len(data.frames), shard, shards)
    counts: Counter[Reason] = Counter()
    with ShardWriter(output, IMAGES, provenance, {"opencv": cv2.__version__, "size": CROP_SIZE}) as writer:
        for row in progress(range(start, stop), f"read crops of {data.split}"):
            content, finding = _crop(data, row, masks, dense_maps)
            writer.append(content)
            if finding is not None:
                counts[finding.reason] += 1
        require_few_damaged(counts, stop - start, max_unreadable_fraction, f"{output}: frames of this shard")
    return counts


def _crop(data: Preprocessed, row: int, masks: bool, dense_maps: bool) -> tuple[dict[str, Any], Finding | None]:
    frame, place = data.frames[row], data.folder / data.split
    name = f"{data.numbers[row]}.jpg"
    camera = {"R": frame.camera.rotation.ravel(), "t": frame.camera.translation}
    content = {"frame_id": row, **camera, "quarantined": False}
    try:
        image = read_image(place / "img" / name)
        if image.shape != (CROP_SIZE, CROP_SIZE, 3):
            raise Unusable(
                Reason.IMAGE_UNREADABLE, f"{name} has the shape {image.shape} instead of {CROP_SIZE} x {CROP_SIZE}"
            )
        maps = _maps(place, name, masks, dense_maps)
    except Unusable as unusable:
        finding = unusable.finding
        return content | {"quarantined": True, "reason": f"{finding.reason}: {finding.detail}"}, finding
    content |= {"jpeg": (place / "img" / name).read_bytes(), "crop_affine": np.eye(2, 3).ravel()}
    return content | {"crop_K": frame.camera.intrinsics.ravel(), **maps}, None


def _maps(place: Path, name: str, masks: bool, dense_maps: bool) -> dict[str, bytes]:
    """The columns mask_png and dense_png of IMAGES, of the files that are there."""
    columns = {}
    labels = None
    if (place / "mask" / name).is_file():
        image = read_image(place / "mask" / name)
        levels = np.stack([np.full(image.shape[:2], MASK_FROM - 1, np.uint8), *(image[..., c] for c in _BY_LABEL)])
        labels = levels.argmax(0).astype(np.uint8)
        columns |= {"mask_png": _png(labels)} if masks else {}
    if dense_maps and (place / "dense" / name).is_file():
        dense = read_image(place / "dense" / name)
        dense = dense if labels is None else np.where(labels[..., None] > 0, dense, 0)
        columns["dense_png"] = _png(dense[..., ::-1])
    return columns


_BY_LABEL = [MASK_CHANNELS[side] for side in SIDES]
"""Channels in the order of the labels 1 and 2 of mask_png."""


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes()


def joint_files(data: Preprocessed, name: str) -> Iterator[tuple[int, dict[str, Float[np.ndarray, "21 3"]]]]:
    """Row and both hands' joints (world, metres, order as in the files) of every frame with files in the folder `name`.

    Raises DataError for a file that contains another number of points.
    """
    for row, number in enumerate(data.numbers):
        paths = {side.value: data.folder / data.split / name / f"{number:07d}_{side.value}.ply" for side in Side}
        found = {side: read_points(path) for side, path in paths.items() if path.is_file()}
        for side, points in found.items():
            if len(points) != 21:
                raise DataError(
                    f"{paths[side]}: contains {len(points)} points instead of 21 joints; make the file again."
                )
        if found:
            yield row, found


def write_joints(output: str | os.PathLike, data: Preprocessed, name: str) -> int:
    """Writes the joints of a folder as a file for `external.<name>.keypoints` of params.yaml; the number of frames."""
    names = data.frames.table["file_name"].to_pylist()
    rows = [
        {"image": names[row], **{side.value: _listed(found.get(side.value)) for side in Side}}
        for row, found in joint_files(data, name)
    ]
    joints = pa.list_(pa.float64(), 63)
    schema = pa.schema([("image", pa.string()), *((side.value, joints) for side in Side)])
    if rows:
        with atomic_path(output) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)
    return len(rows)


def _listed(points: np.ndarray | None) -> list[float] | None:
    return None if points is None else points.ravel().tolist()
