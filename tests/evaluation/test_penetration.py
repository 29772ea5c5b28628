"""Shared volume and depth of two solids against formulas, against the plain form and against each other."""

import numpy as np
import pytest

from im2hands.evaluation import penetration as module
from im2hands.evaluation.penetration import penetration, shared_volume_grid
from im2hands.geometry.inside import InsideTest
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.self_overlap import overlaps_itself
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import ConfigError
from tests.evaluation.shapes import box, lens_volume, mirrored, sphere
from tests.naive import penetration as naive


def test_two_balls():
    """Radius 40 mm, centres 50 mm apart: the deepest point lies 30 mm inside the other ball."""
    first, second = sphere(0.04), sphere(0.04, (0.05, 0, 0))
    found = penetration(first, second)
    assert found.volume_cm3 == pytest.approx(lens_volume(0.04, 0.05) * 1e6, rel=0.02)
    assert found.depth_mm == pytest.approx(30, abs=0.4)
    assert found.volume_method == "grid"


def test_two_boxes_on_the_grid_are_exact():
    found = penetration(box((0.02, 0.02, 0.02)), box((0.02, 0.02, 0.02), (0.012, 0, 0)), cell=0.002)
    assert found.volume_cm3 == pytest.approx(0.8 * 2 * 2, rel=1e-12)


def test_finer_cells_come_closer():
    distance = np.linalg.norm([0.05, 0.003, 0.001])
    solids = [InsideTest(mesh.vertices, mesh.faces) for mesh in (sphere(0.04), sphere(0.04, (0.05, 0.003, 0.001)))]
    errors = [abs(shared_volume_grid(*solids, cell) / lens_volume(0.04, distance) - 1) for cell in (0.008, 0.001)]
    assert errors[1] < 0.01
    assert errors[1] < errors[0]


def test_meshes_of_metres_take_no_more_cells_than_stated(monkeypatch):
    first, second = sphere(2.0), sphere(2.0, (1.0, 0, 0))
    tests = [InsideTest(mesh.vertices, mesh.faces) for mesh in (first, second)]
    monkeypatch.setattr(module, "MOST_CELLS", 20_000)
    volume = shared_volume_grid(*tests, 0.002)
    assert volume == pytest.approx(lens_volume(2.0, 1.0), rel=0.05)
    edge = float(np.cbrt(3 * 4 * 4 / 20_000))
    assert volume == pytest.approx(shared_volume_grid(*tests, edge), rel=0.02)


def test_grid_equals_naive():
    first, second = sphere(0.04, subdivisions=1), sphere(0.03, (0.05, 0.01, 0), subdivisions=1)
    solids = [InsideTest(mesh.vertices, mesh.faces) for mesh in (first, second)]
    assert shared_volume_grid(*solids, 0.004) == pytest.approx(naive.shared_volume(first, second, 0.004), rel=1e-12)
    assert naive.shared_volume(first, second, 0.004) > 0


@pytest.mark.parametrize("second", [sphere(0.04, (0.5, 0, 0)), sphere(0.04, (0.06, 0.06, 0))])
def test_apart(second):
    """The second pair's bounding boxes overlap, the balls do not."""
    assert vars(penetration(sphere(0.04), second)) == {"volume_cm3": 0.0, "depth_mm": 0.0, "volume_method": "grid"}


def test_one_inside_the_other():
    found = penetration(sphere(0.04), sphere(0.01), cell=0.001)
    assert found.volume_cm3 == pytest.approx(4 / 3 * np.pi, rel=0.02)
    assert found.depth_mm == pytest.approx(30, abs=0.5)


def test_order_and_mirror_image_do_not_matter():
    """A mirrored pair penetrates as much: the grid is centred on the shared box."""
    first, second = sphere(0.04), box((0.05, 0.03, 0.07), (0.0412, 0.013, 0.002))
    found = penetration(first, second)
    swapped, reflected = penetration(second, first), penetration(mirrored(second), mirrored(first))
    for other in (swapped, reflected):
        assert other.volume_cm3 == pytest.approx(found.volume_cm3, rel=1e-12)
        assert other.depth_mm == pytest.approx(found.depth_mm, rel=1e-9)


def has_manifold():
    try:
        import manifold3d  # noqa: F401
    except ImportError:
        return False
    return True


def test_boolean_volume_agrees_with_the_grid():
    if not has_manifold():
        with pytest.raises(ConfigError, match="manifold3d"):
            penetration(sphere(0.04), sphere(0.04, (0.05, 0, 0)), "boolean")
        return
    first, second = sphere(0.04), sphere(0.04, (0.05, 0, 0))
    found = penetration(first, second, "boolean")
    assert found.volume_method == "boolean"
    assert found.volume_cm3 == pytest.approx(penetration(first, second).volume_cm3, rel=0.02)


def test_boolean_of_an_open_mesh_falls_back_to_cells_and_says_so():
    pytest.importorskip("manifold3d")
    first, second = sphere(0.04), sphere(0.04, (0.05, 0, 0))
    assert penetration(Mesh(first.vertices, first.faces[1:]), second, "boolean").volume_method == "grid"


def together(*meshes):
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def test_what_a_surface_covers_twice_is_counted_once():
    """Two boxes of 1 cm in one another, a hand's fingers say, in a large box: 1.5 cm3 are shared, not 2.0."""
    pytest.importorskip("manifold3d")
    itself = together(box((0.01, 0.01, 0.01)), box((0.01, 0.01, 0.01), (0.005, 0.0001, 0.0002)))
    around = box((0.05, 0.05, 0.05))
    found = penetration(itself, around, "boolean", cell=0.0002)
    assert found.volume_method == "grid"
    assert found.volume_cm3 == pytest.approx(2 - 0.5 * 0.99 * 0.98, rel=0.02)
    assert penetration(box((0.01, 0.01, 0.01)), around, "boolean").volume_method == "boolean"


def test_surfaces_that_overlap_themselves_are_told_from_those_that_do_not():
    model = builtin_hand_models()[Side.RIGHT]
    hand = Mesh(model.seal(np.asarray(model.template, np.float64)), model.sealed_faces)
    ball, small = sphere(0.04), sphere(0.01)
    inverted = Mesh(small.vertices, small.faces[:, ::-1])
    for mesh in (hand, ball, box((1, 1, 1)), together(ball, sphere(0.04, (0.1, 0, 0))), together(ball, inverted)):
        assert not overlaps_itself(mesh)
    for mesh in (together(ball, sphere(0.04, (0.05, 0, 0))), together(ball, small), inverted, together(hand, inverted)):
        assert overlaps_itself(mesh)
