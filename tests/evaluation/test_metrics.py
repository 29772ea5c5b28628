"""Shape metrics against their plain form, against golden numbers and against solids whose metrics are known."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.evaluation.metrics import SampledSurface, intersection_over_union, surface_distances
from im2hands.io.errors import DataError
from tests.naive import metrics as naive

GOLDEN = Path(__file__).parents[1] / "golden" / "halo_metrics_mise.npz"


def sphere_samples(rng, count, radius=1.0, centre=(0, 0, 0)):
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return radius * normals + np.asarray(centre), normals


@pytest.mark.parametrize(("predicted", "true"), [(1, 1), (7, 30), (120, 33)])
def test_distances_equal_naive(predicted, true):
    """The search tree finds the same neighbours as comparing everything with everything."""
    rng = np.random.default_rng([predicted, true])
    a, b = rng.normal(size=(predicted, 3)), rng.normal(size=(true, 3))
    na, nb = rng.normal(size=(predicted, 3)), 3 * rng.normal(size=(true, 3))
    expected = naive.surface_distances(a, na, b, nb)
    assert vars(surface_distances(a, na, b, nb)) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(0, 4))
def test_iou_equals_naive_and_is_symmetric(seed, points, batch):
    rng = np.random.default_rng(seed)
    shape = (batch, points) if batch else (points,)
    a, b = rng.random(shape), rng.random(shape)
    iou = intersection_over_union(a, b, 0.8)
    np.testing.assert_allclose(iou, naive.intersection_over_union(a, b, 0.8), rtol=1e-15, equal_nan=True)
    np.testing.assert_array_equal(iou, intersection_over_union(b, a, 0.8))
    np.testing.assert_array_equal(iou, intersection_over_union(a >= 0.8, b >= 0.8))


def test_iou_of_a_batch_shares_one_row_of_truth():
    rng = np.random.default_rng(0)
    a, b = rng.random((4, 50)), rng.random(50)
    one_by_one = [intersection_over_union(row, b) for row in a]
    np.testing.assert_array_equal(intersection_over_union(a, b), one_by_one)


def test_iou_of_an_empty_union_is_undefined():
    assert np.isnan(intersection_over_union(np.zeros(5), np.zeros(5)))
    assert intersection_over_union(np.ones(5), np.zeros(5)) == 0
    assert intersection_over_union(np.full(5, 0.5), np.ones(5)) == 1  # the threshold itself is inside


def test_golden_numbers():
    """HALO's own metric functions gave these numbers."""
    golden = np.load(GOLDEN)
    iou = intersection_over_union(golden["iou_occ1"], golden["iou_occ2"])
    np.testing.assert_allclose(iou, golden["iou"], rtol=1e-6, equal_nan=True)
    pairs = [golden[f"pc_{name}"] for name in ("pred", "pred_normals", "gt", "gt_normals")]
    ours = surface_distances(*pairs)
    for name, value in vars(ours).items():
        assert value == pytest.approx(golden["pc_" + name.replace("_l1", "_L1").replace("_l2", "_L2")], abs=1e-14), name


def test_concentric_spheres():
    """Radii 1 and 1.1: every distance is 0.1 up to sampling, every normal agrees; IoU of the balls is 1/1.331."""
    rng = np.random.default_rng(1)
    inner, outer = sphere_samples(rng, 40_000), sphere_samples(rng, 40_000, 1.1)
    distances = surface_distances(*inner, *outer)
    assert distances.chamfer_l1 == pytest.approx(0.1, abs=1e-3)
    assert distances.chamfer_l2 == pytest.approx(0.01, abs=3e-4)
    assert distances.normals == pytest.approx(1, abs=1e-3)
    points = rng.uniform(-1.2, 1.2, (400_000, 3))
    radius = np.linalg.norm(points, axis=1)
    assert intersection_over_union(radius < 1, radius < 1.1) == pytest.approx(1 / 1.331, abs=0.01)


def test_orientation_of_normals_does_not_matter():
    rng = np.random.default_rng(2)
    points, normals = sphere_samples(rng, 500)
    other, other_normals = sphere_samples(rng, 500)
    assert surface_distances(points, -normals, other, 2 * other_normals) == surface_distances(
        points, normals, other, other_normals
    )


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.array([[0.0, np.nan, 0.0]]), np.zeros((4, 2))])
def test_unusable_samples_are_refused(points):
    with pytest.raises(DataError):
        SampledSurface(points, np.ones_like(points))


def test_different_numbers_of_labels_are_refused():
    with pytest.raises(DataError, match="4 predicted occupancies for 5"):
        intersection_over_union(np.zeros(4), np.zeros(5))
