"""Surfaces of several hands at once: placed in the world on both sides, watertight, the same for any number of workers."""

from itertools import chain

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from im2hands.geometry.isosurface import FULL, NOT_FINITE
from im2hands.geometry.mesh import is_watertight
from im2hands.hands.frames import PalmFrame, query_points
from im2hands.hands.sides import Side
from im2hands.reconstruction.surfaces import EMPTY, Extraction, HandInput, reconstruct_hands, reconstruct_pairs

CENTRES = np.array([[0.1, 0.05, -0.02], [-0.2, 0.1, 0.0], [0.0, 0.0, 0.15], [0.05, -0.25, 0.1]])
RADIUS = 0.12
EXTRACTION = Extraction("published", resolution=64)


def frame(side, seed=0):
    rng = np.random.default_rng(seed)
    return PalmFrame(side, rng.normal(size=3), Rotation.random(random_state=seed).as_matrix())


def hand(index, side, rejected=None, rng_points=50):
    points = np.random.default_rng(index).uniform(-0.3, 0.3, (rng_points, 3))
    frames = np.tile(np.eye(4), (16, 1, 1))
    frames[0, :3, 3] = CENTRES[index % len(CENTRES)]  # the test's field reads the ball's centre here
    name = f"7_{index // 2}"
    return HandInput(
        pair_id=name,
        hand_id=f"{name}_{side.value}",
        frame=frame(side, index),
        bone_from_palm=frames,
        bone_lengths=np.full(16, RADIUS),
        keypoints=np.zeros((21, 3)),
        published_points=points,
        uniform_points=points[:20],
        rejected=rejected,
    )


def balls(hands):
    """A soft ball per hand, in the palm frame."""
    centres = np.array([one.bone_from_palm[0, :3, 3] for one in hands])
    radii = np.array([one.bone_lengths[0] for one in hands])

    def field(items, points):
        return 1 / (1 + np.exp(80 * (np.linalg.norm(points - centres[items], axis=1) - radii[items])))

    return field


def pair_of(pair_id):
    number = int(pair_id.split("_")[1])
    return [hand(2 * number, Side.RIGHT), hand(2 * number + 1, Side.LEFT)]


@pytest.mark.parametrize("side", list(Side))
def test_ball_stands_where_the_palm_frame_puts_it(side):
    """Left hands are mirrored back and keep their outside outside; one palm unit is 0.4 m."""
    one = hand(1, side)
    (made,) = reconstruct_hands(balls, [one], EXTRACTION)
    assert made.failure is None
    assert is_watertight(made.mesh.faces)
    assert made.mesh.volume == pytest.approx(4 / 3 * np.pi * (0.4 * RADIUS) ** 3, rel=0.02)
    centre = one.frame.rotation.T @ CENTRES[1] * 0.4
    expected = one.frame.wrist + (centre * [-1, 1, 1] if side is Side.LEFT else centre)
    np.testing.assert_allclose(made.mesh.vertices.mean(axis=0), expected, atol=1e-3)


def test_mirrored_hand_gives_the_mirrored_mesh():
    right, left = hand(0, Side.RIGHT), hand(0, Side.LEFT)
    turn = right.frame.rotation
    left = HandInput(**vars(left) | {"frame": PalmFrame(Side.LEFT, right.frame.wrist * [-1, 1, 1], turn)})
    a, b = reconstruct_hands(balls, [right, left], EXTRACTION)
    np.testing.assert_allclose(b.mesh.vertices, a.mesh.vertices * [-1, 1, 1], atol=1e-12)
    np.testing.assert_array_equal(b.mesh.faces, a.mesh.faces[:, ::-1])


def test_field_labels_belong_to_the_evaluation_points():
    one = hand(2, Side.RIGHT, rng_points=2000)
    (made,) = reconstruct_hands(balls, [one], EXTRACTION)
    inside = np.linalg.norm(one.published_points - CENTRES[2], axis=1) < RADIUS
    np.testing.assert_array_equal(made.published_field, inside)
    assert inside.any()
    assert made.uniform_field.shape == (20,)


def test_few_evaluation_points_are_asked_and_all_labels_are_right():
    one, asked = hand(2, Side.RIGHT, rng_points=20_000), []

    def counted(hands):
        field = balls(hands)

        def asking(items, points):
            asked.append(len(points))
            return field(items, points)

        return asking

    (made,) = reconstruct_hands(counted, [one], EXTRACTION)
    inside = np.linalg.norm(one.published_points - CENTRES[2], axis=1) < RADIUS
    np.testing.assert_array_equal(made.published_field, inside)
    assert sum(asked) - made.evaluations < 0.4 * len(one.published_points)


def test_a_part_that_the_search_missed_makes_it_ask_for_every_point():
    """A second ball, smaller than the cells of the first grid and between their corners: a control point finds it."""
    one = hand(2, Side.RIGHT, rng_points=40_000)
    corner = 0.55 / 4 * np.array([1.5, 1.5, 1.5])

    def with_crumb(hands):
        field = balls(hands)
        return lambda items, points: np.maximum(
            field(items, points), 1 / (1 + np.exp(80 * (np.linalg.norm(points - corner, axis=1) - 0.06)))
        )

    (made,) = reconstruct_hands(with_crumb, [one], Extraction("published", resolution=64))
    to_ball, to_crumb = (np.linalg.norm(one.published_points - centre, axis=1) for centre in (CENTRES[2], corner))
    assert (to_crumb < 0.06).sum() > 100
    np.testing.assert_array_equal(made.published_field, (to_ball < RADIUS) | (to_crumb < 0.06))


def test_failures_do_not_disturb_the_others():
    """A rejected hand, an empty field and one that is not finite are between two good ones."""
    hands = [hand(0, Side.RIGHT), hand(1, Side.LEFT, rejected="palm without a plane"), *map(right, (2, 3)), right(4)]
    hands[2] = HandInput(**vars(hands[2]) | {"bone_lengths": np.full(16, -1.0)})
    hands[3] = HandInput(**vars(hands[3]) | {"bone_lengths": np.full(16, np.nan)})
    made = reconstruct_hands(balls, hands, EXTRACTION)
    assert [one.hand_id for one in made] == [one.hand_id for one in hands]
    assert made[1].mesh is None
    assert made[1].failure == "palm without a plane"
    assert made[2].mesh.is_empty
    assert made[2].failure == EMPTY
    assert made[3].mesh is None
    assert "finite" in made[3].failure
    for place in (0, 4):
        (alone,) = reconstruct_hands(balls, [hands[place]], EXTRACTION)
        np.testing.assert_array_equal(made[place].mesh.vertices, alone.mesh.vertices)
        assert made[place].evaluations == alone.evaluations > 0


def right(index):
    return hand(index, Side.RIGHT)


@pytest.mark.parametrize(("pairs_per_batch", "workers"), [(1, 1), (2, 2), (3, 1), (5, 3)])
def test_batches_and_workers_do_not_change_the_result(pairs_per_batch, workers):
    names = [f"7_{index}" for index in range(5)]
    expected = [reconstruct_hands(balls, pair_of(name), EXTRACTION) for name in names]
    made = list(reconstruct_pairs(balls, pair_of, names, EXTRACTION, pairs_per_batch, workers))
    assert [[one.hand_id for one in pair] for pair in made] == [[one.hand_id for one in pair] for pair in expected]
    for ours, theirs in zip(chain.from_iterable(made), chain.from_iterable(expected), strict=True):
        np.testing.assert_array_equal(ours.mesh.vertices, theirs.mesh.vertices)
        np.testing.assert_array_equal(ours.published_field, theirs.published_field)


def test_query_frame():
    """Both behaviours agree when the keypoints in use are the true ones; else only `consistent` moves the points."""
    true, used = frame(Side.LEFT, 1), frame(Side.LEFT, 2)
    points = np.random.default_rng(0).normal(size=(30, 3))
    for behaviour in ("published", "consistent"):
        np.testing.assert_array_equal(query_points(points, true, true, behaviour), points)
    np.testing.assert_array_equal(query_points(points, true, used, "published"), points)
    moved = query_points(points, true, used, "consistent")
    np.testing.assert_allclose(used.to_world(moved), true.to_world(points), atol=1e-12)
    assert np.abs(moved - points).max() > 0.1


def test_numbers_are_looked_at_wherever_the_field_is_asked():
    """NaN at the evaluation points alone is a failure of that hand, and a field that fills the box is one with a mesh."""
    hands = [hand(0, Side.RIGHT), hand(1, Side.LEFT), hand(2, Side.RIGHT)]

    def fields(given):
        inner = balls(given)

        def field(items, points):
            values = inner(items, points)
            on_grid = np.isclose(np.modf((points / 1.1 + 0.5) * 64)[0] % 1, 0, atol=1e-3).all(axis=1)
            values[(items == 0) & ~on_grid] = np.inf
            return np.where(items == 2, 1.0, values)

        return field

    broken, good, full = reconstruct_hands(fields, hands, EXTRACTION)
    assert (broken.mesh, broken.failure, broken.published_field) == (None, NOT_FINITE, None)
    assert good.failure is None
    assert full.failure == FULL
    assert full.mesh.volume == pytest.approx(0.44**3)
    assert full.published_field.all()
    (alone,) = reconstruct_hands(balls, [hands[1]], EXTRACTION)
    np.testing.assert_array_equal(good.mesh.vertices, alone.mesh.vertices)
