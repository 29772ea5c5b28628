"""The detector with Google's own files, on drawn pairs. Skipped where LiteRT or the files are not there."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bm_detect import drawn, one_hand_tasks, row, two_hand_tasks
from benchmarks.bm_judge import judge
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.detection.detector import HandDetector
from im2hands.photographs.detection.networks import LiteRtNetworks
from im2hands.photographs.files import read_photograph

PHOTOGRAPHS = Path(__file__).parents[4] / "shared/photos"
"""Real pictures that may lie beside the checkout."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def networks() -> LiteRtNetworks:
    try:
        return LiteRtNetworks()
    except DataError as error:
        pytest.skip(f"without the hand detector: {error}")


@pytest.fixture(scope="module")
def tasks() -> list:
    return two_hand_tasks(8)


def test_most_touching_pairs_are_found_with_their_sides(networks, tasks):
    """Far below what bm_detect.py measures on 200 pictures, far above what one look finds by chance."""
    detector = HandDetector(networks)
    pictures = [drawn(task) for task in tasks]
    found = row(pictures, lambda picture: {side: hand.points for side, hand in detector(picture).hands.items()})
    assert found["all_hands"] >= 0.4 and found["at_least_one"] >= 0.9
    assert found["side_right"] >= 0.85 and found["median_error"] < 0.09
    singles = [drawn(task) for task in islice(one_hand_tasks(tasks), 4)]
    alone = row(singles, lambda picture: {side: hand.points for side, hand in detector(picture).hands.items()})
    assert alone["all_hands"] == 1 and alone["more_hands_than_there_are"] <= 0.25


def test_the_judge_knows_drawn_hands(networks, tasks):
    pictures = [drawn(task) for task in tasks[:4]]
    hands = [(one.picture, side, one.pixels[side]) for one in pictures for side in SIDES]
    images, sides, points = zip(*hands, strict=True)
    verdict = judge(images, points, networks).summary(sides)
    assert verdict["hands"] == 8 and verdict["found"] >= 0.7 and verdict["median_error"] < 0.13
    elsewhere = judge(images, [one[::-1] for one in points], networks).summary(sides)
    assert elsewhere["median_error"] > 2 * verdict["median_error"]


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="without the real photographs")
def test_crossed_hands_of_a_real_photograph(networks):
    """The right hand of somebody who faces the camera is on the left of the picture."""
    pair = HandDetector(networks)(read_photograph(PHOTOGRAPHS / "two_hands_1.jpg"))
    assert set(pair.hands) == set(Side) and pair.notes == ()
    wrists = {side: hand.points[0] for side, hand in pair.hands.items()}
    assert wrists[Side.RIGHT][0] < 90 < 190 < wrists[Side.LEFT][0]
    one = HandDetector(networks)(read_photograph(PHOTOGRAPHS / "one_hand.jpg"))
    assert list(one.hands) == [Side.RIGHT]
    assert np.ptp(one.hands[Side.RIGHT].points, axis=0).max() > 80
