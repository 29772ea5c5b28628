"""Heat maps of hand joints: drawing, and the JPEG chain of the published data files.

Positions are heat-map pixels; a heat map is 64 x 64 over a 256 x 256 crop, and a crop pixel divided by 4 is its heat-map
pixel (no half-pixel shift: IntagHand's convention, kept in both behaviours).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

HEAT_MAP_SIZE = 64
SIGMA = 2.0
MAPS_PER_FILE = 3
JPEG_QUALITY = 95


def draw_heat_maps(
    joints: Float[np.ndarray, "n 2"], size: int = HEAT_MAP_SIZE, sigma: float = SIGMA
) -> Float[np.ndarray, "n size size"]:
    """One Gaussian of peak 1 per joint, float32, without a cut-off radius.

    joints: (x, y), heat-map pixels; the centre is not rounded. The map of a joint outside [0, size) is all zero.
    sigma: heat-map pixels.
    """
    grid = np.arange(size, dtype=np.float64)
    profiles = np.exp(-((grid - joints[..., None]) ** 2) / (2 * sigma**2))
    inside = ((joints >= 0) & (joints < size)).all(axis=-1)
    profiles = np.where(inside[:, None, None], profiles, 0.0)
    return (profiles[:, 1, :, None] * profiles[:, 0, None, :]).astype(np.float32)


def pass_through_jpeg(
    maps: Float[np.ndarray, "n h w"], quality: int = JPEG_QUALITY
) -> UInt8[np.ndarray, "files h w 3"]:
    """The published storage: three maps as the colour channels of one JPEG, as they come back from the file.

    n must be a multiple of 3. Chroma subsampling leaks between the three maps, by up to a fifth of the height.
    """
    if len(maps) % MAPS_PER_FILE:
        raise ValueError(f"{len(maps)} heat maps do not fill files of {MAPS_PER_FILE}")
    grey = np.clip(np.rint(maps * 255), 0, 255).astype(np.uint8)
    files = [
        np.ascontiguousarray(np.moveaxis(three, 0, -1)) for three in grey.reshape(-1, MAPS_PER_FILE, *maps.shape[1:])
    ]
    return np.stack([jpeg_round_trip(image, quality) for image in files])


def jpeg_round_trip(image: UInt8[np.ndarray, "h w 3"], quality: int = JPEG_QUALITY) -> UInt8[np.ndarray, "h w 3"]:
    """A three-channel image as it comes back from a JPEG file."""
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def stack_files(files: Sequence[UInt8[np.ndarray, "h w 3"]]) -> UInt8[np.ndarray, "n h w"]:
    """The maps of several files one after another."""
    return np.concatenate([np.moveaxis(file, -1, 0) for file in files])
