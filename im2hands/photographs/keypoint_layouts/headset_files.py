"""Points of headsets and other layouts without a file of their own: `left` and `right` like ours, of more or fewer points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_layouts.content import Content, Hands, nobody, numbers, shape_text
from im2hands.photographs.keypoint_layouts.table import LAYOUTS
from im2hands.photographs.keypoint_layouts.thumb_base import with_thumb_base

DUMPS = ("webxr", "openxr", "quest", "soma", "hot3d", "dex-retargeting")
"""Layouts without a file of their own: read like ours, with another number of points or with `format`."""
BY_COUNT = {20: "hot3d", 24: "quest", 25: "webxr", 26: "openxr"}
"""Points of a hand -> layout that has so many."""
NOT_HANDS = {
    17: "the body's joints of COCO",
    18: "the body's joints of OpenPose (COCO)",
    33: "the body's landmarks of MediaPipe Pose",
    68: "landmarks of a face",
    468: "the landmarks of MediaPipe's face",
    478: "the landmarks of MediaPipe's face",
}
"""Counts of points that belong to something else."""
OTHER_COUNTS = NOT_HANDS | {
    16: "the joints of MANO without the tips of the fingers; add its vertices 745, 317, 444, 556 and 673",
    778: "the vertices of MANO's mesh; its joints are asked for",
}
ESTIMATED = "the base of the thumb is not in this layout; it is estimated from the palm"
FINGERS = ("index", "middle", "ring", "pinky")
WEBXR_NAMES = (
    "wrist",
    *(f"thumb-{part}" for part in ("metacarpal", "phalanx-proximal", "phalanx-distal", "tip")),
    *(
        f"{finger}-finger-{part}"
        for finger in FINGERS
        for part in ("metacarpal", "phalanx-proximal", "phalanx-intermediate", "phalanx-distal", "tip")
    ),
)
"""WebXR's names of its 25 points, in its order."""


def is_dump(entry: Mapping[str, Any]) -> bool:
    """Whether an object with left and right has the points of a headset or another layout of DUMPS."""
    return {"left", "right"} <= set(entry) and _dump_layout(entry) is not None


def _dump_layout(entry: Mapping[str, Any]) -> str | None:
    stated = entry.get("format")
    if stated in DUMPS:
        return stated
    counts = {_points(entry[side.value]) for side in SIDES} - {None}
    return BY_COUNT.get(counts.pop()) if len(counts) == 1 else None


def _points(value: Any) -> int | None:
    if isinstance(value, Mapping):
        return len(WEBXR_NAMES) if set(WEBXR_NAMES) <= set(value) else None
    there = isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim > 0)
    return len(value) if there and len(value) else None


def dump_layout(entry: Mapping[str, Any]) -> str:
    """Name of the layout of an object for which `is_dump` is true."""
    found = _dump_layout(entry)
    assert found is not None
    return found


def read_dump(entry: Mapping[str, Any], where: str) -> Hands:
    """Both hands of an object of DUMPS, in the layout's unit."""
    name = dump_layout(entry)
    found = nobody()
    for side in SIDES:
        if entry[side.value] is not None:
            points = numbers(_listed(entry[side.value], f"{where}{side.value} "), f"{where}{side.value} ")
            found[side.index] = of_layout(points, name, side, where)
    return found


def _listed(hand: Any, where: str) -> Any:
    """The points of a hand in a list, where they stand under WebXR's names."""
    if not isinstance(hand, Mapping):
        return hand
    if not set(WEBXR_NAMES) <= set(hand):
        missing = next(name for name in WEBXR_NAMES if name not in hand)
        raise DataError(
            f"{where}has no {missing}; write all {len(WEBXR_NAMES)} joints of WebXR, or null for a missing hand."
        )
    places = [one.get("position", one) if isinstance(one := hand[name], Mapping) else one for name in WEBXR_NAMES]
    return [[one.get(axis) for axis in "xyz"] if isinstance(one, Mapping) else one for one in places]


def of_layout(points: Float[np.ndarray, "points 3"], name: str, side: Side, where: str) -> Float[np.ndarray, "21 3"]:
    """One hand of a layout by its points; HOT3D's may have the middle of the palm as 21st."""
    layout = LAYOUTS[name]
    allowed = (layout.points, layout.points + 1) if name == "hot3d" else (layout.points,)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) not in allowed:
        raise DataError(
            f"{where}{side.value} is {shape_text(points)}, not {layout.points} x 3 points of {layout.title}."
        )
    hand = layout.standard(points)
    return with_thumb_base(hand, side) if layout.lacks else hand


def is_trajectory(content: Any, path: Path) -> bool:
    """Lines of HOT3D's pose trajectories, which hold angles."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, Mapping) and "hand_poses" in first


def refuse_trajectory(content: Any, path: Path) -> Content:
    """Raises DataError."""
    raise DataError(
        f"{path}: has wrist poses and joint angles of HOT3D, and no keypoints; write the landmarks that its toolkit computes "
        "from them, as `left` and `right` of 20 points."
    )
