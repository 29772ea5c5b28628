"""Which pairs are shown follows the printed rule; distances are those of a naive search."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from im2hands.datasets.hands import HandTable
from im2hands.datasets.images import CropSet
from im2hands.evaluation.protocols import FAILURE_DISTANCE_MM
from im2hands.geometry.mesh import Mesh, is_watertight
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.report.pairs import RankedPair, ShownHand, choose, halved, load_pairs, rank_pairs


def records(rows):
    """rows: (pair, Chamfer distance in mm or None for a failed hand)."""
    return pd.DataFrame(
        {
            "pair_id": [pair for pair, _ in rows],
            "chamfer_l1_mm": [distance for _, distance in rows],
            "mesh_iou": [None if distance is None else 0.5 for _, distance in rows],
            "failure": [None if distance is not None else "missing" for _, distance in rows],
        }
    )


def test_pairs_are_ranked_by_their_mean_distance_with_penalty_and_ties_by_name():
    rows = [("c", 2.0), ("c", 2.0), ("a", 1.0), ("a", 3.0), ("b", 0.5), ("b", None)]
    ranked = rank_pairs(records(rows))
    assert [pair.pair_id for pair in ranked] == ["a", "c", "b"]
    assert ranked[-1].chamfer_mm == (0.5 + FAILURE_DISTANCE_MM) / 2
    assert ranked[-1].mesh_iou == 0.25
    assert [pair.failed_hands for pair in ranked] == [0, 0, 1]
    assert [pair.share for pair in ranked] == [0, 0.5, 1]


def ranking(length):
    return [RankedPair(f"{i:03d}", float(i), 0.5, 0, 0.0) for i in range(length)]


def test_best_median_and_worst_are_ends_and_middle():
    chosen = choose(ranking(9), 3)
    assert [(one.place, one.pair.pair_id) for one in chosen] == [("best", "000"), ("median", "004"), ("worst", "008")]


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


def loaded(results, names):
    paths = results.arguments
    return load_pairs(
        names,
        HandTable.read(paths["hands"], ["vertices"]),
        builtin_hand_models(),
        paths["meshes"],
        CropSet(paths["images"]),
    )


def test_pairs_come_with_both_hands_and_their_first_photograph(results):
    pair = loaded(results, ["900_13"])["900_13"]
    assert [hand.side for hand in pair.hands] == list(Side)
    assert pair.crop.frame_id == 2
    assert all(0 < hand.prediction_errors_mm.max() < 5 for hand in pair.hands)


def test_a_pair_without_reconstruction_is_named(results):
    with pytest.raises(DataError, match="the pair 1_2 has metrics but no reconstruction"):
        loaded(results, ["1_2"])
