"""Inside tests: both forms equal the exact winding number wherever a mesh is closed, and bad input is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.geometry.inside import InsideTest, inside_mesh
from im2hands.io.errors import DataError
from tests.geometry.meshes import box, joined, random_closed, sealed_hand, sphere
from tests.naive.inside import crossing_winding, published_parity
from tests.naive.winding_number import solid_angle_winding

BACKENDS = ("numba", "numpy")


def exact(vertices, faces, points):
    return np.rint(solid_angle_winding(vertices, faces, points)).astype(int)


def near_and_far(rng, vertices, count):
    """Points all over the mesh's box and beyond, and points near the vertices."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    spread = 0.02 * (high - low)
    near = vertices[rng.integers(len(vertices), size=count)] + rng.normal(0, spread, (count, 3))
    return np.concatenate([rng.uniform(low - 0.2, high + 0.2, (count, 3)), near])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [0, 1, 700])
def test_a_sealed_hand_is_labelled_exactly(backend, count):
    """No label differs from the exact float64 winding number."""
    vertices, faces = sealed_hand()
    points = near_and_far(np.random.default_rng(count), vertices, count)
    winding = InsideTest(vertices, faces, backend).winding(points)
    np.testing.assert_array_equal(winding, exact(vertices, faces, points))
    assert count < 500 or 0.1 < (winding != 0).mean() < 0.9


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), shells=st.integers(1, 4))
def test_random_closed_meshes_are_labelled_exactly(backend, seed, shells):
    """Overlaps, self-intersections and shells turned inside out give the exact winding number, whatever it is."""
    rng = np.random.default_rng(seed)
    vertices, faces = random_closed(rng, shells)
    points = near_and_far(rng, vertices, 150)
    np.testing.assert_array_equal(InsideTest(vertices, faces, backend).winding(points), exact(vertices, faces, points))


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), drop=st.integers(0, 20))
def test_both_forms_equal_the_plain_crossing_count(backend, seed, drop):
    """Also on open meshes, where the count depends on the ray, and on lattices full of ties."""
    rng = np.random.default_rng(seed)
    vertices, faces = random_closed(rng, 2)
    vertices, faces = np.round(vertices * 4) / 4, faces[rng.permutation(len(faces))[drop:]]
    points = rng.integers(-8, 9, (200, 3)) / 4.0 + [0, 0, 0.1]
    expected = crossing_winding(vertices, faces, points)
    np.testing.assert_array_equal(InsideTest(vertices, faces, backend).winding(points), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rays_through_vertices_and_edges_are_counted_once(backend):
    """Points straight above and below vertices and edge middles: none is lost, none counted twice."""
    rng = np.random.default_rng(0)
    vertices, faces = joined(sphere(0.5, (0, 0, 1)), sphere(0.3, (0.1, 0.2, 0.1), 1), sphere(1.2, subdivisions=0))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))  # so that no edge stands upright
    vertices = vertices @ turn.T
    ends = vertices[faces[:, [0, 1]]]
    points = np.repeat(np.concatenate([vertices, ends.mean(axis=1)]), 3, axis=0)
    points[:, 2] = rng.uniform(-1.3, 1.6, len(points))
    expected = exact(vertices, faces, points)
    np.testing.assert_array_equal(InsideTest(vertices, faces, backend).winding(points), expected)
    assert set(expected) == {0, 1, 2}


@pytest.mark.parametrize("backend", BACKENDS)
def test_lattice_points_of_a_box_are_all_found(backend):
    """Rays along diagonals of faces, and above and below the box."""
    vertices, faces = box()
    axis, height = np.linspace(-0.75, 0.75, 7), np.linspace(-1.75, 1.75, 8)
    points = np.stack(np.meshgrid(axis, axis, height, indexing="ij"), axis=-1).reshape(-1, 3)
    winding = InsideTest(vertices, faces, backend).winding(points)
    np.testing.assert_array_equal(winding, np.abs(points[:, 2]) < 1)


def test_regions_covered_twice_are_inside_by_winding_and_outside_by_parity():
    vertices, faces = joined(sphere(1.0, (-0.4, 0, 0), 3), sphere(1.0, (0.4, 0, 0), 3))
    points = np.random.default_rng(0).uniform(-1.4, 1.4, (2000, 3))
    test = InsideTest(vertices, faces)
    twice = test.winding(points) == 2
    winding, parity = test.labels(points), test.labels(points, "parity")
    assert twice.sum() > 100
    assert winding.inside[twice].all()
    assert not parity.inside[twice].any()
    np.testing.assert_array_equal(winding.inside[~twice], parity.inside[~twice])
    assert winding.conflicts == parity.conflicts == twice.sum()


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), ties=st.booleans())
def test_published_rule_equals_its_plain_form(backend, seed, ties):
    """Also on a lattice of a box, where the last bit decides which points are lost."""
    rng = np.random.default_rng(seed)
    vertices, faces = box((0, 0, 0), (1, 2, 1)) if ties else random_closed(rng, 2)
    points = rng.integers(0, 33, (300, 3)) / 16 if ties else near_and_far(rng, vertices, 200)
    expected = published_parity(vertices, faces, points)
    np.testing.assert_array_equal(inside_mesh(points, vertices, faces, "parity", backend), expected)


def test_published_rule_loses_points_under_edges_and_counts_them():
    """The lattice of a box: the published rule misses what the winding number finds, and says how often."""
    vertices, faces = box()
    lattice = np.stack(np.meshgrid(*[np.linspace(-0.9, 0.9, 7)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    test = InsideTest(vertices, faces)
    assert test.contains(lattice).all()
    published = test.labels(lattice, "parity")
    assert published.conflicts == np.count_nonzero(~published.inside) > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_turning_and_moving_points_with_the_mesh_changes_nothing(backend):
    rng = np.random.default_rng(3)
    vertices, faces = sealed_hand()
    points = near_and_far(rng, vertices, 800)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    expected = inside_mesh(points, vertices, faces, backend=backend)
    found = inside_mesh(points @ turn.T + 0.3, vertices @ turn.T + 0.3, faces, backend=backend)
    np.testing.assert_array_equal(found, expected)


def test_batches_of_points_keep_their_shape():
    vertices, faces = sphere()
    points = np.zeros((2, 5, 3), np.float32)
    assert inside_mesh(points, vertices, faces).shape == (2, 5)
    assert inside_mesh(points, vertices, faces, rule="parity").shape == (2, 5)
    assert inside_mesh(np.zeros(3), vertices, faces).shape == ()


def test_many_pairs_are_handled_in_pieces(monkeypatch):
    monkeypatch.setattr("im2hands.geometry.inside_numpy.PAIRS_PER_CHUNK", 100)
    vertices, faces = sphere()
    points = np.random.default_rng(0).uniform(-1.1, 1.1, (500, 3))
    expected = InsideTest(vertices, faces, "numba").winding(points)
    np.testing.assert_array_equal(InsideTest(vertices, faces, "numpy").winding(points), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v, f: (v[:0], f[:0]), "must not be empty"),
        (lambda v, f: (v, f[:0]), "must not be empty"),
        (lambda v, f: (np.where(v > 0.9, np.nan, v), f), "NaN or infinite"),
        (lambda v, f: (np.where(v > 0.9, np.inf, v), f), "NaN or infinite"),
        (lambda v, f: (v, f + 1), "but there are"),
        (lambda v, f: (v, f - 1), "but there are"),
        (lambda v, f: (v, f.astype(float)), "whole numbers"),
        (lambda v, f: (v[:, :2], f), "three columns"),
    ],
)
def test_bad_meshes_are_refused_before_anything_crashes(change, message):
    with pytest.raises(DataError, match=message):
        InsideTest(*change(*sphere()))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_points_are_counted_in_the_message(bad):
    points = np.zeros((4, 3))
    points[1, 2] = bad
    with pytest.raises(DataError, match="1 of 4 query points"):
        inside_mesh(points, *sphere())


def test_unknown_rule_and_wrong_shape_are_refused():
    with pytest.raises(DataError, match="parity or winding"):
        inside_mesh(np.zeros((1, 3)), *sphere(), rule="even")
    with pytest.raises(DataError, match="three coordinates"):
        inside_mesh(np.zeros((4, 2)), *sphere())


def test_without_numba_the_portable_form_answers(monkeypatch):
    monkeypatch.setattr("im2hands.geometry.inside.CompiledColumns", None)
    vertices, faces = sphere()
    points = np.random.default_rng(0).uniform(-1.1, 1.1, (100, 3))
    np.testing.assert_array_equal(inside_mesh(points, vertices, faces), exact(vertices, faces, points) != 0)
    with pytest.raises(DataError, match="numba"):
        InsideTest(vertices, faces, "numba")
