"""The table of failed hands: how many of each method and keypoint source, and why."""

from __future__ import annotations

import re

import pandas as pd

KEYPOINTS_ALONE = "keypoints alone"
"""In place of a method: what a keypoint source lacks before any method is asked."""
NUMBERS = re.compile(r"-?\d[\d._]*(?:e[+-]?\d+)?")
TYPES = {"method": object, "keypoints": object, "reason": object, "failed": "int64", "hands": "int64"}


def failure_table(records: pd.DataFrame, keypoint_records: pd.DataFrame) -> pd.DataFrame:
    """One row per method, keypoint source and reason, the most frequent first; nothing for what has no failure.

    records, keypoint_records: see records.py and keypoint_records.py.  failed: hands in photographs, of `hands`.
    Sentences that differ by their numbers alone are one reason, with … in the place of the numbers.
    """
    sentences = records["failure_detail"].fillna(records["failure"]).where(records["failure"].notna())
    parts = [(str(method), str(source), sentences.loc[hands.index])
             for (method, source), hands in records.groupby(["method", "source"], sort=True)]  # fmt: skip
    parts += [(KEYPOINTS_ALONE, str(source), hands["reason"]) for source, hands in keypoint_records.groupby("source")]
    rows = []
    for method, source, found in parts:
        kinds = found.dropna().map(kind_of)
        counts = kinds.groupby(kinds).size().sort_values(ascending=False, kind="stable")
        rows += [(method, source, reason, count, len(found)) for reason, count in counts.items()]
    return pd.DataFrame(rows, columns=list(TYPES)).astype(TYPES)


def kind_of(sentence: str) -> str:
    """A sentence without its numbers."""
    return NUMBERS.sub("…", sentence)
