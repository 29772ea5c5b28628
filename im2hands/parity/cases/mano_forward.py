"""Golden case `mano_forward`: the hand model's forward computation on a stand-in with MANO's schema, both sides.

The stand-in is a random model without MANO data; other cases use it through `stand_in_models`. Its left hand is the
mirror of the right one, except that its shape directions are the right hand's: the defect of the official left file.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from im2hands.geometry.rotations import axis_angle_to_matrix
from im2hands.hands.joints import MIDDLE_BASE, JointOrder, reorder
from im2hands.hands.model import HandModel, PosedHand
from im2hands.hands.model_files import correct_left_shape_directions, hand_model, model_arrays
from im2hands.hands.sides import Side
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder

STEPS = {
    "v_template": 2.0**-17,
    "weights": 2.0**-12,
    "J_regressor": 2.0**-12,
    "shapedirs": 2.0**-14,
    "posedirs": 2.0**-16,
    "hands_mean": 2.0**-12,
}
"""The stored integers times these are the stand-in's arrays."""


def stand_in_arrays(golden: Golden) -> dict[Side, dict[str, np.ndarray]]:
    """The stand-in under MANO's keys as files would contain it: the left shape directions are not corrected."""
    right = {name: golden[f"model_{name}_q"].astype(np.float64) * step for name, step in STEPS.items()}
    parents = golden["kintree_parents"].astype(np.int64) % 2**32
    right |= {
        "f": golden["model_f"],
        "kintree_table": np.stack([parents, np.arange(16)]),
        "hands_components": golden["model_hands_components"].astype(np.float64),
    }
    mirrored = hand_model(right, Side.RIGHT, str(golden.path)).mirrored()
    left = {name: array.astype(np.float64) for name, array in model_arrays(mirrored).items()}
    return {Side.RIGHT: right, Side.LEFT: left | {"shapedirs": right["shapedirs"]}}


def stand_in_models(golden: Golden) -> dict[Side, HandModel]:
    """Both stand-in hands, the left one corrected, as `load_hand_models` would give them."""
    return correct_left_shape_directions(_uncorrected(golden))


def _uncorrected(golden: Golden) -> dict[Side, HandModel]:
    return {side: hand_model(arrays, side, str(golden.path)) for side, arrays in stand_in_arrays(golden).items()}


def run(golden: Golden, folder: GoldenFolder) -> Iterator[Comparison]:
    models = stand_in_models(golden)
    pose, shape = torch.from_numpy(golden["pose48"]).double(), torch.from_numpy(golden["shape"]).double()
    translation = torch.from_numpy(golden["trans"]).double()
    for side, model in models.items():
        name, posed = side.value, model.pose(pose, shape, translation)
        yield golden.compare(f"intag_{name}_verts", posed.vertices)
        yield golden.compare(f"intag_{name}_joints", posed.keypoints)
        yield golden.compare(f"manopth_{name}_joints21_mano_order", _mano_order(posed.keypoints))

        at_rest = model.pose(pose, shape)
        yield golden.compare(f"manopth_{name}_bone_transforms", at_rest.joint_transforms)
        yield golden.compare(f"manopth_{name}_skin_transforms", at_rest.skinning_transforms)
        yield golden.compare(f"manopth_{name}_rest_verts_every7", at_rest.rest_vertices[:, ::7])
        yield golden.compare(f"manopth_{name}_rest_joints", _mano_order(_rest_keypoints(model, at_rest)))

        components = model.components_of(pose[:, 3:])
        yield golden.compare(f"intag_{name}_pca", components, "pca")
        keypoints = model.pose_by_components(pose[:, :3], components[:, :30], shape).keypoints
        centred = keypoints - keypoints[:, MIDDLE_BASE, None]
        scale = torch.from_numpy(golden["scale"]).double()[:, None, None]
        yield golden.compare(f"intag_{name}_pca30_center9_scaled_joints", centred * scale + translation[:, None])

    defective = _uncorrected(golden)[Side.LEFT].pose(pose, shape, translation)
    yield golden.compare("intag_left_buggy_verts", defective.vertices[:, ::7])
    yield golden.compare("intag_left_buggy_joints", defective.keypoints)

    rotations = axis_angle_to_matrix(torch.from_numpy(golden["rodrigues_in"]).double())
    yield golden.compare("rodrigues_intag", rotations, "rodrigues")
    yield golden.compare("rodrigues_manopth", rotations, "rodrigues")


def _mano_order(keypoints: torch.Tensor) -> torch.Tensor:
    return reorder(keypoints, JointOrder.STANDARD, JointOrder.MANO)


def _rest_keypoints(model: HandModel, posed: PosedHand) -> torch.Tensor:
    """Shaped rest joints with the tips of the pose-corrected rest vertices."""
    return model.keypoints_of(posed.rest_joints, posed.rest_vertices)


CASE = Case("mano_forward", frozenset({"model_v_template_q", "model_posedirs_q", "rodrigues_in"}), run)
