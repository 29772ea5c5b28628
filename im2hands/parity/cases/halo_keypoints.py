"""Golden case `halo_keypoints`: keypoints to bone matrices, every intermediate of 64 hands, degenerate ones included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from im2hands.hands.bone_frames import (
    BIOMECH_OF_BONE,
    PALM_UNIT,
    bone_from_palm_of,
    canonical_frames,
    published_decoder_inputs,
    to_right_hand_space,
)
from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.sides import Side
from im2hands.hands.unfolding import Unfolding, unfold
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder
from im2hands.parity.published_bends import (
    rounding_of_bends,
    rounding_of_inputs,
    rounding_of_lengths,
    skew_of_frames,
    with_open_signs_of,
)

PUBLISHED = ("published", "published")
"""Clamped angles, and degenerate hands as the formulas give them."""
LENGTHS = ("bone_lengths", "trans_biomech", "trans_halo16", "bone_to_kp")
"""Fields that contain lengths, which the published code rounds with float32 rotations."""


def run(golden: Golden, folder: GoldenFolder) -> Iterator[Comparison]:
    """Every step is fed with the file's own bends, so that each is compared for itself; then the whole, with ours."""
    sides = [Side(side) for side in golden["side"]]
    keypoints = torch.from_numpy(golden["joints_raw"])
    centred, _ = to_right_hand_space(keypoints, sides)
    biomech = reorder(centred, JointOrder.STANDARD, JointOrder.BIOMECH)
    published = torch.from_numpy(golden["rot_angles"]).double()
    steps = unfold(biomech, *PUBLISHED, given_bends=published)
    hands = canonical_frames(keypoints, sides, *PUBLISHED)

    plain = {
        "joints_halo": reorder(centred, JointOrder.STANDARD, JointOrder.MANO),
        "joints_biomech": biomech.float(),
        "canonical_transform": _homogeneous(steps.turn),
        "joints_canonical": biomech.float().double() @ steps.turn.mT,
        "joints_nasa_axes": steps.keypoints,
        "bone_lengths": hands.bone_lengths,
        "root_rot_mat": _homogeneous(hands.palm_rotation),
        "unit_axis_warnings": sum(_not_unit(axis).long() for axis in steps.axes.values()),
    }
    skew, length_error = skew_of_frames(steps)[:, 0], rounding_of_lengths(steps)
    slacks = {field: length_error for field in LENGTHS} | {"inputs": length_error / PALM_UNIT}
    slacks |= {"rot_angles": rounding_of_bends(steps)}
    bends = with_open_signs_of(steps.bends, published)
    for field, ours in {**plain, **_before_frames(steps), "rot_angles": bends}.items():
        yield from _by_kind(golden, field, ours, slacks.get(field, torch.zeros(len(sides))))
    for field, ours in _after_frames(steps).items():
        yield from _by_kind(golden, field, ours, skew + slacks.get(field, 0.0))
    ours, slack = published_decoder_inputs(hands.bone_from_palm), rounding_of_inputs(unfold(biomech, *PUBLISHED))
    yield from _by_kind(golden, "inputs", ours, slack, "end to end, ")


def _by_kind(golden: Golden, field: str, ours: Tensor, slack: Tensor, label: str = "") -> Iterator[Comparison]:
    """A comparison for every kind of hand in the file. slack: per hand, or of the field's number of axes."""
    slack = slack.view(-1, *[1] * (ours.ndim - 1)) if slack.ndim == 1 else slack
    for kind in np.unique(golden["case"]):
        rows = np.flatnonzero(golden["case"] == kind)
        comparison = golden.compare(field, ours[rows], where=rows, slack=slack[rows])
        yield replace(comparison, field=f"{field} ({label}{kind})")


def _before_frames(steps: Unfolding) -> dict[str, Tensor]:
    """The file's intermediates up to the flat hand; all matrices per bone (level-major), transforms 4x4."""
    levels = 4
    starts = torch.cat([steps.keypoints[:, :1].expand(-1, 5, -1), steps.keypoints[:, 1:16]], 1)
    scale = 1 / steps.lengths[..., None, None]
    to_bone = _homogeneous(torch.eye(3, dtype=torch.float64) * scale, -starts * scale[..., 0])
    return {
        "bones": steps.directions,
        "bone_len20": steps.lengths,
        "kp_to_bone": torch.where(_undefined(steps), torch.nan, to_bone),
        "plane_mat": steps.plane_turns.repeat(1, levels, 1, 1),
        "bones_plane": (steps.plane_turns.repeat(1, levels, 1, 1) @ steps.directions[..., None])[..., 0],
        "angle_mat": steps.spread_turns.repeat(1, levels, 1, 1),
        "bones_angle": steps.flat_directions,
    }


def _after_frames(steps: Unfolding) -> dict[str, Tensor]:
    """The intermediates from the local frames on, and the final matrices."""
    from_bone = _homogeneous(torch.eye(3, dtype=torch.float64) * steps.lengths[..., None, None], steps.starts)
    from_bone[..., :3] = torch.where(_undefined(steps), torch.nan, from_bone[..., :3])
    identity = torch.eye(4, dtype=torch.float64).expand(len(from_bone), 1, 4, 4)
    frames = steps.local_frames
    own_frames = torch.cat([frames[:, :10], frames[:, 5:10], frames[:, 5:10]], 1)
    fingers = steps.motions[:, [joint - 1 for joint in BIOMECH_OF_BONE[1:]]]
    bones = torch.cat([identity, fingers], 1)
    return {
        "local_cs": frames,
        "local_coords": (frames @ steps.flat_directions[..., None])[..., 0],
        "rot_mat": steps.straightening,
        "adj_transpose": own_frames.mT,
        "local_coords_unposed": (steps.unbend @ steps.flat_directions[..., None])[..., 0],
        "bone_to_kp": from_bone,
        "trans_biomech": torch.cat([identity, steps.motions], 1),
        "trans_halo16": bones,
        "inputs": published_decoder_inputs(bone_from_palm_of(bones)),
    }


def _undefined(steps: Unfolding) -> Tensor:
    return steps.lengths.isnan()[..., None, None]


def _not_unit(axes: Tensor) -> Tensor:
    """True also for NaN."""
    return ~((torch.linalg.vector_norm(axes, dim=-1) - 1).abs() < 1e-4)


def _homogeneous(linear: Tensor, shift: Tensor | None = None) -> Tensor:
    result = torch.eye(4, dtype=linear.dtype).repeat(*linear.shape[:-2], 1, 1)
    result[..., :3, :3] = linear
    if shift is not None:
        result[..., :3, 3] = shift
    return result


CASE = Case("halo_keypoints", frozenset({"joints_raw", "unit_axis_warnings", "trans_biomech"}), run)
