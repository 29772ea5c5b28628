"""Landmarks of any detector, in metres before the camera: 2-D pixels and relative 3-D of each hand, placed by perspective.

A detector knows where 21 landmarks are in the picture, and their shape in space up to place and size. Given the camera and
the size of the palm, the place follows: the hand is as far away as its size in the picture says. Size and place are solved for
each hand by itself; two hands of one person share the size of the palm, and so their relative placement is metric.

Landmarks are in STANDARD order (wrist, then thumb to little finger from base to tip), which is also the order of MediaPipe.
Camera frame: x right, y down, z forward, metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from im2hands.geometry.cameras import Camera
from im2hands.hands.joints import FINGER_BASES, WRIST
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError

FEWEST = 6
"""Landmarks in the picture that a hand needs; others may be NaN."""
OUTLIER_PX = 5.0
"""Pixels from where on an error counts less and less, for a hand that measures 100 pixels in the picture."""
Axes = Literal["camera", "ray", "free"]


@dataclass(frozen=True, eq=False)
class Landmarks:
    """What a detector says of one hand.

    pixels: in the picture, (0, 0) the centre of its first pixel; NaN for landmarks that it does not see.
    relative: x right, y down, z away from the camera; any unit and origin.  None for a detector that knows pixels alone.
    """

    pixels: Float[np.ndarray, "21 2"]
    relative: Float[np.ndarray, "21 3"] | None = None


@dataclass(frozen=True, eq=False)
class PlacedHand:
    """keypoints: camera frame, m, STANDARD order.  errors: from the pixels (px), NaN where none was given."""

    keypoints: Float[np.ndarray, "21 3"]
    errors: Float[np.ndarray, " 21"]


@cache
def typical_palm() -> float:
    """Size of the palm of the built-in mean hand, m."""
    model = builtin_hand_models()[Side.RIGHT]
    zeros = model.mean_pose.new_zeros
    return palm_size(model.pose(zeros(1, 48), zeros(1, 10)).keypoints[0].numpy())


def palm_size(keypoints: Float[np.ndarray, "21 3"]) -> float:
    """Mean distance of the four finger bases from the wrist, in the unit of the keypoints."""
    return float(np.linalg.norm(keypoints[list(FINGER_BASES)] - keypoints[WRIST], axis=-1).mean())


def keypoints_from_landmarks(
    hands: Mapping[Side, Landmarks], camera: Camera, palm: float | None = None, axes: Axes = "camera"
) -> Float[np.ndarray, "2 21 3"]:
    """Keypoints of both hands (world, m, order of `Side.index`) from a detector's landmarks; NaN for a hand that it has not.

    camera: camera of the picture.  palm, axes: see place_hand.  Raises DataError as place_hand does, with the hand's side.
    """
    keypoints = np.full((2, 21, 3), np.nan)
    for side, landmarks in hands.items():
        try:
            placed = place_hand(landmarks, camera.intrinsics, palm, axes)
        except DataError as error:
            raise DataError(f"{side.value} hand: {error}") from None
        keypoints[side.index] = camera.to_world(placed.keypoints)
    return keypoints


def place_hand(
    landmarks: Landmarks,
    intrinsics: Float[np.ndarray, "3 3"],
    palm: float | None = None,
    axes: Axes = "camera",
) -> PlacedHand:
    """One hand's keypoints in metres before the camera, so that they project to the pixels.

    palm: size of the palm (see palm_size) in m, by default that of the mean hand: an error of 5 % in it is one of 5 % in the
    distance from the camera.
    axes: axes of the relative landmarks: `camera` if they are parallel to the camera's; `ray` if z is the direction in which
    the hand is seen, as of networks that look at a crop; `free` if their orientation is to be solved too.
    Errors beyond OUTLIER_PX count less and less, so that a few wrong landmarks do little.
    Raises DataError for wrong shapes, fewer than FEWEST landmarks, a palm without extent, or a hand behind the camera.
    """
    pixels, relative = _checked(landmarks)
    seen = np.isfinite(pixels).all(axis=1)
    size = palm_size(relative)
    if size <= 1e-9 * np.abs(relative).max(initial=1e-9):
        raise DataError("the relative landmarks of the palm coincide, so the hand has no size.")
    shape = (relative - relative[WRIST]) * ((palm or typical_palm()) / size)
    rays = rays_of(pixels, intrinsics)
    turn = Rotation.identity() if axes == "camera" else towards(np.nanmean(rays[seen], axis=0))
    start = _linear_place(turn.apply(shape[seen]), rays[seen])
    if not start[2] + turn.apply(shape)[:, 2].min() > 0:
        raise DataError(
            "the hand would be behind the camera; does z of the relative landmarks point away from it, and do the pixels match?"
        )
    extent = np.ptp(pixels[seen], axis=0).max()

    def placed(unknown: np.ndarray) -> np.ndarray:
        place = np.array([unknown[0], unknown[1], 1.0]) * np.exp(unknown[2])
        return (Rotation.from_rotvec(unknown[3:]) * turn if axes == "free" else turn).apply(shape) + place

    def residuals(unknown: np.ndarray) -> np.ndarray:
        return (_project(placed(unknown)[seen], intrinsics) - pixels[seen]).ravel()

    unknown = np.concatenate([start[:2] / start[2], [np.log(start[2])], np.zeros(3 if axes == "free" else 0)])
    scale = OUTLIER_PX * max(extent, 1e-6) / 100
    solved = least_squares(residuals, unknown, loss="cauchy", f_scale=scale, x_scale="jac", xtol=1e-12, ftol=1e-12)
    keypoints = placed(solved.x)
    if not (keypoints[:, 2] > 0).all():
        raise DataError(
            "a part of the hand would be behind the camera; do camera and pixels belong to the same picture?"
        )
    return PlacedHand(keypoints, np.linalg.norm(_project(keypoints, intrinsics) - pixels, axis=1))


def _checked(landmarks: Landmarks) -> tuple[np.ndarray, np.ndarray]:
    pixels, relative = (np.asarray(x, np.float64) for x in (landmarks.pixels, landmarks.relative))
    if pixels.shape != (21, 2) or relative.shape != (21, 3):
        raise DataError(f"landmarks have shapes {pixels.shape} and {relative.shape}, not (21, 2) and (21, 3).")
    if not np.isfinite(relative).all():
        raise DataError("the relative landmarks contain numbers that are not finite.")
    seen = np.isfinite(pixels).all(axis=1)
    if seen.sum() < FEWEST:
        raise DataError(f"only {seen.sum()} landmarks have pixels; at least {FEWEST} are needed.")
    if np.ptp(pixels[seen], axis=0).max() <= 0:
        raise DataError("all landmarks are in one pixel, so the distance of the hand is unknown.")
    return pixels, relative


def rays_of(
    pixels: Float[np.ndarray, "points 2"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "points 3"]:
    """Directions in which pixels are seen, at depth 1."""
    whole = np.column_stack([pixels, np.ones(len(pixels))])
    return whole @ np.linalg.inv(intrinsics).T


def _project(
    points: Float[np.ndarray, "points 3"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "points 2"]:
    """As cameras.project, without its check: the solver may pass behind the camera on its way."""
    seen = points @ np.asarray(intrinsics, np.float64).T
    return seen[:, :2] / np.maximum(seen[:, 2:], 1e-9)


def towards(ray: Float[np.ndarray, " 3"]) -> Rotation:
    """The smallest turn that takes the camera's axis into a ray."""
    ray = ray / np.linalg.norm(ray)
    axis = np.cross([0.0, 0.0, 1.0], ray)
    sine = np.linalg.norm(axis)
    return Rotation.from_rotvec(axis * (np.arctan2(sine, ray[2]) / sine if sine > 0 else 0.0))


def _linear_place(shape: Float[np.ndarray, "points 3"], rays: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " 3"]:
    """The translation with the smallest squared distance of shape + translation from the rays, measured across the axis.

    Every landmark says twice: x + t_x = r_x (z + t_z).
    """
    rows, wanted = [], []
    for axis in (0, 1):
        rows.append(np.column_stack([*(np.full(len(rays), float(axis == k)) for k in (0, 1)), -rays[:, axis]]))
        wanted.append(rays[:, axis] * shape[:, 2] - shape[:, axis])
    return np.linalg.lstsq(np.concatenate(rows), np.concatenate(wanted), rcond=None)[0]
