"""The formats of keypoint files: how each is recognised, and its reader.

| format | content |
|---|---|
| `table` | the workflow's `data/keypoints/<source>/<split>.parquet`; pictures are named by their frame_id |
| `json` | `left` and `right`, 21 x 3 or null: one entry, one per picture, or a list (or Parquet) with `image` or `frame_id` |
| `interhand` | joint_3d.json of InterHand2.6M; pictures are named <capture>_<frame> |
| `array` | NPY or JSON: 2 x 21 x 3 (left, right) or 42 x 3 (InterHand2.6M: right, left), or a stack of them, numbered from 0 |
| `ply` | a folder of <name>_left.ply and <name>_right.ply with 21 vertices, or one of these files |
| `film` | `keypoints.parquet` of a film that was reconstructed, see `film_table` |
| `landmarks` | pixels and relative landmarks of a detector, see `landmark_files` |
| `openpose`, `wholebody` | 2-D keypoints of body pose detectors, see `pixel_files` |
| others | datasets, detectors and headsets, see `keypoint_layouts.table` |

A new one is a reader and a line of FILES (a file, or a folder, to itself), of DOCUMENTS (the whole content of a JSON, pickle,
NPZ or NPY file) or of ENTRIES (an object per picture), and a line of `keypoint_layouts.table`. A reader gives the numbers as
they are written; `keypoint_files` checks them and brings them to metres and STANDARD order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from im2hands.datasets.audit import Unusable
from im2hands.datasets.external_keypoints import METRES, ORDERS
from im2hands.datasets.frames import pair_id
from im2hands.datasets.interhand26m import annotated_joints
from im2hands.datasets.keypoints import KeypointTable
from im2hands.geometry.mesh_files import read_points
from im2hands.hands.joints import JointOrder
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.io.tables import file_card
from im2hands.photographs.film_table import FilmTable, is_film_table
from im2hands.photographs.keypoint_layouts import dataset_files, headset_files, tool_files
from im2hands.photographs.keypoint_layouts.arrays import read_array
from im2hands.photographs.keypoint_layouts.coco_files import is_coco, read_coco
from im2hands.photographs.keypoint_layouts.content import UNNAMED, Content, Hands
from im2hands.photographs.keypoint_layouts.content import numbers as _numbers
from im2hands.photographs.keypoint_layouts.content import shape_text as _shape
from im2hands.photographs.keypoint_layouts.documents import PARQUET, begins_with, read_document
from im2hands.photographs.keypoint_layouts.mano_files import (
    is_mano_entry,
    is_mano_frames,
    read_mano_entry,
    read_mano_frames,
)
from im2hands.photographs.keypoint_layouts.mano_parameters import HandParameters
from im2hands.photographs.keypoint_layouts.table import LAYOUTS
from im2hands.photographs.landmark_files import PictureLandmarks, is_landmarks, landmarks_of
from im2hands.photographs.pixel_files import is_instance, is_openpose, is_openpose_folder, of_instances, read_openpose

ALL_ORDERS = {**ORDERS, "biomech": JointOrder.BIOMECH}
Entry = Hands | PictureLandmarks | Mapping[Side, HandParameters]


@dataclass(frozen=True)
class FileFormat:
    """A format that has a file, or a folder of files, to itself.

    recognises: whether a path that exists is one.  read: raises DataError, with the path, for what it cannot read.
    """

    recognises: Callable[[Path], bool]
    read: Callable[[Path], Content]


@dataclass(frozen=True)
class DocumentFormat:
    """A format of the whole content of a JSON, pickle, NPZ or NPY file, as plain values.

    recognises: whether a content, with its path, is of it.  read: raises DataError, with the path, for what it cannot read.
    """

    recognises: Callable[[Any, Path], bool]
    read: Callable[[Any, Path], Content]


@dataclass(frozen=True)
class EntryFormat:
    """A format of the objects of a JSON file, one per picture, and of the rows of a Parquet file.

    recognises: whether an object is one.  read: the object's hands, landmarks or parameters of a hand model; raises DataError,
    which begins with the second argument.  unit, order: those of the format; "" if an object may state its own (these keys).
    """

    recognises: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any], str], Entry]
    unit: str = ""
    order: str = ""


def read_content(path: Path, wanted: str | None = None, side: Side | None = None) -> tuple[str, Content]:
    """The format of a file, a name of FORMATS, and what the file holds.

    wanted, side: for bare arrays, see `keypoint_layouts.arrays`.
    Raises DataError for a file that is missing or of no known format, DamagedFileError if it cannot be read.
    """
    if not path.exists():
        raise DataError(f"{path}: the keypoint file is missing; correct the path.")
    for name, one in FILES.items():
        if one.recognises(path):
            return name, one.read(path)
    content = read_document(path)
    if is_openpose(content):
        return "openpose", FILES["openpose"].read(path)
    if isinstance(content, list) and content and all(map(is_instance, content)):
        content = {"instances": content}
    for name, document in DOCUMENTS.items():
        if document.recognises(content, path):
            return name, document.read(content, path)
    if isinstance(content, np.ndarray) or (
        isinstance(content, list) and not (content and isinstance(content[0], dict))
    ):
        return read_array(path, content, wanted, side)
    return _read_entries(path, content)


def of_picture(name: str) -> str:
    """Start of a message about a picture; nothing if it has no name."""
    return f"picture {name}: " if name else ""


def _read_entries(path: Path, content: Any) -> tuple[str, Content]:
    hands: dict[str, Hands] = {}
    landmarks: dict[str, PictureLandmarks] = {}
    parameters: dict[str, Mapping[Side, HandParameters]] = {}
    refused: dict[str, DataError] = {}
    kinds = set()
    for name, entry in _entries(path, content):
        where = f"{path}: {of_picture(name)}"
        if any(name in known for known in (hands, landmarks, parameters, refused)):
            raise DataError(f"{where}occurs twice; keep one of them.")
        kind, one = _format_of(entry)
        try:
            read = one.read(entry, where)
        except DataError as error:
            refused[name] = error
            continue
        if isinstance(read, PictureLandmarks):
            landmarks[name] = read
        elif isinstance(read, np.ndarray):
            hands[name] = read
        else:
            parameters[name] = read
        unit = one.unit or _stated(entry, where, "unit", METRES)
        kinds.add((kind, unit, one.order or _stated(entry, where, "order", ALL_ORDERS)))
    if refused and not kinds:
        raise next(iter(refused.values()))
    if len(kinds) > 1:
        raise DataError(f"{path}: its entries have different formats, orders or units; write one file for each.")
    ((kind, unit, order),) = kinds
    said = {name: str(error) for name, error in refused.items()}
    notes = (headset_files.ESTIMATED,) if kind == "hot3d" else ()
    return kind, Content(hands, landmarks, unit, order, said, parameters, notes=notes)


def _format_of(entry: Mapping[str, Any]) -> tuple[str, EntryFormat]:
    """Name and format of an entry that is of one; those of headsets are told apart by the number of points."""
    kind, one = next((kind, one) for kind, one in ENTRIES.items() if one.recognises(entry))
    if one is not ENTRIES["points"]:
        return kind, one
    name = headset_files.dump_layout(entry)
    return name, replace(one, unit=LAYOUTS[name].read_unit)


def _entries(path: Path, content: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and entry of every picture of a JSON file or of the rows of a foreign table."""
    if isinstance(content, list):
        for number, entry in enumerate(content):
            name = _row_name(entry) if isinstance(entry, dict) else None
            if name is None or not _is_entry(entry):
                raise DataError(f"{path}: entry {number} must have image or frame_id, and left and right or hands.")
            yield name, entry
    elif isinstance(content, dict) and _is_entry(content):
        yield _row_name(content) or UNNAMED, content
    elif isinstance(content, dict) and content and all(isinstance(value, dict) for value in content.values()):
        for name, value in content.items():
            inner = {name: value} if _is_entry(value) else {pair_id(name, key): entry for key, entry in value.items()}
            if not all(isinstance(entry, dict) and _is_entry(entry) for entry in inner.values()):
                raise _unknown(path)
            yield from inner.items()
    else:
        raise _unknown(path)


def _is_entry(entry: dict[str, Any]) -> bool:
    return any(one.recognises(entry) for one in ENTRIES.values())


def _row_name(entry: dict[str, Any]) -> str | None:
    name = entry.get("image", entry.get("frame_id"))
    return None if name is None else str(name)


def _unknown(path: Path) -> DataError:
    return DataError(
        f"{path}: not a known keypoint file; expected an object with left and right (21 x 3 numbers or null) or with "
        "hands (landmarks), or one of these per picture name; docs/keypoint-formats.md has all the others."
    )


def _stated(entry: Mapping[str, Any], where: str, key: str, allowed: Mapping[str, Any]) -> str:
    value = entry.get(key) or ""
    if value not in ("", *allowed):
        raise DataError(f"{where}{key} {value!r} must be one of {', '.join(allowed)}.")
    return value


def _is_table(path: Path) -> bool:
    return (
        path.is_file()
        and begins_with(path, PARQUET)
        and bool(file_card(path, "Parquet file", "make or copy it again", foreign=True))
    )


def _read_table(path: Path) -> Content:
    table = KeypointTable.read(path)
    names = map(str, table.table["frame_id"].to_pylist())
    return Content(dict(zip(names, table.keypoints(), strict=True)), unit="m", order="standard")


def _read_film(path: Path) -> Content:
    film = FilmTable.read(path)
    there = film.present.any(axis=1)
    named = zip(film.names, film.keypoints, there, strict=True)
    return Content({name: hands for name, hands, known in named if known}, unit="m", order="standard")


def _left_and_right(entry: Mapping[str, Any], where: str) -> Hands:
    return np.stack([_hand(entry[side.value], side, where) for side in SIDES])


def _hand(value: Any, side: Side, where: str) -> Float[np.ndarray, "21 3"]:
    if value is None:
        return np.full((21, 3), np.nan)
    numbers = _numbers(value, where)
    if numbers.shape not in ((21, 3), (63,)):
        raise DataError(
            f"{where}{side.value} is {_shape(numbers)}, not 21 x 3 numbers or null; write one keypoint per joint."
        )
    return numbers.reshape(21, 3)


def _annotated(entry: Mapping[str, Any], where: str) -> Hands:
    """InterHand2.6M's annotation; a hand with a joint that is not annotated is not there."""
    try:
        found = annotated_joints(entry)
    except Unusable as unusable:
        raise DataError(f"{where}no InterHand2.6M annotation ({unusable.finding.detail}).") from None
    pairs = (found[side] for side in SIDES)
    return np.stack([joints if valid.all() else np.full_like(joints, np.nan) for joints, valid in pairs])


def _ply_hands(path: Path) -> dict[str, Hands]:
    files = sorted(path.glob("*.ply")) if path.is_dir() else [path]
    ends = tuple(f"_{side.value}" for side in SIDES)
    names = list(dict.fromkeys(file.stem.rpartition("_")[0] for file in files if file.stem.endswith(ends)))
    if not names:
        raise DataError(f"{path}: contains no joint files; name them <name>_left.ply and <name>_right.ply.")
    folder = path if path.is_dir() else path.parent
    hands = {name: np.stack([_ply_hand(folder / f"{name}{end}.ply") for end in ends]) for name in names}
    return hands if path.is_dir() else {UNNAMED: hands[names[0]]}


def _ply_hand(path: Path) -> Float[np.ndarray, "21 3"]:
    if not path.exists():
        return np.full((21, 3), np.nan)
    points = read_points(path)
    if points.shape != (21, 3):
        raise DataError(f"{path}: contains {len(points)} points, not the 21 joints of a hand; is it a mesh?")
    return points


FILES = {
    "openpose": FileFormat(is_openpose_folder, read_openpose),
    "ho3d": FileFormat(dataset_files.is_ho3d, dataset_files.read_ho3d),
    "dexycb": FileFormat(dataset_files.is_dexycb, dataset_files.read_dexycb),
    "dexycb-results": FileFormat(dataset_files.is_dexycb_result, dataset_files.read_dexycb_result),
    "h2o": FileFormat(dataset_files.is_h2o, dataset_files.read_h2o),
    "ply": FileFormat(
        lambda path: path.is_dir() or path.suffix.lower() == ".ply", lambda path: Content(_ply_hands(path))
    ),
    "hand-tracking-sdk": FileFormat(tool_files.is_stream, tool_files.read_stream),
    "film": FileFormat(is_film_table, _read_film),
    "table": FileFormat(_is_table, _read_table),
}
"""Name -> format; the first one that recognises a path reads it."""
DOCUMENTS = {
    "freihand": DocumentFormat(dataset_files.is_freihand, dataset_files.read_freihand),
    "ho3d": DocumentFormat(dataset_files.is_ho3d_frame, lambda _, path: dataset_files.read_ho3d(path)),
    "assemblyhands": DocumentFormat(dataset_files.is_assemblyhands, dataset_files.read_assemblyhands),
    "coco": DocumentFormat(is_coco, read_coco),
    "rhd": DocumentFormat(dataset_files.is_rhd, dataset_files.read_rhd),
    "arctic": DocumentFormat(dataset_files.is_arctic, dataset_files.read_arctic),
    "wilor": DocumentFormat(tool_files.is_wilor, tool_files.read_wilor),
    "hands.json": DocumentFormat(tool_files.is_hands_json, tool_files.read_hands_json),
    "mhr70": DocumentFormat(tool_files.is_mhr70, tool_files.read_mhr70),
    "hot3d": DocumentFormat(headset_files.is_trajectory, headset_files.refuse_trajectory),
    "mano": DocumentFormat(is_mano_frames, read_mano_frames),
}
"""Name -> format; the first one that recognises the content of a file reads it."""
ENTRIES = {
    "wholebody": EntryFormat(lambda entry: isinstance(entry.get("instances"), list), of_instances, "m", "standard"),
    "mediapipe": EntryFormat(tool_files.is_mediapipe, tool_files.of_mediapipe, "m", "standard"),
    "ultraleap": EntryFormat(tool_files.is_ultraleap, tool_files.of_ultraleap, "mm", "standard"),
    "landmarks": EntryFormat(is_landmarks, landmarks_of, "m", "standard"),
    "interhand": EntryFormat(lambda entry: "world_coord" in entry, _annotated, "m", "standard"),
    "mano": EntryFormat(is_mano_entry, read_mano_entry, "m", "standard"),
    "points": EntryFormat(headset_files.is_dump, headset_files.read_dump, order="standard"),
    "json": EntryFormat(lambda entry: {"left", "right"} <= set(entry), _left_and_right),
}
"""Name -> format; the first one that recognises an object reads it."""
FORMATS = tuple(sorted({*FILES, *DOCUMENTS, *ENTRIES, *headset_files.DUMPS, "array"} - {"points"}))
