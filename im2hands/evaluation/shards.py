"""Evaluation of one shard of reconstructed hands: pairs are measured independently, on as many workers as requested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from im2hands.datasets.frames import FrameTable
from im2hands.datasets.hands import HandTable
from im2hands.datasets.images import CropSet
from im2hands.datasets.queries import EvaluationQueries
from im2hands.evaluation.difficulty import surface_distance, visible_fractions
from im2hands.evaluation.metrics import SampledSurface
from im2hands.evaluation.penetration import Method, Penetration, penetration
from im2hands.evaluation.protocols import Reconstruction, TrueHand, evaluate_hand
from im2hands.geometry.cameras import CROP_SIZE, Camera
from im2hands.geometry.mesh import Mesh
from im2hands.hands.frames import PalmFrame
from im2hands.hands.model import HandModel
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.parallel import chunks, ordered_map
from im2hands.reconstruction.storage import SurfaceShard
from im2hands.reconstruction.surfaces import View

PAIRS_PER_TASK = 4
COLUMNS = ["capture", "frame_idx", "subject", "vertices", "wrist", "palm_rotation"]


@dataclass(frozen=True)
class Measuring:
    """How hands are measured. surface_samples: points per predicted surface.  seed: master seed.

    penetration, cell: see `penetration.penetration`; cell in metres.
    """

    surface_samples: int
    seed: int
    penetration: Method = "grid"
    cell: float = 0.002


@dataclass(frozen=True, eq=False)
class HandTask:
    """A hand to be measured: its row in the mesh shard and its truth (world, metres). columns: further columns of the records,
    copied unchanged."""

    hand_id: str
    row: int
    frame: PalmFrame
    sealed: Float[np.ndarray, "779 3"]
    columns: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Photograph:
    """An evaluated frame. name: name of its camera.  crop: camera of its crop."""

    frame_id: int
    name: str
    crop: Camera


def evaluate_shard(
    surfaces: SurfaceShard,
    queries: EvaluationQueries,
    hands: HandTable,
    frames: FrameTable,
    crops: CropSet,
    models: Mapping[Side, HandModel],
    measuring: Measuring,
    names: Mapping[str, str],
    workers: int = 1,
) -> list[dict[str, Any]]:
    """The records (see records.py) of every hand and photograph of a mesh shard, the same for any number of workers.

    frames, crops: tables of the split, for what each photograph shows.  names: columns equal for all rows, like method.
    Raises DataError if the shard contains a hand that the hand table or the evaluation queries do not.
    """
    pairs = [(tasks, photographs(view, frames, crops)) for view, tasks in pair_tasks(surfaces, hands, models)]
    sealed_faces = {side: model.sealed_faces for side, model in models.items()}
    measure = partial(_measure_pairs, surfaces, queries, sealed_faces, measuring)
    label = f"evaluate pairs (x{PAIRS_PER_TASK})"
    measured = ordered_map(measure, chunks(pairs, PAIRS_PER_TASK), workers, label)
    return [{**names, **row} for rows in measured for row in rows]


def photographs(view: View, frames: FrameTable, crops: CropSet) -> list[Photograph]:
    """The evaluated photographs for which a reconstruction is used."""
    cameras = frames.table["camera"]
    return [
        Photograph(frame_id, cameras[frame_id].as_py(), crops.photograph(frame_id, with_image=False)[1])
        for frame_id in view[1]
    ]


def pair_tasks(
    surfaces: SurfaceShard, hands: HandTable, models: Mapping[Side, HandModel]
) -> list[tuple[View, list[HandTask]]]:
    """The hands of every reconstruction of a shard, in its order, with their truth."""
    columns = {name: hands.array(name) for name in COLUMNS}
    names = surfaces.hand_ids()
    pairs = []
    for view, rows in surfaces.rows_of_views().items():
        tasks = []
        for row in rows:
            if names[row] not in hands.rows:
                raise DataError(
                    f"{surfaces.path}: the hand {names[row]} is not in the hand table, so the meshes belong to other data; "
                    "run reconstruct again."
                )
            true = {name: column[hands.rows[names[row]]] for name, column in columns.items()}
            side = hands.sides[hands.rows[names[row]]]
            tasks.append(
                HandTask(
                    hand_id=names[row],
                    row=row,
                    frame=PalmFrame(side, true["wrist"], true["palm_rotation"]),
                    sealed=models[side].seal(true["vertices"].astype(np.float64)),
                    columns={
                        "pair_id": view[0],
                        **{name: int(true[name]) for name in ("capture", "frame_idx", "subject")},
                    },
                )
            )
        pairs.append((view, tasks))
    return pairs


def measure_pair(
    made: Sequence[Reconstruction], true: Sequence[TrueHand], measuring: Measuring
) -> list[dict[str, Any]]:
    """Metrics of the hands of a pair, by column of the records; penetration is in every row.

    made, true: the hands in the same order. Penetration is left out unless there are two, and for failed ones.
    """
    rows = [
        evaluate_hand(truth, one, measuring.surface_samples, measuring.seed)
        for truth, one in zip(true, made, strict=True)
    ]
    shared: dict[str, Any] = {}
    if len(true) == 2:
        hands = [truth.sealed for truth in true]
        shared |= _columns("true_", _penetration(hands, measuring))
        shared["true_hand_distance_mm"] = 1e3 * surface_distance(*hands)
        if all(one.failure is None for one in made):
            found = _penetration([one.mesh for one in made], measuring)
            shared |= _columns("", found) | {"penetration_method": found.volume_method}
    return [row | shared for row in rows]


def _measure_pairs(
    surfaces: SurfaceShard,
    queries: EvaluationQueries,
    sealed_faces: Mapping[Side, Int[np.ndarray, "faces 3"]],
    measuring: Measuring,
    pairs: Sequence[tuple[Sequence[HandTask], Sequence[Photograph]]],
) -> list[dict[str, Any]]:
    rows = []
    for tasks, seen_in in pairs:
        true = [_true_hand(task, queries, sealed_faces[task.frame.side]) for task in tasks]
        made = [_reconstruction(surfaces, task, truth) for task, truth in zip(tasks, true, strict=True)]
        metrics = measure_pair(made, true, measuring)
        for seen in _columns_of_photographs(true, seen_in):
            rows += [{**task.columns, **row, **seen[task.frame.side]} for task, row in zip(tasks, metrics, strict=True)]
    return rows


def _columns_of_photographs(
    true: Sequence[TrueHand], photographs: Sequence[Photograph]
) -> list[dict[Side, dict[str, Any]]]:
    """Record columns of each photograph: side -> columns; one empty entry if there is no photograph."""
    hands = {truth.frame.side: truth.sealed for truth in true}
    return [
        {
            side: {"frame_id": one.frame_id, "camera": one.name, "visible_fraction": fraction}
            for side, fraction in visible_fractions(hands, one.crop, CROP_SIZE).items()
        }
        for one in photographs
    ] or [{side: {} for side in hands}]


def _true_hand(task: HandTask, queries: EvaluationQueries, sealed_faces: np.ndarray) -> TrueHand:
    sets = queries.hand(task.hand_id)
    if not (len(sets.published.labels) and len(sets.uniform_hand.labels) and len(sets.surface_points)):
        raise DataError(
            f"{queries.path}: one of the evaluation sets of {task.hand_id} is empty; set sample_evaluation_queries in "
            "params.yaml so that all three sets of the evaluated split have points."
        )
    return TrueHand(
        hand_id=task.hand_id,
        frame=task.frame,
        sealed=Mesh(task.sealed, sealed_faces),
        published_points=sets.published.points,
        published_labels=sets.published.labels,
        uniform_points=sets.uniform_hand.points,
        uniform_labels=sets.uniform_hand.labels,
        surface=SampledSurface(sets.surface_points, sets.surface_normals),
    )


def _reconstruction(surfaces: SurfaceShard, task: HandTask, true: TrueHand) -> Reconstruction:
    stored = surfaces[task.row]
    return Reconstruction(
        mesh=stored.mesh,
        reason=stored.failure,
        published_field=stored.field_published(len(true.published_labels)),
        uniform_field=stored.field_uniform_hand(len(true.uniform_labels)),
        evaluations=stored.evaluations,
    )


def _penetration(meshes: Sequence[Mesh], measuring: Measuring) -> Penetration:
    return penetration(meshes[0], meshes[1], measuring.penetration, measuring.cell)


def _columns(prefix: str, found: Penetration) -> dict[str, float]:
    return {
        f"{prefix}penetration_volume_cm3": found.volume_cm3,
        f"{prefix}penetration_depth_mm": found.depth_mm,
    }
