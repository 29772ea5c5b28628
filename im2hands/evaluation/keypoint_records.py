"""Errors of a keypoint source: one row per frame and hand with the error of every joint, and the means that tables print.

There are two truths, and tables name the one they use. `regressed` joints come from the joint regressor on the posed vertices:
the truth of IntagHand and of the papers after it, and what keypoints read off a predicted mesh aim at. `model` joints are the
kinematic ones: what occupancy networks are given and what keypoint refinement is trained towards, so keypoints derived from
them (perturbed, refined) aim at these. Every row contains the errors against both in all protocols of `keypoint_metrics`, so
that a mean is a query and no two protocols are mixed unnoticed. Millimetres.

Means are over hands, then a hand counts once per camera; MRRPE is a property of the frame and is in both of its rows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float

from im2hands.datasets.frames import FrameTable, hand_id, pair_id
from im2hands.datasets.hands import HandTable
from im2hands.evaluation.keypoint_metrics import (
    INTAGHAND,
    KNUCKLE_UNSCALED,
    WRIST_SCALED,
    WRIST_UNSCALED,
    joint_errors,
    root_offset_error,
)
from im2hands.hands.joints import JOINT_NAMES, MIDDLE_BASE, WRIST
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.io.tables import Layout, Provenance, read_parquet, write_parquet

Truth = Literal["regressed", "model"]
TRUTHS: tuple[Truth, ...] = ("regressed", "model")
TRUE_COLUMNS = [f"keypoints_{truth}" for truth in TRUTHS]
PROTOCOLS = {
    "knuckle_scaled": INTAGHAND,
    "wrist_scaled": WRIST_SCALED,
    "knuckle_unscaled": KNUCKLE_UNSCALED,
    "wrist_unscaled": WRIST_UNSCALED,
}
"""Name in columns -> how a hand is laid over the true one. `knuckle_scaled` is IntagHand's protocol; `wrist_unscaled` is what a
network sees of keypoints that were moved onto the true wrist."""
ROOTS = {"wrist": WRIST, "knuckle": MIDDLE_BASE}
AIMS_AT: dict[str, Truth] = {"model": "model", "refined": "model"}
"""Sources whose keypoints are, or are trained to be, model joints, as all perturbed ones and those of the prior are.
Others aim at regressed joints."""

ERROR_COLUMNS = [f"{truth}_{protocol}_mm" for truth in TRUTHS for protocol in PROTOCOLS]
"""Lists of 21 joint errors, STANDARD order."""
MRRPE_COLUMNS = [f"{truth}_mrrpe_{root}_mm" for truth in TRUTHS for root in ROOTS]
"""Error of the offset from the left to the right root, unscaled."""
KEYPOINT_RECORDS = Layout(
    "keypoint_errors",
    1,
    pa.schema(
        [
            ("source", pa.string()),
            ("truth", pa.string()),
            ("frame_id", pa.int64()),
            ("pair_id", pa.string()),
            ("capture", pa.int64()),
            ("frame_idx", pa.int64()),
            ("camera", pa.string()),
            ("subject", pa.int64()),
            ("side", pa.string()),
            ("reason", pa.string()),
            *((name, pa.list_(pa.float64(), len(JOINT_NAMES))) for name in ERROR_COLUMNS),
            *((name, pa.float64()) for name in MRRPE_COLUMNS),
        ]
    ),
)
"""truth: the joints that this source aims at.  reason: why there are no keypoints, null if there are. Errors that are not
defined (no keypoints, or no bone to scale by) are null."""


def aimed_truth(source: str) -> Truth:
    """The truth that keypoints of a source are meant to be."""
    if source.startswith("perturbed") or source.endswith("_prior"):
        return "model"
    return AIMS_AT.get(source, "regressed")


def true_keypoints(
    frames: FrameTable, hands: HandTable
) -> tuple[Bool[np.ndarray, " frames"], dict[Truth, Float[np.ndarray, "frames 2 21 3"]]]:
    """Which frames have two fitted hands, and the true keypoints of both truths (m, world; NaN for the others)."""
    rows = np.array(
        [[hands.rows.get(hand_id(*pair, side), -1) for side in SIDES] for pair in frames.pair_keys], int
    ).reshape(-1, 2)
    fitted = (rows >= 0).all(axis=1)
    truths = {}
    for truth in TRUTHS:
        values = np.full((len(frames), 2, 21, 3), np.nan)
        values[fitted] = hands.array(f"keypoints_{truth}")[rows[fitted]]
        truths[truth] = values
    return fitted, truths


def keypoint_errors(
    source: str,
    frames: FrameTable,
    hands: HandTable,
    predicted: Float[np.ndarray, "frames 2 21 3"],
    reasons: Sequence[str | None],
) -> pa.Table:
    """KEYPOINT_RECORDS rows of all frames whose two hands have a truth.

    hands: with TRUE_COLUMNS.  predicted: world, m, STANDARD order, hands in the order of `Side.index`; any value where there is
    a reason.  reasons: why a frame has no keypoints, None where it has.
    Raises DataError if the numbers of frames differ or no frame has two fitted hands.
    """
    if not len(frames) == len(predicted) == len(reasons):
        raise DataError(
            f"{source}: {len(predicted)} frames with keypoints do not match {len(frames)} frames in the table; "
            "predict the keypoints again."
        )
    fitted, truths = true_keypoints(frames, hands)
    if not fitted.any():
        raise DataError(f"{source}: no frame of the frame table has two fitted hands; run fit_hands for this split.")
    chosen = np.flatnonzero(fitted)
    given = np.array([reasons[index] is None for index in chosen])
    predicted = np.where(given[:, None, None, None], predicted[chosen], np.nan)
    columns: dict[str, pa.Array] = _identity(source, frames, chosen, [reasons[index] for index in chosen])
    for truth, values in truths.items():
        for name, protocol in PROTOCOLS.items():
            errors = np.stack([joint_errors(predicted[:, k], values[chosen, k], protocol) for k in range(2)], axis=1)
            columns[f"{truth}_{name}_mm"] = _lists(errors.reshape(-1, len(JOINT_NAMES)))
        for name, root in ROOTS.items():
            ours, true = predicted[:, :, root], values[chosen][:, :, root]
            errors = root_offset_error(ours[:, 0], ours[:, 1], true[:, 0], true[:, 1])
            columns[f"{truth}_mrrpe_{name}_mm"] = pa.array(np.repeat(errors, 2), from_pandas=True)
    return pa.table(columns).select(KEYPOINT_RECORDS.column_names()).cast(KEYPOINT_RECORDS.schema)


def write_keypoint_records(path: str | os.PathLike, records: pa.Table, provenance: Provenance) -> None:
    """Writes the rows of `keypoint_errors`."""
    write_parquet(path, records, KEYPOINT_RECORDS, provenance)


def read_keypoint_records(paths: Sequence[str | os.PathLike]) -> pd.DataFrame:
    """Rows of several sources; every ERROR_COLUMNS value is an array of 21 errors (mm) or None.

    Raises DataError if there is no file or two of them contain the same source.
    """
    if not paths:
        raise DataError("no keypoint error files were given; run the stage evaluate_keypoints first.")
    tables = [read_parquet(path, KEYPOINT_RECORDS).replace_schema_metadata(None) for path in paths]
    records = pa.concat_tables(tables).to_pandas()
    twice = records[records.duplicated(["source", "frame_id", "side"])]
    if len(twice):
        raise DataError(
            f"the keypoint source {twice.iloc[0]['source']} occurs twice for frame {twice.iloc[0]['frame_id']} in "
            f"{', '.join(map(str, paths))}; give one file per source."
        )
    return records


def summarize_keypoints(records: pd.DataFrame) -> pd.DataFrame:
    """One row per source, in the order of first appearance.

    source, truth (the one that the source aims at), frames, hands, unusable (hands without keypoints), unscalable (hands with
    keypoints but no bone to scale by); then for both truths the mean joint error of every protocol, `<truth>_<protocol>_mm`,
    also for each side with `_left_mm`, `_right_mm` in IntagHand's protocol, and MRRPE by both roots. NaN where nothing counts.
    """
    rows = []
    for source, hands in records.groupby("source", sort=False):
        frames = hands[hands["side"] == Side.LEFT.value]
        row = {
            "source": source,
            "truth": hands["truth"].iloc[0],
            "frames": len(frames),
            "hands": len(hands),
            "unusable": int(hands["reason"].notna().sum()),
            "unscalable": int((hands["reason"].isna() & hands["regressed_knuckle_scaled_mm"].isna()).sum()),
        }
        row |= {name: _mean_of(hands[name]) for name in ERROR_COLUMNS}
        for truth in TRUTHS:
            for side in SIDES:
                of_side = hands.loc[hands["side"] == side.value, f"{truth}_knuckle_scaled_mm"]
                row[f"{truth}_knuckle_scaled_{side.value}_mm"] = _mean_of(of_side)
        row |= {name: float(frames[name].mean()) for name in MRRPE_COLUMNS}
        rows.append(row)
    return pd.DataFrame(rows)


def joint_means(records: pd.DataFrame, truth: Truth = "regressed", protocol: str = "knuckle_scaled") -> pd.DataFrame:
    """Mean error (mm) of every joint: one row per joint (index: its name), one column per source."""
    means = {}
    for source, hands in records.groupby("source", sort=False):
        errors = hands[f"{truth}_{protocol}_mm"].dropna()
        means[source] = np.stack(errors.to_list()).mean(axis=0) if len(errors) else np.full(len(JOINT_NAMES), np.nan)
    return pd.DataFrame(means, index=pd.Index(JOINT_NAMES, name="joint"))


def _identity(
    source: str, frames: FrameTable, chosen: np.ndarray, reasons: Sequence[str | None]
) -> dict[str, pa.Array]:
    """The columns that say whose errors a row contains: two rows per frame, left then right."""
    twice = pa.array(np.repeat(chosen, 2))
    columns = {
        name: frames.table[name].take(twice) for name in ("frame_id", "capture", "frame_idx", "camera", "subject")
    }
    rows = 2 * len(chosen)
    return {
        **columns,
        "source": pa.array([source] * rows),
        "truth": pa.array([aimed_truth(source)] * rows),
        "pair_id": pa.array([pair_id(*frames.pair_keys[index]) for index in twice.to_pylist()]),
        "side": pa.array([side.value for side in SIDES] * len(chosen)),
        "reason": pa.array([reason for reason in reasons for _ in SIDES], pa.string()),
    }


def _lists(errors: Float[np.ndarray, "hands 21"]) -> pa.Array:
    """Rows as lists; those that are not numbers are null."""
    return pa.array(
        [row if np.isfinite(row).all() else None for row in errors], pa.list_(pa.float64(), errors.shape[1])
    )


def _mean_of(errors: pd.Series) -> float:
    """Mean of all joints of all hands that have errors."""
    errors = errors.dropna()
    return float(np.stack(errors.to_list()).mean()) if len(errors) else float("nan")
