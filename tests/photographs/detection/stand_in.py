"""Painted hands, and a pair of networks that find them by their colours: all of the detector but Google's files.

A painted hand is two discs, wrist and base of the middle finger, in colours of its side. From a square that shows both, the
networks know where the hand is, how large and how it is turned, and answer as the real ones do.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import cv2
import numpy as np

from im2hands.hands.joints import FINGER_BASES, MIDDLE_BASE, WRIST
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.photographs.detection.crops import Square
from im2hands.photographs.detection.networks import PALM_SIZE, SeenHands
from im2hands.photographs.detection.palms import anchors

COLOURS = {Side.RIGHT: ((255, 0, 0), (255, 255, 0)), Side.LEFT: ((0, 0, 255), (0, 255, 255))}
"""Of wrist and middle base, RGB."""
ALONE = Square(np.array([0.5, 0.5]), 1.0)


@cache
def template(side: Side) -> np.ndarray:
    """A flat hand with its fingers up, as the camera sees its back; m, x right, y down, z away; the wrist is the origin."""
    zeros = builtin_hand_models()[side].mean_pose.new_zeros
    flat = builtin_hand_models()[side].pose(zeros(1, 48), zeros(1, 10)).keypoints[0].numpy().astype(np.float64)
    flat = flat - flat[WRIST]
    sign = -1.0 if side is Side.RIGHT else 1.0
    up = np.stack([-sign * flat[:, 2], sign * flat[:, 0], -flat[:, 1]], axis=1)
    turn = np.arctan2(up[MIDDLE_BASE, 0], -up[MIDDLE_BASE, 1])
    return Square(np.zeros(2), 1.0, -float(turn)).turned_back(up)


def placed(side: Side, wrist: tuple[float, float], base: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, and relative points turned alike, of the hand whose wrist and middle base are there."""
    flat = template(side)
    up = np.subtract(base, wrist)
    turned = Square(np.zeros(2), 1.0, float(np.arctan2(up[0], -up[1]))).turned_back(flat)
    scale = np.linalg.norm(up) / np.linalg.norm(flat[MIDDLE_BASE])
    return turned[:, :2] * scale + wrist, turned


def painted(hands: Mapping[Side, tuple], shape: tuple[int, int] = (300, 400)) -> np.ndarray:
    """A picture, RGB. hands: wrist and middle base of each, pixels."""
    image = np.full((*shape, 3), 30, np.uint8)
    for side, places in hands.items():
        radius = max(2, round(float(np.linalg.norm(np.subtract(*places))) / 8))
        for place, colour in zip(places, COLOURS[side], strict=True):
            cv2.circle(image, tuple(round(16 * x) for x in place), 16 * radius, colour, -1, shift=4)
    return image


def encoded_palm(anchor: int, square: Square, middle: np.ndarray, side: float, points: np.ndarray) -> np.ndarray:
    """The 18 numbers with which the palm network says, at an anchor, that this palm is there."""
    places = square.from_picture(np.concatenate([middle[None], points])) - anchors()[anchor]
    size = np.full((1, 2), side / square.side)
    return (PALM_SIZE * np.concatenate([places[:1], size, places[1:]])).ravel()


class PaintedNetworks:
    """Finds painted hands. looked: how many squares each network was shown."""

    def __init__(self) -> None:
        self.looked = {"palms": 0, "hands": 0}

    def palms(self, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raw, score = np.zeros((len(squares), 2016, 18)), np.full((len(squares), 2016), 1e-4)
        for number, square in enumerate(squares):
            self.looked["palms"] += 1
            for side, (wrist, base) in _seen(square).items():
                points = placed(side, wrist, base)[0][[WRIST, *FINGER_BASES, 1, 2]]
                middle = points.mean(axis=0)
                anchor = int(np.linalg.norm(anchors() - middle, axis=1).argmin())
                extent = float(np.ptp(points, axis=0).max())
                raw[number, anchor], score[number, anchor] = encoded_palm(anchor, ALONE, middle, extent, points), 0.95
        return raw, score

    def hands(self, squares: np.ndarray) -> SeenHands:
        n = len(squares)
        points, world, presence, right = np.zeros((n, 21, 3)), np.zeros((n, 21, 3)), np.zeros(n), np.full(n, 0.5)
        for number, square in enumerate(squares):
            self.looked["hands"] += 1
            seen = _seen(square)
            if seen:
                side = min(seen, key=lambda one: np.linalg.norm(np.mean(seen[one], axis=0) - 0.5))
                points[number, :, :2], world[number] = placed(side, *seen[side])
                presence[number], right[number] = 0.99, 0.97 if side is Side.RIGHT else 0.03
        return SeenHands(points, presence, right, world)


def _seen(image: np.ndarray) -> dict[Side, tuple[np.ndarray, np.ndarray]]:
    """Wrist and middle base, points of the square, of the painted hands of which both discs are whole enough."""
    found, near = {}, image.astype(np.int16) // 64  # colours in four steps
    for side, colours in COLOURS.items():
        places = []
        for colour in colours:
            rows, columns = np.nonzero((near == np.array(colour) // 64).all(axis=2))
            if len(rows) < 4:
                break
            places.append((np.array([columns.mean(), rows.mean()]) + 0.5) / len(image))
        if len(places) == len(colours):
            found[side] = tuple(places)
    return found
