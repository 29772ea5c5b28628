"""Losses and scores of keypoint refinement.

Millimetres, in double precision. Published: each hand relative to its own middle base, so that its position is not trained.
Source: Im2Hands (CVPR 2023), keypoint refinement. `distance_loss` is ours.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.hands.frames import MILLIMETRES, RefinementKeypoints
from im2hands.hands.joints import MIDDLE_BASE, WRIST

PLACE_WEIGHT = 0.25
"""Of distances in the camera's frame, against those about a joint of the hand: depth there is little more than a guess."""
ROUND_MM = 1.0
"""Below this, the loss of a joint is a square; above, a distance."""


def refinement_loss(predicted: RefinementKeypoints, true: RefinementKeypoints) -> Float[Tensor, ""]:
    """Mean squared error of the left hands plus that of the right hands (mm², means over samples, joints and axes).

    true: true keypoints in the frame of their own origin, which need not be that of the predicted ones.
    """
    return sum(difference.square().mean() for difference in _differences(predicted, true))


def distance_loss(predicted: RefinementKeypoints, true: RefinementKeypoints) -> Float[Tensor, " samples"]:
    """Mean distance of joints (mm), about the middle base and about the wrist alike, and to a part where they are.

    One joint that is far off counts by its distance, not by its square.
    """
    ours, theirs = (torch.stack(hands.in_camera(), 1).double() * MILLIMETRES for hands in (predicted, true))
    loss = PLACE_WEIGHT * _rounded(ours - theirs)
    for joint in (MIDDLE_BASE, WRIST):
        about = slice(joint, joint + 1)
        loss = loss + _rounded((ours - ours[:, :, about]) - (theirs - theirs[:, :, about])) / 2
    return loss


def refinement_scores(
    predicted: RefinementKeypoints, given: RefinementKeypoints, true: RefinementKeypoints
) -> dict[str, Float[Tensor, " samples"]]:
    """Scores of every sample; smaller is better, and the published choice of weights is by `joint_err`.

    given: the keypoints that were refined.  joint_err: the loss (mm²).  jpe, in_jpe: mean distance of predicted and of given
    joints to the true ones, over both hands (mm).
    """
    squares = [difference.square().mean(dim=(1, 2)) for difference in _differences(predicted, true)]
    return {"joint_err": sum(squares), "jpe": _distance(predicted, true), "in_jpe": _distance(given, true)}


def wrist_scores(
    predicted: RefinementKeypoints, given: RefinementKeypoints, true: RefinementKeypoints
) -> dict[str, Float[Tensor, " samples"]]:
    """jpe_wrist, in_jpe_wrist: as `jpe` and `in_jpe`, every hand relative to its wrist (mm)."""
    return {"jpe_wrist": _distance(predicted, true, WRIST), "in_jpe_wrist": _distance(given, true, WRIST)}


def _rounded(difference: Float[Tensor, "samples 2 21 3"]) -> Float[Tensor, " samples"]:
    return (difference.square().sum(-1) + ROUND_MM**2).sqrt().mean((1, 2))


def _distance(
    hands: RefinementKeypoints, true: RefinementKeypoints, about: int = MIDDLE_BASE
) -> Float[Tensor, " samples"]:
    return sum(difference.norm(dim=-1).mean(dim=1) for difference in _differences(hands, true, about)) / 2


def _differences(
    hands: RefinementKeypoints, true: RefinementKeypoints, about: int = MIDDLE_BASE
) -> Iterator[Float[Tensor, "samples 21 3"]]:
    """Of the left, then of the right joints, each hand relative to one of its own joints."""
    for ours, theirs in ((hands.left, true.left), (hands.right, true.right)):
        yield _about(ours, about) - _about(theirs, about)


def _about(joints: Float[Tensor, "samples 21 3"], joint: int) -> Float[Tensor, "samples 21 3"]:
    joints = joints.double()
    return joints - joints[:, joint : joint + 1]
