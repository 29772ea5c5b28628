"""How the published bends of fingers are judged: by what rounding in float32, and the clamp of their cosines, leave open.

The published code measures bends by acos in float32, with cosines clipped to `LARGEST_COSINE`, so that none is below `CLAMP`.
The error of an angle is that of its cosine divided by its sine: 1e-6 for an ordinary bend, 1.7e-4 next to the clamp. Below the
clamp only the sign of a component is left of a bend; for a straight joint that sign is a rounding error.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.hands.bone_frames import BIOMECH_OF_BONE, PALM_UNIT
from im2hands.hands.unfolding import FINGER_COUNT, LARGEST_COSINE, Unfolding
from im2hands.parity.tolerances import COMPONENT_ERROR, COSINE_ERROR, LENGTH_ERROR

CLAMP = math.acos(LARGEST_COSINE)
"""The smallest published bend, 0.00142 rad."""


def rounding_of_bends(steps: Unfolding) -> Float[Tensor, "batch 20 2"]:
    """How far rounding in float32 may move each measured bend (radians), those below it given."""
    component = COMPONENT_ERROR + skew_of_frames(steps)
    cosine = COSINE_ERROR + skew_of_frames(steps)
    sines = steps.bends.sin().abs().clamp_min(math.sin(CLAMP))
    by_component = torch.stack([component / _flat_length(steps), component.expand(steps.bends.shape[:2])], -1)
    return (cosine[..., None] / sines + by_component).clamp_max(math.pi)


def with_open_signs_of(bends: Float[Tensor, "batch 20 2"], published: Tensor) -> Float[Tensor, "batch 20 2"]:
    """Bends with the published signs where both are at the clamp, and so the sign alone is left of them."""
    at_clamp = (_beyond_pole(bends) <= 1.01 * CLAMP) & (_beyond_pole(published) <= 1.01 * CLAMP)
    return torch.where(at_clamp, bends.abs().copysign(published), bends)


def rounding_of_turns(steps: Unfolding) -> Float[Tensor, "batch 20"]:
    """How far the published rotation of each bone may be from ours (radians) where its bends are not known.

    The sum along the finger of the rounding of its bends, and of the clamp's two signs where a bend is at the clamp or may be.
    """
    rounding = rounding_of_bends(steps).unflatten(1, (-1, FINGER_COUNT))
    poles = _beyond_pole(steps.bends).unflatten(1, (-1, FINGER_COUNT))
    shrinking = _flat_length(steps).unflatten(1, (-1, FINGER_COUNT))
    carried = torch.zeros_like(rounding[:, 0, :, 0])
    result = [carried]
    for level in range(1, rounding.shape[1]):
        signs = torch.where(poles[:, level] <= 1.01 * CLAMP + carried[..., None], 2 * CLAMP, 0.0)
        carried = carried / shrinking[:, level] + (rounding[:, level] + signs).sum(-1)
        result.append(carried)
    return torch.cat(result, 1)


def rounding_of_inputs(steps: Unfolding) -> Float[Tensor, "batch 16 1 4"]:
    """How far the columns of the published decoder inputs may be from ours where the published bends are not known."""
    turns = rounding_of_turns(steps)[:, [joint - 1 for joint in BIOMECH_OF_BONE[1:]]].nan_to_num(0.0)
    turns = torch.cat([torch.zeros_like(turns[:, :1]), turns], 1) + skew_of_frames(steps)
    shifts = (2 * _reach(steps)[:, None] * turns + rounding_of_lengths(steps)[:, None]) / PALM_UNIT
    return torch.stack([PALM_UNIT * turns] * 3 + [shifts], -1)[:, :, None]


def rounding_of_lengths(steps: Unfolding) -> Float[Tensor, " batch"]:
    """Of the published bone lengths and translations (m)."""
    return LENGTH_ERROR * _reach(steps)


def _reach(steps: Unfolding) -> Float[Tensor, " batch"]:
    """From wrist to furthest keypoint (m)."""
    return torch.linalg.vector_norm(steps.keypoints, dim=-1).amax(1).nan_to_num(0.0)


def _beyond_pole(bends: Tensor) -> Tensor:
    """Distance from the nearest of 0 and half a turn, where cosines are clipped."""
    return torch.minimum(bends.abs(), math.pi - bends.abs())


def _flat_length(steps: Unfolding) -> Tensor:
    """Of the bones without what points along the palm's normal: a short rest makes the swing uncertain."""
    local = (steps.local_frames @ steps.flat_directions[..., None])[..., 0]
    return torch.hypot(local[..., 0], local[..., 2]).clamp(1e-9, 1)


def skew_of_frames(steps: Unfolding) -> Float[Tensor, "batch 1"]:
    """Twice what our frames of a degenerate hand lack to be rotations; 0 up to rounding for all others.

    There the published form, which takes products of frames for the identity, differs from the closed one by as much.
    """
    frames = steps.local_frames
    identity = torch.eye(3, dtype=frames.dtype, device=frames.device)
    return 2 * (frames @ frames.mT - identity).abs().flatten(1).amax(1, keepdim=True).nan_to_num(0.0)
