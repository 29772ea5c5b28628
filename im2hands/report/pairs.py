"""The hand pairs that the report shows: chosen by rule, then loaded with truth, prediction, photograph and distances."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from im2hands.datasets.hands import HandTable
from im2hands.datasets.images import Crop, CropSet
from im2hands.evaluation.protocols import FAILURE_DISTANCE_MM
from im2hands.geometry.inside import InsideTest
from im2hands.geometry.mesh import Mesh, is_watertight
from im2hands.geometry.surface_distance import distance_to_surface
from im2hands.hands.model import HandModel
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.reconstruction.storage import StoredHand, read_surfaces
from im2hands.report.pictures import vertex_normals
from im2hands.report.simplify import simplify, unfolded

PICTURED_FACES = 12_000
"""Most triangles of a predicted hand in pictures and in the interactive view."""

Place = Literal["best", "median", "worst", "penetration"]

RULE = (
    "Pairs are ordered by the mesh IoU of the method named above, averaged over both hands and all evaluated photographs; a "
    "hand without a usable mesh counts as 0, and equal pairs are ordered by name. Best and worst are the two ends of "
    "that order, median is its middle; of the other pairs, the one whose two predicted hands share the largest volume is "
    "also shown. The photograph is the first evaluated one of the pair."
)


@dataclass(frozen=True)
class RankedPair:
    """A pair in the order of its mesh IoU. share: 0 for the best pair, 1 for the worst.  chamfer_mm: with penalties.

    penetration_cm3: volume that the two predicted hands share; nan where it was not measured.
    """

    pair_id: str
    chamfer_mm: float
    mesh_iou: float
    failed_hands: int
    share: float
    penetration_cm3: float = float("nan")


@dataclass(frozen=True)
class ChosenPair:
    place: Place
    pair: RankedPair


def rank_pairs(records: pd.DataFrame) -> list[RankedPair]:
    """All pairs of one method's records, best first; see RULE."""
    failed = records["failure"].notna()
    scored = pd.DataFrame(
        {
            "pair_id": records["pair_id"],
            "chamfer": records["chamfer_l1_mm"].astype(float).mask(failed, FAILURE_DISTANCE_MM),
            "iou": records["mesh_iou"].astype(float).mask(failed, 0.0),
            "failed": failed,
            "penetration": records["penetration_volume_cm3"].astype(float),
        }
    )
    measures = {"chamfer": "mean", "iou": "mean", "failed": "sum", "penetration": "max"}
    pairs = scored.groupby("pair_id", as_index=False).agg(measures)
    pairs = pairs.sort_values(["iou", "pair_id"], ascending=[False, True], kind="stable")
    last = max(len(pairs) - 1, 1)
    return [
        RankedPair(
            row.pair_id, float(row.chamfer), float(row.iou), int(row.failed), place / last, float(row.penetration)
        )
        for place, row in enumerate(pairs.itertuples())
    ]


def choose(ranked: Sequence[RankedPair], count: int) -> list[ChosenPair]:
    """`count` pairs, a third each from the best, the median and the worst (what is left over goes to the median).

    No pair is chosen twice; all of them where there are no more than `count`.
    """
    count = min(count, len(ranked))
    ends = count // 3
    middle = count - 2 * ends
    start = (len(ranked) - middle) // 2
    return [
        *(ChosenPair("best", pair) for pair in ranked[:ends]),
        *(ChosenPair("median", pair) for pair in ranked[start : start + middle]),
        *(ChosenPair("worst", pair) for pair in ranked[len(ranked) - ends :]),
    ]


def with_penetration(chosen: Sequence[ChosenPair], ranked: Sequence[RankedPair]) -> list[ChosenPair]:
    """The chosen pairs and, of the others, the one whose hands share the largest volume; none if no other pair's do."""
    taken = {one.pair.pair_id for one in chosen}
    others = [pair for pair in ranked if pair.pair_id not in taken and pair.penetration_cm3 > 0]
    deepest = max(others, key=lambda pair: pair.penetration_cm3, default=None)
    return [*chosen, *([ChosenPair("penetration", deepest)] if deepest else [])]


@dataclass(frozen=True, eq=False)
class ShownHand:
    """A true hand and what a method made of it; world, metres.

    truth: closed mesh.  prediction: None or empty if there is none; then `failure` has the reason (if the method gave one).
    """

    side: Side
    truth: Mesh
    prediction: Mesh | None
    failure: str | None

    @property
    def has_prediction(self) -> bool:
        return self.prediction is not None and not self.prediction.is_empty

    @cached_property
    def fine_truth(self) -> Mesh:
        """The true surface in smaller triangles, some 4 mm across."""
        return halved(self.truth)

    @cached_property
    def pictured(self) -> Mesh | None:
        """The prediction with at most PICTURED_FACES triangles; its vertices are vertices of the prediction."""
        return self._pictured[0] if self.has_prediction else None

    @cached_property
    def pictured_normals(self) -> Float[np.ndarray, "vertices 3"]:
        """The full surface's unit normals at the vertices of `pictured`, which must exist."""
        return self._pictured[1]

    @cached_property
    def _pictured(self) -> tuple[Mesh, Float[np.ndarray, "vertices 3"]]:
        mesh, kept = simplify(self.prediction, PICTURED_FACES)
        normals = vertex_normals(self.prediction.vertices, self.prediction.faces)[kept]
        return (mesh if mesh is self.prediction else Mesh(mesh.vertices, unfolded(mesh, normals))), normals

    @cached_property
    def prediction_errors_mm(self) -> Float[np.ndarray, " vertices"]:
        """Distance of every vertex of `pictured` to the true surface; empty without a prediction."""
        if not self.has_prediction:
            return np.zeros(0)
        return 1e3 * distance_to_surface(self.pictured.vertices, self.fine_truth.vertices, self.fine_truth.faces)

    @cached_property
    def truth_errors_mm(self) -> Float[np.ndarray, " vertices"]:
        """Distance of every vertex of the fine true mesh to the predicted surface: large where something is missing.

        Infinite without a prediction.
        """
        points = self.fine_truth.vertices
        if not self.has_prediction:
            return np.full(len(points), np.inf)
        return 1e3 * distance_to_surface(points, self.prediction.vertices, self.prediction.faces)


@dataclass(frozen=True, eq=False)
class ShownPair:
    pair_id: str
    hands: Sequence[ShownHand]
    crop: Crop

    @cached_property
    def penetrating(self) -> dict[Side, Bool[np.ndarray, " vertices"]]:
        """Which vertices of each hand's `pictured` lie inside the other hand; empty unless both are closed surfaces."""
        meshes = {hand.side: hand.prediction for hand in self.hands if hand.has_prediction}
        if len(meshes) < 2 or not all(is_watertight(mesh.faces) for mesh in meshes.values()):
            return {}
        tests = {side: InsideTest(mesh.vertices, mesh.faces) for side, mesh in meshes.items()}
        pictured = {hand.side: np.asarray(hand.pictured.vertices, np.float64) for hand in self.hands}
        return {side: tests[side.other].contains(points) for side, points in pictured.items()}


def load_pairs(
    pair_ids: Sequence[str],
    hands: HandTable,
    models: Mapping[Side, HandModel],
    mesh_shards: Sequence[str | os.PathLike],
    crops: CropSet,
    photographs: Mapping[str, int] | None = None,
) -> dict[str, ShownPair]:
    """The pairs by name, as one method made them.

    hands: with `vertices` of both hands of every pair.  crops: crops of the same split.  photographs: pair -> the frame that is
    shown; a method that made nothing for it has hands without a mesh.  Without it: the first one of every pair.
    Raises DataError if a pair lacks a hand, a row of a mesh shard or a usable photograph.
    """
    wanted = set(pair_ids)
    reconstructed: dict[str, dict[Side, StoredHand]] = {}
    found_photographs = dict(photographs or {})
    for path in mesh_shards:
        shard = read_surfaces(path)
        for (name, frame_ids), rows in shard.rows_of_views().items():
            fits = photographs is None or photographs.get(name) in frame_ids
            if name in wanted and name not in reconstructed and fits:
                reconstructed[name] = {hand.side: hand for hand in map(shard.__getitem__, rows)}
                found_photographs |= {name: frame_ids[0]} if frame_ids and photographs is None else {}
    photographs, strict = found_photographs, photographs is None
    pairs = {}
    for name in pair_ids:
        if not strict and name in photographs:
            reconstructed.setdefault(name, {})
        if name not in reconstructed or name not in photographs:
            raise DataError(
                f"the pair {name} has metrics but no {'photograph' if name in reconstructed else 'reconstruction'}; "
                "the files come from different runs: run reconstruct, evaluate and make_report again."
            )
        shown = []
        for side in Side:
            row = hands.rows.get(f"{name}_{side.value}")
            found = reconstructed[name].get(side)
            if row is None or (strict and found is None):
                raise DataError(f"the {side.value} hand of the pair {name} is missing; run reconstruct again.")
            model = models[side]
            truth = Mesh(model.seal(hands.array("vertices")[row].astype(np.float64)), model.sealed_faces)
            shown.append(
                ShownHand(side, truth, found.mesh, found.failure)
                if found
                else ShownHand(side, truth, None, "nothing was reconstructed from this photograph")
            )
        pairs[name] = ShownPair(name, shown, crops[photographs[name]])
    return pairs


def halved(mesh: Mesh) -> Mesh:
    """The same surface with every triangle cut in four at the middles of its edges; the old vertices come first."""
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = index.reshape(3, -1) + len(mesh.vertices)
    a, b, c = mesh.faces.T
    faces: Int[np.ndarray, "faces 3"] = np.concatenate(
        [np.stack(corners, -1) for corners in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    )
    return Mesh(np.concatenate([mesh.vertices, mesh.vertices[unique].mean(1)]), faces)
