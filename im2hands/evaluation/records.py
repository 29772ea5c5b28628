"""The per-hand result table: one row per hand and evaluated photograph, every metric of both protocols, the failure if any.

Raw numbers only: a metric that a failure leaves undefined is null. Penalties and means belong to the tables (tables.py), so
every printed number is a query on these files. Millimetres, square millimetres, cubic centimetres; IoU and cosines from 0 to 1.
Penetration and the distance of the true hands are properties of the pair and are in both of its rows. A reconstruction that
needs no photograph is measured once and its row repeated for every evaluated photograph of the pose, so that all methods are
means over the same rows.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from im2hands.io.errors import DataError
from im2hands.io.tables import Layout, Provenance, file_card, read_parquet, write_parquet

Failure = Literal["missing", "empty", "full", "open"]
"""missing: no mesh, or none that can be measured; empty: no surface, or one without area; full: the field is nowhere below the
threshold, the mesh is the searched box; open: not closed. The reason is in failure_detail."""
FAILURES: tuple[Failure, ...] = ("missing", "empty", "full", "open")

_FLOAT = pa.float64()
RECORDS = Layout(
    "evaluation",
    2,
    pa.schema(
        [
            pa.field("pair_id", pa.string()),
            pa.field("hand_id", pa.string()),
            pa.field("capture", pa.int64()),
            pa.field("frame_idx", pa.int64()),
            pa.field("side", pa.string()),
            pa.field("subject", pa.int64()),
            pa.field("frame_id", pa.int64()),  # the evaluated photograph; null where none of the pose is usable
            pa.field("camera", pa.string()),
            pa.field("true_hand_distance_mm", _FLOAT),  # of the true surfaces; minus their depth if they penetrate
            pa.field(
                "visible_fraction", _FLOAT
            ),  # of the hand's own pixels, not hidden by the other hand or the border
            pa.field("method", pa.string()),
            pa.field("source", pa.string()),
            pa.field("failure", pa.string()),
            pa.field("failure_detail", pa.string()),
            pa.field("vertices", pa.int32()),
            pa.field("faces", pa.int32()),
            pa.field("volume_cm3", _FLOAT),
            pa.field("true_volume_cm3", _FLOAT),
            pa.field("evaluations", pa.int64()),  # points at which the field was asked for this mesh
            pa.field("published_iou", _FLOAT),
            pa.field("published_field_iou", _FLOAT),
            pa.field("published_completeness_mm", _FLOAT),
            pa.field("published_accuracy_mm", _FLOAT),
            pa.field("published_chamfer_l1_mm", _FLOAT),
            pa.field("published_chamfer_l2_mm2", _FLOAT),
            pa.field("published_normals", _FLOAT),
            pa.field("mesh_iou", _FLOAT),
            pa.field("field_iou", _FLOAT),
            pa.field("completeness_mm", _FLOAT),
            pa.field("accuracy_mm", _FLOAT),
            pa.field("chamfer_l1_mm", _FLOAT),
            pa.field("chamfer_l2_mm2", _FLOAT),
            pa.field("normal_consistency", _FLOAT),
            pa.field("floor_chamfer_l1_mm", _FLOAT),
            pa.field("floor_chamfer_l2_mm2", _FLOAT),
            pa.field("floor_normal_consistency", _FLOAT),
            pa.field("penetration_volume_cm3", _FLOAT),
            pa.field("penetration_depth_mm", _FLOAT),
            pa.field("penetration_method", pa.string()),
            pa.field("true_penetration_volume_cm3", _FLOAT),
            pa.field("true_penetration_depth_mm", _FLOAT),
        ]
    ),
)


def write_records(path: str | os.PathLike, rows: Sequence[dict[str, Any]], provenance: Provenance) -> None:
    """Writes rows (dictionaries by column name; what is absent becomes null) as one Parquet file.

    Raises DataError for a column that the layout does not have.
    """
    unknown = {name for row in rows for name in row} - set(RECORDS.column_names())
    if unknown:
        raise DataError(f"{path}: the {RECORDS.name} layout has no column {sorted(unknown)}.")
    write_parquet(path, pa.Table.from_pylist(list(rows), schema=RECORDS.schema), RECORDS, provenance)


def read_records(paths: Sequence[str | os.PathLike]) -> pd.DataFrame:
    """The rows of several files as one frame, ordered by method, source, capture, frame_idx, photograph and side.

    Raises DataError if there is no file or if a hand is in two of them for the same method and source.
    """
    if not paths:
        raise DataError("no evaluation files were given; run the stage evaluate first.")
    tables = [read_parquet(path, RECORDS) for path in paths]
    frame = pa.concat_tables([table.replace_schema_metadata(None) for table in tables]).to_pandas()
    keys = ["method", "source", "capture", "frame_idx", "frame_id", "side"]
    twice = frame[frame.duplicated([*keys[:2], "hand_id", "frame_id"])]
    if len(twice):
        raise DataError(
            f"{len(twice)} hands, for example {twice.iloc[0]['hand_id']}, are in two evaluation files of the method "
            f"{twice.iloc[0]['method']}; remove files left over from an earlier run with other shards."
        )
    return frame.sort_values(keys, kind="stable", ignore_index=True)


def read_facts(path: str | os.PathLike) -> dict[str, Any]:
    """What the evaluation stage wrote down about how a file's numbers were made (see protocol_card.py)."""
    return dict(file_card(path)["provenance"]["parameters"])


def describe(rows: Sequence[dict[str, Any]]) -> str:
    """A line for the log: hands, failures, mean IoU."""
    failures = Counter(row["failure"] for row in rows if row.get("failure") is not None)
    measured = [row["mesh_iou"] for row in rows if row.get("mesh_iou") is not None]
    mean = f"mean mesh IoU of the others {sum(measured) / len(measured):.3f}" if measured else "nothing to average"
    return f"{len(rows)} hands, {failures.total()} failed {dict(failures)}, {mean}"
