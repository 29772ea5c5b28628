"""Both hands from their pixels alone, for detectors that know nothing of depth: the hands of a person that lie on the pixels.

The keypoint prior makes hands of the flat points, and a fit to the pixels moves them until they match (`hand_fit`). How far
away a hand is follows from the size that hands have, so distance and size are uncertain together; what comes out says by how
much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.geometry.cameras import Camera
from im2hands.hands.joints import WRIST
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.networks.keypoint_prior import NAME as KEYPOINT_PRIOR
from im2hands.networks.keypoint_prior import KeypointPriorNetwork, load_keypoint_prior
from im2hands.networks.model_folder import built_in
from im2hands.photographs.hand_fit import POINTS, Evidence, HandFit
from im2hands.photographs.landmarks import FEWEST, palm_size
from im2hands.reconstruction.likely_keypoints import likely_hands

SPREAD = 0.17
"""Metres: size in the picture plane that a hand is first taken for."""
FLAT_SIGMA = 0.03
"""Metres: standard deviation that the prior is told for joints which are put onto one plane."""
SIGMA_SHARE, SIGMA_PX = 0.02, 1.0
"""Standard deviation of a detector's pixels: share of the hand's extent in the picture, and at least so many pixels."""
RANGE_90 = 1.645
MOST_NOISE_MM = 50.0


@dataclass(frozen=True, eq=False)
class PixelHands:
    """keypoints: left, right; world, m; NaN for a hand without pixels.

    sigma: standard deviation per coordinate of every joint about its wrist (m).  distance: of each hand's middle from the
    camera, along its axis (m), with the ends of its 90 % interval; NaN likewise.
    """

    keypoints: Float[np.ndarray, "2 21 3"]
    sigma: Float[np.ndarray, "2 21"]
    distance: Float[np.ndarray, "2 3"]


def hands_from_pixels(
    pixels: Mapping[Side, Float[np.ndarray, "21 2"]], camera: Camera, palm: float | None = None
) -> PixelHands:
    """The likeliest hands on these pixels.

    pixels: of each hand, STANDARD order, NaN where a joint is not seen.  camera: camera of the picture.  palm: size of the palm
    if it is known (m, see `landmarks.palm_size`); then both hands are scaled to it, which keeps them on their pixels.
    Raises DataError for a hand with fewer than FEWEST pixels or all of them in one place.
    """
    given = np.full((1, len(SIDES), POINTS, 2), np.nan)
    sigma = np.ones((1, len(SIDES), POINTS))
    for side, places in pixels.items():
        seen = np.isfinite(places).all(axis=1)
        if seen.sum() < FEWEST:
            raise DataError(
                f"{side.value} hand: only {seen.sum()} landmarks have pixels; at least {FEWEST} are needed."
            )
        extent = float(np.ptp(places[seen], axis=0).max())
        if extent <= 0:
            raise DataError(f"{side.value} hand: all landmarks are in one pixel, so its distance is unknown.")
        given[0, side.index], sigma[0, side.index] = places, max(SIGMA_SHARE * extent, SIGMA_PX)
    network, fit = prior_network(), builtin_fit()
    intrinsics, pixel = torch.from_numpy(np.asarray(camera.intrinsics, np.float64))[None], torch.from_numpy(given)
    flat = flat_hands(pixel, intrinsics)
    with torch.no_grad():
        start = network(flat.float(), torch.full(flat.shape[:-1], FLAT_SIGMA))
    found = fit.fit(Evidence(intrinsics, pixel, torch.from_numpy(sigma)), start)
    return described_hands(found.keypoints[0].numpy(), found.covariance[0].numpy(), set(pixels), camera, palm)


def flat_hands(
    pixels: Float[Tensor, "pairs 2 21 2"], intrinsics: Float[Tensor, "pairs 3 3"]
) -> Float[Tensor, "pairs 2 21 3"]:
    """Joints on a plane at the distance at which each hand has the size of a hand; camera frame, m; NaN where unseen."""
    rays = torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1) @ torch.linalg.inv(intrinsics)[:, None].mT
    extent = torch.stack([_extent(rays[:, hand, :, :2]) for hand in range(len(SIDES))], 1)
    return rays * (SPREAD / extent.clamp_min(1e-6))[..., None, None]


def _extent(points: Float[Tensor, "pairs 21 2"]) -> Float[Tensor, " pairs"]:
    """Diagonal of the box around the points that are seen."""
    seen = points.isfinite()
    high = torch.where(seen, points, -torch.inf).amax(1)
    low = torch.where(seen, points, torch.inf).amin(1)
    return (high - low).nan_to_num(0.0, 0.0, 0.0).norm(dim=-1)


def described_hands(
    keypoints: Float[np.ndarray, "2 21 3"],
    covariance: Float[np.ndarray, "2 63 63"],
    there: set[Side],
    camera: Camera,
    palm: float | None,
) -> PixelHands:
    sigma, distance = np.full((len(SIDES), POINTS), np.nan), np.full((len(SIDES), 3), np.nan)
    size = np.mean([palm_size(keypoints[side.index]) for side in there])
    scale = 1.0 if palm is None else palm / size
    world = np.full(keypoints.shape, np.nan)
    for side in there:
        hand = side.index
        of_axes = covariance[hand].reshape(POINTS, 3, POINTS, 3)
        variance = np.einsum("jcjc->jc", of_axes) + np.einsum("cc->c", of_axes[WRIST, :, WRIST])
        variance -= 2 * np.einsum("jcc->jc", of_axes[:, :, WRIST])
        sigma[hand] = scale * np.sqrt(np.maximum(variance, 0).mean(axis=1))
        middle = scale * keypoints[hand, :, 2].mean()
        deviation = 0.0 if palm is not None else np.sqrt(of_axes[:, 2, :, 2].mean())
        distance[hand] = middle + RANGE_90 * deviation * np.array([0.0, -1.0, 1.0])
        world[hand] = camera.to_world(scale * keypoints[hand])
    return PixelHands(world, sigma, distance)


def corrected(keypoints: Float[np.ndarray, "2 21 3"], noise_mm: float) -> Float[np.ndarray, "2 21 3"]:
    """Keypoints (m) with errors of this standard deviation per coordinate, corrected by the prior; a missing hand stays so."""
    likely = likely_hands(prior_network(), keypoints[None], noise_mm / 1000)[0]
    return np.where(np.isfinite(keypoints), likely, np.nan)


def check_noise(noise_mm: float | None) -> None:
    """Raises DataError for what is no standard deviation of a hand's keypoints."""
    if noise_mm is not None and not 0 < noise_mm <= MOST_NOISE_MM:
        raise DataError(f"--noise-mm {noise_mm:g}: give a standard deviation from 0 to {MOST_NOISE_MM:g} mm.")


@cache
def prior_network() -> KeypointPriorNetwork:
    return load_keypoint_prior(built_in(KEYPOINT_PRIOR))[0]


@cache
def builtin_fit() -> HandFit:
    return HandFit(builtin_hand_models())
