"""Writers of what detectors say of pictures, one per layout: pixels, and relative points where the layout has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from im2hands.hands.joints import WRIST
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_layouts.plain_files import file_name, write_plain_json
from im2hands.photographs.keypoint_layouts.space_writers import listed, of_pictures
from im2hands.photographs.keypoint_layouts.table import LAYOUTS
from im2hands.photographs.landmark_files import PictureLandmarks
from im2hands.photographs.landmarks import Landmarks

Marks = Mapping[str, PictureLandmarks]
SEEN = 1.0
"""Score of a joint that is seen."""


def write_landmarks(path: Path, pictures: Marks) -> None:
    entries = {}
    for name, picture in pictures.items():
        hands = []
        for side, one in picture.hands.items():
            hand: dict[str, Any] = {"side": side.value, "pixels": [_point(point) for point in one.pixels]}
            hands.append(hand if one.relative is None else hand | {"relative": one.relative.tolist()})
        entry: dict[str, Any] = {"hands": hands, "axes": picture.axes}
        entry |= {} if picture.palm is None else {"palm": picture.palm}
        entries[name] = entry | ({} if picture.size is None else {"size": list(picture.size)})
    write_plain_json(path, of_pictures(entries))


def _point(point: np.ndarray) -> list[float] | None:
    return point.tolist() if np.isfinite(point).all() else None


def write_mediapipe(path: Path, pictures: Marks) -> None:
    entries = {}
    for name, picture in pictures.items():
        if picture.size is None:
            raise DataError(
                f"picture {name}: MediaPipe's landmarks are shares of the picture, so its size must be known (`size`)."
            )
        seen, world = [], []
        for one in picture.hands.values():
            if not np.isfinite(one.pixels).all() or one.relative is None:
                raise DataError(f"picture {name}: MediaPipe has all 21 landmarks in the picture and in space.")
            shares = (one.pixels + 0.5) / picture.size
            seen.append([_mark(point) for point in np.column_stack([shares, np.zeros(len(shares))])])
            world.append([_mark(point) for point in one.relative])
        entries[name] = {
            "size": list(picture.size),
            "handedness": [[{"category_name": side.value.title(), "score": SEEN}] for side in picture.hands],
            "hand_landmarks": seen,
            "hand_world_landmarks": world,
        }
    write_plain_json(path, of_pictures(entries))


def _mark(point: np.ndarray) -> dict[str, float]:
    return dict(zip("xyz", point.tolist(), strict=True))


def triples(pixels: Float[np.ndarray, "joints 2"]) -> Float[np.ndarray, "joints 3"]:
    """x, y, score; zeros for a joint that is not seen."""
    seen = np.isfinite(pixels).all(axis=1, keepdims=True)
    return np.where(seen, np.column_stack([pixels, np.full(len(pixels), SEEN)]), 0.0)


def _hand(picture: PictureLandmarks, side: Side) -> Landmarks:
    return picture.hands.get(side, Landmarks(np.full((21, 2), np.nan)))


def write_openpose(folder: Path, pictures: Marks) -> None:
    for name, picture in pictures.items():
        person: dict[str, Any] = {"person_id": [-1], "pose_keypoints_2d": [0.0] * 75}
        for side in SIDES:
            person[f"hand_{side.value}_keypoints_2d"] = triples(_hand(picture, side).pixels).ravel().tolist()
            person[f"hand_{side.value}_keypoints_3d"] = []
        write_plain_json(folder / f"{file_name(name, 'picture')}_keypoints.json", {"version": 1.3, "people": [person]})


def write_wholebody(path: Path, pictures: Marks) -> None:
    layout = LAYOUTS["wholebody"]
    frames = []
    for name, picture in pictures.items():
        body = np.zeros((layout.points, 3))
        for place, side in enumerate(layout.hands):
            body[np.array(layout.joints) + place * layout.second] = triples(_hand(picture, side).pixels)
        instance = {"keypoints": body[:, :2].tolist(), "keypoint_scores": body[:, 2].tolist()}
        frames.append({"image": name, "instances": [instance]} if name else {"instances": [instance]})
    write_plain_json(path, frames if len(frames) > 1 or "image" in frames[0] else frames[0])


def write_coco(path: Path, pictures: Marks) -> None:
    images, annotations = [], []
    for number, (name, picture) in enumerate(pictures.items()):
        size = {} if picture.size is None else dict(zip(("width", "height"), picture.size, strict=True))
        images.append({"id": number, "file_name": name, **size})
        hands = {}
        for side in SIDES:
            hands[f"{side.value}hand_kpts"] = triples(_hand(picture, side).pixels).ravel().tolist()
            hands[f"{side.value}hand_valid"] = side in picture.hands
        annotations.append({"id": number, "image_id": number, "category_id": 1, "keypoints": [0] * 51, **hands})
    categories = [{"id": 1, "name": "person"}]
    write_plain_json(path, {"images": images, "annotations": annotations, "categories": categories})


def _placed(picture: PictureLandmarks, name: str) -> Float[np.ndarray, "2 21 3"]:
    if picture.stated is None:
        raise DataError(f"picture {name}: this format has hands before a camera; keypoints in space are needed.")
    return picture.stated


def write_wilor(path: Path, pictures: Marks) -> None:
    """Keypoints about the wrist, with the detector's own placement, and pixels where they are known."""
    entries = {}
    for name, picture in pictures.items():
        stated, entries[name] = _placed(picture, name), []
        for side, one in picture.hands.items():
            hand = stated[side.index]
            made = {"pred_keypoints_3d": listed(hand - hand[WRIST]), "pred_cam_t_full": listed(hand[WRIST])}
            seen = {"pred_keypoints_2d": listed(one.pixels)} if np.isfinite(one.pixels).any() else {}
            entries[name].append({"is_right": int(side is Side.RIGHT), "wilor_preds": made | seen})
    write_plain_json(path, of_pictures(entries))


def write_mhr70(path: Path, pictures: Marks) -> None:
    """Both hands of one person; the rest of the body is zeros, a missing hand null."""
    layout = LAYOUTS["mhr70"]
    entries = {}
    for name, picture in pictures.items():
        stated = _placed(picture, name)
        points, pixels = np.zeros((layout.points, 3)), np.zeros((layout.points, 2))
        middle = np.nanmean(stated, axis=(0, 1))
        for place, side in enumerate(layout.hands):
            moved = np.array(layout.joints) + place * layout.second
            points[moved], pixels[moved] = stated[side.index] - middle, _hand(picture, side).pixels
        made = {"pred_keypoints_3d": listed(points), "pred_cam_t": listed(middle)}
        seen = any(np.isfinite(one.pixels).any() for one in picture.hands.values())
        entries[name] = [made | ({"pred_keypoints_2d": listed(pixels)} if seen else {})]
    write_plain_json(path, of_pictures(entries))
