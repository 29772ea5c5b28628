"""Tables of keypoint errors: what refinement changed, and the error of every joint. Millimetres."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from im2hands.evaluation.keypoint_records import joint_means, summarize_keypoints

SHOWN = {
    "knuckle_scaled": "MPJPE, knuckle, scaled",
    "knuckle_unscaled": "MPJPE, knuckle",
    "wrist_unscaled": "MPJPE, wrist",
}
"""Protocol (see `keypoint_records.PROTOCOLS`) -> heading."""


def refinement_table(records: pd.DataFrame, refined_from: Mapping[str, str]) -> pd.DataFrame:
    """One row per source: its errors against the truth that it aims at, and next to a refined source those before it.

    records: see keypoint_records.py.  refined_from: refined source -> the source it was made of.
    """
    summary = summarize_keypoints(records).set_index("source")
    rows = []
    for source, row in summary.iterrows():
        truth = row["truth"]
        before = summary.loc[refined_from[source]] if refined_from.get(source) in summary.index else None
        cells = {
            "keypoints": source,
            "refined from": refined_from.get(source, ""),
            "truth": truth,
            "hands": int(row["hands"]),
            "unusable": int(row["unusable"]),
        }
        for protocol, heading in SHOWN.items():
            cells[f"{heading} (mm)"] = row[f"{truth}_{protocol}_mm"]
        cells["MRRPE, wrist (mm)"] = row[f"{truth}_mrrpe_wrist_mm"]
        known = before is not None
        cells["before: MPJPE, knuckle (mm)"] = before[f"{truth}_knuckle_unscaled_mm"] if known else float("nan")
        rows.append(cells)
    return pd.DataFrame(rows)


def joint_table(records: pd.DataFrame) -> pd.DataFrame:
    """Mean error of every joint about the middle knuckle, unscaled: a row per joint, a column per source.

    Against the truth that each source aims at.
    """
    columns = [
        joint_means(hands, hands["truth"].iloc[0], "knuckle_unscaled")
        for _, hands in records.groupby("source", sort=False)
    ]
    return pd.concat(columns, axis=1).reset_index()


def flat_keypoint_metrics(table: pd.DataFrame) -> dict[str, float]:
    """`keypoints.<source>.<column>` -> number, for comparing runs; what is undefined is left out."""
    return {
        f"keypoints.{row['keypoints']}.{column}": float(value)
        for row in table.to_dict("records")
        for column, value in row.items()
        if not isinstance(value, str) and not pd.isna(value) and not column.startswith("before")
    }
