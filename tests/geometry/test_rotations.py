"""Rotations: against scipy, at the identity and near half turns, with gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from im2hands.geometry.rotations import (
    angle_between,
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    rotation_of_axes,
    shortest_turn,
    signed_angle,
    turn_about,
    unit,
)

ANGLES = [0.0, 1e-12, 1e-7, 9e-4, 1.1e-3, 0.5, 3.0, np.pi - 1e-4, np.pi - 1e-9]


def directions(seed, count=20):
    rng = np.random.default_rng(seed)
    return unit(torch.from_numpy(rng.normal(size=(count, 3))))


@pytest.mark.parametrize("angle", ANGLES)
def test_matrices_equal_scipys(angle):
    vectors = directions(0) * angle
    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    assert np.abs(axis_angle_to_matrix(vectors).numpy() - expected).max() < 1e-15 * 4
    in_float32 = axis_angle_to_matrix(vectors.float())
    assert in_float32.dtype == torch.float32
    assert np.abs(in_float32.numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("angle", ANGLES)
def test_axis_angles_come_back(angle):
    vectors = directions(1) * angle
    back = matrix_to_axis_angle(axis_angle_to_matrix(vectors))
    assert (back - vectors).abs().max() < 1e-14 + 1e-13 * angle


def test_half_turns_come_back_up_to_the_sign_of_the_axis():
    for axis in (*torch.eye(3).double(), *directions(2)):
        back = matrix_to_axis_angle(turn_about(axis, torch.tensor(np.pi, dtype=torch.float64)))
        assert torch.minimum((back - np.pi * axis).abs().max(), (back + np.pi * axis).abs().max()) < 1e-14


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-4, 1.0, 3.0])
def test_gradients(scale):
    vectors = (directions(3, 3) * scale).requires_grad_()
    assert torch.autograd.gradcheck(axis_angle_to_matrix, vectors)
    if scale < 3:
        assert torch.autograd.gradcheck(lambda v: matrix_to_axis_angle(axis_angle_to_matrix(v)), vectors)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_shortest_turn_turns_one_direction_into_the_other(seed):
    source, target = directions(seed), directions(seed + 1)
    rotation, axis = shortest_turn(source, target)
    assert ((rotation @ source[..., None])[..., 0] - target).abs().max() < 1e-13
    assert (rotation @ rotation.mT - torch.eye(3)).abs().max() < 1e-13
    assert (axis * source).sum(-1).abs().max() < 1e-7


def test_opposite_directions_are_a_half_turn_or_left_alone():
    source = torch.cat([torch.eye(3).double(), directions(4)])
    rotation, _ = shortest_turn(source, -source)
    assert ((rotation @ source[..., None])[..., 0] + source).abs().max() < 1e-14
    assert (torch.linalg.det(rotation) - 1).abs().max() < 1e-14
    left_alone, axis = shortest_turn(source[:3], -source[:3], half_turns=False)
    assert torch.equal(left_alone, torch.eye(3).double().expand(3, 3, 3))
    assert torch.equal(axis, torch.zeros(3, 3).double())


def test_angles_are_exact_where_acos_is_not():
    x, y, z = torch.eye(3).double()
    small = torch.tensor([1.0, 1e-9, 0.0]).double()
    assert angle_between(x, small).item() == pytest.approx(1e-9, rel=1e-6)
    assert np.pi - angle_between(-x, small).item() == pytest.approx(1e-9, rel=1e-6)
    assert signed_angle(x, y, z).item() == pytest.approx(np.pi / 2)
    assert signed_angle(x, y, -z).item() == pytest.approx(-np.pi / 2)


def test_two_axes_give_a_rotation_whatever_they_are():
    """The first keeps its direction, the second what is at right angles; missing directions are filled in."""
    random = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 20, 3, generator=random, dtype=torch.float64)
    rotations = rotation_of_axes(1e4 * first, 1e-3 * second)
    torch.testing.assert_close(rotations[..., 0], unit(first))
    assert ((rotations[..., 1] * second).sum(-1) > 0).all() and (rotations[..., 2] * second).sum(-1).abs().max() < 1e-12
    zero, along = torch.zeros(1, 3, dtype=torch.float64), first[:1]
    odd = [rotation_of_axes(*axes) for axes in ((zero, along), (along, zero), (along, -2 * along), (zero, zero))]
    for each in (rotations, *odd):
        eye = torch.eye(3, dtype=torch.float64).expand_as(each)
        torch.testing.assert_close(each.mT @ each, eye)
        torch.testing.assert_close(torch.linalg.det(each), torch.ones(len(each), dtype=torch.float64))
