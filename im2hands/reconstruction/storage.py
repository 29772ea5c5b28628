"""Reconstructed hands on disk: one Arrow row per hand, and mesh files for viewers.

Rows hold everything that the evaluation needs, so that it runs without a network: the mesh (world, metres), why there is none,
and the field's labels at the evaluation points. Wall-clock times are kept in a file of their own, because they differ from run
to run and the shards must not.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from im2hands.geometry.mesh import Mesh
from im2hands.geometry.mesh_files import write_mesh, write_scene
from im2hands.hands.sides import Side
from im2hands.io.atomic import atomic_folder
from im2hands.io.errors import DamagedFileError
from im2hands.io.tables import Layout, Provenance, ShardReader, ShardWriter, as_array, flat, write_parquet
from im2hands.reconstruction.surfaces import HandSurface

Format = Literal["glb", "obj", "ply"]

MESHES = Layout(
    "meshes",
    1,
    pa.schema(
        [
            pa.field("pair_id", pa.string()),
            pa.field("hand_id", pa.string()),
            pa.field("side", pa.string()),
            pa.field("vertices", pa.large_binary()),
            pa.field("faces", pa.large_binary()),
            pa.field("failure", pa.string()),
            pa.field("evaluations", pa.int64()),
            pa.field("field_published", pa.binary()),
            pa.field("field_uniform_hand", pa.binary()),
        ]
    ),
)
"""vertices: float32 n x 3, world, metres; faces: int32 n x 3, outward; null if no mesh was made, empty if the surface is.
field_*: labels at the points of the evaluation sets, packed like theirs (first point in the highest bit); null if none.
"""

TIMINGS = Layout(
    "timings",
    1,
    pa.schema(
        [
            pa.field("hand_id", pa.string()),
            pa.field("extraction_s", pa.float64()),
            pa.field("evaluation_points_s", pa.float64()),
        ]
    ),
)
"""A hand's share of its batch's wall-clock time: surface extraction, field at the evaluation points."""

COLOURS: Mapping[Side, tuple[int, int, int]] = {Side.LEFT: (230, 150, 60), Side.RIGHT: (70, 130, 200)}
"""Red, green, blue of exported hands."""


@dataclass(frozen=True, eq=False)
class StoredHand:
    """A row of a mesh shard. See MESHES for the meaning of None."""

    pair_id: str
    hand_id: str
    side: Side
    mesh: Mesh | None
    failure: str | None
    evaluations: int
    _field_published: Any
    _field_uniform_hand: Any

    def field_published(self, points: int) -> Bool[np.ndarray, " points"] | None:
        """The field's labels at the published set, which has `points` points."""
        return self._labels(self._field_published, points, "published")

    def field_uniform_hand(self, points: int) -> Bool[np.ndarray, " points"] | None:
        """The field's labels at the set uniform_hand, which has `points` points."""
        return self._labels(self._field_uniform_hand, points, "uniform_hand")

    def _labels(self, packed: Any, points: int, name: str) -> np.ndarray | None:
        if packed is None:
            return None
        packed = np.frombuffer(packed, np.uint8)
        if len(packed) != (points + 7) // 8:
            raise DamagedFileError(
                f"{self.hand_id}: the reconstruction holds labels for another number of points of the set {name} than the "
                "evaluation queries; run reconstruct again."
            )
        return np.unpackbits(packed, count=points).astype(bool)


def write_surfaces(
    meshes: str | os.PathLike,
    timings: str | os.PathLike,
    scenes: str | os.PathLike,
    pairs: Iterable[Sequence[HandSurface]],
    provenance: Provenance,
    formats: Sequence[Format] = ("glb",),
) -> str:
    """Writes a mesh shard, its timings, and into the folder `scenes` one file per pair (glb) or per hand (obj, ply).

    Each appears under its name whole or not at all, the shard last, so that it vouches for the rest.
    Returns a line for the log: hands, failures, seconds.
    """
    seconds: list[dict[str, Any]] = []
    failures: Counter[str] = Counter()
    with ShardWriter(meshes, MESHES, provenance) as writer:
        with atomic_folder(scenes) as folder:
            for pair in pairs:
                seconds += _write_pair(writer, pair)
                failures.update(one.failure for one in pair if one.failure is not None)
                export_pair(folder, pair, formats)
        write_parquet(timings, pa.Table.from_pylist(seconds, schema=TIMINGS.schema), TIMINGS, provenance)
    spent = sum(row["extraction_s"] + row["evaluation_points_s"] for row in seconds)
    return f"{len(seconds)} hands, {failures.total()} without surface {dict(failures)}, {spent:.1f} s of computation"


def read_surfaces(path: str | os.PathLike, sha256: str | None = None) -> SurfaceShard:
    """The hands of a shard; see SurfaceShard."""
    return SurfaceShard(ShardReader(path, MESHES, sha256))


class SurfaceShard:
    """Stored hands, read when asked for."""

    def __init__(self, reader: ShardReader) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> StoredHand:
        row = self.reader.row(index)
        mesh = None
        if row["faces"] is not None:
            mesh = Mesh(as_array(row["vertices"], np.float32, (-1, 3)), as_array(row["faces"], np.int32, (-1, 3)))
        return StoredHand(
            pair_id=row["pair_id"],
            hand_id=row["hand_id"],
            side=Side(row["side"]),
            mesh=mesh,
            failure=row["failure"],
            evaluations=row["evaluations"],
            _field_published=row["field_published"],
            _field_uniform_hand=row["field_uniform_hand"],
        )

    @property
    def path(self) -> Path:
        return self.reader.path

    @property
    def parameters(self) -> dict[str, Any]:
        """What the shard was made with (see `write_surfaces`)."""
        return self.reader.metadata["provenance"]["parameters"]

    def hand_ids(self) -> list[str]:
        return self.reader.column("hand_id")

    def rows_of_pairs(self) -> dict[str, list[int]]:
        """pair_id -> its rows, in the order of the shard."""
        rows: dict[str, list[int]] = {}
        for index, pair in enumerate(self.reader.column("pair_id")):
            rows.setdefault(pair, []).append(index)
        return rows


def export_pair(folder: Path, pair: Sequence[HandSurface], formats: Sequence[Format]) -> None:
    """Mesh files of a pair, world metres: <pair>.glb with a named, coloured node per hand; <pair>_<side>.obj and .ply."""
    hands = {one.side: one.mesh for one in pair if one.mesh is not None and not one.mesh.is_empty}
    if not hands:
        return
    name = pair[0].pair_id
    for kind in formats:
        if kind == "glb":
            write_scene(
                folder / f"{name}.glb",
                {f"{side.value}_hand": mesh for side, mesh in hands.items()},
                {f"{side.value}_hand": COLOURS[side] for side in hands},
            )
        else:
            for side, mesh in hands.items():
                write_mesh(folder / f"{name}_{side.value}.{kind}", mesh)


def _write_pair(writer: ShardWriter, pair: Sequence[HandSurface]) -> list[dict[str, Any]]:
    for one in pair:
        writer.append(
            {
                "pair_id": one.pair_id,
                "hand_id": one.hand_id,
                "side": one.side.value,
                "vertices": None if one.mesh is None else flat(one.mesh.vertices.astype(np.float32)).tobytes(),
                "faces": None if one.mesh is None else flat(one.mesh.faces.astype(np.int32)).tobytes(),
                "failure": one.failure,
                "evaluations": one.evaluations,
                "field_published": _packed(one.published_field),
                "field_uniform_hand": _packed(one.uniform_field),
            }
        )
    return [
        {"hand_id": one.hand_id, "extraction_s": one.extraction_s, "evaluation_points_s": one.evaluation_points_s}
        for one in pair
    ]


def _packed(labels: np.ndarray | None) -> bytes | None:
    return None if labels is None else np.packbits(labels).tobytes()
