"""Palms from raw network output: decoding, and the choice among overlapping ones, against loops."""

from __future__ import annotations

import numpy as np
import pytest

from im2hands.photographs.detection.crops import Square
from im2hands.photographs.detection.palms import SAME_PALM, Palms, anchors, decode, distinct
from tests.naive.palms import naive_anchors, naive_distinct
from tests.photographs.detection.stand_in import encoded_palm


def palms(rng: np.random.Generator, count: int, people: int) -> Palms:
    """Palms around a few places, some of them close together."""
    places = rng.uniform(0, 300, (people, 1, 2)) + rng.uniform(-40, 40, (people, 7, 2))
    points = places[rng.integers(0, people, count)] + rng.normal(0, 8, (count, 7, 2))
    return Palms(
        points.mean(axis=1), rng.uniform(60, 90, count), points, rng.permutation(np.linspace(0.2, 0.99, count))
    )


def test_anchors_are_those_of_the_loops():
    assert np.array_equal(anchors(), np.array(naive_anchors()))


@pytest.mark.parametrize("count", [0, 1, 2, 60])
@pytest.mark.parametrize("seed", range(5))
def test_suppression_equals_the_loops(count, seed):
    given = palms(np.random.default_rng(seed), count, people=3)
    wanted = naive_distinct(given.points, given.side, given.score, SAME_PALM)
    found = distinct(given)
    assert len(found) == len(wanted)
    assert found.score.tolist() == [score for _, score in wanted]
    for points, (mean, _) in zip(found.points, wanted, strict=True):
        np.testing.assert_allclose(points, mean, atol=1e-9)


def test_palms_that_overlap_and_differ_in_their_points_are_both_kept():
    """Two palms across each other have almost the same box: suppression by boxes would keep one."""
    up = np.array([[0, 40], [-20, -30], [-7, -40], [7, -38], [20, -30], [-30, 20], [-35, 0]], float)
    across = up @ np.array([[0, 1], [-1, 0]]) + [5, 0]
    both = Palms(np.array([[0.0, 0], [5, 0]]), np.full(2, 80.0), np.stack([up, across]), np.array([0.9, 0.8]))
    assert len(distinct(both)) == 2


@pytest.mark.parametrize("turn", [0.0, 0.7, 3.0])
def test_a_palm_is_where_it_was_encoded(turn):
    """Written relative to any anchor, read in pixels of the picture."""
    square = Square(np.array([140.0, 90.0]), 260.0, turn)
    points = np.array([[100, 120], [90, 70], [105, 60], [118, 65], [128, 75], [80, 110], [70, 95]], float)
    middle = points.mean(axis=0)
    raw, score = np.zeros((2016, 18)), np.full(2016, 0.01)
    for anchor in (0, 700, 2015):
        raw[anchor] = encoded_palm(anchor, square, middle, 70.0, points)
        score[anchor] = 0.9
    raw[5], score[5] = raw[0] * np.where(np.arange(18) == 2, -1, 1) * np.where(np.arange(18) == 3, -1, 1), 0.9
    raw[6], score[6] = np.nan, 0.9
    found = decode(raw, score, square, least=0.5)
    assert len(found) == 3, "what has no size is no palm"
    for row in range(3):
        np.testing.assert_allclose(found.points[row], points, atol=1e-9)
        np.testing.assert_allclose(found.centre[row], middle, atol=1e-9)
        np.testing.assert_allclose(found.side[row], 70.0)
    hand = found.hand_square(0)
    up = hand.from_picture(points[2]) - hand.from_picture(points[0])
    assert abs(up[0]) < 1e-9 and up[1] < 0, "the wrist is straight below the middle finger"
