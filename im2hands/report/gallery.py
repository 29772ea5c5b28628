"""Pictures of the chosen pairs: photograph and truth, then a strip for every method: over the photograph and, coloured by
error, from two sides, with what lies inside the other hand marked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from im2hands.hands.sides import Side
from im2hands.report.colours import PENETRATION, PREDICTION, TRUTH, error_colours
from im2hands.report.pairs import ChosenPair, RankedPair, ShownHand, ShownPair
from im2hands.report.pictures import (
    Painted,
    View,
    backdrop,
    data_uri,
    from_the_right,
    over,
    painted,
    render,
    silhouette,
    webp,
)

ENLARGED = 1.5
OVERLAY_OPACITY = 0.94
PENETRATION_OPACITY = 0.9


@dataclass(frozen=True)
class Panel:
    """A picture of a row. uri: embedded image.  alternative: text for readers who do not see it."""

    title: str
    uri: str
    alternative: str


@dataclass(frozen=True)
class MethodStrip:
    """What one method with one keypoint source made of a pair.

    panels: none if there is no mesh at all.  notes: what the pictures cannot say, such as a hand without a mesh.
    words: errors in words.
    """

    method: str
    source: str
    panels: Sequence[Panel]
    notes: Sequence[str]
    words: str


@dataclass(frozen=True)
class GalleryRow:
    """A pair: pictures of the truth, and a strip per method."""

    place: str
    pair: RankedPair
    truth: Sequence[Panel]
    strips: Sequence[MethodStrip]


def gallery(
    chosen: Sequence[ChosenPair],
    results: Mapping[tuple[str, str], Mapping[str, ShownPair]],
    limit_mm: float,
) -> list[GalleryRow]:
    """The rows, in the order of `chosen`.

    results: (method, keypoint source) -> its pairs by name.  limit_mm: end of the error scale, the same for all.
    """
    rows = []
    for one in chosen:
        name = one.pair.pair_id
        strips = [_strip(method, source, pairs[name], limit_mm) for (method, source), pairs in results.items()]
        rows.append(GalleryRow(one.place, one.pair, _truth(next(iter(results.values()))[name]), strips))
    return rows


def photograph(pair: ShownPair) -> str:
    """The pair's crop as an embedded image."""
    rgb = pair.crop.image / 255.0
    return data_uri(webp(np.concatenate([rgb, np.ones((*rgb.shape[:2], 1))], -1)), "image/webp")


def _truth(pair: ShownPair) -> list[Panel]:
    name, view = f"hands {pair.pair_id}", _view(pair)
    meshes = _true_meshes(pair)
    turned, side_view = _turned(meshes, view.size)
    return [
        Panel("Photograph", photograph(pair), f"The normalised photograph of {name}."),
        _panel(
            "Ground truth",
            over(render(meshes, view), backdrop(pair.crop.image, view.size), OVERLAY_OPACITY),
            f"The true meshes of {name} over the photograph.",
        ),
        _panel("Ground truth, from the right", render(turned, side_view), f"The true meshes of {name} from the right."),
    ]


def _strip(method: str, source: str, pair: ShownPair, limit_mm: float) -> MethodStrip:
    notes = [
        f"{hand.side.value} hand: no mesh ({hand.failure or 'the field has no surface'})"
        for hand in pair.hands
        if not hand.has_prediction
    ]
    if not any(hand.has_prediction for hand in pair.hands):
        return MethodStrip(method, source, [], notes, "")
    notes += [
        f"{hand.side.value} hand: counted as failed ({hand.failure})"
        for hand in pair.hands
        if hand.has_prediction and hand.failure
    ]
    if not notes and not pair.penetrating:
        notes = ["penetration cannot be marked: a surface is not closed"]
    name, view, truths, words = f"hands {pair.pair_id}", _view(pair), _true_meshes(pair), _words(pair)
    plain = _predicted(pair, lambda hand: np.broadcast_to(PREDICTION[hand.side], hand.pictured.vertices.shape))
    errors = _predicted(pair, lambda hand: error_colours(hand.prediction_errors_mm, limit_mm))
    inside = _penetrating_parts(pair)
    turned, side_view = _turned([*truths, *errors, *inside], view.size, framed=len(truths))
    outline = silhouette(turned[: len(truths)], side_view, TRUTH[Side.RIGHT])
    bodies, marks = turned[len(truths) : len(truths) + len(errors)], turned[len(truths) + len(errors) :]
    panels = [
        _panel(
            "Over the photograph",
            over(render(plain, view), backdrop(pair.crop.image, view.size), OVERLAY_OPACITY),
            f"{method}: the predicted meshes of {name} over the photograph.",
        ),
        _panel(
            "Error",
            over(render(inside, view), render(errors, view), PENETRATION_OPACITY),
            f"{method}: the predicted meshes of {name}, coloured by their distance to the true surface: {words}.",
        ),
        _panel(
            "Error, from the right",
            over(render(marks, side_view), over(outline, render(bodies, side_view)), PENETRATION_OPACITY),
            f"{method}: the same, seen from the right of the photograph, with the outline of the true hands.",
        ),
    ]
    return MethodStrip(method, source, panels, notes, words)


def _view(pair: ShownPair) -> View:
    return View(pair.crop.camera.intrinsics, len(pair.crop.image)).enlarged(ENLARGED)


def _true_meshes(pair: ShownPair) -> list[Painted]:
    to_camera = pair.crop.camera.to_camera
    return [painted(to_camera(hand.truth.vertices), hand.truth.faces, TRUTH[hand.side]) for hand in pair.hands]


def _predicted(pair: ShownPair, colours: Callable[[ShownHand], np.ndarray]) -> list[Painted]:
    to_camera = pair.crop.camera.to_camera
    return [
        Painted(to_camera(np.asarray(hand.pictured.vertices, np.float64)), hand.pictured.faces, colours(hand))
        for hand in pair.hands
        if hand.has_prediction
    ]


def _penetrating_parts(pair: ShownPair) -> list[Painted]:
    """The triangles of either hand with a corner inside the other one."""
    parts = []
    for hand in pair.hands:
        inside = pair.penetrating.get(hand.side)
        if inside is not None and inside.any():
            vertices = pair.crop.camera.to_camera(np.asarray(hand.pictured.vertices, np.float64))
            faces = hand.pictured.faces[inside[hand.pictured.faces].any(1)]
            parts.append(painted(vertices, faces, PENETRATION))
    return parts


def _turned(meshes: Sequence[Painted], size: int, framed: int | None = None) -> tuple[list[Painted], View]:
    turned, view = from_the_right([mesh.vertices for mesh in meshes], size, framed)
    return [Painted(cloud, mesh.faces, mesh.colours) for cloud, mesh in zip(turned, meshes, strict=True)], view


def _panel(title: str, picture: np.ndarray, alternative: str) -> Panel:
    return Panel(title, data_uri(webp(picture), "image/webp"), alternative)


def _words(pair: ShownPair) -> str:
    return "; ".join(
        f"{hand.side.value} hand {hand.prediction_errors_mm.mean():.1f} mm on average, at most "
        f"{hand.prediction_errors_mm.max():.1f} mm"
        if hand.has_prediction
        else f"{hand.side.value} hand missing"
        for hand in pair.hands
    )
