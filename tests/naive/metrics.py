"""Shape metrics by comparing everything with everything: the formulas of the HALO evaluation protocol in plain numpy."""

from __future__ import annotations

import numpy as np


def intersection_over_union(predicted, true, threshold=0.5):
    inside_predicted, inside_true = predicted >= threshold, true >= threshold
    union = (inside_predicted | inside_true).astype(np.float64).sum(-1)
    with np.errstate(invalid="ignore"):
        return (inside_predicted & inside_true).astype(np.float64).sum(-1) / union


def surface_distances(points_pred, normals_pred, points_gt, normals_gt):
    """The fields of im2hands.evaluation.metrics.SurfaceDistances as a dictionary."""
    apart = np.linalg.norm(points_pred[:, None] - points_gt[None], axis=-1)
    normals_pred = normals_pred / np.linalg.norm(normals_pred, axis=1, keepdims=True)
    normals_gt = normals_gt / np.linalg.norm(normals_gt, axis=1, keepdims=True)
    cosines = np.abs(normals_pred @ normals_gt.T)
    to_true, to_pred = apart.min(axis=1), apart.min(axis=0)
    normals_accuracy = cosines[np.arange(len(points_pred)), apart.argmin(axis=1)].mean()
    normals_completeness = cosines[apart.argmin(axis=0), np.arange(len(points_gt))].mean()
    return {
        "completeness": to_pred.mean(),
        "accuracy": to_true.mean(),
        "completeness2": (to_pred**2).mean(),
        "accuracy2": (to_true**2).mean(),
        "chamfer_l1": (to_pred.mean() + to_true.mean()) / 2,
        "chamfer_l2": ((to_pred**2).mean() + (to_true**2).mean()) / 2,
        "normals_completeness": normals_completeness,
        "normals_accuracy": normals_accuracy,
        "normals": (normals_completeness + normals_accuracy) / 2,
    }
