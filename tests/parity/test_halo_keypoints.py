"""Keypoints to bone frames against the published preparation: every intermediate, degenerate hands included."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from im2hands.hands.bone_frames import canonical_frames
from im2hands.hands.sides import Side
from im2hands.parity.cases.halo_keypoints import CASE
from tests.naive.bone_frames import naive_bone_matrices
from tests.naive.published_bones import naive_published_hand
from tests.reference import FOLDER


@pytest.fixture(scope="module")
def golden():
    return FOLDER.find(CASE.name)


def test_naive_form_passes_the_golden_numbers(golden):
    for hand in range(0, 48, 3):
        left = golden["side"][hand] == "left"
        inputs, lengths, root = naive_bone_matrices(golden["joints_raw"][hand], left)
        assert np.abs(inputs - golden["inputs"][hand]).max() < 5e-5
        assert np.abs(lengths - golden["bone_lengths"][hand]).max() < 1e-6
        assert np.abs(root - golden["root_rot_mat"][hand, :3, :3]).max() < 1e-6


def test_float32_form_gives_every_step_and_the_signs_at_the_clamp(golden):
    """The form that makes files of other seeds rounds as the reference does: straight and flat hands bend the same way."""
    degenerate = ("middle_mcp_on_wrist", "index_middle_metacarpals_parallel", "millimetres_by_mistake")
    for hand in np.flatnonzero(~np.isin(golden["case"], degenerate)):
        steps = naive_published_hand(golden["joints_raw"][hand], golden["side"][hand] == "left")
        for field, values in steps.items():
            if field != "unit_axis_warnings":
                assert values.dtype == golden[field].dtype
                np.testing.assert_allclose(values, golden[field][hand], rtol=1e-6, atol=1e-4, err_msg=field)


def test_consistent_behaviour_rejects_exactly_the_hands_without_frames(golden):
    """Published numbers for these hands are NaN, no rotation, or in the wrong unit; all others get proper frames."""
    sides = [Side(side) for side in golden["side"]]
    hands = canonical_frames(golden["joints_raw"], sides)
    reasons = dict(zip(golden["case"], hands.rejected, strict=True))
    rejected = {case for case, reason in zip(golden["case"], hands.rejected, strict=True) if reason}
    assert rejected == {"middle_mcp_on_wrist", "index_middle_metacarpals_parallel", "millimetres_by_mistake"}
    assert "middle finger lies on the wrist" in reasons["middle_mcp_on_wrist"]
    assert "index and middle" in reasons["index_middle_metacarpals_parallel"]
    assert "another unit" in reasons["millimetres_by_mistake"]
    kept = torch.tensor([reason is None for reason in hands.rejected])
    assert hands.bone_from_palm[~kept].isnan().all()
    rotations = torch.cat([hands.bone_from_palm[kept][..., :3, :3].flatten(0, 1), hands.palm_rotation[kept]])
    assert (rotations @ rotations.mT - torch.eye(3)).abs().max() < 1e-12
    assert (torch.linalg.det(rotations) - 1).abs().max() < 1e-12


def test_published_and_consistent_angles_differ_as_little_as_the_clamp(golden):
    ordinary = golden["case"] == "random"
    sides = [Side(side) for side in golden["side"][ordinary]]
    keypoints = golden["joints_raw"][ordinary]
    difference = (
        canonical_frames(keypoints, sides, angle_clamp="published").bone_from_palm
        - canonical_frames(keypoints, sides, angle_clamp="consistent").bone_from_palm
    ).abs()
    assert 1e-6 < difference.max() < 6e-3
    assert difference.median() < 1e-4
