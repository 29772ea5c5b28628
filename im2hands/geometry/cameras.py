"""Pinhole cameras and the square crops that IntagHand-style image normalisation cuts.

Frames: `world` and `camera` are metric (metres, OpenCV axes: x right, y down, z forward); pixels are (column, row), the
centre of the top-left pixel is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from im2hands.io.errors import DataError

CROP_SIZE = 256
HAND_SHARE = 0.8
"""Part of the crop's side that the longer side of the hands' bounding box fills (IntagHand pre-processing)."""

Affine = Float[np.ndarray, "2 3"]


ROTATION_TOLERANCE = 1e-3


def checked_rotation(matrix: Float[np.ndarray, "3 3"], name: str) -> Float[np.ndarray, "3 3"]:
    """The matrix, if it is a rotation. name: start of the message.  Raises DataError for NaN and for any other matrix."""
    whole = np.shape(matrix) == (3, 3) and np.isfinite(matrix).all()
    if not whole or np.abs(matrix @ matrix.T - np.eye(3)).max() > ROTATION_TOLERANCE or np.linalg.det(matrix) < 0:
        raise DataError(f"{name} is not a rotation matrix; correct it.")
    return matrix


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion.

    intrinsics: K, pixels.  rotation, translation: world -> camera, metres.
    """

    intrinsics: Float[np.ndarray, "3 3"]
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def to_camera(self, world: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """World points (m) in the camera frame (m)."""
        return world @ self.rotation.T + self.translation

    def to_world(self, camera: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Points of the camera frame (m) in the world (m)."""
        return (camera - self.translation) @ self.rotation

    def project(self, world: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 2"]:
        """World points (m) to pixels.

        Raises DataError if a point lies on or behind the camera plane.
        """
        return project(self.to_camera(world), self.intrinsics)

    def cropped(self, affine: Affine) -> Camera:
        """The same camera seen through an affine change of pixels (see `square_crop`)."""
        return Camera(crop_intrinsics(self.intrinsics, affine), self.rotation, self.translation)


def project(
    camera: Float[np.ndarray, "*batch 3"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "*batch 2"]:
    """Points of the camera frame (any unit) to pixels.

    Raises DataError if a point lies on or behind the camera plane.
    """
    depth = camera[..., 2]
    if not (depth > 0).all():
        raise DataError(
            f"{(~(depth > 0)).sum()} of {depth.size} points lie behind the camera; "
            "are the translations in millimetres instead of metres?"
        )
    return (camera @ intrinsics.T)[..., :2] / depth[..., None]


def camera_translation(rotation: Float[np.ndarray, "3 3"], centre: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """Translation (world -> camera) of a camera at `centre`; both in the unit of `centre`."""
    return -rotation @ centre


def square_crop(pixels: Float[np.ndarray, "n 2"], size: int = CROP_SIZE, hand_share: float = HAND_SHARE) -> Affine:
    """The map from image pixels to crop pixels that puts the bounding box of `pixels` in the middle of a square.

    The crop is size x size; the longer side of the box fills `hand_share` of it. Translation and uniform scale only:
    crop = scale * (image - box centre) + size / 2 (IntagHand, CVPR 2022, pre-processing).

    Raises DataError for a box without extent or with non-finite corners.
    """
    if not np.isfinite(pixels).all():
        raise DataError("the projected hands have non-finite pixels, so they have no bounding box.")
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    half_side = (high - low).max() / 2 / hand_share
    if not half_side > 0:
        raise DataError("the projected hands have no extent in the image; is the camera at an infinite distance?")
    scale = size / 2 / half_side
    offset = scale * (half_side - (low + high) / 2)
    return np.array([[scale, 0.0, offset[0]], [0.0, scale, offset[1]]])


def crop_intrinsics(intrinsics: Float[np.ndarray, "3 3"], affine: Affine) -> Float[np.ndarray, "3 3"]:
    """K of the camera whose pixels are those of `intrinsics` after `affine`."""
    return np.vstack([affine, [0.0, 0.0, 1.0]]) @ intrinsics


def crop_axes(intrinsics: Float[np.ndarray, "3 3"], size: int = CROP_SIZE) -> Float[np.ndarray, "3 3"]:
    """Rotation from the camera's axes to those of a camera that looks at the middle of a crop: the least turn that does it.

    A crop alone does not tell where in the picture it was. The same hand beside the middle of a picture is seen from another
    side: turned about the camera by the angle between the rays to both places. In these axes hands that look alike are alike.
    intrinsics: K of the crop's pixels.
    """
    middle = np.array([(size - 1) / 2, (size - 1) / 2, 1.0])
    x, y, z = (ray := np.linalg.solve(intrinsics, middle)) / np.linalg.norm(ray)
    towards = np.array([[0.0, 0.0, -x], [0.0, 0.0, -y], [x, y, 0.0]])  # cross product with ray x axis
    return np.eye(3) + towards + towards @ towards / (1 + z)


def apply_affine(affine: Affine, pixels: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
    """Pixels after an affine map."""
    return pixels @ affine[:, :2].T + affine[:, 2]
