"""Hands kept apart: two balls that overlap share no point afterwards, and meet where their occupancies are equal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from im2hands.evaluation.penetration import penetration
from im2hands.hands.frames import PalmFrame
from im2hands.hands.sides import Side
from im2hands.reconstruction.apart import FieldsApart
from im2hands.reconstruction.surfaces import Extraction, HandInput, reconstruct_hands

RADIUS, STEEP = 0.12, 80.0
NO_POINTS = np.zeros((0, 3))
FRAMES = {
    Side.RIGHT: PalmFrame(Side.RIGHT, np.array([0.1, 0.2, 0.6]), np.eye(3)),
    Side.LEFT: PalmFrame(Side.LEFT, np.array([0.15, 0.2, 0.6]), np.eye(3)[[1, 2, 0]]),
}


def hands(pair="a"):
    return [
        HandInput(
            pair, f"{pair}_{side.value}", frame, np.eye(4)[None], np.ones(16), np.zeros((21, 3)), NO_POINTS, NO_POINTS
        )
        for side, frame in FRAMES.items()
    ]


def balls(given):
    """A soft ball around the wrist of every hand; the left one is surer of itself."""
    sure = np.array([1.0 if hand.frame.side is Side.RIGHT else 1.5 for hand in given])

    def field(items, points):
        away = np.linalg.norm(points, axis=1) - RADIUS
        return 1 / (1 + np.exp(STEEP * sure[items] * away))

    return field


def surfaces(given, apart):
    made = reconstruct_hands(balls, given, Extraction("published", 64, apart=apart))
    return {hand.side: hand.mesh for hand in made}


def test_nothing_is_shared_and_nothing_else_is_lost():
    before, after = (surfaces(hands(), apart) for apart in (False, True))
    shared = penetration(before[Side.LEFT], before[Side.RIGHT]).volume_cm3
    left = penetration(after[Side.LEFT], after[Side.RIGHT]).volume_cm3
    assert shared > 20
    assert left < 0.03 * shared
    volume = {
        which: sum(mesh.volume for mesh in each.values()) * 1e6
        for which, each in (("before", before), ("after", after))
    }
    assert volume["after"] == pytest.approx(volume["before"] - shared, rel=0.02)
    for side, mesh in after.items():
        assert mesh.volume < before[side].volume
        # Away from the other hand the surface is the same to the bit.
        far = np.linalg.norm(mesh.vertices - FRAMES[side.other].wrist, axis=1) > 0.075
        assert far.any()
        kept = {tuple(vertex) for vertex in before[side].vertices}
        assert all(tuple(vertex) in kept for vertex in mesh.vertices[far])


def test_the_surer_hand_keeps_more():
    after = surfaces(hands(), True)
    assert after[Side.LEFT].volume > after[Side.RIGHT].volume


def test_hands_of_other_pairs_and_single_hands_are_left_alone():
    alone = hands()[:1]
    one, same = surfaces(alone, False), surfaces(alone, True)
    assert np.array_equal(one[Side.RIGHT].vertices, same[Side.RIGHT].vertices)
    right, left = hands()
    strangers = [right, replace(left, pair_id="b")]
    before, after = surfaces(strangers, False), surfaces(strangers, True)
    for side in Side:
        assert np.array_equal(before[side].vertices, after[side].vertices)


def test_values_below_the_threshold_stay_below_and_are_symmetric():
    given = hands()
    field = balls(given)
    apart = FieldsApart(field, [hand.frame for hand in given], ["a", "a"], 0.5)
    points = np.random.default_rng(0).uniform(-0.2, 0.2, (4000, 3)).astype(np.float32)
    items = np.zeros(len(points), int)
    plain, kept = field(items, points), apart(items, points)
    assert (kept <= plain + 1e-12).all() and (kept < plain - 1e-3).any()
    assert not ((plain < 0.5) & (kept >= 0.5)).any()
    there = given[1].frame.to_palm(given[0].frame.to_world(points.astype(float))).astype(np.float32)
    other = apart(np.ones(len(points), int), there)
    assert not ((kept > 0.5) & (other > 0.5)).any()
