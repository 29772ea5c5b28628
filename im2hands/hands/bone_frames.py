"""Computes from keypoints what the occupancy decoders need: palm frame, bone frames, bone lengths.

Frames: `world` as the dataset gives it (m).  `palm`: p = palm_rotation · mirror_if_left(x - wrist) / 0.4, dimensionless,
right-hand space; middle metacarpal along -x, palm normal along +y.  `bone`: p in palm units moved rigidly with its bone to the
canonical, straight-fingered hand; bone_from_palm does that.

HALO's published code stores the same product differently: `inputs` = bone_from_palm · S(0.4), to be applied to points / 0.4
(see `published_decoder_inputs`).

Source: HALO (3DV 2021); `docs/conventions.md`, "Bone frames".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.config.choices import Behaviour
from im2hands.hands.joints import BONE_ENDS, BONE_STARTS, WRIST, JointOrder, reorder
from im2hands.hands.sides import Side
from im2hands.hands.unfolding import Unfolding, unfold
from im2hands.io.errors import DataError

PALM_UNIT = 0.4
"""Metres per unit of the palm and bone frames."""

SHORTEST_PALM, LONGEST_PALM = 0.005, 0.5
"""Metres from wrist to middle base that can belong to a hand; outside, the unit is probably wrong."""
SMALLEST_SINE = 1e-3
"""Sine of the angle between neighbouring metacarpals under which their plane is not defined."""

METACARPAL_NAMES = ("thumb", "index", "middle", "ring", "little")
BIOMECH_OF_BONE = tuple(JointOrder.BIOMECH.value.index(end) for end in BONE_ENDS)
"""BIOMECH joint at the far end of each of the 16 bones (for the palm, the middle base: its length, not its motion)."""

Points = TypeVar("Points", np.ndarray, Tensor)


@dataclass(frozen=True)
class CanonicalHands:
    """A batch of hands as the occupancy decoders see them; float64.

    wrist: world, m, not mirrored.  palm_rotation: turns wrist-centred right-hand-space points to the palm frame's axes.
    bone_from_palm: rigid motions of palm-frame points, bones in part order (palm, index, middle, little, ring, thumb).
    bone_lengths: m.  rejected: per hand the reason why it has no frames (its rows are NaN), or None.
    """

    wrist: Float[Tensor, "batch 3"]
    palm_rotation: Float[Tensor, "batch 3 3"]
    bone_from_palm: Float[Tensor, "batch 16 4 4"]
    bone_lengths: Float[Tensor, "batch 16"]
    rejected: list[str | None]


def canonical_frames(
    keypoints: Float[Tensor, "batch 21 3"] | Float[np.ndarray, "batch 21 3"],
    sides: Sequence[Side] | Side,
    angle_clamp: Behaviour = "consistent",
    degenerate_hands: Behaviour = "consistent",
) -> CanonicalHands:
    """Palm frames, bone frames and bone lengths of hands.

    keypoints: STANDARD order, metres, world.  sides: one per hand, or one for all.
    angle_clamp: "published" keeps HALO's acos of clipped cosines, with which no bend is below 0.00142 rad and straight fingers
    get a random tiny bend; "consistent" measures with atan2.
    degenerate_hands: "published" gives what the formulas give (NaN, or a palm_rotation that is not a rotation); "consistent"
    rejects such hands with a reason and fills their rows with NaN, so that the rest of the batch is unharmed.
    Raises DataError if shapes do not fit.
    """
    centred, wrist = to_right_hand_space(keypoints, sides)
    steps = unfold(reorder(centred, JointOrder.STANDARD, JointOrder.BIOMECH), angle_clamp, degenerate_hands)
    reasons: list[str | None] = [None] * len(wrist)
    if degenerate_hands == "consistent":
        reasons = rejection_reasons(centred)
    return _collect(wrist, steps, reasons)


def to_right_hand_space(
    keypoints: Float[Tensor, "batch 21 3"] | Float[np.ndarray, "batch 21 3"], sides: Sequence[Side] | Side
) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch 3"]]:
    """Keypoints (STANDARD, m) relative to the wrist with left hands mirrored, and the wrists (world); float64 copies."""
    keypoints = torch.as_tensor(keypoints).double()
    if keypoints.ndim != 3 or keypoints.shape[1:] != (21, 3):
        raise DataError(
            f"keypoints must have shape (hands, 21, 3), not {tuple(keypoints.shape)}; pass one hand as keypoints[None]."
        )
    wrist = keypoints[:, WRIST]
    return mirror_left(keypoints - wrist[:, None], sides), wrist


def mirror_left(points: Points, sides: Sequence[Side] | Side) -> Points:
    """Points (batch, n, 3) of hands into right-hand space, or back: those of left hands mirrored. numpy or torch.

    sides: one per hand, or one for all.  Raises DataError if their number does not fit.
    """
    if isinstance(sides, Side):
        return sides.mirror_points(points)
    if len(sides) != len(points):
        raise DataError(f"got {len(sides)} sides for {len(points)} hands; give one per hand, or one for all.")
    left = np.array([side is Side.LEFT for side in sides], dtype=bool).reshape(-1, 1, 1)
    mirrored = Side.LEFT.mirror_points(points)
    if isinstance(points, np.ndarray):
        return np.where(left, mirrored, points)
    return torch.where(torch.from_numpy(left).to(points.device), mirrored, points)


def rejection_reasons(centred: Float[Tensor, "batch 21 3"]) -> list[str | None]:
    """Why wrist-centred hands (STANDARD, m) have no bone frames, or None where they have."""
    metacarpals = centred[:, [1, 5, 9, 13, 17]]
    lengths = torch.linalg.vector_norm(metacarpals, dim=-1)
    normals = torch.linalg.cross(metacarpals[:, :-1], metacarpals[:, 1:])
    sines = torch.linalg.vector_norm(normals, dim=-1) / (lengths[:, :-1] * lengths[:, 1:]).clamp_min(1e-30)
    finite = torch.isfinite(centred).flatten(1).all(1)
    suspect = ~finite | (lengths < 1e-6).any(1) | (sines < SMALLEST_SINE).any(1)
    suspect |= (lengths[:, 2] < SHORTEST_PALM) | (lengths[:, 2] > LONGEST_PALM)
    reasons: list[str | None] = [None] * len(centred)
    for hand in suspect.nonzero()[:, 0].tolist():
        reasons[hand] = _reason(bool(finite[hand]), lengths[hand].tolist(), sines[hand].tolist())
    return reasons


def published_decoder_inputs(bone_from_palm: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """HALO's `inputs`: matrices for points / 0.4, i.e. bone_from_palm · S(0.4)."""
    return bone_from_palm * bone_from_palm.new_tensor([PALM_UNIT, PALM_UNIT, PALM_UNIT, 1.0])


def bone_from_palm_of(
    motions: Float[Tensor, "*batch 4 4"],
) -> Float[Tensor, "*batch 4 4"]:
    """Rigid motions in metres as motions of points in palm units: S(1 / 0.4) · motion · S(0.4)."""
    scaled = motions.clone()
    scaled[..., :3, 3] /= PALM_UNIT
    return scaled


def world_to_palm(points: Points, wrist: Points, palm_rotation: Points, sides: Sequence[Side] | Side) -> Points:
    """World points (m) in the palm frames of their hands (palm units); numpy or torch.

    points: (batch, n, 3), wrist: (batch, 3), palm_rotation: (batch, 3, 3), sides: one per hand or one for all.
    For a single hand drop `batch` everywhere and give one side.
    """
    centred = mirror_left(points - wrist[..., None, :], sides)
    return centred @ palm_rotation.swapaxes(-1, -2) / PALM_UNIT


def palm_to_world(points: Points, wrist: Points, palm_rotation: Points, sides: Sequence[Side] | Side) -> Points:
    """Palm-frame points (palm units) in the world (m); the inverse of `world_to_palm`, same shapes."""
    return mirror_left(points @ palm_rotation * PALM_UNIT, sides) + wrist[..., None, :]


def _collect(wrist: Tensor, steps: Unfolding, reasons: list[str | None]) -> CanonicalHands:
    palm = torch.eye(4, dtype=wrist.dtype, device=wrist.device).expand(len(wrist), 1, 4, 4)
    fingers = steps.motions[:, [joint - 1 for joint in BIOMECH_OF_BONE[1:]]]
    starts = [JointOrder.BIOMECH.value.index(joint) for joint in BONE_STARTS]
    spans = steps.keypoints[:, BIOMECH_OF_BONE] - steps.keypoints[:, starts]
    bad = torch.tensor([reason is not None for reason in reasons], device=wrist.device)

    def blank(values: Tensor) -> Tensor:
        return torch.where(bad.view(-1, *[1] * (values.ndim - 1)), torch.nan, values) if len(bad) else values

    return CanonicalHands(
        wrist=wrist,
        palm_rotation=blank(steps.palm_rotation),
        bone_from_palm=blank(bone_from_palm_of(torch.cat([palm, fingers], 1))),
        bone_lengths=blank(torch.linalg.vector_norm(spans, dim=-1)),
        rejected=reasons,
    )


def _reason(finite: bool, lengths: list[float], sines: list[float]) -> str:
    if not finite:
        return "a keypoint is not finite"
    for name, length in zip(METACARPAL_NAMES, lengths, strict=True):
        if length < 1e-6:
            return f"the base of the {name} finger lies on the wrist"
    if not SHORTEST_PALM <= lengths[2] <= LONGEST_PALM:
        return f"the palm is {lengths[2]:.3g} m long; are the keypoints in another unit than metres?"
    pair = next(k for k, sine in enumerate(sines) if sine < SMALLEST_SINE)
    return f"the metacarpals of {METACARPAL_NAMES[pair]} and {METACARPAL_NAMES[pair + 1]} finger are parallel: no palm plane"
