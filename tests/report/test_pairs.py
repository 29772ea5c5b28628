"""Which pairs are shown follows the printed rule; distances are those of a naive search."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from im2hands.datasets.hands import HandTable
from im2hands.datasets.images import CropSet
from im2hands.evaluation.protocols import FAILURE_DISTANCE_MM
from im2hands.geometry.mesh import Mesh, is_watertight
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.report.pairs import (
    ChosenPair,
    RankedPair,
    ShownHand,
    ShownPair,
    choose,
    halved,
    load_pairs,
    rank_pairs,
    with_penetration,
)


def records(rows):
    """rows: (pair, mesh IoU or None for a failed hand); Chamfer-L1 is ten times what is missing of it, mm."""
    return pd.DataFrame(
        {
            "pair_id": [pair for pair, _ in rows],
            "chamfer_l1_mm": [None if iou is None else 10 * (1 - iou) for _, iou in rows],
            "mesh_iou": [iou for _, iou in rows],
            "failure": [None if iou is not None else "missing" for _, iou in rows],
            "penetration_volume_cm3": 0.5,
        }
    )


def test_pairs_are_ranked_by_their_mean_iou_with_penalty_and_ties_by_name():
    rows = [("c", 0.5), ("c", 0.5), ("a", 0.25), ("a", 0.75), ("b", 0.9), ("b", None)]
    ranked = rank_pairs(records(rows))
    assert [pair.pair_id for pair in ranked] == ["a", "c", "b"]
    assert ranked[-1].chamfer_mm == pytest.approx((1 + FAILURE_DISTANCE_MM) / 2)
    assert ranked[-1].mesh_iou == 0.45
    assert [pair.failed_hands for pair in ranked] == [0, 0, 1]
    assert [pair.share for pair in ranked] == [0, 0.5, 1]


def ranking(length):
    return [RankedPair(f"{i:03d}", float(i), 0.5, 0, 0.0) for i in range(length)]


def test_best_median_and_worst_are_ends_and_middle():
    chosen = choose(ranking(9), 3)
    assert [(one.place, one.pair.pair_id) for one in chosen] == [("best", "000"), ("median", "004"), ("worst", "008")]


def test_the_pair_of_largest_penetration_joins_unless_nothing_penetrates():
    ranked = [
        RankedPair(str(i), 1.0, 0.5, 0, 0.0, volume) for i, volume in enumerate([0.1, 0.9, 0.4, 0.0, float("nan")])
    ]
    chosen = [ChosenPair("best", ranked[1])]
    assert with_penetration(chosen, ranked) == [*chosen, ChosenPair("penetration", ranked[2])]
    assert with_penetration(chosen, [ranked[1], *ranked[3:]]) == chosen


def test_vertices_inside_the_other_hand_are_those_that_a_sphere_says():
    """Two unit spheres (m) whose middles are 1.5 m apart."""
    ball = trimesh.creation.icosphere(3)
    centres = {Side.LEFT: np.zeros(3), Side.RIGHT: np.array([1.5, 0.013, 0.007])}
    hands = []
    for side, centre in centres.items():
        mesh = Mesh(np.asarray(ball.vertices) + centre, np.asarray(ball.faces))
        hands.append(ShownHand(side, mesh, mesh, None))
    pair = ShownPair("a", hands, None)
    for hand in hands:
        distance = np.linalg.norm(hand.prediction.vertices - centres[hand.side.other], axis=1)
        sure = np.abs(distance - 1) > 0.01
        assert (pair.penetrating[hand.side] == (distance < 1))[sure].all()
        assert pair.penetrating[hand.side].any()
    assert ShownPair("a", [hands[0], ShownHand(Side.RIGHT, hands[1].truth, None, "x")], None).penetrating == {}


@given(length=st.integers(1, 40), count=st.integers(1, 45))
def test_no_pair_is_chosen_twice_and_none_is_left_out_without_need(length, count):
    chosen = choose(ranking(length), count)
    names = [one.pair.pair_id for one in chosen]
    assert len(names) == len(set(names)) == min(length, count)
    assert names == sorted(names)
    if len(names) >= 3:
        assert (chosen[0].place, chosen[-1].place) == ("best", "worst")
        assert (names[0], names[-1]) == ("000", f"{length - 1:03d}")


def test_halving_keeps_the_surface():
    model = builtin_hand_models()[Side.RIGHT]
    mesh = Mesh(model.seal(model.template.numpy()), model.sealed_faces)
    fine = halved(mesh)
    assert len(fine.faces) == 4 * len(mesh.faces)
    assert is_watertight(fine.faces)
    assert fine.volume == pytest.approx(mesh.volume, rel=1e-12)
    assert (fine.vertices[: len(mesh.vertices)] == mesh.vertices).all()


def test_distances_of_a_moved_square():
    """A unit square (m) moved by 2 mm along its normal: every vertex is 2 mm away, both ways."""
    square = Mesh(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    hand = ShownHand(Side.LEFT, square, Mesh(square.vertices + np.array([0, 0, 0.002]), square.faces), None)
    assert hand.prediction_errors_mm == pytest.approx(np.full(4, 2.0))
    assert hand.truth_errors_mm == pytest.approx(np.full(len(halved(square).vertices), 2.0))


@pytest.mark.parametrize("prediction", [None, Mesh()])
def test_a_missing_hand_is_infinitely_far(prediction):
    model = builtin_hand_models()[Side.RIGHT]
    hand = ShownHand(Side.RIGHT, Mesh(model.seal(model.template.numpy()), model.sealed_faces), prediction, "why")
    assert not hand.has_prediction
    assert len(hand.prediction_errors_mm) == 0
    assert np.isinf(hand.truth_errors_mm).all()


def loaded(results, names, photographs=None):
    paths = results.arguments
    return load_pairs(
        names,
        HandTable.read(paths["hands"], ["vertices"]),
        builtin_hand_models(),
        paths["meshes"],
        CropSet(paths["images"]),
        photographs,
    )


def test_pairs_come_with_both_hands_and_their_first_photograph(results):
    pair = loaded(results, ["900_13"])["900_13"]
    assert [hand.side for hand in pair.hands] == list(Side)
    assert pair.crop.frame_id == 2
    assert all(0 < hand.prediction_errors_mm.max() < 5 for hand in pair.hands)


def test_a_photograph_that_a_method_did_not_see_leaves_hands_without_mesh_and_says_why(results):
    pair = loaded(results, ["900_13"], {"900_13": 3})["900_13"]
    assert pair.crop.frame_id == 3
    assert not any(hand.has_prediction for hand in pair.hands)
    assert {hand.failure for hand in pair.hands} == {"nothing was reconstructed from this photograph"}
    seen = loaded(results, ["900_13"], {"900_13": 2})["900_13"]
    assert all(hand.has_prediction for hand in seen.hands)


def test_a_pair_without_reconstruction_is_named(results):
    with pytest.raises(DataError, match="the pair 1_2 has metrics but no reconstruction"):
        loaded(results, ["1_2"])
