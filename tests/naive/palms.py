"""Reference versions of the palm detector's arithmetic: loops over anchors and over pairs of palms."""

from __future__ import annotations

import numpy as np


def naive_anchors() -> list[tuple[float, float]]:
    """Row by row, first the finer layer; every place as often as it has anchors."""
    found = []
    for cells, repeats in ((24, 2), (12, 6)):
        for row in range(cells):
            for column in range(cells):
                found += [((column + 0.5) / cells, (row + 0.5) / cells)] * repeats
    return found


def naive_distinct(
    points: np.ndarray, side: np.ndarray, score: np.ndarray, same: float
) -> list[tuple[np.ndarray, float]]:
    """Greedy suppression: the best palm takes all that are close to it; points are the mean, weighted by score."""
    rest = sorted(range(len(score)), key=lambda row: -score[row])
    found = []
    while rest:
        best, taken = rest[0], []
        for row in list(rest):
            distance = sum(float(np.hypot(*(points[best, k] - points[row, k]))) for k in range(7)) / 7
            if row == best or distance < same * max(side[best], side[row]):
                taken.append(row)
                rest.remove(row)
        weight = sum(score[row] for row in taken)
        mean = sum(score[row] * points[row] for row in taken) / weight
        found.append((mean, score[best]))
    return found
