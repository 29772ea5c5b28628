"""Shape metrics between two surfaces or two solids: intersection over union, Chamfer distances, normal consistency.

Every function is unit-free: distances come out in the unit of the points, squared distances in its square. The protocols
(protocols.py) decide on the unit, on the samples and on the values of an empty mesh. Source of the formulas: the HALO
evaluation protocol, as used by Im2Hands (CVPR 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.spatial import cKDTree

from im2hands.io.errors import DataError


def intersection_over_union(
    predicted: Shaped[np.ndarray, "*batch points"],
    true: Shaped[np.ndarray, "*#batch points"],
    threshold: float = 0.5,
) -> Float[np.ndarray, "*batch"]:
    """|A and B| / |A or B| of the points whose value is at least `threshold`, along the last axis; NaN if the union is empty.

    predicted, true: occupancies or labels of the same points (bool counts as 0 and 1); `true` may be one row for a whole batch.
    Raises DataError if the numbers of points differ.
    """
    inside_predicted, inside_true = _inside(predicted, threshold), _inside(true, threshold)
    if inside_predicted.shape[-1] != inside_true.shape[-1]:
        raise DataError(
            f"{inside_predicted.shape[-1]} predicted occupancies for {inside_true.shape[-1]} true ones; "
            "both must belong to the same points, in the same order."
        )
    shared = np.count_nonzero(inside_predicted & inside_true, axis=-1)
    union = np.count_nonzero(inside_predicted | inside_true, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.true_divide(shared, union)


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two sampled surfaces, in the unit of the points (`*2` in its square).

    completeness: mean distance from a true point to the nearest predicted one; accuracy: the reverse.
    chamfer_l1: the mean of both, unsquared; chamfer_l2: the mean of the two mean squared distances.
    normals_*: mean absolute cosine between the normals of such pairs; normals: the mean of both directions (1 is best).
    """

    completeness: float
    accuracy: float
    completeness2: float
    accuracy2: float
    chamfer_l1: float
    chamfer_l2: float
    normals_completeness: float
    normals_accuracy: float
    normals: float


def surface_distances(
    points_pred: Float[np.ndarray, "predicted 3"],
    normals_pred: Float[np.ndarray, "predicted 3"],
    points_gt: Float[np.ndarray, "true 3"],
    normals_gt: Float[np.ndarray, "true 3"],
) -> SurfaceDistances:
    """Distances between two point-sampled surfaces, by nearest neighbours in float64.

    The normals need not be of unit length. Raises DataError if a set is empty or holds a value that is not finite.
    """
    to_predicted, dot_completeness = _nearest(points_gt, normals_gt, points_pred, normals_pred, "ground truth", "prediction")
    to_true, dot_accuracy = _nearest(points_pred, normals_pred, points_gt, normals_gt, "prediction", "ground truth")
    completeness, accuracy = to_predicted.mean(), to_true.mean()
    completeness2, accuracy2 = np.square(to_predicted).mean(), np.square(to_true).mean()
    normals_completeness, normals_accuracy = dot_completeness.mean(), dot_accuracy.mean()
    return SurfaceDistances(
        completeness=float(completeness),
        accuracy=float(accuracy),
        completeness2=float(completeness2),
        accuracy2=float(accuracy2),
        chamfer_l1=float(0.5 * (completeness + accuracy)),
        chamfer_l2=float(0.5 * (completeness2 + accuracy2)),
        normals_completeness=float(normals_completeness),
        normals_accuracy=float(normals_accuracy),
        normals=float(0.5 * (normals_completeness + normals_accuracy)),
    )


def nearest_distances(
    points: Float[np.ndarray, "queries 3"],
    normals: Float[np.ndarray, "queries 3"],
    other_points: Float[np.ndarray, "others 3"],
    other_normals: Float[np.ndarray, "others 3"],
) -> tuple[Float[np.ndarray, " queries"], Float[np.ndarray, " queries"]]:
    """Distance from each point to the nearest other one, and the absolute cosine between the two normals.

    Raises DataError if a set is empty or holds a value that is not finite.
    """
    return _nearest(points, normals, other_points, other_normals, "first", "second")


def _nearest(
    points: np.ndarray, normals: np.ndarray, others: np.ndarray, other_normals: np.ndarray, name: str, other_name: str
) -> tuple[np.ndarray, np.ndarray]:
    points, others = _checked(points, name), _checked(others, other_name)
    distances, indices = cKDTree(others).query(points, workers=1)
    cosines = np.einsum("ij,ij->i", _unit(normals), _unit(other_normals)[indices])
    return distances, np.abs(cosines)


def _inside(values: np.ndarray, threshold: float) -> Bool[np.ndarray, "*batch points"]:
    values = np.asarray(values)
    return values if values.dtype == bool else values >= threshold


def _checked(points: np.ndarray, name: str) -> Float[np.ndarray, "points 3"]:
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise DataError(f"the {name} points have shape {points.shape}, expected at least one row of 3; is the mesh empty?")
    if not np.isfinite(points).all():
        raise DataError(f"{(~np.isfinite(points)).any(1).sum()} of {len(points)} {name} points are not finite.")
    return points


def _unit(normals: np.ndarray) -> Float[np.ndarray, "points 3"]:
    normals = np.asarray(normals, np.float64)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return normals / np.where(length > 0, length, 1.0)
