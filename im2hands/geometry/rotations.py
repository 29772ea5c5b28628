"""Rotations in batched torch: axis-angle and matrices, turns about an axis, the shortest turn between two directions.

Angles are radians; matrices act on column vectors. Everything is differentiable, also at the identity, and keeps the dtype and
device of its input.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

SERIES_BELOW = {torch.float64: 1e-6, torch.float32: 1e-5}
"""Squared angles under which sin(t)/t and (1 - cos t)/t² are taken from their series."""


SHORTEST_DIRECTION = 1e-6


def cross_matrix(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrices [v]x with [v]x w = v x w."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def axis_angle_to_matrix(axis_angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of axis-angle vectors (direction: axis; length: angle), by Rodrigues' formula."""
    squared = (axis_angles * axis_angles).sum(-1)[..., None, None]
    small = squared < SERIES_BELOW.get(axis_angles.dtype, 1e-5)
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    first = torch.where(small, 1 - squared / 6 * (1 - squared / 20), angle.sin() / angle)
    second = torch.where(small, 0.5 - squared / 24 * (1 - squared / 30), 2 * (angle / 2).sin() ** 2 / safe)
    cross = cross_matrix(axis_angles)
    return torch.eye(3, dtype=axis_angles.dtype, device=axis_angles.device) + first * cross + second * (cross @ cross)


def matrix_to_axis_angle(rotations: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Axis-angle vectors of rotation matrices, of length at most pi; accurate at every angle, also near pi.

    At exactly half a turn both signs of the axis are right; the one returned has its largest component positive.
    """
    quaternion = matrix_to_quaternion(rotations)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    squared = (imaginary * imaginary).sum(-1, keepdim=True)
    small = squared < SERIES_BELOW.get(rotations.dtype, 1e-5)
    length = torch.where(small, torch.ones_like(squared), squared).sqrt()
    # For small angles 2 atan(s / c) / s = 2 / c - 2 s² / (3 c³) + 2 s⁴ / (5 c⁵) ...
    ratio = squared / real.clamp_min(0.5) ** 2
    series = 2 / real.clamp_min(0.5) * (1 - ratio / 3 * (1 - 0.6 * ratio))
    return imaginary * torch.where(small, series, 2 * torch.atan2(length, real) / length)


def matrix_to_quaternion(rotations: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions (real part first, never negative) of rotation matrices.

    Of the four equal expressions the one with the largest divisor is used, so that nothing is lost near half turns.
    """
    m = [[rotations[..., i, j] for j in range(3)] for i in range(3)]
    four_squares = torch.stack(
        [
            1 + m[0][0] + m[1][1] + m[2][2],
            1 + m[0][0] - m[1][1] - m[2][2],
            1 - m[0][0] + m[1][1] - m[2][2],
            1 - m[0][0] - m[1][1] + m[2][2],
        ],
        -1,
    )
    wx, wy, wz = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[0][1] + m[1][0], m[0][2] + m[2][0], m[1][2] + m[2][1]
    w2, x2, y2, z2 = four_squares.unbind(-1)
    rows = torch.stack([w2, wx, wy, wz, wx, x2, xy, xz, wy, xy, y2, yz, wz, xz, yz, z2], -1).unflatten(-1, (4, 4))
    best = four_squares.argmax(-1)[..., None, None].expand(*rows.shape[:-2], 1, 4)
    quaternion = torch.nn.functional.normalize(rows.gather(-2, best)[..., 0, :], dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def turn_about(axis: Float[Tensor, "*batch 3"], angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    """I + sin(angle) [axis]x + (1 - cos(angle)) [axis]x², a rotation if `axis` has unit length.

    The axis is not normalised: a zero axis gives the identity.
    """
    cross = cross_matrix(axis)
    sine, versine = angle.sin()[..., None, None], (1 - angle.cos())[..., None, None]
    return torch.eye(3, dtype=axis.dtype, device=axis.device) + sine * cross + versine * (cross @ cross)


def rotation_of_axes(
    first: Float[Tensor, "*batch 3"], second: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 3 3"]:
    """Rotations that turn x to `first` and y as close to `second` as that leaves, whatever the vectors' lengths.

    Always rotations: a vector without length, or a second one along the first, is replaced by one at right angles.
    """
    x = _direction(first, torch.eye(3, dtype=first.dtype, device=first.device)[0].expand_as(first))
    second = _direction(second, x)
    y = _direction(second - (second * x).sum(-1, keepdim=True) * x, _perpendicular(x))
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def unit(vectors: Float[Tensor, "*batch 3"], smallest: float = 1e-8) -> Float[Tensor, "*batch 3"]:
    """Vectors divided by their length, or by `smallest` where they are shorter than that."""
    return vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp_min(smallest)


def angle_between(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Angles (0 .. pi) between directions, exact also for nearly parallel and nearly opposite ones (Kahan's formula)."""
    a, b = unit(a, 1e-10), unit(b, 1e-10)
    return 2 * torch.atan2(torch.linalg.vector_norm(a - b, dim=-1), torch.linalg.vector_norm(a + b, dim=-1))


def signed_angle(
    a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"], reference: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch"]:
    """Angles from `a` to `b`, negative where the turn is clockwise when seen against `reference`."""
    angle = angle_between(a, b)
    clockwise = (reference * torch.linalg.cross(a, b)).sum(-1) < 0
    return torch.where(clockwise, -angle, angle)


def shortest_turn(
    source: Float[Tensor, "*batch 3"],
    target: Float[Tensor, "*#batch 3"],
    half_turns: bool = True,
    half_turn_axis: Float[Tensor, "*#batch 3"] | None = None,
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """Rotations that take direction `source` to direction `target` about their common normal, and those normals.

    half_turns: opposite directions have no common normal. True: turn by pi about `half_turn_axis`, or about some perpendicular
    axis if that is not given.  False: return the identity and an axis of no length for them, as HALO's published preparation
    does.
    """
    axis, angle = unit(torch.linalg.cross(source, target.expand_as(source))), angle_between(source, target)
    if half_turns:
        opposite = (torch.linalg.vector_norm(unit(source) + unit(target), dim=-1) < 1e-7)[..., None]
        axis = torch.where(opposite, _perpendicular(source) if half_turn_axis is None else half_turn_axis, axis)
    return turn_about(axis, angle), axis


def _direction(vectors: Float[Tensor, "*batch 3"], otherwise: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Unit vectors along `vectors`, or `otherwise` where they have hardly any length."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    known = length > SHORTEST_DIRECTION
    return torch.where(known, vectors / torch.where(known, length, torch.ones_like(length)), otherwise)


def _perpendicular(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Some unit vectors at right angles to `vectors`."""
    smallest = torch.nn.functional.one_hot(vectors.abs().argmin(-1), 3).to(vectors.dtype)
    return unit(torch.linalg.cross(vectors, smallest))
