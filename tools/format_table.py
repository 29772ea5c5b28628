"""The tables of docs/keypoint-formats.md, from the table of layouts in the code."""

from __future__ import annotations

import re

from im2hands.photographs.keypoint_layouts.layout import Axes, Layout
from im2hands.photographs.keypoint_layouts.table import (
    LAYOUTS,
    MANO_TIPS,
    OPENXR,
    QUEST,
    TIPS_FIRST,
    UMETRACK,
    WEBXR,
    WRIST_THEN_TIPS,
)
from im2hands.photographs.keypoint_layouts.writers import READ_ONLY

PAGE = "docs/keypoint-formats.md"
ORDERS = {
    "standard": tuple(range(21)),
    "MANO + tips": MANO_TIPS,
    "tips first": TIPS_FIRST,
    "wrist, tips first": WRIST_THEN_TIPS,
    "WebXR": WEBXR,
    "OpenXR": OPENXR,
    "Quest": QUEST,
    "UmeTrack": UMETRACK,
}
AXES = {
    Axes.CAMERA: "x right, y down, z away",
    Axes.OPENGL: "x right, y up, z to the viewer",
    Axes.UNITY: "left-handed: x right, y up, z away",
}
ORIGINS = {"camera": "camera", "world": "world", "own": "own wrist", "picture": "picture"}


def tables() -> dict[str, str]:
    """Name of a table of the page -> its lines."""
    rows = [_row(name, layout) for name, layout in LAYOUTS.items()]
    head = "| format | of | file | points, hands | unit | frame and axes | order | a missing joint or hand |"
    formats = [head, _rule(head), *rows]
    head = "| order | place of every `standard` joint in the file |"
    orders = [head, _rule(head), *(f"| {name} | {_places(places)} |" for name, places in ORDERS.items())]
    head = "| format | not certain | where the rest was read |"
    sources = [
        head,
        _rule(head),
        *(f"| `{name}` | {one.unsure or '-'} | {one.source} |" for name, one in LAYOUTS.items()),
    ]
    return {"formats": "\n".join(formats), "orders": "\n".join(orders), "sources": "\n".join(sources)}


def _rule(head: str) -> str:
    return "|" + "---|" * (head.count("|") - 1)


def _row(name: str, layout: Layout) -> str:
    hands = ", then ".join(side.value for side in layout.hands) or "each says its side"
    if len(layout.hands) == 1:
        hands = f"{hands} hands only"
    axes = "-" if layout.unit == "px" else AXES[layout.axes]
    if layout.origin == "world" and layout.axes is Axes.CAMERA:
        axes = "any"
    if layout.origin == "own":
        axes = "the hand's"
    unit = f"{layout.unit}, or as the size shows" if layout.unit_unsure else layout.unit or "as the size shows"
    read_only = " (read only)" if name in READ_ONLY else ""
    return (
        f"| `{name}`{read_only} | {layout.title} | {_cell(layout.file)} | {layout.points}; {hands} | {unit} | "
        f"{ORIGINS[layout.origin]}; {axes} | {_order(layout)} | {layout.missing.value} |"
    )


def _cell(text: str) -> str:
    """A text in a table."""
    return text.replace("|", "\\|")


def _order(layout: Layout) -> str:
    """Name of the order, and from which point on it counts."""
    first = 0 if None in layout.joints else min(place for place in layout.joints if place is not None)
    if layout.points <= 42:
        first = 0
    own = tuple(place if place is None else place - first for place in layout.joints)
    name = next(name for name, places in ORDERS.items() if places == own)
    return f"{name}, from {first} on" if first else name


def _places(places: tuple[int | None, ...]) -> str:
    return ", ".join("-" if place is None else str(place) for place in places)


def filled(page: str) -> str:
    """The text of the page with the tables of the code between its marks."""
    for name, table in tables().items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, count = mark.subn(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", page)
        assert count == 1, f"{PAGE}: has {count} tables {name}"
    return page
