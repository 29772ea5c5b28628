"""Loss, scores and optimiser of keypoint refinement, as published.

Everything is in millimetres, each hand relative to its own middle base, in double precision; its position is not trained.
Source: Im2Hands (CVPR 2023), keypoint refinement.
"""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor

from im2hands.hands.frames import RefinementKeypoints
from im2hands.hands.joints import MIDDLE_BASE


def refinement_loss(predicted: RefinementKeypoints, true: RefinementKeypoints) -> Float[Tensor, ""]:
    """Mean squared error of the left hands plus that of the right hands (mm², means over samples, joints and axes).

    true: true keypoints in the frame of their own origin, which need not be that of the predicted ones.
    """
    return sum(difference.square().mean() for difference in _differences(predicted, true))


def refinement_scores(
    predicted: RefinementKeypoints, given: RefinementKeypoints, true: RefinementKeypoints
) -> dict[str, Float[Tensor, " samples"]]:
    """Scores of every sample; smaller is better, and the published choice of weights is by `joint_err`.

    given: the keypoints that were refined.  joint_err: the loss (mm²).  jpe, in_jpe: mean distance of predicted and of given
    joints to the true ones, over both hands (mm).
    """
    squares = [difference.square().mean(dim=(1, 2)) for difference in _differences(predicted, true)]
    return {"joint_err": sum(squares), "jpe": _distance(predicted, true), "in_jpe": _distance(given, true)}


def _distance(hands: RefinementKeypoints, true: RefinementKeypoints) -> Float[Tensor, " samples"]:
    return sum(difference.norm(dim=-1).mean(dim=1) for difference in _differences(hands, true)) / 2


def _differences(hands: RefinementKeypoints, true: RefinementKeypoints) -> Iterator[Float[Tensor, "samples 21 3"]]:
    """Of the left, then of the right joints, each hand relative to its own middle base."""
    for ours, theirs in ((hands.left, true.left), (hands.right, true.right)):
        yield _own_frame(ours) - _own_frame(theirs)


def _own_frame(joints: Float[Tensor, "samples 21 3"]) -> Float[Tensor, "samples 21 3"]:
    joints = joints.double()
    return joints - joints[:, MIDDLE_BASE : MIDDLE_BASE + 1]
