"""Errors of keypoints and vertices of two hands, in millimetres, under protocols that are named because they decide the number.

Root-relative protocols work on metres in any frame, joints in STANDARD order, one hand at a time; nothing is rotated or
masked. `INTAGHAND` is the protocol of IntagHand (CVPR 2022) and of papers after it, Im2Hands (CVPR 2023) included: truth and
prediction are `regressed` keypoints, each moved to its own middle knuckle, the prediction scaled by the ratio of the distances
from wrist to middle knuckle. It does not measure the relative position of the hands; `root_offset_error` does.

The protocol of InterHand2.6M (ECCV 2020) is in `interhand_metrics.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from im2hands.hands.joints import MIDDLE_BASE, WRIST
from im2hands.io.errors import DataError

MILLIMETRES = 1000.0


@dataclass(frozen=True)
class RootProtocol:
    """How a hand is laid over the true one before distances are measured.

    root: STANDARD joint that is moved to the origin, in truth and prediction.  scaled: the prediction is multiplied by the true
    over its own distance from wrist to middle knuckle.
    """

    name: str
    root: int
    scaled: bool


INTAGHAND = RootProtocol("middle knuckle, bone ratio", MIDDLE_BASE, scaled=True)
WRIST_SCALED = RootProtocol("wrist, bone ratio", WRIST, scaled=True)
KNUCKLE_UNSCALED = RootProtocol("middle knuckle, unscaled", MIDDLE_BASE, scaled=False)
WRIST_UNSCALED = RootProtocol("wrist, unscaled", WRIST, scaled=False)
PROTOCOLS = (INTAGHAND, WRIST_SCALED, KNUCKLE_UNSCALED, WRIST_UNSCALED)


@dataclass(frozen=True)
class MeanError:
    """A mean over samples. unusable: samples without a finite error (no bone length to scale by), which are left out."""

    millimetres: float
    samples: int
    unusable: int


def joint_errors(
    predicted: Float[np.ndarray, "samples 21 3"],
    true: Float[np.ndarray, "samples 21 3"],
    protocol: RootProtocol = INTAGHAND,
) -> Float[np.ndarray, "samples 21"]:
    """Distance of every joint (mm); the root's is 0 and counts. NaN for a prediction that cannot be scaled."""
    return point_errors(predicted, true, predicted, true, protocol)


def point_errors(
    predicted: Float[np.ndarray, "samples points 3"],
    true: Float[np.ndarray, "samples points 3"],
    predicted_joints: Float[np.ndarray, "samples 21 3"],
    true_joints: Float[np.ndarray, "samples 21 3"],
    protocol: RootProtocol = INTAGHAND,
) -> Float[np.ndarray, "samples points"]:
    """Distance of corresponding points, vertices say (mm), after the hands were laid over each other by their joints.

    Points in metres. NaN for samples with a prediction that cannot be scaled.  Raises DataError if shapes do not agree.
    """
    predicted, true, predicted_joints, true_joints = (
        np.asarray(values, np.float64) for values in (predicted, true, predicted_joints, true_joints)
    )
    if predicted.shape != true.shape or predicted_joints.shape != true_joints.shape:
        raise DataError(
            f"predicted points {predicted.shape} and joints {predicted_joints.shape} do not match the true ones, "
            f"{true.shape} and {true_joints.shape}."
        )
    if predicted_joints.ndim != 3 or predicted_joints.shape[1:] != (21, 3) or len(predicted) != len(predicted_joints):
        raise DataError(f"joints must have shape (samples, 21, 3), one row per sample, not {predicted_joints.shape}.")
    root = slice(protocol.root, protocol.root + 1)
    difference = predicted - predicted_joints[:, root]
    if protocol.scaled:
        difference = difference * bone_ratio(predicted_joints, true_joints)[:, None, None]
    return np.linalg.norm(difference - (true - true_joints[:, root]), axis=-1) * MILLIMETRES


def bone_ratio(
    predicted_joints: Float[np.ndarray, "samples 21 3"], true_joints: Float[np.ndarray, "samples 21 3"]
) -> Float[np.ndarray, " samples"]:
    """True over predicted distance from wrist to middle knuckle; NaN where the predicted one is 0."""
    true, predicted = _reference_bone(true_joints), _reference_bone(predicted_joints)
    return np.divide(true, predicted, out=np.full_like(true, np.nan), where=predicted > 0)


def mean_error(errors: Float[np.ndarray, "samples points"]) -> MeanError:
    """Mean of all points of the usable samples (MPJPE, MPVPE)."""
    usable = np.isfinite(errors).all(axis=1)
    mean = float(errors[usable].mean()) if usable.any() else float("nan")
    return MeanError(mean, len(errors), int((~usable).sum()))


def root_offset_error(
    predicted_left: Float[np.ndarray, "samples 3"],
    predicted_right: Float[np.ndarray, "samples 3"],
    true_left: Float[np.ndarray, "samples 3"],
    true_right: Float[np.ndarray, "samples 3"],
) -> Float[np.ndarray, " samples"]:
    """Error of the offset from the left root to the right one (mm): MRRPE is its mean.

    Roots (wrists, or middle knuckles) in metres, both hands of a sample in one frame; nothing is scaled.
    """
    predicted = np.asarray(predicted_right, np.float64) - np.asarray(predicted_left, np.float64)
    true = np.asarray(true_right, np.float64) - np.asarray(true_left, np.float64)
    return np.linalg.norm(predicted - true, axis=-1) * MILLIMETRES


def _reference_bone(joints: Float[np.ndarray, "samples 21 3"]) -> Float[np.ndarray, " samples"]:
    return np.linalg.norm(joints[:, MIDDLE_BASE] - joints[:, WRIST], axis=-1)
