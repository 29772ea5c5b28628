"""Shape metrics between two surfaces or two solids: intersection over union, Chamfer distances, normal consistency.

Every function is unit-free: distances come out in the unit of the points, squared distances in its square. The protocols
(protocols.py) decide on the unit, on the samples and on the values of an empty mesh. Source of the formulas: the HALO
evaluation protocol, as used by Im2Hands (CVPR 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Shaped

from im2hands.geometry.nearest import PointCloud
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
            "both must be for the same points, in the same order."
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


@dataclass(frozen=True, eq=False)
class SampledSurface:
    """Points on a surface with its normals (of any length); what the search needs is built at the first use and kept.

    Raises DataError if there is no point or a value is not finite.
    """

    points: Float[np.ndarray, "points 3"]
    normals: Float[np.ndarray, "points 3"]

    def __post_init__(self) -> None:
        points, normals = np.asarray(self.points, np.float64), np.asarray(self.normals, np.float64)
        if points.ndim != 2 or points.shape[1] != 3 or not len(points) or normals.shape != points.shape:
            raise DataError(
                f"a sampled surface needs points and normals of shape (n, 3) with n > 0, not {points.shape} and "
                f"{normals.shape}; was the mesh empty?"
            )
        if not (np.isfinite(points).all() and np.isfinite(normals).all()):
            raise DataError(
                f"{(~np.isfinite(points + normals)).any(axis=1).sum()} of {len(points)} samples are not finite."
            )
        length = np.linalg.norm(normals, axis=-1, keepdims=True)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "normals", normals / np.where(length > 0, length, 1.0))

    @cached_property
    def cloud(self) -> PointCloud:
        return PointCloud(self.points)

    def nearest(self, other: SampledSurface) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
        """From each of these points: distance to the nearest of `other`, and the absolute cosine between the two normals."""
        distances, indices = self.cloud.nearest_in(other.cloud)
        return distances, np.abs(np.einsum("ij,ij->i", self.normals, other.normals[indices]))

    def distances_to(self, true: SampledSurface) -> SurfaceDistances:
        """Distances of this surface, the predicted one, to the true one."""
        to_predicted, cosines_completeness = true.nearest(self)
        to_true, cosines_accuracy = self.nearest(true)
        completeness, accuracy = float(to_predicted.mean()), float(to_true.mean())
        completeness2, accuracy2 = float(np.square(to_predicted).mean()), float(np.square(to_true).mean())
        normals_completeness, normals_accuracy = float(cosines_completeness.mean()), float(cosines_accuracy.mean())
        return SurfaceDistances(
            completeness=completeness,
            accuracy=accuracy,
            completeness2=completeness2,
            accuracy2=accuracy2,
            chamfer_l1=0.5 * (completeness + accuracy),
            chamfer_l2=0.5 * (completeness2 + accuracy2),
            normals_completeness=normals_completeness,
            normals_accuracy=normals_accuracy,
            normals=0.5 * (normals_completeness + normals_accuracy),
        )


def surface_distances(
    points_pred: Float[np.ndarray, "predicted 3"],
    normals_pred: Float[np.ndarray, "predicted 3"],
    points_gt: Float[np.ndarray, "true 3"],
    normals_gt: Float[np.ndarray, "true 3"],
) -> SurfaceDistances:
    """Distances between two point-sampled surfaces, by nearest neighbours in float64.

    Raises DataError if a set is empty or contains a value that is not finite.
    """
    return SampledSurface(points_pred, normals_pred).distances_to(SampledSurface(points_gt, normals_gt))


def _inside(values: np.ndarray, threshold: float) -> Bool[np.ndarray, "*batch points"]:
    values = np.asarray(values)
    return values if values.dtype == bool else values >= threshold
