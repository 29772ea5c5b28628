"""Golden case `metrics`: keypoint and vertex errors under the protocols of IntagHand and of InterHand2.6M.

The joint regressor is that of `mano_forward`, which must lie in the same folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import torch

from im2hands.evaluation import interhand_metrics
from im2hands.evaluation.interhand_metrics import HeatMapPrediction, InterHandTruth
from im2hands.evaluation.keypoint_metrics import (
    INTAGHAND,
    KNUCKLE_UNSCALED,
    MILLIMETRES,
    WRIST_SCALED,
    WRIST_UNSCALED,
    RootProtocol,
    joint_errors,
    mean_error,
    point_errors,
)
from im2hands.hands.sides import Side
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder
from im2hands.parity.cases.mano_forward import stand_in_models

EVERY = 7
"""Only every seventh vertex error is stored."""
OWN = {"own_mcp_noscale": KNUCKLE_UNSCALED, "own_wrist_scale": WRIST_SCALED, "own_wrist_noscale": WRIST_UNSCALED}

Hand = dict[str, np.ndarray]


def hands_of(golden: Golden, folder: GoldenFolder) -> dict[Side, Hand]:
    """Vertices and regressed joints (m) of truth and prediction."""
    models = stand_in_models(folder.find("mano_forward"))
    hands = {}
    for side in Side:
        hand: Hand = {}
        for kind in ("gt", "pred"):
            hand[kind] = golden[f"{side.value}_{kind}_verts"]
            hand[f"{kind}_joints"] = models[side].regress(torch.from_numpy(hand[kind])).numpy()
        hands[side] = hand
    return hands


def errors_of(hand: Hand, protocol: RootProtocol) -> tuple[np.ndarray, np.ndarray]:
    """Joint and vertex errors (mm)."""
    joints = hand["pred_joints"], hand["gt_joints"]
    return joint_errors(*joints, protocol), point_errors(hand["pred"], hand["gt"], *joints, protocol)


def interhand_data(golden: Golden) -> tuple[InterHandTruth, HeatMapPrediction]:
    hand_types = json.loads(golden["ih_hand_type"].tobytes())
    frames = range(len(hand_types))
    truth = InterHandTruth(
        joints=np.stack([golden[f"ih_gt_cam_{frame}"] for frame in frames]),
        valid=np.stack([golden[f"ih_valid_{frame}"] for frame in frames]) > 0,
        hand_types=hand_types,
        type_valid=np.ones(len(hand_types), bool),
        focal=golden["ih_focal"][None],
        principal_point=golden["ih_princpt"][None],
        image_from_crop=golden["ih_inv_trans"],
    )
    prediction = HeatMapPrediction(
        golden["ih_pred_joint_hm"], golden["ih_pred_rel_root_hm"], golden["ih_pred_hand_type"]
    )
    return truth, prediction


def run(golden: Golden, folder: GoldenFolder) -> Iterator[Comparison]:
    hands = hands_of(golden, folder)
    yield from _intaghand(golden, hands)
    for name, protocol in OWN.items():
        means = np.mean([[mean_error(errors).millimetres for errors in errors_of(hands[s], protocol)] for s in Side], 0)
        yield golden.compare(f"{name}_mpjpe_mm", means[0])
        yield golden.compare(f"{name}_mpvpe_mm", means[1])
    truth, prediction = interhand_data(golden)
    errors = interhand_metrics.joint_errors(truth, prediction)
    groups = {"all": slice(None), "single": ~truth.interacting, "interacting": truth.interacting}
    for name, frames in groups.items():
        yield golden.compare(f"ih_mpjpe_{name}_mm_2dec", interhand_metrics.mean_per_joint(errors[frames]), "2dec")
    mrrpe = np.nanmean(interhand_metrics.relative_root_errors(truth, prediction))
    yield golden.compare("ih_mrrpe_mm", mrrpe, "interhand")
    accuracy = interhand_metrics.handedness_accuracy(truth, prediction)
    yield golden.compare("ih_handedness_acc", accuracy, "interhand")


def _intaghand(golden: Golden, hands: dict[Side, Hand]) -> Iterator[Comparison]:
    means = []
    for side, hand in hands.items():
        name = side.value
        joints, vertices = errors_of(hand, INTAGHAND)
        yield golden.compare(f"{name}_gt_joints_regressed", hand["gt_joints"], "metres")
        yield golden.compare(f"{name}_joint_err_m", joints / MILLIMETRES, "metres")
        yield golden.compare(f"{name}_vert_err_m", vertices[:, ::EVERY] / MILLIMETRES, "metres")
        means.append([mean_error(joints).millimetres, mean_error(vertices).millimetres])
        yield golden.compare(f"{name}_mpjpe_mm", means[-1][0])
        yield golden.compare(f"{name}_mpvpe_mm", means[-1][1])
    for name, value in zip(("mpjpe_mm", "mpvpe_mm"), np.mean(means, axis=0), strict=True):
        yield golden.compare(name, value)


CASE = Case("metrics", frozenset({"ih_hand_type", "ih_inv_trans", "right_gt_joints_kinematic"}), run)
