"""Stages `sample_queries` and `sample_evaluation_queries`: draw query points around hands and label them.

Everything happens in the palm frame (palm units). Points are first rounded to their stored form, then labelled. Every set of
every hand has its own random numbers, from the master seed, the hand_id and the set's name: results do not depend on order,
sharding, the number of workers or the size of other sets.

Sets: `uniform_cube` is uniform in the cube of ±0.55 units around the wrist and `near_surface` is the surface plus a normal
deviate per coordinate (HALO preparation: 50 000 each, sigma 4 mm = 0.01 units); `uniform_hand` is uniform in the bounding
box of the hand with a margin. Only about 1 of 260 points of the cube is inside the hand.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from im2hands.config.choices import Behaviour
from im2hands.datasets.frames import shard_range
from im2hands.datasets.hands import HandTable
from im2hands.datasets.queries import EVALUATION_QUERIES, QUERIES, SETS, Quantisation, stored_normals
from im2hands.geometry.inside import InsideTest, Rule
from im2hands.geometry.mesh import is_watertight
from im2hands.geometry.surface import sample_surface
from im2hands.hands.bone_frames import world_to_palm
from im2hands.hands.model import HandModel
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.hashing import seed_of
from im2hands.io.parallel import ordered_map
from im2hands.io.tables import Layout, Provenance, ShardWriter

CUBE = 0.55
"""Half side of the published sampling cube, palm units."""

MILLIMETRE = 1 / 400
"""In palm units."""

RULES: dict[str, Rule] = {"published": "parity", "consistent": "winding"}
"""Option `label_rule` -> rule of the inside test. published: ray parity, which labels doubly covered regions and points under
edges as outside; consistent: winding number."""


@dataclass(frozen=True)
class Sampling:
    """How points are drawn. sigma, margin: palm units.  rule: how labels are computed.  seed: master seed."""

    sigma: float
    margin: float
    rule: Rule
    seed: int
    quantisation: Quantisation = field(default_factory=Quantisation)

    @classmethod
    def of_params(cls, sigma_mm: float, margin_mm: float, label_rule: Behaviour, seed: int) -> Sampling:
        return cls(sigma_mm * MILLIMETRE, margin_mm * MILLIMETRE, RULES[label_rule], seed)


@dataclass(frozen=True, eq=False)
class PalmMesh:
    """A sealed hand in its palm frame (palm units); faces look outwards."""

    hand_id: str
    side: Side
    vertices: Float[np.ndarray, "779 3"]
    faces: Int[np.ndarray, "1554 3"]


def write_query_shard(
    output: str | os.PathLike,
    hands: Sequence[PalmMesh],
    counts: Mapping[str, int],
    sampling: Sampling,
    provenance: Provenance,
    threads: int = 1,
) -> int:
    """Writes the training queries (QUERIES) of some hands, `counts[name]` points of each set; the number of conflicts."""
    draw = partial(query_row, counts=dict(counts), sampling=sampling)
    return _write(output, QUERIES, draw, hands, sampling, provenance, threads)


def write_evaluation_shard(
    output: str | os.PathLike,
    hands: Sequence[PalmMesh],
    counts: Mapping[str, int],
    sampling: Sampling,
    provenance: Provenance,
    threads: int = 1,
) -> int:
    """Writes evaluation points and surfaces (EVALUATION_QUERIES); the number of conflicts.

    counts: points of `published` (half in the cube, half near the surface), `uniform_hand` and `surface`.
    """
    draw = partial(evaluation_row, counts=dict(counts), sampling=sampling)
    return _write(output, EVALUATION_QUERIES, draw, hands, sampling, provenance, threads)


def palm_meshes(
    hands: str | os.PathLike, models: Mapping[Side, HandModel], shard: int, shards: int
) -> tuple[list[PalmMesh], int]:
    """The sealed hands of part `shard` of `shards` of a hand table, in palm frames; and how many have no palm frame.

    Raises DataError if a sealed model is not closed or there is no such part.
    """
    for side, model in models.items():
        if not is_watertight(model.sealed_faces):
            raise DataError(
                f"the sealed {side.value} hand model is not closed; query points cannot be labelled with it."
            )
    every = HandTable.read(hands, ["hand_id"]).hand_ids
    wanted = every[slice(*shard_range(len(every), shard, shards))]
    table = HandTable.read(hands, ["vertices", "wrist", "palm_rotation"], wanted)
    vertices, wrists, rotations = (table.array(name) for name in ("vertices", "wrist", "palm_rotation"))
    usable = np.isfinite(rotations).all(axis=(1, 2))
    meshes = []
    for row in np.flatnonzero(usable):
        side = table.sides[row]
        sealed = models[side].seal(vertices[row].astype(np.float64))
        palm = world_to_palm(sealed, wrists[row], rotations[row], side)
        meshes.append(PalmMesh(table.hand_ids[row], side, palm, side.mirror_faces(models[side].sealed_faces)))
    return meshes, int(np.count_nonzero(~usable))


def query_row(hand: PalmMesh, counts: Mapping[str, int], sampling: Sampling) -> dict[str, Any]:
    """A row of QUERIES."""
    test = _inside_test(hand, sampling)
    points, labels, row, conflicts, start = [], [], {}, 0, 0
    for name in SETS:
        stored = _draw(name, hand, counts.get(name, 0), sampling)
        found = test.labels(sampling.quantisation.points(stored), sampling.rule)
        filler = -len(stored) % 8
        points += [stored, np.zeros((filler, 3), np.uint16)]
        labels.append(np.packbits(found.inside))
        row |= {f"{name}_start": start, f"{name}_stop": start + len(stored)}
        start += len(stored) + filler
        conflicts += found.conflicts
    return {
        **_names(hand, sampling),
        **row,
        "points": np.concatenate(points).tobytes(),
        "labels": np.concatenate(labels).tobytes(),
        "conflict_count": conflicts,
    }


def evaluation_row(hand: PalmMesh, counts: Mapping[str, int], sampling: Sampling) -> dict[str, Any]:
    """A row of EVALUATION_QUERIES."""
    test = _inside_test(hand, sampling)
    published = counts["published"]
    halves = {"uniform_cube": (published + 1) // 2, "near_surface": published // 2}
    sets = {
        "published": np.concatenate([_draw(name, hand, count, sampling) for name, count in halves.items()]),
        "uniform_hand": _draw("uniform_hand", hand, counts["uniform_hand"], sampling),
    }
    row, conflicts = {}, 0
    for name, stored in sets.items():
        found = test.labels(sampling.quantisation.points(stored), sampling.rule)
        row |= {f"{name}_points": stored.tobytes(), f"{name}_labels": np.packbits(found.inside).tobytes()}
        conflicts += found.conflicts
    surface = sample_surface(hand.vertices, hand.faces, counts["surface"], _generator(hand, "surface", sampling))
    return {
        **_names(hand, sampling),
        **row,
        "surface_points": sampling.quantisation.stored(surface.points).tobytes(),
        "surface_normals": stored_normals(surface.normals).tobytes(),
        "conflict_count": conflicts,
    }


def _draw(name: str, hand: PalmMesh, count: int, sampling: Sampling) -> np.ndarray:
    """`count` points of a set in their stored form."""
    rng = _generator(hand, name, sampling)
    if name == "uniform_cube":
        points = rng.uniform(-CUBE, CUBE, (count, 3))
    elif name == "near_surface":
        points = sample_surface(hand.vertices, hand.faces, count, rng).points
        points = points + rng.normal(0.0, sampling.sigma, points.shape)
    else:
        low, high = hand.vertices.min(axis=0) - sampling.margin, hand.vertices.max(axis=0) + sampling.margin
        points = rng.uniform(low, high, (count, 3))
    return sampling.quantisation.stored(points)


def _generator(hand: PalmMesh, name: str, sampling: Sampling) -> np.random.Generator:
    return np.random.default_rng(seed_of(sampling.seed, "queries", name, hand.hand_id))


def _inside_test(hand: PalmMesh, sampling: Sampling) -> InsideTest:
    low, high = sampling.quantisation.low, sampling.quantisation.high
    reach = (hand.vertices.min(), hand.vertices.max())
    if reach[0] < low or reach[1] > high:
        raise DataError(
            f"the hand {hand.hand_id} extends from {reach[0]:.2f} to {reach[1]:.2f} palm units (0.4 m) from its wrist, beyond "
            f"the range {low} to {high} of stored points; are its vertices in metres?"
        )
    return InsideTest(hand.vertices, hand.faces, name=f"the hand {hand.hand_id}")


def _names(hand: PalmMesh, sampling: Sampling) -> dict[str, str]:
    rule = next(option for option, rule in RULES.items() if rule == sampling.rule)
    return {"hand_id": hand.hand_id, "side": hand.side.value, "label_rule": rule}


def _write(
    output: str | os.PathLike,
    layout: Layout,
    draw: Callable[[PalmMesh], dict[str, Any]],
    hands: Sequence[PalmMesh],
    sampling: Sampling,
    provenance: Provenance,
    threads: int,
) -> int:
    conflicts = 0
    extra = {"range": [sampling.quantisation.low, sampling.quantisation.high]}
    with ShardWriter(output, layout, provenance, extra) as shard:
        for row in _rows(draw, hands, threads, layout.name):
            conflicts += row["conflict_count"]
            shard.append(row)
    return conflicts


def _rows(
    draw: Callable[[PalmMesh], dict[str, Any]], hands: Sequence[PalmMesh], threads: int, label: str
) -> Iterator[dict[str, Any]]:
    if threads > 1 and hands:  # load the compiled inside test once, before the workers are forked
        InsideTest(hands[0].vertices, hands[0].faces).winding(np.zeros((1, 3)))
    return ordered_map(draw, hands, threads, f"sample {label.replace('_', ' ')}", "hands")
