"""What the interactive view is given: meshes of the chosen pairs, quantised and written as base64 in JSON.

Space of the view: millimetres, x right, y up, z towards the viewer, the origin in the middle of the true pair; it starts as the
photograph's camera sees the hands. Positions are 16-bit over the box of their mesh (error below 0.01 mm for a hand), distances
16-bit in hundredths of a millimetre.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from im2hands.geometry.mesh import Mesh
from im2hands.report.pairs import ChosenPair, ShownPair, halved
from im2hands.report.pictures import vertex_normals

BYTES_OF_PREDICTIONS = 8_000_000
"""Binary size of all predicted meshes together; base64 adds a third."""
MOST_FACES, FEWEST_FACES = 60_000, 4_000
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


def viewer_data(chosen: Sequence[ChosenPair], shown: dict[str, ShownPair]) -> ViewerData:
    """Meshes of the chosen pairs, simplified as far as needed to stay below BYTES_OF_PREDICTIONS."""
    hands = max(sum(hand.has_prediction for one in chosen for hand in shown[one.pair.pair_id].hands), 1)
    limit = int(np.clip(BYTES_OF_PREDICTIONS / hands / BYTES_PER_FACE, FEWEST_FACES, MOST_FACES))
    pairs, simplified = [], 0
    for one in chosen:
        pair = shown[one.pair.pair_id]
        to_view = _placement(pair)
        parts = []
        for hand in pair.hands:
            fine = hand.fine_truth
            parts.append(
                {"role": "truth", "side": hand.side.value}
                | _packed(to_view(fine.vertices), fine.faces, hand.truth_errors_mm)
                | {"normals": _halved_normals(hand.truth, to_view)}
            )
            if hand.has_prediction:
                mesh, kept = simplify(hand.prediction, limit)
                simplified += len(kept) < len(hand.prediction.vertices)
                parts.append(
                    {"role": "prediction", "side": hand.side.value, "triangles": len(hand.prediction.faces)}
                    | _packed(to_view(mesh.vertices), mesh.faces, hand.prediction_errors_mm[kept])
                )
        eye = to_view(pair.crop.camera.to_world(np.zeros((1, 3))))[0]
        pairs.append({"id": pair.pair_id, "eye": [round(float(x), 2) for x in eye], "parts": parts})
    return ViewerData(pairs, simplified, limit)


def simplify(mesh: Mesh, most_faces: int) -> tuple[Mesh, Int[np.ndarray, " kept"]]:
    """A mesh with at most `most_faces` triangles, and which vertices it kept; the mesh as it is where that is enough.

    Vertices in one cell of a grid become one, the one nearest to their mean; the cells grow until the mesh is small enough.
    For looking at: closed meshes may come out with pinched places.
    """
    if len(mesh.faces) <= most_faces:
        return mesh, np.arange(len(mesh.vertices))
    vertices = np.asarray(mesh.vertices, np.float64)
    extent = np.ptp(vertices, axis=0).max()
    cell = extent / 2 / np.sqrt(most_faces)
    while True:
        kept, faces = _clustered(vertices, mesh.faces, cell)
        if len(faces) <= most_faces:
            return Mesh(mesh.vertices[kept], faces), kept
        cell *= 1.15


def _clustered(vertices: np.ndarray, faces: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    cells = np.floor((vertices - vertices.min(0)) / cell).astype(np.int64)
    _, owner, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    owner = owner.reshape(-1)
    means = np.stack([np.bincount(owner, vertices[:, i]) for i in range(3)], -1) / counts[:, None]
    order = np.lexsort((np.linalg.norm(vertices - means[owner], axis=1), owner))
    kept = order[np.concatenate([[0], np.cumsum(counts)[:-1]])]
    faces = owner[faces]
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces = faces[whole]
    _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    return kept, faces[np.sort(first)]


def _placement(pair: ShownPair):
    """World (m) -> space of the view (mm)."""
    camera = pair.crop.camera
    together = camera.to_camera(np.concatenate([hand.truth.vertices for hand in pair.hands]))
    centre = (together.min(0) + together.max(0)) / 2

    def to_view(world: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return 1e3 * (camera.to_camera(np.asarray(world, np.float64)) - centre) * [1, -1, -1]

    return to_view


def _halved_normals(mesh: Mesh, to_view: Any) -> str:
    """Normals of `halved(mesh)` that make the coarse mesh look round: those of its corners, and their means on edges."""
    coarse = Mesh(vertex_normals(to_view(mesh.vertices), mesh.faces), mesh.faces)
    normals = halved(coarse).vertices
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    return _base64(np.round(127 * normals).astype(np.int8))


def _packed(
    vertices: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "f 3"], errors_mm: Float[np.ndarray, " n"]
) -> dict[str, Any]:
    low, high = vertices.min(0), vertices.max(0)
    span = np.where(high > low, high - low, 1)
    index = faces.astype("<u2" if len(vertices) <= 65_536 else "<u4")
    distances = np.where(np.isfinite(errors_mm), np.minimum(np.round(100 * errors_mm), UNKNOWN_DISTANCE - 1), np.nan)
    return {
        "low": [round(float(x), 4) for x in low],
        "span": [round(float(x), 4) for x in span],
        "positions": _base64(np.round((vertices - low) / span * 65_535).astype("<u2")),
        "indices": _base64(index),
        "wide": bool(index.dtype.itemsize == 4),
        "distances": _base64(np.nan_to_num(distances, nan=UNKNOWN_DISTANCE).astype("<u2")),
    }


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
