"""The metrics of InterHand2.6M (ECCV 2020) for detectors that give heat map coordinates of 42 joints.

Joints: right hand, then left, each in INTERHAND order (tips to bases, wrist last). Camera frame, OpenCV axes, millimetres as in
the annotation files. Heat maps have 64 bins per axis: x and y over the 256-pixel crop, depth over 400 mm about the own wrist.
Depths of wrists are the true ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from im2hands.hands.joints import WRIST, JointOrder
from im2hands.io.errors import DataError

JOINTS = 21
RIGHT_WRIST = JointOrder.INTERHAND.value.index(WRIST)
LEFT_WRIST = JOINTS + RIGHT_WRIST
OWN_WRIST = np.repeat([RIGHT_WRIST, LEFT_WRIST], JOINTS)
HEAT_MAP_BINS, CROP_PIXELS, DEPTH_RANGE_MM = 64, 256, 400.0
HAND_TYPES = ("right", "left", "interacting")
PRESENT = 0.5
"""Probability above which a hand counts as seen."""


@dataclass(frozen=True, eq=False)
class InterHandTruth:
    """Annotations of a set of frames.

    joints: camera frame, mm.  valid: validity of every joint; a joint also needs a valid wrist of its hand, which is checked
    here. hand_types: right, left or interacting.  type_valid: whether that is known.  focal, principal_point: pixels, one row
    per frame or one for all.  image_from_crop: affine maps from the crop's pixels to the image's.
    """

    joints: Float[np.ndarray, "frames 42 3"]
    valid: Bool[np.ndarray, "frames 42"]
    hand_types: Sequence[str]
    type_valid: Bool[np.ndarray, " frames"]
    focal: Float[np.ndarray, "#frames 2"]
    principal_point: Float[np.ndarray, "#frames 2"]
    image_from_crop: Float[np.ndarray, "frames 2 3"]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.hand_types) - set(HAND_TYPES))
        if unknown:
            raise DataError(f"unknown hand type {unknown[0]!r}; InterHand2.6M has {', '.join(HAND_TYPES)}.")
        if not len(self.joints) == len(self.valid) == len(self.hand_types) == len(self.image_from_crop):
            raise DataError("joints, validity, hand types and crops must have the same number of frames.")

    @property
    def usable(self) -> Bool[np.ndarray, "frames 42"]:
        """Joints that are annotated together with their own wrist."""
        valid = np.asarray(self.valid) > 0
        return valid & valid[:, OWN_WRIST]

    @property
    def interacting(self) -> Bool[np.ndarray, " frames"]:
        return np.array([kind == "interacting" for kind in self.hand_types], bool)


@dataclass(frozen=True, eq=False)
class HeatMapPrediction:
    """What a detector gives for the same frames.

    coordinates: x, y, depth in bins.  left_depth: depth of the left wrist relative to the right one, in bins.
    presence: probability of a right and of a left hand.
    """

    coordinates: Float[np.ndarray, "frames 42 3"]
    left_depth: Float[np.ndarray, " frames"]
    presence: Float[np.ndarray, "frames 2"]


def joint_errors(truth: InterHandTruth, prediction: HeatMapPrediction) -> Float[np.ndarray, "frames 42"]:
    """Distance of every joint relative to its own wrist (mm); NaN where truth is missing."""
    depth = truth.joints[:, OWN_WRIST, 2] + bins_to_depth(prediction.coordinates[..., 2])
    predicted = _back_projected(truth, prediction, depth)
    difference = (predicted - predicted[:, OWN_WRIST]) - (truth.joints - truth.joints[:, OWN_WRIST])
    return np.where(truth.usable, np.linalg.norm(difference, axis=-1), np.nan)


def mean_per_joint(errors: Float[np.ndarray, "frames 42"]) -> float:
    """MPJPE (mm): the mean over frames of every joint, then the mean over joints, wrists (0) included.

    Not the mean of all errors. Joints that are valid in no frame are left out; NaN if there is none.
    """
    seen = np.isfinite(errors)
    counts = seen.sum(axis=0)
    means = np.where(seen, errors, 0.0).sum(axis=0)[counts > 0] / counts[counts > 0]
    return float(means.mean()) if len(means) else float("nan")


def relative_root_errors(truth: InterHandTruth, prediction: HeatMapPrediction) -> Float[np.ndarray, " frames"]:
    """Error of the offset between the wrists (mm; MRRPE is the mean); NaN unless interacting with both wrists annotated.

    Both predicted wrists keep the depth of their own heat map.
    """
    own_depth = bins_to_depth(prediction.coordinates[..., 2])
    right = truth.joints[:, RIGHT_WRIST, 2]
    depth = right[:, None] + own_depth
    depth[:, LEFT_WRIST] += bins_to_depth(np.asarray(prediction.left_depth, np.float64))
    predicted = _back_projected(truth, prediction, depth)
    offset = (predicted[:, LEFT_WRIST] - predicted[:, RIGHT_WRIST]) - (
        truth.joints[:, LEFT_WRIST] - truth.joints[:, RIGHT_WRIST]
    )
    counted = truth.interacting & truth.usable[:, RIGHT_WRIST] & truth.usable[:, LEFT_WRIST]
    return np.where(counted, np.linalg.norm(offset, axis=-1), np.nan)


def handedness_accuracy(truth: InterHandTruth, prediction: HeatMapPrediction) -> float:
    """Share of the frames of known type whose hands, and no other, are seen; NaN if there is no such frame."""
    seen = np.asarray(prediction.presence) > PRESENT
    unseen = np.asarray(prediction.presence) < PRESENT
    right_only, left_only, both = seen[:, 0] & unseen[:, 1], unseen[:, 0] & seen[:, 1], seen.all(axis=1)
    correct = {"right": right_only, "left": left_only, "interacting": both}
    hits = np.array([correct[kind][frame] for frame, kind in enumerate(truth.hand_types)], bool)
    known = np.asarray(truth.type_valid) > 0
    return float(hits[known].mean()) if known.any() else float("nan")


def bins_to_depth(bins: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Relative depth (mm) of heat map bins: 64 bins over 400 mm, the middle is 0."""
    return (bins / HEAT_MAP_BINS - 0.5) * DEPTH_RANGE_MM


def _back_projected(
    truth: InterHandTruth, prediction: HeatMapPrediction, depth: Float[np.ndarray, "frames 42"]
) -> Float[np.ndarray, "frames 42 3"]:
    """Predicted joints in the camera frame (mm), at the given depths."""
    crop = prediction.coordinates[..., :2] * (CROP_PIXELS / HEAT_MAP_BINS)
    affine = np.asarray(truth.image_from_crop, np.float64)
    pixels = np.einsum("fij,fnj->fni", affine[..., :2], crop) + affine[:, None, :, 2]
    rays = (pixels - np.atleast_2d(truth.principal_point)[:, None]) / np.atleast_2d(truth.focal)[:, None]
    return np.concatenate([rays * depth[..., None], depth[..., None]], axis=-1)
