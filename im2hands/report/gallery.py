"""Pictures of the chosen pairs: photograph, truth and prediction over it, prediction from the side, and its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from im2hands.hands.sides import Side
from im2hands.report.colours import PREDICTION, TRUTH, error_colours
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

ENLARGED = 2
OVERLAY_OPACITY = 0.94


@dataclass(frozen=True)
class Panel:
    """A picture of a row. uri: embedded image.  alternative: text for readers who do not see it."""

    title: str
    uri: str
    alternative: str


@dataclass(frozen=True)
class GalleryRow:
    """A pair. notes: what the pictures cannot say, such as a hand without a mesh."""

    place: str
    pair: RankedPair
    panels: Sequence[Panel]
    notes: Sequence[str]


def gallery(chosen: Sequence[ChosenPair], shown: Mapping[str, ShownPair], limit_mm: float) -> list[GalleryRow]:
    """The rows, in the order of `chosen`. limit_mm: end of the error scale, the same for all."""
    return [
        GalleryRow(one.place, one.pair, _panels(shown[one.pair.pair_id], limit_mm), _notes(shown[one.pair.pair_id]))
        for one in chosen
    ]


def photograph(pair: ShownPair) -> str:
    """The pair's crop as an embedded image."""
    rgb = pair.crop.image / 255.0
    return data_uri(webp(np.concatenate([rgb, np.ones((*rgb.shape[:2], 1))], -1)), "image/webp")


def _panels(pair: ShownPair, limit_mm: float) -> list[Panel]:
    camera, name = pair.crop.camera, f"hands {pair.pair_id}"
    view = View(camera.intrinsics, len(pair.crop.image)).enlarged(ENLARGED)
    truths = [painted(camera.to_camera(hand.truth.vertices), hand.truth.faces, TRUTH[hand.side]) for hand in pair.hands]
    predictions = _predicted(pair, lambda hand: np.broadcast_to(PREDICTION[hand.side], hand.prediction.vertices.shape))
    errors = _predicted(pair, lambda hand: error_colours(hand.prediction_errors_mm, limit_mm))
    photo = backdrop(pair.crop.image, view.size)
    return [
        Panel("Photograph", photograph(pair), f"The normalised photograph of {name}."),
        _panel(
            "Ground truth",
            over(render(truths, view), photo, OVERLAY_OPACITY),
            f"The true meshes of {name} over the photograph.",
        ),
        _panel(
            "Prediction",
            over(render(predictions, view), photo, OVERLAY_OPACITY),
            f"The predicted meshes of {name} over the photograph.",
        ),
        _panel(
            "From the right",
            _side_view(truths, predictions, view.size),
            f"The predicted meshes of {name}, seen from the right of the photograph, with the outline of the true hands.",
        ),
        _panel(
            "Error",
            render(errors, view),
            f"The predicted meshes of {name}, coloured by their distance to the true surface: {_words(pair)}.",
        ),
    ]


def _predicted(pair: ShownPair, colours: Callable[[ShownHand], np.ndarray]) -> list[Painted]:
    to_camera = pair.crop.camera.to_camera
    return [
        Painted(to_camera(np.asarray(hand.prediction.vertices, np.float64)), hand.prediction.faces, colours(hand))
        for hand in pair.hands
        if hand.has_prediction
    ]


def _side_view(truths: list[Painted], predictions: list[Painted], size: int) -> np.ndarray:
    meshes = [*truths, *predictions]
    turned, view = from_the_right([mesh.vertices for mesh in meshes], size)
    meshes = [Painted(cloud, mesh.faces, mesh.colours) for cloud, mesh in zip(turned, meshes, strict=True)]
    outline = silhouette(meshes[: len(truths)], view, TRUTH[Side.RIGHT])
    return over(outline, render(meshes[len(truths) :], view))


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


def _notes(pair: ShownPair) -> list[str]:
    return [
        f"{hand.side.value} hand: no mesh ({hand.failure or 'the field has no surface'})"
        for hand in pair.hands
        if not hand.has_prediction
    ]
