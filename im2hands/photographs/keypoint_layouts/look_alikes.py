"""What only looks like keypoints of a format, each told by the points themselves and said in one sentence.

Lengths and bends of a hand show a wrong order, a wrong unit, mirrored axes and exchanged sides; the place of the hands shows
axes of another kind. Hands are given with picture and side, in metres, STANDARD order and OpenCV's axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from im2hands.datasets.external_keypoints import SMALLEST_HAND
from im2hands.datasets.keypoints import LARGEST_HAND
from im2hands.hands.joints import WRIST, JointOrder
from im2hands.hands.sides import SIDES, Side
from im2hands.photographs.keypoint_layouts.layout import UNITS, Axes
from im2hands.photographs.keypoint_layouts.table import LAYOUTS, MANO_TIPS, TIPS_FIRST, WRIST_THEN_TIPS
from im2hands.photographs.keypoint_layouts.thumb_base import with_thumb_base
from im2hands.photographs.plausible_hands import CLEARLY, ODD_BONES, OTHER_SIDE, bend_to_the_back, bone_spread

ORDERS = {
    "wrist, then every finger from base to tip (standard)": tuple(range(21)),
    "MANO and finger tips (HO-3D)": MANO_TIPS,
    "every finger from tip to base, the wrist last (InterHand2.6M)": TIPS_FIRST,
    "the wrist, then every finger from tip to base (RHD)": WRIST_THEN_TIPS,
    "all finger bases, then all second joints (biomech)": JointOrder.STANDARD.table_from(JointOrder.BIOMECH),
}
"""Orders of 21 joints that files have -> place of every STANDARD joint."""
NO_HAND = 0.62
"""Spread of bone lengths that hands do not reach even with errors of 3 cm."""
ANY_ORDER = ("json", "array", "ply", "h2o", "arctic")
"""Formats of which the order is recognised, so that it cannot be wrong."""
MIRRORED = 2 * OTHER_SIDE
"""Bend towards the back of one side's hands that no poor detector has, so that they are mirror images."""
MANY = 5
"""Hands of a side from where on a detector's relative points, whose depth is weak, may show that."""
TOGETHER = 1e-3
"""Metres: no two wrists are closer."""
FLAT = 1e-9
Given = Sequence[tuple[str, Side, Float[np.ndarray, "21 3"]]]


def wrong_order(format: str, given: Given) -> str | None:
    """Why the joints cannot be in the order of a format; None if they can."""
    layout = LAYOUTS.get(format)
    if layout is None or layout.unit == "px":
        return None
    hands = np.stack([hand for *_, hand in given])
    if format in ANY_ORDER:
        return _no_order(given, bone_spread(hands))
    first = min(place for place in layout.joints if place is not None)
    own = tuple(-1 if place is None else place - first for place in layout.joints)
    spread = bone_spread(hands)
    if own in ORDERS.values():
        written = hands[:, np.argsort(own)]
        spreads = {name: bone_spread(written[:, list(places)]) for name, places in ORDERS.items()}
        best = min(spreads, key=spreads.__getitem__)
        if spreads[best] < ODD_BONES and spread > CLEARLY * spreads[best]:
            usual = next(name for name, places in ORDERS.items() if places == own)
            return (
                f"its joints are in another order than those of {layout.title}: they are {best}, not {usual}; bring them "
                "into the order of the format."
            )
    if spread > NO_HAND:
        body = ", or are they OpenPose's BODY_25, a body?" if layout.points == 25 else "?"
        return (
            f"its {layout.points} points are no hand of {layout.title}: bones next to each other have impossible lengths; are "
            f"they in its order{body}"
        )
    return None


def _no_order(given: Given, spread: float) -> str | None:
    """Why points whose order nobody states are no 21 joints; None if they may be. spread: of their bones."""
    if spread < ODD_BONES:
        return None
    headset = LAYOUTS["hot3d"]
    hands = np.stack([with_thumb_base(headset.standard(hand), side) for _, side, hand in given])
    if bone_spread(hands) < ODD_BONES:
        return f"its 21 points are those of {headset.title}, whose last is the palm; say so with `format`: `hot3d`."
    if spread > NO_HAND:
        return (
            "its 21 points are no hand in any order: bones next to each other have impossible lengths; are they joints?"
        )
    return None


def wrong_axes(format: str, given: Given) -> str | None:
    """Why hands before a camera have other axes or another origin than a format says; None if they fit."""
    layout = LAYOUTS.get(format)
    if layout is None or layout.origin != "camera":
        return _same_wrists(format, given)
    depths = np.stack([hand[:, 2] for *_, hand in given])
    wrists = np.stack([hand[WRIST] for *_, hand in given])
    if np.abs(wrists).max() < TOGETHER or (np.median(depths, axis=1) * depths.min(axis=1) < 0).all():
        return (
            f"the hands are at the camera's own place: the coordinates are about the wrist, and {layout.title} has them about "
            "the camera; add the wrist's place, or write them as `json`."
        )
    if (depths < 0).all():
        if layout.axes is Axes.OPENGL:
            return (
                f"the hands are behind the camera: the axes seem to be OpenCV's already (z away), and {layout.title} has "
                "OpenGL's (y up, z towards the viewer); negate y and z, or write them as `json`."
            )
        return (
            "the hands are behind the camera: the axes seem to be OpenGL's (y up, z towards the viewer), and "
            f"{layout.title} has OpenCV's (y down, z away); negate y and z."
        )
    return _same_wrists(format, given)


def _same_wrists(format: str, given: Given) -> str | None:
    if format == "dex-retargeting":
        return None
    wrists: dict[str, list[np.ndarray]] = {}
    for name, _, hand in given:
        wrists.setdefault(name, []).append(hand[WRIST])
    pairs = [both for both in wrists.values() if len(both) == len(SIDES)]
    if pairs and all(np.linalg.norm(one - other) < TOGETHER for one, other in pairs):
        return (
            "both wrists are in the same place: the coordinates are about each hand's own wrist, so how the hands lie to one "
            "another is lost; write them in one frame, or one hand alone."
        )
    return None


def wrong_sides(format: str, given: Given, landmarks: bool) -> str | None:
    """Why left and right cannot be what they are called; None if they can. landmarks: hands are relative ones of a detector."""
    of_side = {side: _bends([hand for _, which, hand in given if which is side], side) for side in SIDES}
    every = np.concatenate(list(of_side.values()))
    if not every.size:
        return None
    needed = MANY if landmarks else 1
    wrong = [side for side, found in of_side.items() if found.size >= needed and found.mean() > MIRRORED]
    if len(wrong) == 1 and of_side[wrong[0].other].size and of_side[wrong[0].other].mean() < 0:
        return (
            f"the {wrong[0].value} hands bend backwards and the {wrong[0].other.value} ones do not: they are mirror images, as "
            "of networks that flip one side of the picture; negate x of their own coordinates before they are put in place."
        )
    if every.mean() > OTHER_SIDE:
        axis = " (or z points towards the camera instead of away from it)" if landmarks else ""
        other = "" if landmarks else f"; or {_other_cause(format)}"
        return (
            f"the hands bend backwards: left and right are swapped{axis}; swap the labels, or read them so (--swap-sides, "
            f"swap_sides=True){other}."
        )
    return None


def _bends(hands: list[Float[np.ndarray, "21 3"]], side: Side) -> Float[np.ndarray, " known"]:
    """How far hands bend to the back of their hand, where that is known."""
    found = bend_to_the_back(np.stack(hands), side) if hands else np.zeros(0)
    return found[np.isfinite(found)]


def _other_cause(format: str) -> str:
    layout = LAYOUTS.get(format)
    if layout is not None and layout.axes is Axes.UNITY:
        return f"the axes are right-handed already, and {layout.title} has Unity's left-handed ones: negate z"
    return "the axes are left-handed, as Unity's: negate y"


def odd_unit(format: str, stated: str, hand: Float[np.ndarray, "21 3"]) -> str:
    """What else the numbers of a hand (as written, STANDARD order) may be, as a part of a sentence; "" if nothing is likely."""
    extent = np.ptp(hand, axis=0)
    size = extent.max()
    if extent[:2].max() > 10 and extent[2] <= 1:
        what = "0 everywhere" if np.abs(hand[:, 2]).max() < FLAT else "like a score"
        return f"; x and y look like pixels, and z is {what}: write pixels as `landmarks`, without scores"
    likely = next((unit for unit, metres in UNITS.items() if SMALLEST_HAND < size * metres < LARGEST_HAND), None)
    layout = LAYOUTS.get(format)
    if likely is None or likely == stated:
        return ""
    names = {"m": "metres", "cm": "centimetres", "mm": "millimetres"}
    title = (
        f", and {layout.title} has {names[stated]}" if stated and layout is not None and layout.unit == stated else ""
    )
    return f"; it may be in {names[likely]}{title}"


def look_like_pixels(hands: Float[np.ndarray, "hands 21 3"]) -> Bool[np.ndarray, " hands"]:
    """Of which hands (as written) x and y are pixels and the third number is a score, a flag or nothing."""
    extent = np.ptp(hands, axis=1)
    return (extent[:, :2].max(axis=1) > 10) & (extent[:, 2] <= 1) & (np.abs(hands[:, :, 2]).max(axis=1) <= 1)
