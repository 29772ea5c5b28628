"""Writers of keypoints in space, one per layout: what `read_keypoints` reads back.

All of them get pictures with left and right hand (metres, STANDARD order, OpenCV's axes; NaN for a hand that is not there) and
write a file, or fill a folder. Files that number their pictures do so from 0, in the order given.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from im2hands.hands.joints import FINGERS, INDEX_BASE, MIDDLE_BASE, RING_BASE, WRIST
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_layouts.content import UNNAMED, Hands
from im2hands.photographs.keypoint_layouts.plain_files import file_name, write_plain_json
from im2hands.photographs.keypoint_layouts.table import LAYOUTS

Pictures = Mapping[str, Hands]
PROTOCOL = 4
"""Of pickles."""


def there(hand: Float[np.ndarray, "21 3"]) -> bool:
    """Whether a hand is given."""
    return bool(np.isfinite(hand).any())


def rows(pictures: Pictures) -> Iterator[tuple[str, dict[Side, Float[np.ndarray, "21 3"]]]]:
    """Pictures with the hands that are there."""
    for name, both in pictures.items():
        yield name, {side: both[side.index] for side in SIDES if there(both[side.index])}


def of_pictures(entries: Mapping[str, Any]) -> Any:
    """One entry without name, or an object of them."""
    return entries[UNNAMED] if list(entries) == [UNNAMED] else dict(entries)


def listed(array: np.ndarray) -> Any:
    """Numbers for JSON, null for NaN."""
    return [listed(part) for part in array] if array.ndim else None if np.isnan(array) else float(array)


def write_json_hands(path: Path, pictures: Pictures) -> None:
    if path.suffix == ".parquet":
        columns = [
            {"image": name} | {side.value: hands[side].ravel().tolist() if side in hands else None for side in SIDES}
            for name, hands in rows(pictures)
        ]
        fields = [("image", pa.string()), *((side.value, pa.list_(pa.float64())) for side in SIDES)]
        pq.write_table(pa.Table.from_pylist(columns, pa.schema(fields)), path)
        return
    stated = {"unit": "m", "order": "standard"}
    entries = {
        name: {side.value: listed(hands[side]) if side in hands else None for side in SIDES} | stated
        for name, hands in rows(pictures)
    }
    write_plain_json(path, of_pictures(entries))


def write_array(path: Path, pictures: Pictures) -> None:
    stack = np.stack(list(pictures.values()))
    stack = stack[0] if list(pictures) == [UNNAMED] else stack
    if path.suffix == ".json":
        write_plain_json(path, listed(stack))
        return
    with path.open("wb") as file:
        np.save(file, stack)


def write_ply(folder: Path, pictures: Pictures) -> None:
    for name, hands in rows(pictures):
        for side, hand in hands.items():
            lines = ["ply", "format ascii 1.0", "element vertex 21", *(f"property double {axis}" for axis in "xyz")]
            lines += ["end_header", *(" ".join(map(repr, point.tolist())) for point in hand)]
            (folder / f"{file_name(name, 'hand')}_{side.value}.ply").write_text("\n".join(lines) + "\n")


def write_interhand(path: Path, pictures: Pictures) -> None:
    content: dict[str, dict[str, Any]] = {}
    for number, (name, both) in enumerate(pictures.items()):
        capture, _, frame = name.rpartition("_")
        capture, frame = (capture, frame) if capture.isdigit() and frame.isdigit() else ("0", str(number))
        points = _one_list(both, "interhand")
        valid = np.isfinite(points).all(axis=1)
        content.setdefault(capture, {})[frame] = {
            "world_coord": np.nan_to_num(points).tolist(),
            "joint_valid": [[int(one)] for one in valid],
            "hand_type": "interacting" if valid.all() else "right" if valid[0] else "left",
            "hand_type_valid": True,
        }
    write_plain_json(path, content)


def write_assemblyhands(path: Path, pictures: Pictures) -> None:
    content: dict[str, dict[str, Any]] = {}
    for number, (name, both) in enumerate(pictures.items()):
        sequence, _, frame = name.rpartition("_")
        known = bool(sequence) and not sequence.isdigit() and frame.isdigit()
        points = _one_list(both, "assemblyhands")
        content.setdefault(sequence if known else "sequence", {})[frame if known else f"{number:06d}"] = {
            "world_coord": np.nan_to_num(points).tolist(),
            "joint_valid": [[int(one)] for one in np.isfinite(points).all(axis=1)],
        }
    write_plain_json(path, content)


def _one_list(both: Hands, name: str) -> Float[np.ndarray, "points 3"]:
    """Both hands in the list of points of a layout that has them together."""
    layout = LAYOUTS[name]
    found = np.full((layout.points, 3), np.nan)
    for place, side in enumerate(layout.hands):
        moved = np.array(layout.joints) + place * layout.second
        found[moved] = both[side.index] / (0.001 if layout.unit == "mm" else 1.0)
    return found


def write_freihand(path: Path, pictures: Pictures) -> None:
    hands = [both[Side.RIGHT.index] for both in pictures.values() if there(both[Side.RIGHT.index])]
    write_plain_json(path, listed(np.stack(hands)))


def write_ho3d(folder: Path, pictures: Pictures) -> None:
    names = list(pictures)
    if not all(name.isdigit() for name in names):
        names = [f"{number:04d}" for number in range(len(names))]
    layout, both_hands = LAYOUTS["ho3d"], any(there(both[Side.LEFT.index]) for both in pictures.values())
    for name, (_, hands) in zip(names, rows(pictures), strict=True):
        keys = {side: f"{side.value}HandJoints3D" if both_hands else "handJoints3D" for side in SIDES}
        content = {keys[side]: layout.as_written(hand) for side, hand in hands.items()} | {"camMat": np.eye(3)}
        _write_pickle(folder / f"{name}.pkl", content)


def _write_pickle(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content, PROTOCOL))


def write_dexycb(folder: Path, pictures: Pictures) -> None:
    side = the_side(pictures, "dexycb")
    layout = LAYOUTS["dexycb"]
    for number, both in enumerate(pictures.values()):
        points = layout.as_written(both[side.index])
        empty = {"joint_2d": np.full((1, 21, 2), -1.0, np.float32), "pose_m": np.zeros((1, 51), np.float32)}
        np.savez(folder / f"labels_{number:06d}.npz", joint_3d=points[None], **empty)
    (folder / "meta.yml").write_text(f"mano_sides:\n- {side.value}\n")


def write_dexycb_results(path: Path, pictures: Pictures) -> None:
    side = the_side(pictures, "dexycb-results")
    lines = [
        ",".join([str(number), *map(repr, (1000 * both[side.index]).ravel().tolist())])
        for number, both in enumerate(pictures.values())
        if there(both[side.index])
    ]
    path.write_text("\n".join(lines) + "\n")


def the_side(pictures: Pictures, name: str) -> Side:
    """The one side of a layout that has one per file. Raises DataError if both are there."""
    sides = {side for _, hands in rows(pictures) for side in hands}
    if len(sides) != 1:
        raise DataError(
            f"{LAYOUTS[name].title} has one hand per file; say which one is to be written (--only left, --only right)."
        )
    return sides.pop()


def write_h2o(folder: Path, pictures: Pictures) -> None:
    for number, both in enumerate(pictures.values()):
        flags = np.isfinite(both).all(axis=(1, 2))
        values = np.concatenate([flags[:, None], np.nan_to_num(both).reshape(2, 63)], axis=1)
        (folder / f"{number:06d}.txt").write_text(" ".join(map(repr, values.ravel().tolist())) + "\n")


def write_rhd(path: Path, pictures: Pictures) -> None:
    content = {
        number: {"xyz": _one_list(both, "rhd"), "uv_vis": np.zeros((42, 3)), "K": np.eye(3)}
        for number, both in enumerate(pictures.values())
    }
    _write_pickle(path, content)


def write_arctic(path: Path, pictures: Pictures) -> None:
    layout = LAYOUTS["arctic"]
    stack = np.stack(list(pictures.values()))
    joints = {f"joints.{side.value}": layout.as_written(stack[:, side.index])[:, None] for side in SIDES}
    with path.open("wb") as file:
        np.save(file, np.array({"data_dict": {"s01/hands": {"cam_coord": joints}}, "imgnames": []}, dtype=object))


def write_dump(path: Path, pictures: Pictures, name: str) -> None:
    layout = LAYOUTS[name]
    entries = {
        picture: {side.value: listed(layout.as_written(hands[side])) if side in hands else None for side in SIDES}
        | {"format": name}
        for picture, hands in rows(pictures)
    }
    write_plain_json(path, of_pictures(entries))


def write_dex_retargeting(path: Path, pictures: Pictures) -> None:
    """About the wrist, in axes of the hand: x out of the palm, z to the middle finger, y across."""
    turned = {
        name: np.stack([_in_hand_axes(both[side.index], side) for side in SIDES]) for name, both in pictures.items()
    }
    write_dump(path, turned, "dex-retargeting")


def _in_hand_axes(hand: Float[np.ndarray, "21 3"], side: Side) -> Float[np.ndarray, "21 3"]:
    if not there(hand):
        return hand
    forward = hand[MIDDLE_BASE] - hand[WRIST]
    across = hand[INDEX_BASE] - hand[RING_BASE] if side is Side.RIGHT else hand[RING_BASE] - hand[INDEX_BASE]
    z = forward / np.linalg.norm(forward)
    y = across - across @ z * z
    y /= np.linalg.norm(y)
    return (hand - hand[WRIST]) @ np.stack([np.cross(y, z), y, z]).T


def write_ultraleap(path: Path, pictures: Pictures) -> None:
    layout = LAYOUTS["ultraleap"]
    entries = {
        name: {"hands": [_leap_hand(layout.as_written(hand), side) for side, hand in hands.items()]}
        for name, hands in rows(pictures)
    }
    write_plain_json(path, of_pictures(entries))


def _leap_hand(points: Float[np.ndarray, "21 3"], side: Side) -> dict[str, Any]:
    def vector(point: np.ndarray) -> dict[str, float]:
        return dict(zip("xyz", point.tolist(), strict=True))

    digits = []
    for finger in range(len(FINGERS)):
        own = points[1 + 4 * finger : 5 + 4 * finger]
        chain = [own[0] if finger == 0 else points[WRIST], *own]  # the thumb's metacarpal has no length
        digits.append({"bones": [{"prev_joint": vector(a), "next_joint": vector(b)} for a, b in pairwise(chain)]})
    palm, arm = points[[WRIST, MIDDLE_BASE]].mean(axis=0), vector(points[WRIST])
    return {"type": side.value, "palm": {"position": vector(palm)}, "arm": {"next_joint": arm}, "digits": digits}


def write_stream(path: Path, pictures: Pictures) -> None:
    layout = LAYOUTS["hand-tracking-sdk"]
    lines = []
    for number, (name, hands) in enumerate(rows(pictures)):
        frame = name if name.isdigit() else number
        for side, hand in hands.items():
            points = layout.as_written(hand)
            wrist = [*points[WRIST].tolist(), 0.0, 0.0, 0.0, 1.0]
            lines.append(f"{side.value.title()} wrist: {' '.join(map(repr, wrist))}")
            numbers = ", ".join(map(repr, (points - points[WRIST]).ravel().tolist()))
            lines.append(f"{side.value.title()} landmarks|f={frame}|t=0: {numbers}")
    path.write_text("\n".join(lines) + "\n")


def write_openpose_3d(folder: Path, pictures: Pictures) -> None:
    for name, hands in rows(pictures):
        person = {"person_id": [-1]}
        for side in SIDES:
            whole = np.column_stack([hands[side], np.ones(21)]).ravel().tolist() if side in hands else []
            person |= {f"hand_{side.value}_keypoints_2d": [], f"hand_{side.value}_keypoints_3d": whole}
        write_plain_json(folder / f"{file_name(name, 'picture')}_keypoints.json", {"version": 1.3, "people": [person]})
