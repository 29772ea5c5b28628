"""Shape metrics, the published occupancy rule and the iso-surface search against the reference's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from im2hands.geometry.inside import inside_mesh
from im2hands.parity.cases.halo_metrics_mise import CASE, CONTAINS, field_of
from tests.naive.inside import published_parity
from tests.naive.octree import naive_dense, naive_search
from tests.reference import FOLDER


@pytest.fixture
def golden():
    return FOLDER.find(CASE.name)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize(("field", "mesh", "points"), CONTAINS)
def test_both_forms_of_the_occupancy_test_agree(golden, field, mesh, points, backend):
    vertices, faces = golden[f"contains_{mesh}_verts"], golden[f"contains_{mesh}_faces"]
    np.testing.assert_array_equal(inside_mesh(golden[points], vertices, faces, "parity", backend), golden[field])


@pytest.mark.parametrize("mesh", ["torus", "box"])
def test_naive_parity_agrees_too(golden, mesh):
    arguments = [golden[f"contains_{mesh}_{part}"] for part in ("verts", "faces", "points")]
    np.testing.assert_array_equal(published_parity(*arguments), golden[f"contains_{mesh}"])


def test_naive_search_agrees_too(golden):
    """The plain loops that the fast search is compared with give the golden grid themselves."""
    start, depth = int(golden["mise0_resolution0"]), int(golden["mise0_depth"])
    field = field_of(str(golden["mise0_field"]), start << depth)
    known, rounds = naive_search(lambda index: field(None, index), start, depth, float(golden["mise0_threshold"]))
    np.testing.assert_array_equal(rounds, golden["mise0_round_counts"])
    np.testing.assert_array_equal(sorted(known), golden["mise0_evaluated_points"])
    np.testing.assert_allclose(naive_dense(known, start << depth), golden["mise0_dense"], atol=1e-12)
