"""Extracts hand meshes from occupancy fields: both hands of several pairs are searched in one batch and placed in the world.

Batches are fixed by the order of the pairs and are independent of each other, so that workers may share them out: the result
is the same for any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float

from im2hands.geometry.isosurface import (
    EMPTY,
    FULL,
    NOT_FINITE,
    Extracted,
    Field,
    Surface,
    search_surfaces,
    subdivision,
)
from im2hands.geometry.mesh import Mesh
from im2hands.hands.frames import PalmFrame
from im2hands.hands.sides import Side
from im2hands.io.parallel import chunks, ordered_map
from im2hands.reconstruction.apart import FieldsApart
from im2hands.reconstruction.failures import mesh_problem

CONTROL_EVERY = 32
"""Of the evaluation points whose side is known from the surface search, one in this many is evaluated as a check."""


@dataclass(frozen=True, eq=False)
class HandInput:
    """A hand to be made.

    frame: palm frame of the keypoints in use.  bone_from_palm: palm units.  bone_lengths: metres.  keypoints: world, m.
    published_points, uniform_points: evaluation points as the field is to be asked about them (palm units of `frame`).
    rejected: why the hand cannot be reconstructed (see `failures`); then no mesh is made, and frames may be NaN.
    frame_ids: the frames for which the hand is used; a method that uses a photograph has only one.
    """

    pair_id: str
    hand_id: str
    frame: PalmFrame
    bone_from_palm: Float[np.ndarray, "16 4 4"]
    bone_lengths: Float[np.ndarray, "16"]
    keypoints: Float[np.ndarray, "21 3"]
    published_points: Float[np.ndarray, "published 3"]
    uniform_points: Float[np.ndarray, "uniform 3"]
    rejected: str | None = None
    frame_ids: tuple[int, ...] = ()

    def missing(self, reason: str) -> HandSurface:
        """The outcome without a mesh."""
        return HandSurface(self.pair_id, self.hand_id, self.frame.side, None, reason, frame_ids=self.frame_ids)


@dataclass(frozen=True, eq=False)
class HandSurface:
    """A hand as it came out.

    failure: why it counts as failed, see `failures.Reason`; None for a hand.
    mesh: world metres; empty if the field is nowhere above the threshold (EMPTY), the searched box if it is nowhere below
    (FULL), None with every other failure.  evaluations: points at which the field was evaluated for the mesh.
    published_field, uniform_field: whether the field reaches the threshold at the evaluation points; None without a mesh.
    extraction_s, evaluation_points_s: this hand's share of the batch's wall-clock time; what the network makes of the
    photograph, or of it alone, is part of the extraction.  frame_ids: as of the input.
    """

    pair_id: str
    hand_id: str
    side: Side
    mesh: Mesh | None
    failure: str | None = None
    evaluations: int = 0
    published_field: Bool[np.ndarray, " published"] | None = None
    uniform_field: Bool[np.ndarray, " uniform"] | None = None
    extraction_s: float = 0.0
    evaluation_points_s: float = 0.0
    frame_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Extraction:
    """How surfaces are extracted. grid, resolution: see `isosurface.subdivision`.  threshold: occupancy at the surface.

    apart: whether hands of a pair share no point, see `apart`.
    """

    grid: Literal["published", "default"] = "default"
    resolution: int = 256
    threshold: float = 0.5
    apart: bool = False


FieldOf = Callable[[Sequence[HandInput]], Field]
"""Hands -> their field: (hand of each point (M,), points (M, 3) palm units) -> occupancies (M,)."""
View = tuple[str, tuple[int, ...]]
"""A pair (pair_id) and the frames for which its reconstruction is used: the one it is made from, or every evaluated one of a
pair that is made without a photograph."""
PairInput = Callable[[View], Sequence[HandInput]]
"""Maps a pair with its photograph to its hands."""


def reconstruct_hands(field_of: FieldOf, hands: Sequence[HandInput], extraction: Extraction) -> list[HandSurface]:
    """Surfaces of some hands, extracted together: one field call per octree round serves all of them."""
    usable = [hand for hand in hands if hand.rejected is None]
    surfaces = iter(_extracted(field_of, usable, extraction) if usable else [])
    return [next(surfaces) if hand.rejected is None else hand.missing(hand.rejected) for hand in hands]


def reconstruct_pairs(
    field_of: FieldOf,
    inputs: PairInput,
    views: Sequence[View],
    extraction: Extraction,
    pairs_per_batch: int,
    workers: int = 1,
) -> Iterator[list[HandSurface]]:
    """The surfaces of each pair in turn; `pairs_per_batch` pairs are extracted together, which bounds the memory.

    field_of, inputs: called by the workers; must be picklable if there are several.
    workers: processes, each on one thread; the result does not depend on it. Use 1 with a GPU.
    """
    batches = chunks(views, pairs_per_batch)
    work = partial(_reconstruct_batch, field_of, inputs, extraction)
    for pairs in ordered_map(work, batches, workers, f"reconstruct pairs (x{pairs_per_batch})", unit="batches"):
        yield from pairs


def _reconstruct_batch(
    field_of: FieldOf, inputs: PairInput, extraction: Extraction, views: Sequence[View]
) -> list[list[HandSurface]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that the last bits do not depend on the machine
    try:
        pairs = [inputs(view) for view in views]
        surfaces = iter(reconstruct_hands(field_of, [hand for pair in pairs for hand in pair], extraction))
        return [[next(surfaces) for _ in pair] for pair in pairs]
    finally:
        torch.set_num_threads(threads)


def _extracted(field_of: FieldOf, hands: Sequence[HandInput], extraction: Extraction) -> list[HandSurface]:
    start, depth = subdivision(extraction.resolution, extraction.grid)
    begun = perf_counter()
    field = field_of(hands)
    if extraction.apart:
        field = FieldsApart(
            field, [hand.frame for hand in hands], [_pair_of(hand) for hand in hands], extraction.threshold
        )
    found = search_surfaces(field, len(hands), start=start, depth=depth, level=extraction.threshold)
    extracted = perf_counter()
    occupied = [_occupied(field, found, item, hand, extraction.threshold) for item, hand in enumerate(hands)]
    finished = perf_counter()
    return [
        HandSurface(
            pair_id=hand.pair_id,
            hand_id=hand.hand_id,
            side=hand.frame.side,
            mesh=mesh,
            failure=failure,
            evaluations=surface.evaluations,
            published_field=published,
            uniform_field=uniform,
            extraction_s=(extracted - begun) / len(hands),
            evaluation_points_s=(finished - extracted) / len(hands),
            frame_ids=hand.frame_ids,
        )
        for hand, surface, (mesh, failure, published, uniform) in zip(hands, found.surfaces, occupied, strict=True)
    ]


def _pair_of(hand: HandInput) -> str:
    """A pair that is made from several photographs is several pairs."""
    return f"{hand.pair_id} {hand.frame_ids}"


def _in_world(surface: Surface, hand: HandInput) -> tuple[Mesh | None, str | None]:
    """The mesh, and why the hand failed if it did."""
    if surface.failure not in (None, EMPTY, FULL):
        return None, surface.failure
    mesh = hand.frame.mesh_to_world(surface)
    problem = mesh_problem(mesh)
    return (mesh, surface.failure) if problem is None else (None, problem)


def _occupied(
    field: Field, found: Extracted, item: int, hand: HandInput, threshold: float
) -> tuple[Mesh | None, str | None, np.ndarray | None, np.ndarray | None]:
    """Mesh, failure, and the field's labels at the two sets of evaluation points."""
    mesh, failure = _in_world(found.surfaces[item], hand)
    if mesh is None:
        return None, failure, None, None
    published, uniform = (
        labels_of_field(field, found, item, np.asarray(points, np.float32), threshold)
        for points in (hand.published_points, hand.uniform_points)
    )
    if published is None or uniform is None:
        return None, NOT_FINITE, None, None
    return mesh, failure, published, uniform


def labels_of_field(
    field: Field, found: Extracted, item: int, points: Float[np.ndarray, "points 3"], threshold: float
) -> Bool[np.ndarray, " points"] | None:
    """Whether a field reaches the threshold at points, asked only where the surface search left it open.

    Elsewhere the search knows the side from the corners of its cells, and every CONTROL_EVERY-th of these points is asked as a
    control. If one of them contradicts (the field has a part that is too small for the first grid), all points are asked.
    None if a value is NaN or infinite.
    """
    sides = found.sides(item, points)
    labels = sides > 0
    control = np.flatnonzero(sides)[::CONTROL_EVERY]
    asked = np.concatenate([np.flatnonzero(sides == 0), control])
    values = field(np.full(len(asked), item), points[asked])
    labels[asked] = values >= threshold
    if (labels[control] != (sides[control] > 0)).any():
        values = field(np.full(len(points), item), points)
        labels = values >= threshold
    return labels if np.isfinite(values).all() else None
