"""Reconstructed hands on disk: one Arrow row per hand, and mesh files for viewers.

Rows contain everything that the evaluation needs, so it runs without a network: the mesh (world, metres), or the reason why
there is none, and the field's labels at the evaluation points. Wall-clock times are kept in a separate file, because they
differ from run to run and the shards must not.
"""

from __future__ import annotations

import os
import resource
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from im2hands.reconstruction.surfaces import HandSurface, View

Format = Literal["glb", "obj", "ply"]

MESHES = Layout(
    "meshes",
    2,
    pa.schema(
        [
            pa.field("pair_id", pa.string()),
            pa.field("hand_id", pa.string()),
            pa.field("frame_ids", pa.list_(pa.int64())),
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
"""frame_ids: the frames for which the mesh is used: the one it was made from, or all evaluated ones of a pair that was made
without a photograph; none where no photograph is usable.
vertices: float32 n x 3, world, metres; faces: int32 n x 3, outward; null if no mesh was made, empty if the surface is.
field_*: labels at the points of the evaluation sets, packed like theirs (first point in the highest bit); null if none.
"""

TIMINGS = Layout(
    "timings",
    1,
    pa.schema(
        [
            pa.field("hand_id", pa.string()),
            pa.field("frame_ids", pa.list_(pa.int64())),
            pa.field("extraction_s", pa.float64()),
            pa.field("evaluation_points_s", pa.float64()),
            pa.field("evaluations", pa.int64()),
        ]
    ),
)
"""A hand's share of its batch's wall-clock time (surface extraction, field at the evaluation points), and the points at which
the field was evaluated for the mesh. The machine, its threads and the peak memory are in the file's provenance."""

COLOURS: Mapping[Side, tuple[int, int, int]] = {Side.LEFT: (230, 150, 60), Side.RIGHT: (70, 130, 200)}
"""Red, green, blue of exported hands."""


@dataclass(frozen=True, eq=False)
class StoredHand:
    """A row of a mesh shard. See MESHES for the meaning of None."""

    pair_id: str
    hand_id: str
    frame_ids: tuple[int, ...]
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
                f"{self.hand_id}: the numbers of points in the set {name} differ between the reconstruction and the "
                "evaluation queries; run reconstruct again."
            )
        return np.unpackbits(packed, count=points).astype(bool)


def write_surfaces(
    meshes: str | os.PathLike,
    timings: str | os.PathLike | None,
    scenes: str | os.PathLike,
    pairs: Iterable[Sequence[HandSurface]],
    provenance: Provenance,
    formats: Sequence[Format] = ("glb",),
    machine: Mapping[str, Any] | None = None,
) -> str:
    """Writes a mesh shard, its timings, and into the folder `scenes` one file per pair (glb) or per hand (obj, ply).

    Each appears under its name completely or not at all, the shard last, so that it vouches for the rest.
    timings: None to keep none, as for meshes that were made elsewhere.
    machine: facts about the run (device, threads) stored with the timings, where the peak memory (MB, this process and
    the largest of its workers) joins them.
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
        if timings is not None:
            run = {**(machine or {}), "peak_memory_mb": peak_memory_mb()}
            timed = replace(provenance, parameters={**provenance.parameters, "machine": run})
            write_parquet(timings, pa.Table.from_pylist(seconds, schema=TIMINGS.schema), TIMINGS, timed)
    spent = sum(row["extraction_s"] + row["evaluation_points_s"] for row in seconds)
    return f"{len(seconds)} hands, {failures.total()} without surface {dict(failures)}, {spent:.1f} s of computation"


def peak_memory_mb() -> int:
    """Largest resident memory (MB) of this process and of the largest of its finished workers, together."""
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(sum(peaks) / (2**20 if sys.platform == "darwin" else 2**10))


def read_surfaces(path: str | os.PathLike, sha256: str | None = None) -> SurfaceShard:
    """The hands of a shard; see SurfaceShard."""
    return SurfaceShard(ShardReader(path, MESHES, sha256))


class SurfaceShard:
    """Stored hands, read when requested."""

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
            frame_ids=tuple(row["frame_ids"]),
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

    def rows_of_views(self) -> dict[View, list[int]]:
        """(pair_id, frame_ids) -> its rows, in the order of the shard."""
        rows: dict[View, list[int]] = {}
        views = zip(self.reader.column("pair_id"), map(tuple, self.reader.column("frame_ids")), strict=True)
        for index, view in enumerate(views):
            rows.setdefault(view, []).append(index)
        return rows


def export_pair(folder: Path, pair: Sequence[HandSurface], formats: Sequence[Format]) -> None:
    """Mesh files of a pair, world metres: <pair>.glb with a named, coloured node per hand; <pair>_<side>.obj and .ply.

    If it is used for one frame only, <pair>_frame<frame id> replaces <pair>.
    """
    hands = {one.side: one.mesh for one in pair if one.mesh is not None and not one.mesh.is_empty}
    if not hands:
        return
    name = pair[0].pair_id + (f"_frame{pair[0].frame_ids[0]}" if len(pair[0].frame_ids) == 1 else "")
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
                "frame_ids": list(one.frame_ids),
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
        {
            "hand_id": one.hand_id,
            "frame_ids": list(one.frame_ids),
            "extraction_s": one.extraction_s,
            "evaluation_points_s": one.evaluation_points_s,
            "evaluations": one.evaluations,
        }
        for one in pair
    ]


def _packed(labels: np.ndarray | None) -> bytes | None:
    return None if labels is None else np.packbits(labels).tobytes()
