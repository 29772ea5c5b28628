"""Golden case `halo_keypoints`: keypoints to bone matrices, every intermediate of 64 hands, degenerate ones included."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from im2hands.hands.bone_frames import (
    PALM_UNIT,
    canonical_frames,
    published_decoder_inputs,
    to_right_hand_space,
)
from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.sides import Side
from im2hands.hands.unfolding import Unfolding, unfold
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder
from im2hands.parity.tolerances import TOLERANCES

KINDS = {
    "flat": ("flat_coplanar", "flat_axis_aligned"),
    "straight": ("straight_fingers", "index_collinear_with_metacarpal", "hyperextended"),
    "parallel": ("index_middle_metacarpals_parallel",),
    "millimetres": ("millimetres_by_mistake",),
}
"""Hands that a rounding error, the published clamp or their size set apart: they have tolerances of their own."""

SHARED_KEY = {
    **dict.fromkeys(("local_coords", "local_coords_unposed", "rot_angles", "rot_mat"), "bends"),
    **dict.fromkeys(("trans_biomech", "trans_halo16", "bone_to_kp"), "transforms"),
}
"""Fields that share an entry of the tolerance table."""


def run(golden: Golden, folder: GoldenFolder) -> Iterator[Comparison]:
    sides = [Side(side) for side in golden["side"]]
    keypoints = torch.from_numpy(golden["joints_raw"])
    centred, _ = to_right_hand_space(keypoints, sides)
    biomech = reorder(centred, JointOrder.STANDARD, JointOrder.BIOMECH)
    steps = unfold(biomech, angle_clamp="published", degenerate_hands="published")
    hands = canonical_frames(keypoints, sides, angle_clamp="published", degenerate_hands="published")

    outputs = {
        "joints_halo": reorder(centred, JointOrder.STANDARD, JointOrder.MANO),
        "joints_biomech": biomech.float(),
        "canonical_transform": _homogeneous(steps.turn),
        "joints_canonical": biomech.float().double() @ steps.turn.mT,
        "joints_nasa_axes": steps.keypoints,
        **_unfolding_outputs(steps),
        "trans_halo16": _in_metres(hands.bone_from_palm),
        "inputs": published_decoder_inputs(hands.bone_from_palm),
        "bone_lengths": hands.bone_lengths,
        "root_rot_mat": _homogeneous(hands.palm_rotation),
    }
    groups = _groups(golden["case"])
    for field, ours in outputs.items():
        for kind, rows in groups.items():
            for part, key in _parts(field):
                where = (rows, part) if ours.ndim > 1 else rows
                yield golden.compare(field, ours[where], _table_key(kind, key), where=where)


def _unfolding_outputs(steps: Unfolding) -> dict[str, Tensor]:
    """The golden file's intermediates; all matrices per bone (level-major), transforms 4x4."""
    levels = 4
    undefined = steps.lengths.isnan()[..., None, None]
    starts = torch.cat([steps.keypoints[:, :1].expand(-1, 5, -1), steps.keypoints[:, 1:16]], 1)
    scale = 1 / steps.lengths[..., None, None]
    to_bone = _homogeneous(torch.eye(3, dtype=torch.float64) * scale, -starts * scale[..., 0])
    from_bone = _homogeneous(torch.eye(3, dtype=torch.float64) * steps.lengths[..., None, None], steps.starts)
    from_bone[..., :3] = torch.where(undefined, torch.nan, from_bone[..., :3])
    flattened = (steps.plane_turns.repeat(1, levels, 1, 1) @ steps.directions[..., None])[..., 0]
    identity = torch.eye(4, dtype=torch.float64).expand(len(starts), 1, 4, 4)
    frames = steps.local_frames
    own_frames = torch.cat([frames[:, :10], frames[:, 5:10], frames[:, 5:10]], 1)
    return {
        "bones": steps.directions,
        "bone_len20": steps.lengths,
        "kp_to_bone": torch.where(undefined, torch.nan, to_bone),
        "plane_mat": steps.plane_turns.repeat(1, levels, 1, 1),
        "bones_plane": flattened,
        "angle_mat": steps.spread_turns.repeat(1, levels, 1, 1),
        "bones_angle": steps.flat_directions,
        "local_cs": frames,
        "local_coords": (frames @ steps.flat_directions[..., None])[..., 0],
        "rot_angles": steps.bends,
        "rot_mat": steps.straightening,
        "adj_transpose": own_frames.mT,
        "local_coords_unposed": (steps.unbend @ steps.flat_directions[..., None])[..., 0],
        "bone_to_kp": from_bone,
        "trans_biomech": torch.cat([identity, steps.motions], 1),
        "unit_axis_warnings": sum(_not_unit(axis).long() for axis in steps.axes.values()),
    }


def _not_unit(axes: Tensor) -> Tensor:
    """True also for NaN."""
    return ~((torch.linalg.vector_norm(axes, dim=-1) - 1).abs() < 1e-4)


def _homogeneous(linear: Tensor, shift: Tensor | None = None) -> Tensor:
    result = torch.eye(4, dtype=linear.dtype).repeat(*linear.shape[:-2], 1, 1)
    result[..., :3, :3] = linear
    if shift is not None:
        result[..., :3, 3] = shift
    return result


def _in_metres(bone_from_palm: Tensor) -> Tensor:
    result = bone_from_palm.clone()
    result[..., :3, 3] *= PALM_UNIT
    return result


def _groups(cases: np.ndarray) -> dict[str, np.ndarray]:
    """Rows by kind; all others are ordinary."""
    groups = {kind: np.flatnonzero(np.isin(cases, names)) for kind, names in KINDS.items()}
    special = np.concatenate(list(groups.values()))
    return {"ordinary": np.setdiff1d(np.arange(len(cases)), special), **groups}


def _parts(field: str) -> list[tuple[slice, str]]:
    """Parts along the second axis and their tolerance: the frames of levels 2 and 3 depend on the bends below them."""
    if field == "local_cs":
        return [(slice(0, 10), field), (slice(10, None), "bends")]
    return [(slice(None), SHARED_KEY.get(field, field))]


def _table_key(kind: str, key: str) -> str:
    special = f"{kind} {key}"
    return special if special in TOLERANCES["halo_keypoints"] else key


CASE = Case("halo_keypoints", frozenset({"joints_raw", "unit_axis_warnings", "trans_biomech"}), run)
