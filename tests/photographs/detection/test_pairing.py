"""Which hands are the pair: duplicates, sides, hands that touch, other people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from im2hands.hands.sides import Side
from im2hands.photographs.detection.hands import FoundHand, to_joints
from im2hands.photographs.detection.pairing import apart, different, pair_of, score
from tests.photographs.detection.stand_in import placed, template


def hand(
    side: Side, x: float, right: float | None = None, presence: float = 0.97, moved: float = 0.02, **where
) -> FoundHand:
    """A hand 200 pixels high whose wrist is at column x."""
    points, relative = placed(side, (x, where.get("y", 300.0)), (x, where.get("y", 300.0) - where.get("size", 90.0)))
    return FoundHand(
        points, relative, presence, moved, (0.95 if side is Side.RIGHT else 0.05) if right is None else right
    )


LEFT, RIGHT = hand(Side.LEFT, 500), hand(Side.RIGHT, 200)


def chosen(*hands: FoundHand) -> dict[Side, float]:
    """Column of the wrist of each chosen hand."""
    return {side: round(float(one.points[0, 0])) for side, one in pair_of(hands).hands.items()}


def test_a_pair_is_found_in_any_order_without_a_word():
    assert chosen(LEFT, RIGHT) == chosen(RIGHT, LEFT) == {Side.LEFT: 500, Side.RIGHT: 200}
    assert pair_of([LEFT, RIGHT]).notes == ()


def test_nobody_is_nobody():
    assert pair_of([]).hands == {} and pair_of([]).notes == ("no hand was found",)


def test_results_for_one_hand_become_one_and_the_surest_one_stays():
    nearly = replace(LEFT, points=LEFT.points + 8, moved=0.2, right=0.4)
    found = different([nearly, replace(RIGHT, moved=0.03), LEFT, nearly])
    assert [one.seen for one in found] == [3, 1]
    assert found[0].points is LEFT.points
    assert 0.05 < found[0].right < 0.4, "the side is that of all results"


def test_hands_that_touch_are_two():
    """Far closer than their size, farther apart than two results for one hand."""
    close = hand(Side.LEFT, 265)
    assert apart(close, RIGHT) < 0.65
    assert chosen(close, RIGHT) == {Side.LEFT: 265, Side.RIGHT: 200}


def test_hands_over_each_other_are_said():
    over = pair_of([hand(Side.LEFT, 230, y=305.0), RIGHT])
    assert over.overlap and "the hands lie over each other: what is hidden is a guess" in over.notes


def test_one_hand_is_one_hand():
    one = pair_of([RIGHT])
    assert list(one.hands) == [Side.RIGHT] and one.notes == ("only the right hand was found",)


def test_two_hands_of_the_same_label_the_less_sure_one_is_the_other_side():
    found = pair_of([replace(LEFT, right=0.80), RIGHT])
    assert found.hands[Side.LEFT].points is LEFT.points
    assert "the left hand looks like a right one, but the other hand does more so" in found.notes


def test_of_three_hands_the_pair_is_kept_and_the_third_is_said():
    """Somebody else's hand far away and small."""
    other = hand(Side.LEFT, 900, size=25.0)
    found = pair_of([LEFT, other, RIGHT])
    assert chosen(LEFT, other, RIGHT) == {Side.LEFT: 500, Side.RIGHT: 200}
    assert len(found.others) == 1
    assert "3 hands were found and the likeliest kept: is there more than one person?" in found.notes


def test_an_unsure_side_is_said():
    found = pair_of([replace(LEFT, right=0.4), RIGHT])
    assert found.notes == ("the side of the left hand is not sure (0.60)",)


@pytest.mark.parametrize(
    ("better", "worse"), [({"moved": 0.01}, {"moved": 0.1}), ({"presence": 0.99}, {"presence": 0.6})]
)
def test_the_score_trusts_what_is_steady_and_seen(better, worse):
    assert 0 < score(replace(LEFT, **worse)) < score(replace(LEFT, **better)) < 1


def test_a_mirrored_picture_gives_the_mirrored_pair():
    def mirrored(one: FoundHand) -> FoundHand:
        return replace(one, points=one.points * [-1, 1] + [700, 0], right=1 - one.right)

    hands = [LEFT, RIGHT, hand(Side.LEFT, 800, right=0.3, moved=0.1)]
    one, other = pair_of(hands), pair_of([mirrored(one) for one in hands])
    assert {side.other: one.hands[side].points[0, 1] for side in one.hands} == {
        side: other.hands[side].points[0, 1] for side in other.hands
    }
    for side in one.hands:
        np.testing.assert_allclose(other.hands[side.other].points, one.hands[side].points * [-1, 1] + [700, 0])


def test_joints_move_with_the_hand():
    """The shift from the network's points to joints is the same hand in any place, turn and size."""
    flat = template(Side.RIGHT)
    joints = to_joints(flat)
    assert 0.003 < np.linalg.norm(joints - flat, axis=1).max() < 0.03
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    np.testing.assert_allclose(to_joints(7 * flat @ turn + [1, 2, 3]), 7 * joints @ turn + [1, 2, 3], atol=1e-9)
    unmoved = [2, 3, 6, 7, 10, 11, 14, 15, 18, 19]
    assert np.array_equal(joints[unmoved], flat[unmoved])
