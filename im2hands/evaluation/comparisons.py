"""Tables that compare methods hand by hand: errors by difficulty, paired differences with an interval, ablations.

A failed hand counts with the penalty of our protocol (see protocols.py), as in the other tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from im2hands.evaluation.protocols import METRICS, Metric
from im2hands.io.errors import DataError
from im2hands.io.hashing import seed_of

COMPARED = tuple(metric for metric in METRICS if metric.column in ("mesh_iou", "chamfer_l1_mm"))
DRAWS = 2000
"""Bootstrap samples of an interval."""
DISTANCES_MM = (-np.inf, 0.0, 5.0, 20.0, np.inf)
DISTANCE_NAMES = ("hands penetrate", "gap below 5 mm", "gap 5 to 20 mm", "gap above 20 mm")
VISIBLE = (-np.inf, 0.5, 0.8, np.inf)
UNKNOWN = "not known"
VISIBLE_NAMES = ("below 50 % visible", "50 to 80 % visible", "above 80 % visible")


def scored(records: pd.DataFrame, metric: Metric) -> pd.Series:
    """Values of a metric as printed, hand by hand, failures with their penalty."""
    values = records[metric.column].astype(float)
    if metric.penalty is not None:
        values = values.mask(records["failure"].notna(), metric.penalty)
    return values * metric.factor


def by_difficulty(records: pd.DataFrame) -> pd.DataFrame:
    """Mean errors of every method by the distance of the true hands and by how much of the hand the photograph shows.

    One row per method, keypoint source and class; classes without hands are left out. Limits: a class contains its lower limit.
    Hands whose pair lacks a hand, or that no usable photograph shows, have no class; a row `not known` counts them.
    """
    classes = {
        "distance of the true hands": _classes(records["true_hand_distance_mm"], DISTANCES_MM, DISTANCE_NAMES),
        "visible share of the hand": _classes(records["visible_fraction"], VISIBLE, VISIBLE_NAMES),
    }
    rows = []
    for (method, source), hands in records.groupby(["method", "source"], sort=True):
        for title, labels in classes.items():
            for name, chosen in hands.groupby(labels.loc[hands.index], observed=True, sort=True):
                rows.append(
                    {
                        "method": method,
                        "keypoints": source,
                        "split by": title,
                        "class": str(name),
                        "hands": len(chosen),
                        "failed": int(chosen["failure"].notna().sum()),
                        **{heading(metric): float(scored(chosen, metric).mean()) for metric in COMPARED},
                    }
                )
    columns = ["method", "keypoints", "split by", "class", "hands", "failed", *map(heading, COMPARED)]
    return pd.DataFrame(rows, columns=columns)


def _classes(values: pd.Series, limits: Sequence[float], names: Sequence[str]) -> pd.Series:
    known = pd.cut(values.astype(float), limits, right=False, labels=names)
    return known.cat.add_categories(UNKNOWN).fillna(UNKNOWN)


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences and the percentile interval that contains 95 % of the bootstrap means."""

    mean: float
    low: float
    high: float


def paired_differences(records: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Second minus first, over the same hands in the same photographs, for any two methods of these records.

    The interval resamples hand poses, not hands: both hands and all photographs of a pose are not independent.
    Raises DataError if two methods were evaluated on different hands.
    """
    keys = ["hand_id", "frame_id"]
    shown = records.assign(frame_id=records["frame_id"].fillna(-1))
    methods = {
        name: hands.set_index(keys).sort_index() for name, hands in shown.groupby(["method", "source"], sort=True)
    }
    rows = []
    for (first, one), (second, other) in combinations(methods.items(), 2):
        if not one.index.equals(other.index):
            raise DataError(
                f"{'/'.join(first)} and {'/'.join(second)} were evaluated on different hands; run evaluate again for both."
            )
        for metric in COMPARED:
            difference = (scored(other, metric) - scored(one, metric)).to_numpy()
            known = np.isfinite(difference)
            poses = pd.factorize(one["pair_id"])[0]
            found = bootstrap(difference[known], poses[known], seed_of(seed, "paired differences", *first, *second))
            better = np.sign(difference[known]) == (1 if metric.better == "higher" else -1)
            rows.append(
                {
                    "first": " / ".join(first),
                    "second": " / ".join(second),
                    "metric": heading(metric),
                    "hands": int(known.sum()),
                    "poses": len(np.unique(poses[known])),
                    "second - first": found.mean,
                    "95 % from": found.low,
                    "95 % to": found.high,
                    "second better (% of hands)": 100 * float(better.mean()) if known.any() else np.nan,
                }
            )
    return pd.DataFrame(rows, columns=list(DIFFERENCE_TYPES)).astype(DIFFERENCE_TYPES)


DIFFERENCE_TYPES = {
    **dict.fromkeys(("first", "second", "metric"), object),
    **dict.fromkeys(("hands", "poses"), "int64"),
    **dict.fromkeys(("second - first", "95 % from", "95 % to", "second better (% of hands)"), "float64"),
}
"""Columns of `paired_differences`; an empty table has the same types."""


def bootstrap(
    values: Float[np.ndarray, " n"], clusters: Int[np.ndarray, " n"], seed: int, draws: int = DRAWS
) -> Difference:
    """Mean of `values` with a 95 % percentile interval, clusters drawn with replacement. NaN without values."""
    if not len(values):
        return Difference(np.nan, np.nan, np.nan)
    _, place = np.unique(clusters, return_inverse=True)
    sums, counts = np.bincount(place, values), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Difference(float(sums.sum() / counts.sum()), float(low), float(high))


FROM_THE_RUN = {
    ("halo", "model"): "without image and other hand (HALO)",
    ("initial", "model"): "without refinement (initial occupancy)",
    ("im2hands", "model"): "whole method",
}
"""Rows of the ablation table that need no training of their own."""


def ablation_table(records: pd.DataFrame, variants: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Means with `model` keypoints of the run's own methods, then of every variant that was trained for this table.

    variants: what is different -> its records.
    """
    rows = []
    own = {text: records[(records["method"] == method) & (records["source"] == source)]
           for (method, source), text in FROM_THE_RUN.items()}  # fmt: skip
    for text, found, kind in (
        *((text, hands, "this run") for text, hands in own.items()),
        *((text, hands, "ablation") for text, hands in variants.items()),
    ):
        for (method, source), hands in found.groupby(["method", "source"], sort=True):
            rows.append(
                {
                    "variant": text,
                    "trained for": kind,
                    "method": method,
                    "keypoints": source,
                    "hands": len(hands),
                    "failed": int(hands["failure"].notna().sum()),
                    **{heading(metric): float(scored(hands, metric).mean()) for metric in COMPARED},
                    **{name: _mean_of_pairs(hands, column) for name, column in PENETRATION.items()},
                }
            )
    names = ["variant", "trained for", "method", "keypoints", "hands", "failed", *map(heading, COMPARED), *PENETRATION]
    return pd.DataFrame(rows, columns=names)


PENETRATION = {
    "penetration (cm³)": "penetration_volume_cm3",
    "penetration depth (mm)": "penetration_depth_mm",
}


def _mean_of_pairs(hands: pd.DataFrame, column: str) -> float:
    pairs = hands.groupby(["pair_id", "frame_id"], sort=False, dropna=False).first()
    return float(pairs[column].astype(float).mean())


def heading(metric: Metric) -> str:
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def sources_of(records: pd.DataFrame, given: str) -> Sequence[pd.DataFrame]:
    """The records with the given keypoints, and the others: differences are only taken within each."""
    return [records[records["source"] == given], records[records["source"] != given]]
