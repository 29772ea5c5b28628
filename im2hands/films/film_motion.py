"""From what a detector found in a film's pictures to the motion of one person's hands, with its uncertainty.

World: the frame that the cameras' rotations and translations start from; metres. The motion is smoothed in the camera's frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from im2hands.films.detections import Detection
from im2hands.films.motion import FilmClock, HandMotion
from im2hands.films.smoothing import FilmShape, Piece, film_shape, smooth_motion
from im2hands.films.tracking import LONGEST_GAP, Followed, follow
from im2hands.geometry.cameras import Camera
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.io.progress import progress
from im2hands.networks.keypoint_prior import LikelyHands
from im2hands.photographs.hand_fit import POINTS, Evidence, FittedHands, HandFit
from im2hands.photographs.landmarks import Landmarks, place_hand, rays_of, towards
from im2hands.photographs.pixel_hands import (
    FLAT_SIGMA,
    SIGMA_PX,
    SIGMA_SHARE,
    builtin_fit,
    described_hands,
    flat_hands,
    prior_network,
)

RELATIVE_SIGMA = 0.008
"""Metres: standard deviation of a detector's relative landmarks."""
EXACT_SIGMA = 0.003
"""Metres: of keypoints that are given without a standard deviation; what the hand model cannot follow."""
SHAPE_PICTURES = 400
"""At most so many pictures decide about the shape, evenly chosen."""
WINDOW, OVERLAP = 1200, 60
"""Pictures that are smoothed together, and by how many more at both ends they are judged."""
BATCH = 64


@dataclass(frozen=True, eq=False)
class FilmPicture:
    """name: of its results.  found: by the detector."""

    name: str
    camera: Camera
    found: Sequence[Detection]


@dataclass(frozen=True, eq=False)
class FilmHands:
    """A person's hands through a film, in the order of SIDES; NaN where a hand is not there.

    keypoints: world, m.  sigma, distance: as of `pixel_hands.PixelHands`.  seen: whether the detector saw the hand; there but
    not seen means bridged.  motions: of the hands that are there at all; world.  followed: what became of the detections.
    """

    names: Sequence[str]
    clock: FilmClock
    keypoints: Float[np.ndarray, "pictures 2 21 3"]
    sigma: Float[np.ndarray, "pictures 2 21"]
    distance: Float[np.ndarray, "pictures 2 3"]
    seen: Bool[np.ndarray, "pictures 2"]
    motions: dict[Side, HandMotion]
    followed: Followed

    @property
    def present(self) -> Bool[np.ndarray, "pictures 2"]:
        return np.isfinite(self.keypoints).all(axis=(2, 3))


def film_hands(
    pictures: Sequence[FilmPicture],
    clock: FilmClock,
    cuts: Bool[np.ndarray, " pictures"],
    sigma: float | None = None,
    palm: float | None = None,
    fit: HandFit | None = None,
) -> FilmHands:
    """The smoothed hands of a film.

    cuts: pictures with which a new scene begins.  sigma: standard deviation of detections that are metric points, per
    coordinate (m); None for exact ones, which are then kept as they are, and only what is missing is filled.
    palm: size of the palm (m).  fit: with another hand model than the built-in one.
    Raises DataError if no picture shows a hand.
    """
    fit = fit or builtin_fit()
    followed = follow([picture.found for picture in pictures], clock.times, cuts)
    seen = followed.chosen >= 0
    pieces = _pieces(seen, clock.times, cuts)
    if not pieces:
        raise DataError("no picture of the film shows a hand.")
    chosen = [
        [picture.found[index] if index >= 0 else None for index in row]
        for picture, row in zip(pictures, followed.chosen, strict=True)
    ]
    cameras = [picture.camera for picture in pictures]
    palm = palm or next((one.palm for pair in chosen for one in pair if one is not None and one.palm), None)
    evidence = _evidence(chosen, cameras, sigma or EXACT_SIGMA)
    start = _single_fits(fit, evidence, _start_points(chosen, cameras, evidence))
    shape = _shape(fit, evidence, start, palm)
    hands = _smoothed(fit, evidence, start, clock.times, pieces, shape)
    present = np.zeros_like(seen)
    for piece in pieces:
        present[piece.pictures, piece.hand] = True
    exact = sigma is None
    return _in_world(hands, pictures, chosen if exact else None, clock, seen, present, followed)


def _pieces(
    seen: Bool[np.ndarray, "pictures 2"], times: Float[np.ndarray, " pictures"], cuts: Bool[np.ndarray, " pictures"]
) -> list[Piece]:
    """Runs of every hand over gaps of LONGEST_GAP at most, within a scene."""
    scenes, pieces = np.cumsum(cuts), []
    for hand in range(len(SIDES)):
        known = np.flatnonzero(seen[:, hand])
        if not len(known):
            continue
        broken = (np.diff(times[known]) > LONGEST_GAP + 1e-6) | (np.diff(scenes[known]) > 0)
        for run in np.split(known, np.flatnonzero(broken) + 1):
            pieces.append(Piece(hand, int(run[0]), int(run[-1]) + 1))
    return pieces


def _evidence(chosen: Sequence[Sequence[Detection | None]], cameras: Sequence[Camera], sigma: float) -> Evidence:
    pictures = len(chosen)
    pixels = np.full((pictures, len(SIDES), POINTS, 2), np.nan)
    pixel_sigma = np.ones((pictures, len(SIDES), POINTS))
    points, relative = (np.full((pictures, len(SIDES), POINTS, 3), np.nan) for _ in range(2))
    turned = False
    for picture, pair in enumerate(chosen):
        for hand, one in enumerate(pair):
            if one is None:
                continue
            if one.points is not None:
                points[picture, hand] = one.points
                continue
            pixels[picture, hand] = one.pixels
            pixel_sigma[picture, hand] = max(SIGMA_SHARE * one.extent, SIGMA_PX)
            if one.relative is not None:
                relative[picture, hand] = one.relative @ _turn(one, cameras[picture]).T
                turned |= one.axes == "free"
    intrinsics = np.stack([np.asarray(camera.intrinsics, np.float64) for camera in cameras])
    spread = torch.ones(pictures, len(SIDES), POINTS, dtype=torch.float64)
    with_points, with_relative = np.isfinite(points).any(), np.isfinite(relative).any()
    return Evidence(
        torch.from_numpy(intrinsics),
        torch.from_numpy(pixels),
        torch.from_numpy(pixel_sigma),
        torch.from_numpy(points) if with_points else None,
        sigma * spread if with_points else None,
        torch.from_numpy(relative) if with_relative else None,
        RELATIVE_SIGMA * spread if with_relative else None,
        turned,
    )


def _turn(one: Detection, camera: Camera) -> Float[np.ndarray, "3 3"]:
    """From the axes of a detection's relative landmarks to the camera's."""
    if one.axes == "camera":
        return np.eye(3)
    seen = np.isfinite(one.pixels).all(axis=1)
    return towards(rays_of(one.pixels[seen], camera.intrinsics).mean(axis=0)).as_matrix()


def _start_points(
    chosen: Sequence[Sequence[Detection | None]], cameras: Sequence[Camera], evidence: Evidence
) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints before the camera that the prior is asked about, and their standard deviations (m)."""
    points = flat_hands(evidence.pixels, evidence.intrinsics)
    sigma = torch.full(points.shape[:-1], FLAT_SIGMA, dtype=points.dtype)
    for picture, pair in enumerate(chosen):
        for hand, one in enumerate(pair):
            if one is None:
                continue
            placed = one.points
            if placed is None and one.relative is not None:
                try:
                    landmarks = Landmarks(one.pixels, one.relative)
                    placed = place_hand(landmarks, cameras[picture].intrinsics, one.palm, one.axes).keypoints
                except DataError:
                    continue  # its pixels alone are a start too
            if placed is not None:
                points[picture, hand] = torch.from_numpy(np.asarray(placed, np.float64))
                sigma[picture, hand] = 2 * RELATIVE_SIGMA
    return points, sigma


def _single_fits(fit: HandFit, evidence: Evidence, start: tuple[torch.Tensor, torch.Tensor]) -> FittedHands:
    """Each picture's own fit."""
    parts = []
    for first in progress(range(0, len(start[0]), BATCH), f"fit film (x{BATCH} pictures)", unit="batches"):
        rows = slice(first, first + BATCH)
        with torch.no_grad():
            likely: LikelyHands = prior_network()(*(value[rows].float() for value in start))
        parts.append(fit.fit(evidence.pairs(rows), likely))
    return _joined(parts)


def _joined(parts: Sequence[FittedHands]) -> FittedHands:
    return FittedHands(*(torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])))


def _rows(hands: FittedHands, rows: slice | np.ndarray) -> FittedHands:
    return FittedHands(*(value[rows] for value in vars(hands).values()))


def _shape(fit: HandFit, evidence: Evidence, start: FittedHands, palm: float | None) -> FilmShape:
    used = np.flatnonzero(evidence.seen_hands().any(1).numpy())
    taken = used[np.unique(np.linspace(0, len(used) - 1, SHAPE_PICTURES).round().astype(int))]
    return film_shape(fit, evidence.pairs(taken), _rows(start, taken), palm)


def _smoothed(
    fit: HandFit,
    evidence: Evidence,
    start: FittedHands,
    times: Float[np.ndarray, " pictures"],
    pieces: Sequence[Piece],
    shape: FilmShape,
) -> FittedHands:
    """Long films in windows that overlap."""
    parts = []
    for first in range(0, len(times), WINDOW):
        low, high = max(first - OVERLAP, 0), min(first + WINDOW + OVERLAP, len(times))
        inside = [
            Piece(one.hand, max(one.first, low) - low, min(one.end, high) - low)
            for one in pieces
            if one.first < high and one.end > low
        ]
        rows = slice(low, high)
        made = smooth_motion(fit, evidence.pairs(rows), _rows(start, rows), times[rows], inside, shape)
        parts.append(_rows(made.hands, slice(first - low, first - low + WINDOW)))
    return _joined(parts)


def _in_world(
    hands: FittedHands,
    pictures: Sequence[FilmPicture],
    exact: Sequence[Sequence[Detection | None]] | None,
    clock: FilmClock,
    seen: Bool[np.ndarray, "pictures 2"],
    present: Bool[np.ndarray, "pictures 2"],
    followed: Followed,
) -> FilmHands:
    points = hands.keypoints.numpy().copy()
    sigma, distance = (np.full((len(pictures), len(SIDES), width), np.nan) for width in (POINTS, 3))
    world = np.full(points.shape, np.nan)
    for picture, one in enumerate(pictures):
        there = {side for side in SIDES if present[picture, side.index]}
        for side in there:
            given = exact[picture][side.index] if exact is not None else None
            if given is not None and given.points is not None:
                points[picture, side.index] = given.points
        if there:
            found = described_hands(points[picture], hands.covariance[picture].numpy(), there, one.camera, None)
            world[picture], sigma[picture], distance[picture] = found.keypoints, found.sigma, found.distance
    motions = {}
    back = np.stack([np.asarray(one.camera.rotation, np.float64).T for one in pictures])
    for side in SIDES:
        if present[:, side.index].any():
            rotations = hands.rotations[:, side.index].numpy().copy()
            rotations[:, 0] = back @ rotations[:, 0]
            wrists = hands.keypoints[:, side.index, 0].numpy()
            wrist = np.stack([one.camera.to_world(place) for one, place in zip(pictures, wrists, strict=True)])
            shape = hands.shape[0].numpy()
            motions[side] = HandMotion(side, rotations, shape, wrist, present[:, side.index])
    return FilmHands([one.name for one in pictures], clock, world, sigma, distance, seen, motions, followed)
