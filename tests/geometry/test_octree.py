"""The iso-surface search: the same points in the same rounds as the plain loops, for every field and in lockstep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.geometry.octree import Octrees, refine
from im2hands.io.errors import DataError
from tests.naive.octree import naive_dense, naive_search


def smooth_field(rng, resolution):
    """Some waves: surfaces everywhere, also across the boundary."""
    waves = rng.normal(0, 4, (4, 3)) / resolution
    phases, weights = rng.uniform(0, 6, 4), rng.normal(0, 1, 4)
    return lambda index: np.sin(index @ waves.T * 2 + phases) @ weights


def rough_field(rng, resolution):
    """Coarse noise that often is exactly at the level."""
    values = rng.choice([0.0, 0.5, 1.0], (resolution + 1,) * 3, p=rng.dirichlet([3, 0.3, 1]))
    return lambda index: values[tuple(index.T)]


def check_against_naive(field, start, depth, level):
    octree = refine(lambda items, index: field(index), 1, start, depth, level)
    known, rounds = naive_search(field, start, depth, level)
    assert [int(counts[0]) for counts in octree.round_counts] == rounds
    index, values = octree.known(0)
    np.testing.assert_array_equal(index, sorted(known))
    np.testing.assert_array_equal(values, [known[tuple(point)] for point in index])
    np.testing.assert_array_equal(octree.dense(0), naive_dense(known, start << depth))
    assert octree.evaluations[0] == len(known)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), start=st.integers(1, 3), depth=st.integers(0, 3), make=st.sampled_from([0, 1]))
def test_evaluated_points_rounds_and_grid_equal_the_plain_loops(seed, start, depth, make):
    rng = np.random.default_rng(seed)
    field = (smooth_field, rough_field)[make](rng, start << depth)
    check_against_naive(field, start, depth, (0.1, 0.5)[make])


@pytest.mark.parametrize("level", [-1e9, 1e9])
def test_a_field_on_one_side_is_asked_once(level):
    octree = refine(lambda items, index: index[:, 0].astype(float), 2, 3, 4, level)
    assert [counts.tolist() for counts in octree.round_counts] == [[64, 64]]


def test_grids_in_lockstep_are_what_they_are_alone():
    """Early and late finishers together: same points, same values, and one call serves all."""
    rng = np.random.default_rng(1)
    fields = [smooth_field(rng, 16), lambda index: np.zeros(len(index)), rough_field(rng, 16), smooth_field(rng, 16)]
    calls = []

    def together(items, index):
        calls.append(len(items))
        assert (np.diff(items) >= 0).all()
        return np.concatenate([fields[item](index[items == item]) for item in range(4)])

    joint = refine(together, 4, 4, 2, 0.3)
    alone = [refine(lambda items, index, f=field: f(index), 1, 4, 2, 0.3) for field in fields]
    for item, one in enumerate(alone):
        for ours, theirs in zip(joint.known(item), one.known(0), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(calls) == max(len(one.round_counts) for one in alone)
    np.testing.assert_array_equal(joint.evaluations, [one.evaluations[0] for one in alone])


def test_points_of_a_round_come_in_order():
    octree = Octrees(2, 2, 2, 0.5)
    items, index = octree.unknown()
    while len(items):
        keys = [(item, *point) for item, point in zip(items.tolist(), index.tolist(), strict=True)]
        assert keys == sorted(set(keys))
        octree.update((np.linalg.norm(index - [5, 4, 3], axis=1) < 3).astype(float))
        items, index = octree.unknown()


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), start=st.integers(1, 4), depth=st.integers(0, 4))
def test_the_part_near_the_surface_has_the_signs_of_the_whole_grid(seed, start, depth):
    """And the same values at the corners of all cells that the surface crosses."""
    rng = np.random.default_rng(seed)
    field = smooth_field(rng, start << depth)
    octree = refine(lambda items, index: field(index), 1, start, depth, 0.4)
    crop, low = octree.near_surface(0)
    dense = octree.dense(0)
    if not crop.size:
        assert (dense < 0.4).all()
        return
    part = dense[tuple(slice(a, a + n) for a, n in zip(low, crop.shape, strict=True))]
    np.testing.assert_array_equal(crop >= 0.4, part >= 0.4)
    outside = np.ones(dense.shape, bool)
    outside[tuple(slice(a, a + n) for a, n in zip(low, crop.shape, strict=True))] = False
    assert (dense[outside] < 0.4).all()
    known = {tuple(point) for point in octree.known(0)[0]}
    crossed = np.argwhere(_mixed(crop >= 0.4))
    for cell in crossed[:: max(1, len(crossed) // 50)]:
        for corner in np.ndindex(2, 2, 2):
            place = tuple(cell + corner)
            assert tuple(low + place) in known
            assert crop[place] == part[place]


def _mixed(inside):
    """Unit cells with corners on both sides."""
    nx, ny, nz = (side - 1 for side in inside.shape)
    corners = [inside[i : i + nx, j : j + ny, k : k + nz] for i, j, k in np.ndindex(2, 2, 2)]
    return np.any(corners, axis=0) & ~np.all(corners, axis=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_field_that_is_not_finite_is_given_up_and_the_others_go_on(bad):
    def field(items, index):
        values = (np.linalg.norm(index - 4, axis=1) < 2.5).astype(float)
        values[(items == 1) & (index == 4).all(axis=1)] = bad
        return values

    joint = refine(field, 3, 2, 2, 0.5)
    alone = refine(field, 1, 2, 2, 0.5)
    assert joint.failed.tolist() == [False, True, False]
    for item in (0, 2):
        np.testing.assert_array_equal(joint.known(item)[0], alone.known(0)[0])
    assert joint.evaluations[1] < alone.evaluations[0]


def test_bad_arguments_are_refused():
    with pytest.raises(DataError, match="start 0"):
        Octrees(1, 0, 2, 0.5)
    with pytest.raises(DataError, match="finite"):
        Octrees(1, 4, 2, np.nan)
    with pytest.raises(DataError, match=r"shape \(3,\) for 27 points"):
        Octrees(1, 2, 1, 0.5).update(np.zeros(3))


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), start=st.integers(1, 3), depth=st.integers(0, 3))
def test_sides_of_places_are_those_of_the_grid_around_them(seed, start, depth):
    """Where the search says a side, all points of the filled grid on the finest cube around the place lie on it."""
    rng = np.random.default_rng(seed)
    field, level, resolution = smooth_field(rng, start << depth), 0.1, start << depth
    octree = refine(lambda items, index: field(index), 1, start, depth, level)
    place = rng.uniform(-0.2, resolution + 0.2, (400, 3))
    sides, dense = octree.sides(0, place), octree.dense(0)
    outside = ((place < 0) | (place > resolution)).any(axis=1)
    assert (sides[outside] == 0).all()
    for where, side in zip(place[sides != 0], sides[sides != 0], strict=True):
        low = np.minimum(where.astype(int), resolution - 1)
        corners = dense[tuple(slice(first, first + 2) for first in low)]
        assert ((corners >= level) if side > 0 else (corners <= level)).all()
    if depth == 0:
        assert not sides.any()


def test_most_of_the_space_around_a_ball_is_known_and_right():
    def field(items, index):
        return 20.0 - np.linalg.norm(index - 32.0, axis=1)

    octree = refine(field, 1, 8, 3, 0.0)
    place = np.random.default_rng(0).uniform(0, 64, (5000, 3))
    sides = octree.sides(0, place)
    assert (sides != 0).mean() > 0.8
    known = sides != 0
    np.testing.assert_array_equal(sides[known] > 0, field(0, place[known]) > 0)


def test_a_grid_that_was_given_up_knows_no_side():
    octree = refine(lambda items, index: np.full(len(index), np.nan), 1, 4, 2, 0.5)
    assert not octree.sides(0, np.full((3, 3), 2.0)).any()
