"""The hand model against the numbers of the reference layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from im2hands.hands.sides import Side
from im2hands.parity.cases.mano_forward import CASE, stand_in_arrays, stand_in_models
from tests.naive.mano import naive_hand
from tests.reference import FOLDER


@pytest.fixture(scope="module")
def golden():
    return FOLDER.find(CASE.name)


def test_stand_in_carries_the_left_defect_and_loses_it(golden):
    arrays = stand_in_arrays(golden)
    assert np.array_equal(arrays[Side.LEFT]["shapedirs"], arrays[Side.RIGHT]["shapedirs"])
    models = stand_in_models(golden)
    assert models[Side.LEFT].shape_directions_corrected
    assert not models[Side.RIGHT].shape_directions_corrected


def test_uncorrected_left_hand_does_not_match(golden):
    """The correction is what makes left hands agree: with the corrected model the defective numbers are far away."""
    pose, shape, translation = (torch.from_numpy(golden[name]).double() for name in ("pose48", "shape", "trans"))
    left = stand_in_models(golden)[Side.LEFT].pose(pose, shape, translation)
    difference = np.abs(left.vertices[:, ::7].numpy() - golden["intag_left_buggy_verts"])
    assert difference.max() > 1e-3


def test_naive_form_passes_the_golden_numbers(golden):
    arrays = stand_in_arrays(golden)
    arrays[Side.LEFT]["shapedirs"] = arrays[Side.LEFT]["shapedirs"] * np.array([-1, 1, 1])[:, None]
    inputs = [golden[name].astype(np.float64) for name in ("pose48", "shape", "trans")]
    for side in Side:
        vertices, keypoints = naive_hand(arrays[side], *inputs)
        assert np.abs(vertices - golden[f"intag_{side.value}_verts"]).max() < 1e-6
        assert np.abs(keypoints - golden[f"intag_{side.value}_joints"]).max() < 1e-6
