"""Data of the interactive view: meshes of the chosen pairs, quantised and written as base64 in JSON.

Space of the view: millimetres, x right, y up, z towards the viewer, the origin in the middle of the true pair; it starts as the
photograph's camera sees the hands. Positions are 16-bit over the box of their mesh (error below 0.01 mm for a hand), distances
16-bit in hundredths of a millimetre.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from im2hands.geometry.mesh import Mesh
from im2hands.report.pairs import PICTURED_FACES, ChosenPair, ShownPair, halved
from im2hands.report.pictures import vertex_normals
from im2hands.report.simplify import simplify, unfolded

BYTES_OF_PREDICTIONS = 8_000_000
"""Binary size of all predicted meshes together; base64 adds a third."""
FEWEST_FACES = 4_000
BYTES_PER_FACE = 16
"""At most: three indices, and half a vertex (a closed mesh has about half as many vertices as triangles)."""
UNKNOWN_DISTANCE = 65_535


@dataclass(frozen=True)
class ViewerData:
    """pairs: what the page's script reads.  simplified: hands whose mesh is shown with fewer triangles than it has.

    faces: triangles per hand at most.
    """

    pairs: list[dict[str, Any]]
    simplified: int
    faces: int


def key_of(method: str, source: str) -> str:
    """What a method with a keypoint source is called in the view's data."""
    return f"{method}/{source}"


def viewer_data(chosen: Sequence[ChosenPair], results: Mapping[tuple[str, str], Mapping[str, ShownPair]]) -> ViewerData:
    """Meshes of the chosen pairs as every method made them, simplified as far as needed to stay below BYTES_OF_PREDICTIONS.

    results: (method, keypoint source) -> its pairs by name.
    """
    hands = max(
        sum(
            hand.has_prediction
            for pairs in results.values()
            for one in chosen
            for hand in pairs[one.pair.pair_id].hands
        ),
        1,
    )
    limit = int(np.clip(BYTES_OF_PREDICTIONS / hands / BYTES_PER_FACE, FEWEST_FACES, PICTURED_FACES))
    pairs, simplified = [], 0
    for one in chosen:
        made = {key_of(*name): pairs_of[one.pair.pair_id] for name, pairs_of in results.items()}
        pair = next(iter(made.values()))
        to_view = _placement(pair)
        parts = []
        for number, hand in enumerate(pair.hands):
            fine = hand.fine_truth
            missed = {key: packed_distances(other.hands[number].truth_errors_mm) for key, other in made.items()}
            parts.append(
                {"role": "truth", "side": hand.side.value, "distances": missed}
                | packed(to_view(fine.vertices), fine.faces)
                | {"normals": _halved_normals(hand.truth, to_view)}
            )
        for key, other in made.items():
            for hand in other.hands:
                if hand.has_prediction:
                    mesh, kept = simplify(hand.pictured, limit)
                    if mesh is not hand.pictured:
                        mesh = Mesh(mesh.vertices, unfolded(mesh, hand.pictured_normals[kept]))
                    simplified += len(mesh.vertices) < len(hand.prediction.vertices)
                    parts.append(
                        {"role": "prediction", "side": hand.side.value, "method": key}
                        | {"triangles": len(hand.prediction.faces)}
                        | {"distances": packed_distances(hand.prediction_errors_mm[kept])}
                        | packed(to_view(mesh.vertices), mesh.faces)
                        | {"normals": _turned(hand.pictured_normals[kept], pair)}
                    )
        eye = to_view(pair.crop.camera.to_world(np.zeros((1, 3))))[0]
        pairs.append({"id": pair.pair_id, "eye": [round(float(x), 2) for x in eye], "parts": parts})
    return ViewerData(pairs, simplified, limit)


def _placement(pair: ShownPair):
    """World (m) -> space of the view (mm)."""
    camera = pair.crop.camera
    together = camera.to_camera(np.concatenate([hand.truth.vertices for hand in pair.hands]))
    centre = (together.min(0) + together.max(0)) / 2

    def to_view(world: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return 1e3 * (camera.to_camera(np.asarray(world, np.float64)) - centre) * [1, -1, -1]

    return to_view


def _turned(normals: Float[np.ndarray, "n 3"], pair: ShownPair) -> str:
    """World normals in the axes of the view, 8 bits each."""
    return as_base64(np.round(127 * (normals @ pair.crop.camera.rotation.T) * [1, -1, -1]).astype(np.int8))


def _halved_normals(mesh: Mesh, to_view: Any) -> str:
    """Normals of `halved(mesh)` that make the coarse mesh look round: those of its corners, and their means on edges."""
    coarse = Mesh(vertex_normals(to_view(mesh.vertices), mesh.faces), mesh.faces)
    normals = halved(coarse).vertices
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    return as_base64(np.round(127 * normals).astype(np.int8))


def packed_distances(errors_mm: Float[np.ndarray, " n"]) -> str:
    """Distances as hundredths of a millimetre, 16 bits each; UNKNOWN_DISTANCE where one is not finite."""
    hundredths = np.where(np.isfinite(errors_mm), np.minimum(np.round(100 * errors_mm), UNKNOWN_DISTANCE - 1), np.nan)
    return as_base64(np.nan_to_num(hundredths, nan=UNKNOWN_DISTANCE).astype("<u2"))


def packed(vertices: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "f 3"]) -> dict[str, Any]:
    """A mesh (mm) as the page's scripts unpack it."""
    low, high = vertices.min(0), vertices.max(0)
    span = np.where(high > low, high - low, 1)
    index = faces.astype("<u2" if len(vertices) <= 65_536 else "<u4")
    return {
        "low": [round(float(x), 4) for x in low],
        "span": [round(float(x), 4) for x in span],
        "positions": as_base64(np.round((vertices - low) / span * 65_535).astype("<u2")),
        "indices": as_base64(index),
        "wide": bool(index.dtype.itemsize == 4),
    }


def as_base64(array: np.ndarray) -> str:
    """The bytes of an array as text."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
