"""HALO's hand unfolding: from 21 keypoints to a flat, straight-fingered canonical hand and the rigid motion of every bone.

A hand is centred on its wrist, mirrored if left, turned so that its palm has a fixed attitude, spread to a fixed angle between
the metacarpals, and its fingers are straightened. What remains are rigid motions, one per bone, from the palm-aligned hand to
the canonical one. `bone_frames` turns them into what the occupancy decoders need; this module keeps every intermediate.

All computation is in float64, batched over hands. Orders: BIOMECH keypoints; 20 bones, bone 5 * level + finger ends in joint
5 * level + finger + 1. Lengths in the unit of the keypoints (metres).

Source: HALO (3DV 2021), section 3, in the form of its published preparation (`docs/conventions.md`, "Bone frames").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.config.choices import Behaviour
from im2hands.geometry.rotations import shortest_turn, signed_angle, turn_about, unit

THUMB, INDEX, MIDDLE, RING, LITTLE = range(5)
FINGER_COUNT, LEVEL_COUNT = 5, 4

THUMB_PLANE_ANGLE, FINGER_PLANE_ANGLE = 0.8, 0.2
"""Angles between neighbouring palm planes of the canonical hand, radians."""
THUMB_SPREAD, FINGER_SPREAD = 0.4, 0.2
"""Angles between neighbouring metacarpals of the canonical hand, radians."""

LARGEST_COSINE = 1 - 17 * 2.0**-24
"""What HALO's published code clips cosines to before acos (1 - 1e-6 in float32): no angle is below 0.00142 rad."""


@dataclass(frozen=True)
class Unfolding:
    """Every step from wrist-centred right-hand-space keypoints to the bones' motions.

    turn: to palm attitude with the middle metacarpal along -y and the palm normal along z.  palm_rotation: the same after the
    swap of axes (middle metacarpal along -x, palm normal along +y).  keypoints: palm-aligned, BIOMECH.
    directions, lengths: unit directions and lengths of the 20 bones.  plane_turns, spread_turns: per finger, flattening the
    palm and setting the angle between metacarpals.  flat_directions: directions after both turns.
    local_frames: per bone, rows are the axes in which its bend is measured.  bends: the two bend angles per bone, radians.
    straightening: rotation that undoes the bend, in the local frame.  unbend: accumulated along the finger, palm axes.
    starts: where the canonical hand's bones start.  motions: palm-aligned hand to canonical hand, per bone.
    axes: rotation axes by name; one that is not of unit length marks a degenerate hand.
    """

    turn: Float[Tensor, "batch 3 3"]
    palm_rotation: Float[Tensor, "batch 3 3"]
    keypoints: Float[Tensor, "batch 21 3"]
    directions: Float[Tensor, "batch 20 3"]
    lengths: Float[Tensor, "batch 20"]
    plane_turns: Float[Tensor, "batch 5 3 3"]
    spread_turns: Float[Tensor, "batch 5 3 3"]
    flat_directions: Float[Tensor, "batch 20 3"]
    local_frames: Float[Tensor, "batch 20 3 3"]
    bends: Float[Tensor, "batch 20 2"]
    straightening: Float[Tensor, "batch 20 3 3"]
    unbend: Float[Tensor, "batch 20 3 3"]
    starts: Float[Tensor, "batch 20 3"]
    motions: Float[Tensor, "batch 20 4 4"]
    axes: dict[str, Float[Tensor, "batch 3"]]


def unfold(
    keypoints: Float[Tensor, "batch 21 3"],
    angle_clamp: Behaviour = "consistent",
    degenerate_hands: Behaviour = "consistent",
    given_bends: Float[Tensor, "batch 20 2"] | None = None,
) -> Unfolding:
    """The unfolding of wrist-centred hands in right-hand space, BIOMECH order.

    angle_clamp: "published" measures bends by acos of clipped cosines (never below 0.00142 rad, so that straight fingers get a
    random tiny bend); "consistent" by atan2.
    degenerate_hands: "published" rounds keypoints to float32 first (which decides what degenerate hands give), leaves opposite
    directions unaligned and gives NaN motions to hands with a metacarpal of no length; "consistent" aligns opposite
    directions by a half turn.
    given_bends: what is undone instead of the measured bends (radians); `bends` are still the measured ones, each in the frame
    that the given ones below it leave.
    """
    keypoints = keypoints.float().double() if degenerate_hands == "published" else keypoints.double()
    axes: dict[str, Tensor] = {}
    turn = palm_turn(keypoints, axes, half_turns=degenerate_hands == "consistent")
    palm_rotation = turn[:, [1, 2, 0]]
    keypoints = keypoints @ palm_rotation.mT

    directions, lengths = _bones(keypoints, degenerate_hands)
    plane_turns = _plane_turns(directions, axes)
    flattened = _turn_fingers(plane_turns, directions)
    spread_turns = _spread_turns(flattened, axes)
    flat = _turn_fingers(spread_turns, flattened)

    frame = _local_frame(flat[:, :FINGER_COUNT])
    bends, straightening, local_frames = _straighten(frame, flat, angle_clamp, axes, given_bends)
    unbend = _accumulate(frame, straightening)
    starts, motions = _motions(keypoints, lengths, flat, unbend, spread_turns @ plane_turns)
    return Unfolding(
        turn,
        palm_rotation,
        keypoints,
        directions,
        lengths,
        plane_turns,
        spread_turns,
        flat,
        local_frames,
        bends,
        straightening,
        unbend,
        starts,
        motions,
        axes,
    )


def palm_turn(
    keypoints: Float[Tensor, "batch 21 3"], axes: dict[str, Tensor], half_turns: bool
) -> Float[Tensor, "batch 3 3"]:
    """Rotation of wrist-centred BIOMECH keypoints: middle metacarpal to -y, middle x index metacarpal to +z."""
    middle, index = unit(keypoints[:, 1 + MIDDLE]), unit(keypoints[:, 1 + INDEX])
    down, forward = keypoints.new_tensor([0.0, -1.0, 0.0]), keypoints.new_tensor([0.0, 0.0, 1.0])
    first, axes["palm direction"] = shortest_turn(middle, down, half_turns)
    normal = (first @ torch.linalg.cross(middle, index)[..., None])[..., 0]
    second, axes["palm normal"] = shortest_turn(normal, forward, half_turns, half_turn_axis=down)
    return second @ first


def _bones(keypoints: Tensor, degenerate_hands: Behaviour) -> tuple[Tensor, Tensor]:
    """Directions and lengths; bone 5 * level + finger."""
    starts = torch.cat([keypoints[:, :1].expand(-1, FINGER_COUNT, -1), keypoints[:, 1:-FINGER_COUNT]], 1)
    spans = keypoints[:, 1:] - starts
    lengths = torch.linalg.vector_norm(spans, dim=-1)
    if degenerate_hands == "published":
        # The published code multiplies 0 by 0 / 0 for all metacarpals of a hand if one has no length.
        metacarpals = torch.arange(lengths.shape[1], device=lengths.device) < FINGER_COUNT
        broken = (lengths[:, :FINGER_COUNT] == 0).any(1, keepdim=True) & metacarpals
        lengths = torch.where(broken, torch.nan, lengths)
    lengths = lengths.clamp_min(1e-9)
    return spans / lengths[..., None], lengths


def _turn_fingers(turns: Tensor, directions: Tensor) -> Tensor:
    """Every bone's direction turned by its finger's rotation."""
    by_level = directions.unflatten(1, (LEVEL_COUNT, FINGER_COUNT))
    return (turns[:, None] @ by_level[..., None])[..., 0].flatten(1, 2)


def _plane_turns(directions: Tensor, axes: dict[str, Tensor]) -> Tensor:
    """Per finger the rotation that gives neighbouring palm planes their canonical angles."""
    thumb, index, middle, ring, little = directions[:, :FINGER_COUNT].unbind(1)
    cross = torch.linalg.cross
    palm = cross(middle, index)

    axes["thumb plane"] = index
    thumb_turn = turn_about(index, signed_angle(cross(index, thumb), palm, index) - THUMB_PLANE_ANGLE)

    axes["ring plane"] = middle
    ring_turn = turn_about(middle, signed_angle(cross(ring, middle), palm, middle) + FINGER_PLANE_ANGLE)
    ring, little = _turned(ring_turn, ring), _turned(ring_turn, little)

    axes["little plane"] = ring
    little_angle = signed_angle(cross(little, ring), cross(ring, middle), ring) + FINGER_PLANE_ANGLE
    little_turn = turn_about(ring, little_angle) @ ring_turn
    identity = torch.eye(3, dtype=directions.dtype, device=directions.device).expand_as(ring_turn)
    return torch.stack([thumb_turn, identity, identity, ring_turn, little_turn], 1)


def _spread_turns(flattened: Tensor, axes: dict[str, Tensor]) -> Tensor:
    """Per finger the rotation in its plane that gives neighbouring metacarpals their canonical angles."""
    thumb, index, middle, ring, little = flattened[:, :FINGER_COUNT].unbind(1)

    def towards(inner: Tensor, outer: Tensor, target: float, name: str, sign: float) -> Tensor:
        axis = axes[name] = unit(torch.linalg.cross(inner, outer) * sign)
        first, second = (inner, outer) if sign > 0 else (outer, inner)
        return turn_about(axis, (target - signed_angle(first, second, axis)) * sign)

    index_turn = towards(middle, index, FINGER_SPREAD, "index spread", 1.0)
    index, thumb = _turned(index_turn, index), _turned(index_turn, thumb)
    thumb_turn = towards(index, thumb, THUMB_SPREAD, "thumb spread", 1.0) @ index_turn

    ring_turn = towards(middle, ring, FINGER_SPREAD, "ring spread", -1.0)
    ring, little = _turned(ring_turn, ring), _turned(ring_turn, little)
    little_turn = towards(ring, little, FINGER_SPREAD, "little spread", -1.0) @ ring_turn
    identity = torch.eye(3, dtype=flattened.dtype, device=flattened.device).expand_as(ring_turn)
    return torch.stack([thumb_turn, index_turn, identity, ring_turn, little_turn], 1)


def _local_frame(metacarpals: Tensor) -> Tensor:
    """Per finger the axes in which its bends are measured: rows x (across), y (palm normal), z (along the metacarpal).

    For hands that are not degenerate these are constants, because the metacarpals are.
    """
    normals = unit(torch.linalg.cross(metacarpals[:, :-1], metacarpals[:, 1:]), 1e-9)
    halves = (normals[:, 1:-1] + normals[:, 2:]) / 2
    normals = torch.cat([normals[:, :2], halves, normals[:, -1:]], 1)
    across = torch.linalg.cross(metacarpals, normals)
    sideways = unit(torch.linalg.cross(across, metacarpals))
    return torch.stack([sideways, unit(across), metacarpals], -2)


def _straighten(
    frame: Tensor, flat: Tensor, angle_clamp: Behaviour, axes: dict[str, Tensor], given: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Bends, the rotations that undo them (or the given ones) and the frames they are measured in, from base to tip.

    Level 0 does not bend.
    """
    levels = flat.unflatten(1, (LEVEL_COUNT, FINGER_COUNT))
    identity = torch.eye(3, dtype=flat.dtype, device=flat.device).expand_as(frame)
    bends, rotations, frames = [_bend(levels[:, 0], angle_clamp)], [identity], [identity]
    current, tilts = frame, []
    for level in range(1, LEVEL_COUNT):
        bend = _bend(_turned(current, levels[:, level]), angle_clamp)
        undone = bend if given is None else given[:, FINGER_COUNT * level : FINGER_COUNT * (level + 1)]
        swing, lift = undone.unbind(-1)
        zero = torch.zeros_like(swing)
        vertical = torch.stack([zero, zero + 1, zero], -1)
        tilt = torch.stack([swing.cos(), zero, -swing.sin()], -1)
        rotation = turn_about(vertical, -swing) @ turn_about(tilt, -lift)
        bends.append(bend)
        rotations.append(rotation)
        frames.append(current)
        tilts.append(tilt)
        current = rotation @ current
    axes["index bend"] = tilts[0][:, INDEX]
    return torch.cat(bends, 1), torch.cat(rotations, 1), torch.cat(frames, 1)


def _bend(local: Tensor, angle_clamp: Behaviour) -> Tensor:
    """Swing about y and lift towards y of directions in their local frame, radians."""
    x, y, z = local.unbind(-1)
    flat_length = torch.hypot(x, z)
    if angle_clamp == "consistent":
        return torch.stack([torch.atan2(x, z), torch.atan2(-y, flat_length)], -1)
    flat_length = flat_length.clamp_min(1e-9)
    z_or_zero = torch.where(z.abs() < 1e-6, 0.0, z)
    swing = (z_or_zero / flat_length).clamp(-LARGEST_COSINE, LARGEST_COSINE).acos()
    lift = ((x * x + z * z) / flat_length).clamp(-LARGEST_COSINE, LARGEST_COSINE).acos()
    return torch.stack([torch.where(x + 1e-6 < 0, -swing, swing), torch.where(y + 1e-6 > 0, -lift, lift)], -1)


def _accumulate(frame: Tensor, straightening: Tensor) -> Tensor:
    """Rotations, in palm axes, that undo the bends of a bone and of all before it."""
    levels = straightening.unflatten(1, (LEVEL_COUNT, FINGER_COUNT)).unbind(1)
    result, total = [levels[0]], levels[0]
    for level in levels[1:]:
        total = level @ total
        result.append(frame.mT @ total @ frame)
    return torch.cat(result, 1)


def _motions(
    keypoints: Tensor, lengths: Tensor, flat: Tensor, unbend: Tensor, finger_turns: Tensor
) -> tuple[Tensor, Tensor]:
    """Where the straightened bones start, and the rigid motion that takes each bone of the hand there."""
    steps = (lengths[..., None] * _turned(unbend, flat)).unflatten(1, (LEVEL_COUNT, FINGER_COUNT))
    ends = steps.cumsum(1)
    starts = torch.cat([torch.zeros_like(ends[:, :1]), ends[:, :-1]], 1).flatten(1, 2)
    origins = torch.cat([keypoints[:, :1].expand(-1, FINGER_COUNT, -1), keypoints[:, 1:-FINGER_COUNT]], 1)
    rotations = unbend @ finger_turns.repeat(1, LEVEL_COUNT, 1, 1)
    shifts = starts - _turned(rotations, origins)
    last = lengths.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*lengths.shape, 1, 4)
    motions = torch.cat([torch.cat([rotations, shifts[..., None]], -1), last], -2)
    undefined = lengths[:, :FINGER_COUNT].isnan().any(1)[:, None, None, None]
    return starts, torch.where(undefined, torch.nan, motions)


def _turned(rotations: Tensor, vectors: Tensor) -> Tensor:
    return (rotations @ vectors[..., None])[..., 0]
