"""Readers of the files of datasets, in space: FreiHAND, HO-3D, DexYCB, H2O, AssemblyHands, RHD and ARCTIC.

Orders and units that the datasets do not state are found from the hands' bones. Sources: `table`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from im2hands.datasets.frames import pair_id
from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.sides import SIDES, Side
from im2hands.io.arrays import read_npz
from im2hands.io.documents import read_yaml
from im2hands.io.errors import DataError
from im2hands.io.limits import LARGEST_DOCUMENT, read_text
from im2hands.photographs.keypoint_layouts.content import (
    UNNAMED,
    Content,
    Hands,
    array_of,
    numbers,
    of_both,
    pair,
    shape_text,
)
from im2hands.photographs.keypoint_layouts.documents import PICKLES, read_document
from im2hands.photographs.keypoint_layouts.table import LAYOUTS
from im2hands.photographs.plausible_hands import joint_order

HO3D_KEYS = ("handJoints3D", "rightHandJoints3D", "leftHandJoints3D")
VERTICES = 778


def is_freihand(content: Any, path: Path) -> bool:
    """A list of right hands in a file of FreiHAND's name, or predicted keypoints with vertices."""
    if not isinstance(content, list) or not content:
        return False
    if len(content) == 2 and all(isinstance(part, list) for part in content):
        joints, vertices = content
        if joints and _length(joints[0]) == 21 and (not vertices or _length(vertices[0]) == VERTICES):
            return not vertices or len(vertices) == len(joints)
    return path.stem.endswith("_xyz") and _length(content[0]) == 21


def read_freihand(content: list, path: Path) -> Content:
    """Right hands, numbered in eight digits as FreiHAND's pictures are."""
    predicted = len(content) == 2 and _length(content[0][0]) == 21
    points = numbers(content[0] if predicted else content, f"{path}: ")
    if points.ndim != 3 or points.shape[1:] != (21, 3):
        raise DataError(f"{path}: is {shape_text(points)}, not n x 21 x 3; FreiHAND has 21 keypoints of every picture.")
    hands = {f"{number:08d}": pair({Side.RIGHT: hand}) for number, hand in enumerate(points)}
    return Content(hands, order="standard")


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (list, np.ndarray)) else -1


def is_ho3d_frame(content: Any, path: Path) -> bool:
    """An annotation of a frame."""
    return isinstance(content, Mapping) and bool(set(HO3D_KEYS) & set(content))


def is_ho3d(path: Path) -> bool:
    """A folder of pickles that are named by numbers, as HO-3D's are."""
    names = sorted(file for file in path.iterdir() if file.suffix in PICKLES) if path.is_dir() else []
    return bool(names) and names[0].stem.isdigit()


def read_ho3d(path: Path) -> Content:
    """A picture per pickle, named like it."""
    files = sorted(file for file in path.iterdir() if file.suffix in PICKLES) if path.is_dir() else [path]
    return _each(files, _ho3d_hands)


def _ho3d_hands(file: Path) -> Hands:
    content, layout = read_document(file), LAYOUTS["ho3d"]
    if not isinstance(content, Mapping) or not set(HO3D_KEYS) & set(content):
        raise DataError(f"{file}: has none of {', '.join(HO3D_KEYS)}, so it is no annotation of HO-3D; remove it.")
    found = {}
    for key, side in zip(HO3D_KEYS, (Side.RIGHT, Side.RIGHT, Side.LEFT), strict=True):
        value = content.get(key)
        if value is None:
            continue
        points = numbers(value, f"{file}: {key} ")
        if points.size == 3:
            raise DataError(f"{file}: {key} is the wrist alone, as in HO-3D's evaluation split; it has no keypoints.")
        found[side] = layout.standard(array_of(points, (21, 3), f"{file}: {key} "))
    if not found:
        raise DataError(f"{file}: nobody's hand is annotated; leave the picture out.")
    return pair(found)


def is_dexycb(path: Path) -> bool:
    """A file or folder of DexYCB's labels."""
    return bool(_dexycb_files(path))


def _dexycb_files(path: Path) -> list[Path]:
    return sorted(path.glob("labels_*.npz")) if path.is_dir() else [path] if path.match("labels_*.npz") else []


def read_dexycb(path: Path) -> Content:
    """A picture per label: labels_000007.npz belongs to color_000007. The side is the sequence's, in its meta.yml."""
    files = _dexycb_files(path)
    side = _dexycb_side(files[0].parent)
    layout = LAYOUTS["dexycb"]

    def hands(file: Path) -> Hands:
        points = read_npz(file, "label", ["joint_3d"])["joint_3d"]
        return pair({side or Side.RIGHT: layout.standard(array_of(points, (21, 3), f"{file}: joint_3d "))})

    named = {file: file.stem.replace("labels_", "color_") for file in files}
    return _each(files, hands, unit="m", named=named, one_hand=side is None)


def _dexycb_side(folder: Path) -> Side | None:
    for place in (folder, folder.parent):
        if (place / "meta.yml").is_file():
            content = read_yaml(place / "meta.yml", "description of the sequence")
            said = content.get("mano_sides", content.get("mano_side")) if isinstance(content, Mapping) else None
            said = said[0] if isinstance(said, list) and len(said) == 1 else said
            return Side(said) if said in ("left", "right") else None
    return None


NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[nN]a[nN]"


def _numbers_of_line(line: str) -> list[float] | None:
    words = line.replace(",", " ").split()
    return [float(word) for word in words] if words and all(re.fullmatch(NUMBER, word) for word in words) else None


def _numbers_of_file(path: Path) -> list[list[float]]:
    found = []
    for number, line in enumerate(read_text(path, "keypoint file", LARGEST_DOCUMENT).splitlines(), 1):
        if line.strip():
            values = _numbers_of_line(line)
            if values is None:
                raise DataError(f"{path}: line {number} has something else than numbers; correct it.")
            found.append(values)
    return found


def first_line(path: Path) -> str:
    """The start of a text file, "" for others."""
    with path.open("rb") as file:
        start = file.read(4096)
    return start.split(b"\n", 1)[0].decode("ascii", "ignore") if b"\0" not in start else ""


def _count(path: Path) -> int:
    """Numbers in the first line of a text file; 0 if there is anything else."""
    return len(_numbers_of_line(first_line(path)) or ())


def is_dexycb_result(path: Path) -> bool:
    """A text file with 64 numbers in its first line."""
    return path.is_file() and path.suffix.lower() in (".txt", ".csv") and _count(path) == 64


def read_dexycb_result(path: Path) -> Content:
    """A picture per line, named by its number."""
    hands = {}
    for number, values in enumerate(_numbers_of_file(path), 1):
        if len(values) != 64:
            raise DataError(f"{path}: line {number} has {len(values)} numbers, not 64; make the file again.")
        hands[str(int(values[0]))] = pair({Side.RIGHT: np.reshape(values[1:], (21, 3))})
    return Content(hands, order="standard", one_hand=True)


def is_h2o(path: Path) -> bool:
    """A text file of 128 numbers, or a folder of them."""
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path] if path.suffix == ".txt" else []
    return bool(files) and sum(len(_numbers_of_line(line) or ()) for line in _lines(files[0])) == 128


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="ignore").splitlines() if path.stat().st_size < 100_000 else []


def read_h2o(path: Path) -> Content:
    """A picture per file, named like it; a hand whose flag is 0 is not there."""

    def hands(file: Path) -> Hands:
        values = np.array([value for line in _numbers_of_file(file) for value in line])
        if values.size != 128:
            raise DataError(
                f"{file}: has {values.size} numbers, not 2 x 64; H2O has a flag and 63 numbers of each hand."
            )
        of_side = values.reshape(2, 64)
        return np.where(of_side[:, :1, None] > 0, of_side[:, 1:].reshape(2, 21, 3), np.nan)

    content = _each(sorted(path.glob("*.txt")) if path.is_dir() else [path], hands)
    return _in_likely_order(content, JointOrder.STANDARD)


def is_assemblyhands(content: Any, path: Path) -> bool:
    """Named sequences of frames with `world_coord`; InterHand2.6M numbers its captures."""
    name, frames = _first(_sequences(content))
    entry = _first(frames)[1]
    return isinstance(entry, Mapping) and "world_coord" in entry and not str(name).isdigit()


def _sequences(content: Any) -> Any:
    return content["annotations"] if isinstance(content, Mapping) and set(content) == {"annotations"} else content


def _first(content: Any) -> tuple[Any, Any]:
    return next(iter(content.items())) if isinstance(content, Mapping) and content else (None, None)


def read_assemblyhands(content: Any, path: Path) -> Content:
    """A picture per frame, named <sequence>_<frame>; hands with a joint that is not valid are not there."""
    hands, refused = {}, {}
    for sequence, frames in _sequences(content).items():
        for frame, entry in frames.items():
            name = pair_id(sequence, frame)
            where = f"{path}: picture {name}: "
            try:
                points = array_of(entry["world_coord"], (42, 3), f"{where}world_coord ")
                valid = np.ravel(numbers(entry.get("joint_valid", np.ones(42)), f"{where}joint_valid ")) > 0
                if valid.size != 42:
                    raise DataError(f"{where}joint_valid has {valid.size} values, not 42; make the file again.")
            except (DataError, KeyError, TypeError, AttributeError) as error:
                refused[name] = str(error) if isinstance(error, DataError) else f"{where}has no world_coord; remove it."
                continue
            both = of_both(np.where(valid[:, None], points, np.nan), "assemblyhands")
            hands[name] = np.where(np.isnan(both).any(axis=(1, 2), keepdims=True), np.nan, both)
    return _unless_all_refused(Content(hands, order="standard", refused=refused))


def is_rhd(content: Any, path: Path) -> bool:
    """Numbered samples with `xyz` and `K`."""
    one = next(iter(content.values())) if isinstance(content, Mapping) and content else None
    return isinstance(one, Mapping) and {"xyz", "K"} <= set(one)


def read_rhd(content: Mapping[Any, Any], path: Path) -> Content:
    """A picture per sample, named by its number in five digits."""
    hands, refused = {}, {}
    for number, sample in content.items():
        name = f"{number:05d}" if isinstance(number, int) else str(number)
        where = f"{path}: picture {name}: "
        try:
            if not isinstance(sample, Mapping) or "xyz" not in sample:
                raise DataError(f"{where}has no xyz; remove it.")
            hands[name] = of_both(array_of(sample["xyz"], (42, 3), f"{where}xyz "), "rhd")
        except DataError as error:
            refused[name] = str(error)
    return _unless_all_refused(Content(hands, unit="m", order="standard", refused=refused))


def is_arctic(content: Any, path: Path) -> bool:
    """A split of ARCTIC."""
    return any(True for _ in _arctic_sequences(content))


def _arctic_sequences(content: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    every = content.get("data_dict", content) if isinstance(content, Mapping) else {}
    for name, sequence in every.items() if isinstance(every, Mapping) else ():
        joints = sequence.get("cam_coord") if isinstance(sequence, Mapping) else None
        if isinstance(joints, Mapping) and {"joints.right", "joints.left"} <= set(joints):
            yield str(name).replace("/", "_"), joints


def read_arctic(content: Any, path: Path) -> Content:
    """A picture per frame and view, named <sequence>_<view>_<frame in five digits>; camera frame of each view."""
    hands = {}
    for name, joints in _arctic_sequences(content):
        both = [numbers(joints[f"joints.{side.value}"], f"{path}: {name}: ") for side in SIDES]
        if both[0].shape != both[1].shape or both[0].ndim != 4 or both[0].shape[2:] != (21, 3):
            raise DataError(
                f"{path}: {name}: joints are {shape_text(both[0])} and {shape_text(both[1])}, not frames x views x 21 x 3."
            )
        together = np.stack(both, axis=2)
        for frame, view in np.ndindex(*together.shape[:2]):
            hands[f"{name}_{view}_{frame:05d}"] = together[frame, view]
    return _in_likely_order(Content(hands), JointOrder.MANO)


def _in_likely_order(content: Content, usual: JointOrder) -> Content:
    """Hands of a file whose order is not documented: the order that their bones show, or else the usual one."""
    given = [hand for both in content.hands.values() for hand in both if np.isfinite(hand).all()]
    order = (joint_order(np.stack(given)) if given else None) or usual
    hands = {name: reorder(both, order, JointOrder.STANDARD) for name, both in content.hands.items()}
    return Content(hands, unit=content.unit, order="standard", refused=content.refused)


def _each(
    files: list[Path],
    read: Callable[[Path], Hands],
    unit: str = "",
    named: Mapping[Path, str] | None = None,
    one_hand: bool = False,
) -> Content:
    """A picture per file; one that cannot be used stops no other, unless all of them are so."""
    hands: dict[str, Hands] = {}
    refused: dict[str, str] = {}
    for file in files:
        name = (named or {}).get(file, file.stem if len(files) > 1 or file.stem.isdigit() else UNNAMED)
        try:
            hands[name] = read(file)
        except DataError as error:
            refused[name] = str(error)
            hands.pop(name, None)
    content = Content(hands, unit=unit, order="standard", refused=refused, one_hand=one_hand)
    return _unless_all_refused(content)


def _unless_all_refused(content: Content) -> Content:
    if content.refused and not content.hands:
        raise DataError(next(iter(content.refused.values())))
    return content
