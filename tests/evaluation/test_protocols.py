"""Both protocols on hands whose metrics are known: perfect, shrunken, shifted, mirrored, empty, missing, open."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from im2hands.evaluation.protocols import (
    METRICS,
    MM,
    Reconstruction,
    TrueHand,
    evaluate_hand,
    noise_floor,
    published_metrics,
    sampled,
)
from im2hands.evaluation.records import RECORDS
from im2hands.evaluation.shards import Measuring, measure_pair
from im2hands.geometry.inside import InsideTest
from im2hands.geometry.mesh import Mesh
from im2hands.hands.frames import PalmFrame
from im2hands.hands.sides import Side
from tests.evaluation.shapes import mirrored, sphere

RADIUS = 0.1
"""Palm units: 40 mm."""
SAMPLES = 20_000


def ball(side=Side.RIGHT, name="1_2_right", seed=0):
    """A ball as true hand; the palm frame turns, shifts, scales and (left) mirrors it into the world."""
    rng = np.random.default_rng(5)
    frame = PalmFrame(side, rng.normal(size=3), Rotation.random(random_state=3).as_matrix())
    palm = sphere(RADIUS)
    rng = np.random.default_rng(seed)
    near = RADIUS * unit(rng.normal(size=(SAMPLES, 3))) + rng.normal(0, 0.01, (SAMPLES, 3))
    published = np.concatenate([rng.uniform(-0.55, 0.55, (SAMPLES, 3)), near])
    uniform = rng.uniform(-RADIUS - 0.02, RADIUS + 0.02, (SAMPLES, 3))
    solid = InsideTest(palm.vertices, palm.faces)
    return TrueHand(
        hand_id=name,
        frame=frame,
        sealed=frame.mesh_to_world(palm),
        published_points=published,
        published_labels=solid.contains(published),
        uniform_points=uniform,
        uniform_labels=solid.contains(uniform),
        surface=sampled(palm, SAMPLES, [1, 2]),
    )


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def made(true, radius=RADIUS, centre=(0, 0, 0), field=True):
    """Another ball as reconstruction of a ball."""
    fields = [
        np.linalg.norm(points - np.asarray(centre), axis=1) < radius if field else None
        for points in (true.published_points, true.uniform_points)
    ]
    return Reconstruction(true.frame.mesh_to_world(sphere(radius, centre)), None, *fields, evaluations=7)


@pytest.mark.parametrize("side", list(Side))
def test_perfect_reconstruction(side):
    """IoU 1 (the field is the exact ball, the mesh a polyhedron), distances at the noise floor."""
    true = ball(side)
    row = evaluate_hand(true, made(true), SAMPLES, seed=1)
    assert row["mesh_iou"] > 0.999
    assert row["field_iou"] == pytest.approx(1, abs=0.01)
    assert row["published_iou"] > 0.99  # parity may lose a point under an edge
    assert row["published_field_iou"] == pytest.approx(1, abs=0.02)
    assert row["chamfer_l1_mm"] == pytest.approx(row["floor_chamfer_l1_mm"], rel=0.03)
    assert row["chamfer_l2_mm2"] == pytest.approx(row["floor_chamfer_l2_mm2"], rel=0.05)
    assert row["normal_consistency"] == pytest.approx(row["floor_normal_consistency"], abs=1e-3)
    assert row["volume_cm3"] == pytest.approx(row["true_volume_cm3"], rel=1e-6)
    assert row["volume_cm3"] == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.01)
    assert row["failure"] is None
    assert row["evaluations"] == 7


def test_shrunken_ball():
    """36 mm instead of 40 mm: IoU 0.9³, every distance 4 mm up to the sampling."""
    true = ball()
    row = evaluate_hand(true, made(true, 0.9 * RADIUS), SAMPLES, seed=1)
    assert row["mesh_iou"] == pytest.approx(0.9**3, abs=0.02)
    assert row["field_iou"] == pytest.approx(0.9**3, abs=0.02)
    assert row["chamfer_l1_mm"] == pytest.approx(4, abs=0.1)
    assert row["chamfer_l2_mm2"] == pytest.approx(16, abs=0.8)
    assert row["published_chamfer_l1_mm"] == row["chamfer_l1_mm"]
    assert row["published_chamfer_l2_mm2"] == row["chamfer_l2_mm2"]
    assert row["normal_consistency"] > 0.99
    assert row["published_iou"] < row["mesh_iou"]  # near-surface points are the hard ones


def test_units():
    """A shift of 0.05 palm units is one of 20 mm: no sample is farther from the other ball's centre than 60 mm."""
    true = ball()
    row = evaluate_hand(true, made(true, centre=(0.05, 0, 0)), SAMPLES, seed=1)
    assert MM == 400
    assert 5 < row["chamfer_l1_mm"] < 20
    assert row["completeness_mm"] == pytest.approx(row["accuracy_mm"], rel=0.05)
    assert row["chamfer_l1_mm"] == pytest.approx((row["completeness_mm"] + row["accuracy_mm"]) / 2)


def test_mirrored_hand_has_equal_metrics():
    """The same hand seen in a mirror, with the same name: every number is the same."""
    true = ball(Side.RIGHT)
    frame = PalmFrame(Side.LEFT, true.frame.wrist * [-1, 1, 1], true.frame.rotation)
    reflected = TrueHand(**{**fields_of(true), "frame": frame, "sealed": mirrored(true.sealed)})
    found = made(true, 0.09, (0.01, 0.02, 0))
    other = Reconstruction(mirrored(found.mesh), None, found.published_field, found.uniform_field, 7)
    a, b = evaluate_hand(true, found, SAMPLES, 1), evaluate_hand(reflected, other, SAMPLES, 1)
    assert (a.pop("side"), b.pop("side")) == ("right", "left")
    for name, value in a.items():
        assert b[name] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), name


def fields_of(true):
    return {name: getattr(true, name) for name in TrueHand.__dataclass_fields__}


def test_same_seed_same_numbers_and_names_decide_samples():
    """Samples depend on the master seed and the hand's name and on nothing else."""
    true = ball()
    row = evaluate_hand(true, made(true), 2000, seed=1)
    assert evaluate_hand(true, made(true), 2000, seed=1) == row
    assert evaluate_hand(true, made(true), 2000, seed=2)["chamfer_l1_mm"] != row["chamfer_l1_mm"]
    renamed = TrueHand(**{**fields_of(true), "hand_id": "1_3_right"})
    assert evaluate_hand(renamed, made(true), 2000, seed=1)["chamfer_l1_mm"] != row["chamfer_l1_mm"]


def test_noise_floor_shrinks_with_samples():
    true = ball()
    assert noise_floor(true, 20_000, 1)["floor_chamfer_l1_mm"] < noise_floor(true, 2000, 1)["floor_chamfer_l1_mm"]


def test_empty_mesh():
    """Published: IoU 0, sqrt(3) and -1, no Chamfer distance. Ours: nothing; the tables count the penalty."""
    true = ball()
    row = evaluate_hand(
        true, Reconstruction(Mesh(), "empty", true.published_labels & False, true.uniform_labels & False), 500, 1
    )
    assert row["failure"] == "empty"
    assert (row["published_iou"], row["published_normals"], row["published_field_iou"]) == (0, -1, 0)
    assert row["published_completeness_mm"] == row["published_accuracy_mm"] == pytest.approx(400 * 3**0.5)
    for name in ("published_chamfer_l1_mm", "published_chamfer_l2_mm2", "mesh_iou", "field_iou", "chamfer_l1_mm"):
        assert name not in row
    assert row["floor_chamfer_l1_mm"] > 0


def test_surface_without_area_is_empty():
    true = ball()
    flat = Mesh(np.tile(true.frame.wrist, (3, 1)), np.array([[0, 1, 2], [0, 2, 1]]))
    assert evaluate_hand(true, Reconstruction(flat), 500, 1)["failure"] == "empty"


def test_missing_mesh():
    true = ball()
    row = evaluate_hand(true, Reconstruction(None, "the palm has no plane"), 500, 1)
    assert (row["failure"], row["failure_detail"]) == ("missing", "the palm has no plane")
    assert published_metrics(true, Reconstruction(None), None) == {}
    assert not {"published_iou", "published_normals", "mesh_iou", "vertices"} & set(row)


def test_open_mesh_fails_ours_and_is_measured_as_it_is_by_the_published():
    true = ball()
    whole = made(true)
    row = evaluate_hand(true, Reconstruction(Mesh(whole.mesh.vertices, whole.mesh.faces[1:])), SAMPLES, 1)
    assert row["failure"] == "open"
    assert row["published_iou"] > 0.95
    assert row["published_chamfer_l1_mm"] == pytest.approx(row["floor_chamfer_l1_mm"], rel=0.05)
    assert "mesh_iou" not in row
    assert "volume_cm3" not in row


def test_method_without_a_field():
    true = ball()
    row = evaluate_hand(true, made(true, field=False), 500, 1)
    assert row["field_iou"] is None
    assert row["published_field_iou"] is None
    assert row["mesh_iou"] > 0.99


def test_pair_rows_share_penetration():
    """Two balls of 40 mm, 8 mm apart from touching; a failed hand leaves the truth's penetration."""
    right, left = ball(Side.RIGHT), ball(Side.LEFT, "1_2_left")
    shift = right.frame.wrist - left.frame.wrist + [0.072, 0, 0]
    left = TrueHand(
        **{
            **fields_of(left),
            "frame": PalmFrame(Side.LEFT, left.frame.wrist + shift, left.frame.rotation),
            "sealed": Mesh(left.sealed.vertices + shift, left.sealed.faces),
        }
    )
    found = [made(right), made(left)]
    rows = measure_pair(found, [right, left], Measuring(500, 1))
    for row in rows:
        assert row["true_penetration_depth_mm"] == pytest.approx(8, abs=0.4)
        assert row["penetration_depth_mm"] == pytest.approx(8, abs=0.4)
        assert row["penetration_volume_cm3"] == pytest.approx(row["true_penetration_volume_cm3"], rel=0.05)
        assert row["penetration_method"] == "grid"
    failed = measure_pair([found[0], Reconstruction(None, "none")], [right, left], Measuring(500, 1))
    assert "penetration_depth_mm" not in failed[0]
    assert failed[1]["true_penetration_depth_mm"] == rows[0]["true_penetration_depth_mm"]
    alone = measure_pair(found[:1], [right], Measuring(500, 1))
    assert "true_penetration_depth_mm" not in alone[0]


def test_rows_and_metrics_fit_the_layout():
    true = ball()
    columns = set(RECORDS.column_names())
    assert set(evaluate_hand(true, made(true), 500, 1)) <= columns
    assert {metric.column for metric in METRICS} <= columns
