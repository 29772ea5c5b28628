"""Keypoints of two hands for one or more pictures, read from any known file: `read_keypoints(path)`.

| format | content |
|---|---|
| `table` | the workflow's `data/keypoints/<source>/<split>.parquet`; pictures are named by their frame_id |
| `json` | `left` and `right`, 21 x 3 or null: one entry, one per picture, or a list (or Parquet) with `image` or `frame_id` |
| `interhand` | joint_3d.json of InterHand2.6M; pictures are named <capture>_<frame> |
| `array` | NPY or JSON: 2 x 21 x 3 (left, right) or 42 x 3 (InterHand2.6M: right, left), or a stack of them, numbered from 0 |
| `ply` | a folder of <name>_left.ply and <name>_right.ply with 21 vertices, or one of these files |
| `landmarks` | pixels and relative landmarks of a detector, see `landmark_files` |

Whatever the file contains, what is read is in metres and STANDARD order; the frame is the file's own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from im2hands.datasets.audit import Unusable
from im2hands.datasets.external_keypoints import METRES, ORDERS, SMALLEST_HAND
from im2hands.datasets.frames import pair_id
from im2hands.datasets.interhand26m import annotated_joints
from im2hands.datasets.keypoints import LARGEST_HAND, KeypointTable, implausible
from im2hands.geometry.cameras import Camera
from im2hands.geometry.mesh_files import read_points
from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.sides import SIDES, Side
from im2hands.io.arrays import number_array, read_npy
from im2hands.io.atomic import read_json
from im2hands.io.errors import DataError
from im2hands.io.limits import readable_file
from im2hands.io.tables import file_card, read_rows
from im2hands.photographs.landmark_files import PictureLandmarks, check_palm, is_landmarks, landmarks_of
from im2hands.photographs.plausible_hands import OTHER_SIDE, bend_to_the_back, joint_order, units

Format = Literal["table", "json", "interhand", "array", "ply", "landmarks"]
FORMATS = ("table", "json", "interhand", "array", "ply", "landmarks")
ALL_ORDERS = {**ORDERS, "biomech": JointOrder.BIOMECH}
UNNAMED = ""
"""Name of the picture of a file that contains one entry and no name."""
Hands = Float[np.ndarray, "2 21 3"]


@dataclass(frozen=True, eq=False)
class KeypointFile:
    """What a file says, by picture.

    hands: left and right (order of `Side.index`), m, STANDARD order; NaN for a missing hand.  landmarks: landmarks of files of
    this format, instead.  format, unit, order: as stated or recognised.
    """

    path: str
    format: str
    hands: Mapping[str, Hands]
    landmarks: Mapping[str, PictureLandmarks]
    unit: str = "m"
    order: str = "standard"

    @property
    def pictures(self) -> list[str]:
        """Names of the pictures, in the file's order; UNNAMED if it contains one without name."""
        return [*self.hands, *self.landmarks]

    def keypoints(
        self,
        names: tuple[str, ...],
        camera: Camera,
        frame: Literal["world", "camera"] = "world",
    ) -> Hands:
        """Both hands (world, m) of a picture that may go by any of `names`; a file without names belongs to every picture.

        frame: frame of the file's 3-D numbers.  camera: camera of the picture.
        Raises DataError if the file does not know the picture, or its landmarks cannot be placed.
        """
        if frame not in ("world", "camera"):
            raise DataError(f"{self.path}: the frame must be world or camera, not {frame!r}.")
        pictures = self.pictures
        name = UNNAMED if pictures == [UNNAMED] else next((name for name in names if name in pictures), None)
        if name is None:
            raise DataError(
                f"{self.path}: has no entry {' or '.join(dict.fromkeys(names))}; its entries are {', '.join(pictures[:3])}"
                f"{' ...' if len(pictures) > 3 else ''}."
            )
        if name in self.hands:
            return camera.to_world(self.hands[name]) if frame == "camera" else self.hands[name]
        try:
            return self.landmarks[name].keypoints(camera)
        except DataError as error:
            raise DataError(f"{self.path}: {_of(name)}{error}") from None


def read_keypoints(
    path: str | os.PathLike,
    format: Format | None = None,
    unit: Literal["m", "mm"] | None = None,
    order: Literal["standard", "interhand", "mano", "biomech"] | None = None,
) -> KeypointFile:
    """The keypoints of a file or of a folder of `.ply` files, after checking them.

    format: recognised from the content; if given, another one is refused.  unit: by default recognised from the size of the
    hands.  order: by default what the file says (`order`), otherwise recognised from the lengths of the bones; where those are
    not clear, STANDARD for `json` and `ply`, refused for `array`.
    Raises DataError for a missing file, wrong counts, numbers that are not finite, no hand at all, hands as large as no hand in
    metres or millimetres, an order that is not clear, and left and right exchanged; DamagedFileError if it cannot be read.
    """
    for name, value, allowed in (("format", format, FORMATS), ("unit", unit, METRES), ("order", order, ALL_ORDERS)):
        if value is not None and value not in allowed:
            raise DataError(f"{path}: {name} {value!r} must be one of {', '.join(allowed)}.")
    found = _read(Path(path))
    if format is not None and found.format != format:
        raise DataError(f"{path}: its format is {found.format}, not {format}; correct the format or leave it out.")
    if not found.landmarks and all(np.isnan(hands).all() for hands in found.hands.values()):
        raise DataError(f"{path}: contains no keypoints; give at least one hand of one picture.")
    if found.format != "table":
        _check_finite(found)
        found = _in_metres(_in_standard_order(found, order), unit)
        _check_sides(found)
    return found


def with_palm(found: KeypointFile, palm: float) -> KeypointFile:
    """The landmarks of a file with another size of the palm (m). Raises DataError for other files and for no size of a palm."""
    if not found.landmarks:
        raise DataError(
            f"{found.path}: a palm size is only for landmarks, but this file has metric keypoints; leave it out."
        )
    check_palm(palm, f"{found.path}: ")
    landmarks = {name: replace(picture, palm=palm) for name, picture in found.landmarks.items()}
    return replace(found, landmarks=landmarks)


def _read(path: Path) -> KeypointFile:
    """The raw numbers, with the unit and order that the format implies or states ("" if unknown)."""
    if not path.exists():
        raise DataError(f"{path}: the keypoint file is missing; correct the path.")
    if path.is_dir() or path.suffix.lower() == ".ply":
        return KeypointFile(str(path), "ply", _ply_hands(path), {}, "", "")
    with readable_file(path, "keypoint file").open("rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        numbers = read_npy(path, "array of numbers")
        if numbers.dtype.kind not in "iuf":
            raise DataError(f"{path}: contains {numbers.dtype} values, not numbers; write it again.")
        return KeypointFile(str(path), "array", _array_hands(path, numbers.astype(np.float64)), {}, "", "")
    if start.startswith(b"PAR1"):
        return _read_parquet(path)
    return _of_json(path, read_json(path, "keypoint file"))


def _read_parquet(path: Path) -> KeypointFile:
    if not file_card(path, "Parquet file", "make or copy it again", foreign=True):
        return _of_json(path, read_rows(path, "keypoint file"))
    table = KeypointTable.read(path)
    names = map(str, table.table["frame_id"].to_pylist())
    return KeypointFile(str(path), "table", dict(zip(names, table.keypoints(), strict=True)), {})


def _of_json(path: Path, content: Any) -> KeypointFile:
    if isinstance(content, list) and not (content and isinstance(content[0], dict)):
        return KeypointFile(str(path), "array", _array_hands(path, content), {}, "", "")
    hands: dict[str, Hands] = {}
    landmarks: dict[str, PictureLandmarks] = {}
    formats, orders, stated_units = set(), set(), set()
    for name, entry in _entries(path, content):
        if name in hands or name in landmarks:
            raise DataError(f"{path}: {_of(name)}occurs twice; keep one of them.")
        if is_landmarks(entry):
            landmarks[name] = landmarks_of(entry, f"{path}: {_of(name)}")
            formats.add("landmarks")
        elif "world_coord" in entry:
            hands[name] = _annotated(path, name, entry)
            formats.add("interhand")
        else:
            hands[name] = np.stack([_hand(path, name, entry, side) for side in SIDES])
            formats.add("json")
            orders.add(_stated(path, name, entry, "order", ALL_ORDERS))
            stated_units.add(_stated(path, name, entry, "unit", METRES))
    if len(formats) > 1 or len(orders) > 1 or len(stated_units) > 1:
        raise DataError(f"{path}: its entries have different formats, orders or units; write one file for each.")
    if formats == {"interhand"}:
        return KeypointFile(str(path), "interhand", hands, {})
    return KeypointFile(str(path), *formats, hands, landmarks, *stated_units, *orders)


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
    return {"left", "right"} <= set(entry) or "world_coord" in entry or is_landmarks(entry)


def _row_name(entry: dict[str, Any]) -> str | None:
    name = entry.get("image", entry.get("frame_id"))
    return None if name is None else str(name)


def _unknown(path: Path) -> DataError:
    return DataError(
        f"{path}: not a known keypoint file; expected an object with left and right (21 x 3 numbers or null) or with "
        "hands (landmarks), or one of these per picture name."
    )


def _stated(path: Path, name: str, entry: Mapping[str, Any], key: str, allowed: Mapping[str, Any]) -> str:
    value = entry.get(key) or ""
    if value not in ("", *allowed):
        raise DataError(f"{path}: {_of(name)}{key} {value!r} must be one of {', '.join(allowed)}.")
    return value


def _hand(path: Path, name: str, entry: Mapping[str, Any], side: Side) -> Float[np.ndarray, "21 3"]:
    value = entry[side.value]
    if value is None:
        return np.full((21, 3), np.nan)
    numbers = _numbers(path, value)
    if numbers.shape not in ((21, 3), (63,)):
        raise DataError(
            f"{path}: {_of(name)}{side.value} is {_shape(numbers)}, not 21 x 3 numbers or null; write one keypoint per joint."
        )
    return numbers.reshape(21, 3)


def _annotated(path: Path, name: str, entry: Any) -> Hands:
    """InterHand2.6M's annotation; a hand with a joint that is not annotated is not there."""
    try:
        found = annotated_joints(entry)
    except Unusable as unusable:
        raise DataError(f"{path}: {_of(name)}no InterHand2.6M annotation ({unusable.finding.detail}).") from None
    pairs = (found[side] for side in SIDES)
    return np.stack([joints if valid.all() else np.full_like(joints, np.nan) for joints, valid in pairs])


def _array_hands(path: Path, content: Any) -> dict[str, Hands]:
    numbers = _numbers(path, content)
    if numbers.shape[-2:] == (42, 3) and numbers.ndim in (2, 3):
        numbers = numbers.reshape(*numbers.shape[:-2], 2, 21, 3)[..., ::-1, :, :]
    if numbers.shape[-3:] != (2, 21, 3) or numbers.ndim not in (3, 4):
        raise DataError(
            f"{path}: is {_shape(numbers)}, not 2 x 21 x 3 (left, right), 42 x 3 (right, left) or a stack of one of them."
        )
    return {UNNAMED: numbers} if numbers.ndim == 3 else {str(place): hands for place, hands in enumerate(numbers)}


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


def _numbers(path: Path, value: Any) -> np.ndarray:
    try:
        return value if isinstance(value, np.ndarray) else number_array(value)
    except ValueError as error:
        text = json.dumps(value, default=str)
        raise DataError(
            f"{path}: {text[:40]}{' ...' if len(text) > 40 else ''} is not an array of numbers ({error}); correct it."
        ) from None


def _shape(numbers: np.ndarray) -> str:
    return " x ".join(map(str, numbers.shape)) or "a single number"


def _of(name: str) -> str:
    return f"picture {name}: " if name else ""


def _given(found: KeypointFile) -> list[tuple[str, Side, Float[np.ndarray, "21 3"]]]:
    """The hands that are there: picture, side, numbers."""
    every = ((name, side, hands[side.index]) for name, hands in found.hands.items() for side in SIDES)
    return [(name, side, hand) for name, side, hand in every if not np.isnan(hand).all()]


def _check_finite(found: KeypointFile) -> None:
    """Raises DataError for a hand of which only a part is given."""
    for name, side, hand in _given(found):
        bad = int((~np.isfinite(hand).all(axis=1)).sum())
        if bad:
            raise DataError(
                f"{found.path}: {_of(name)}{bad} of 21 keypoints of the {side.value} hand are not finite; fill them in, or "
                "write null for a missing hand."
            )


def _in_standard_order(found: KeypointFile, order: str | None) -> KeypointFile:
    if order is not None and found.order and order != found.order:
        raise DataError(f"{found.path}: its order is {found.order}, not {order}; correct one of them.")
    order = order or found.order
    if not order and found.hands:
        recognised = joint_order(np.stack([hand for *_, hand in _given(found)]))
        if recognised is None and found.format == "array":
            raise DataError(
                f"{found.path}: the bone lengths do not show the order of the joints; state one of "
                f"{', '.join(ALL_ORDERS)}."
            )
        order = (recognised or JointOrder.STANDARD).name.lower()
    source = ALL_ORDERS[order or "standard"]
    hands = {name: reorder(pair, source, JointOrder.STANDARD) for name, pair in found.hands.items()}
    return replace(found, hands=hands, order=order)


def _in_metres(found: KeypointFile, unit: str | None) -> KeypointFile:
    if unit is not None and found.unit and unit != found.unit:
        raise DataError(f"{found.path}: its unit is {found.unit}, not {unit}; correct one of them.")
    given = _given(found)
    if not given:
        return found
    stated = unit or found.unit
    together = units(np.stack([hand for *_, hand in given])) & ({stated} if stated else set(METRES))
    if not together:
        raise DataError(f"{found.path}: {_odd_sizes(given, stated)}")
    unit = together.pop()
    hands = {name: pair * METRES[unit] for name, pair in found.hands.items()}
    problem = implausible(np.stack([hand * METRES[unit] for *_, hand in given])[:, None])
    if problem is not None:
        name, side, _ = given[problem[0]]
        raise DataError(f"{found.path}: {_of(name)}{side.value} hand: {problem[1].split(';')[0]}; correct its numbers.")
    return replace(found, hands=hands, unit=unit)


def _odd_sizes(given: list[tuple[str, Side, np.ndarray]], stated: str) -> str:
    """Which hand has no size of a hand, and what to do."""
    allowed = {stated} if stated else set(METRES)
    for name, side, hand in given:
        if not units(hand[None]) & allowed:
            limits = " and ".join(
                f"{SMALLEST_HAND / x:g} to {LARGEST_HAND / x:g} in {unit}" for unit, x in METRES.items()
            )
            return (
                f"{_of(name)}the {side.value} hand measures {np.ptp(hand, axis=0).max():.3g}; hands measure {limits}"
                f"{f', and {stated} was stated' if stated else ''}: convert the numbers, or write landmarks with pixels."
            )
    return "some hands are in metres, others in millimetres; convert them to one unit."


def _check_sides(found: KeypointFile) -> None:
    """Raises DataError if the hands of the file as a whole bend the wrong way."""
    given = [
        *_given(found),
        *(
            (name, side, one.relative)
            for name, picture in found.landmarks.items()
            for side, one in picture.hands.items()
        ),
    ]
    bends = np.array([bend_to_the_back(hand[None], side)[0] for _, side, hand in given])
    known = bends[np.isfinite(bends)]
    if known.size and known.mean() > OTHER_SIDE:
        axis = " (or z points towards the camera instead of away from it)" if found.landmarks else ""
        raise DataError(f"{found.path}: the hands bend backwards: left and right are swapped{axis}; swap the labels.")
