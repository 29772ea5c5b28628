"""Smoothing through a film: jitter goes, nothing lags, gaps are bridged with their uncertainty, cuts part."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch

from im2hands.films import film_motion
from im2hands.films.detections import Detection
from im2hands.films.film_motion import FilmHands, FilmPicture, film_hands
from im2hands.films.motion import FilmClock, HandMotion
from im2hands.geometry.cameras import Camera, project
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.landmarks import palm_size
from im2hands.photographs.pixel_hands import hands_from_pixels
from tests.films.moving_hands import MODELS, moving_pair

CAMERA = Camera(np.array([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]]), np.eye(3), np.zeros(3))
RATE = 30


def keypoints_of(pair: dict[Side, HandMotion]) -> np.ndarray:
    """(pictures, 2, 21, 3), camera, m."""
    hands = []
    for side in SIDES:
        motion = pair[side]
        shape = torch.from_numpy(motion.shape)[None].expand(len(motion.wrist), -1)
        posed = MODELS[side].pose_by_rotations(torch.from_numpy(motion.rotations), shape).keypoints.numpy()
        hands.append(posed - posed[:, :1] + motion.wrist[:, None])
    return np.stack(hands, 1)


def film_of(truth: np.ndarray, noise: float = 2.0, camera: Camera = CAMERA, seed: int = 0) -> list[FilmPicture]:
    random = np.random.default_rng(seed)
    return [
        FilmPicture(
            f"film-{number:06d}",
            camera,
            [
                Detection(side, project(hands[side.index], CAMERA.intrinsics) + random.normal(0, noise, (21, 2)))
                for side in SIDES
            ],
        )
        for number, hands in enumerate(truth)
    ]


def smoothed(pictures: list[FilmPicture], cuts: list[int] = (), **options) -> FilmHands:
    new_scene = np.zeros(len(pictures), bool)
    new_scene[list(cuts)] = True
    return film_hands(pictures, FilmClock.regular(len(pictures), Fraction(RATE)), new_scene, **options)


def about_wrist(keypoints: np.ndarray) -> np.ndarray:
    return keypoints - keypoints[..., :1, :]


@cache
def moving(pictures: int = 32) -> np.ndarray:
    return keypoints_of(moving_pair(pictures, seed=3))


@cache
def moving_film() -> tuple[np.ndarray, FilmHands]:
    return moving(), smoothed(film_of(moving()))


def test_a_still_scene_keeps_still():
    """Depth jitter of each hand at most a quarter of what pictures by themselves give; 2 px of noise in every picture."""
    truth = np.repeat(moving()[14:15], 24, axis=0)
    film = film_of(truth)
    alone = np.stack(
        [hands_from_pixels({one.side: one.pixels for one in picture.found}, CAMERA).keypoints for picture in film[::2]]
    )
    together = smoothed(film).keypoints
    jitter = [hands[..., 2].mean(axis=2).std(axis=0) for hands in (alone, together)]
    assert (jitter[0] > 0.003).all(), "this scene is no test"
    assert (jitter[1] < jitter[0] / 4).all(), jitter
    errors = [np.linalg.norm(about_wrist(hands) - about_wrist(truth[0]), axis=-1).mean() for hands in (alone, together)]
    assert errors[1] < errors[0]


def test_a_moving_scene_does_not_lag():
    """The motion agrees best with the true one when that is moved by less than half a picture."""
    truth, film = moving_film()
    for hand in range(2):
        place, true = film.keypoints[:, hand].mean(axis=1), truth[:, hand].mean(axis=1)
        times = np.arange(len(true))
        inner = slice(4, -4)
        offsets = np.linspace(-2, 2, 81)
        costs = []
        for offset in offsets:
            moved = np.stack([np.interp(times - offset, times, true[:, axis]) for axis in range(2)], axis=1)[inner]
            found = place[inner, :2]
            ratio = (found * moved).sum() / (moved * moved).sum()  # a wrong size of the hand is no lag
            costs.append(np.square(found - ratio * moved).sum())
        assert abs(offsets[int(np.argmin(costs))]) < 0.5
        bends = np.linalg.norm(about_wrist(film.keypoints[:, hand]) - about_wrist(truth[:, hand]), axis=-1).mean()
        assert bends < 0.02


def test_a_missing_hand_is_bridged_and_less_certain():
    truth = moving()
    film = film_of(truth)
    for picture in range(14, 22):
        film[picture] = replace(film[picture], found=film[picture].found[:1])
    found = smoothed(film)
    right = Side.RIGHT.index
    assert not found.seen[14:22, right].any() and found.present.all()
    assert found.sigma[17:19, right].mean() > found.sigma[[7, 26], right].mean()
    reference = moving_film()[1].keypoints
    off = about_wrist(found.keypoints[14:22, right]) - about_wrist(reference[14:22, right])
    assert np.linalg.norm(off, axis=-1).mean() < 0.02
    assert np.linalg.norm(found.keypoints[18, right] - reference[18, right], axis=-1).mean() < 0.03
    width = found.distance[..., 2] - found.distance[..., 1]
    assert width[18, right] > width[7, right]


def test_a_long_absence_stays_one_and_a_cut_parts():
    """Away for longer than half a second: not there. After a cut nothing follows from what was before."""
    truth = np.concatenate([moving()[:9], moving()[20:29] + np.array([0.1, 0.0, 0.2])])
    film = film_of(truth)
    parted, tied = smoothed(film, [9]), smoothed(film)
    step = np.linalg.norm(parted.keypoints[9] - parted.keypoints[8], axis=-1).mean()
    true = np.linalg.norm(truth[9] - truth[8], axis=-1).mean()
    assert step == pytest.approx(true, rel=0.25)
    assert not np.allclose(parted.keypoints[7:11], tied.keypoints[7:11], atol=1e-4)
    away = film_of(moving())
    for picture in range(8, 26):
        away[picture] = replace(away[picture], found=away[picture].found[:1])
    found = smoothed(away)
    assert not found.present[8:26, Side.RIGHT.index].any() and found.present[:, Side.LEFT.index].all()
    assert np.isnan(found.keypoints[15, Side.RIGHT.index]).all()
    assert not found.motions[Side.RIGHT].present[8:26].any()


def test_metric_points_stay_and_are_smoothed_when_they_are_noisy():
    truth = moving(45)[:24]
    random = np.random.default_rng(1)
    noisy = truth + random.normal(0, 0.008, truth.shape)

    def film(points: np.ndarray) -> list[FilmPicture]:
        return [
            FilmPicture(
                str(number),
                CAMERA,
                [
                    Detection(side, CAMERA.project(hands[side.index]), points=hands[side.index])
                    for side in SIDES
                    if not (number in (10, 11) and side is Side.LEFT)
                ],
            )
            for number, hands in enumerate(points)
        ]

    kept = smoothed(film(truth))
    shown = kept.seen
    np.testing.assert_allclose(kept.keypoints[shown], truth[shown], atol=1e-12)
    gap = np.linalg.norm(kept.keypoints[10:12, 0] - truth[10:12, 0], axis=-1)
    assert gap.mean() < 0.01
    better = smoothed(film(noisy), sigma=0.008).keypoints
    assert np.linalg.norm(better - truth, axis=-1).mean() < 0.45 * np.linalg.norm(noisy - truth, axis=-1).mean()


def test_palm_and_world():
    """A known palm sets the size; the camera's place turns and moves everything, the motion too."""
    turned = Camera(CAMERA.intrinsics, np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.array([0.1, 0.2, 0.3]))
    truth = moving()[:8]
    here, there = smoothed(film_of(truth), palm=0.08), smoothed(film_of(truth, camera=turned), palm=0.08)
    assert palm_size(here.keypoints[5, 0]) == pytest.approx(0.08, abs=0.002)
    np.testing.assert_allclose(turned.to_camera(there.keypoints), here.keypoints, atol=1e-9)
    for side in SIDES:
        np.testing.assert_allclose(turned.to_camera(there.motions[side].wrist), here.motions[side].wrist, atol=1e-9)
        np.testing.assert_allclose(
            turned.rotation @ there.motions[side].rotations[:, 0], here.motions[side].rotations[:, 0], atol=1e-9
        )
        np.testing.assert_allclose(there.motions[side].wrist, there.keypoints[:, side.index, 0], atol=1e-9)


def test_a_film_without_hands_is_refused():
    with pytest.raises(DataError, match="no picture of the film shows a hand"):
        smoothed([FilmPicture("0", CAMERA, [])])


def test_long_films_in_windows_are_as_in_one(monkeypatch):
    """Windows overlap, so that what is far from an end does not know of it; nothing jumps where they meet."""
    whole = moving_film()[1].keypoints
    monkeypatch.setattr(film_motion, "WINDOW", 16)
    monkeypatch.setattr(film_motion, "OVERLAP", 10)
    parts = smoothed(film_of(moving())).keypoints
    apart = np.linalg.norm(parts - whole, axis=-1).mean(axis=(1, 2))
    assert 0 < apart.max() < 0.01
    steps = [np.linalg.norm(np.diff(hands, axis=0), axis=-1).mean(axis=(1, 2)) for hands in (parts, whole)]
    assert steps[0][15] < 2 * steps[1][15] + 0.002
