"""Keypoint refinement, its losses and gradients against the numbers of the reference network."""

from __future__ import annotations

import torch

from im2hands.hands.joints import MIDDLE_BASE
from im2hands.parity.cases.kpts_ref import CASE, keypoints_of
from im2hands.training.keypoint_losses import refinement_loss
from tests.reference import FOLDER


def test_a_common_origin_of_truth_and_prediction_would_be_another_loss():
    """Truth is normalised by its own middle base, and each hand once more by its own: only the second matters."""
    golden = FOLDER.find(CASE.name)
    given, true = keypoints_of(golden, "pred", "train_"), keypoints_of(golden, "gt", "train_")
    assert true.left[:, MIDDLE_BASE].abs().max() == 0
    assert true.right[:, MIDDLE_BASE].abs().max() > 10
    plain = ((given.left - true.left) ** 2).mean() + ((given.right - true.right) ** 2).mean()
    assert not torch.isclose(refinement_loss(given, true), plain, rtol=1e-3)
