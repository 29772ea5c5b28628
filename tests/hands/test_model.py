"""The hand model's forward computation: properties, gradients, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.geometry.rotations import axis_angle_to_matrix
from im2hands.hands.joints import BONE_ENDS, BONE_STARTS
from im2hands.hands.model_files import builtin_hand_models, model_arrays
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from tests.naive.mano import naive_hand

MODELS = builtin_hand_models()
SEEDS = st.integers(0, 2**32 - 1)


def parameters(seed, count=2, requires_grad=False):
    """Random pose, shape and translation."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 48)) * 0.5, rng.normal(size=(count, 10)), rng.normal(size=(count, 3))
    return tuple(torch.from_numpy(value).requires_grad_(requires_grad) for value in values)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_equals_naive_form(side, count, dtype, tolerance):
    model = MODELS[side].to(dtype=dtype)
    pose, shape, translation = parameters(count, count)
    posed = model.pose(pose, shape, translation)
    arrays = {name: array.astype(np.float64) for name, array in model_arrays(MODELS[side]).items()}
    vertices, keypoints = naive_hand(arrays, pose.numpy(), shape.numpy(), translation.numpy())
    assert posed.vertices.dtype == dtype
    assert posed.vertices.shape == (count, 778, 3)
    assert np.abs(posed.vertices.numpy() - vertices).max(initial=0) < tolerance
    assert np.abs(posed.keypoints.numpy() - keypoints).max(initial=0) < tolerance


@settings(max_examples=20)
@given(SEEDS)
def test_left_hand_is_the_mirrored_right_hand(seed):
    """Mirrored pose, same shape, mirrored translation: mirrored hand, to the last bits."""
    pose, shape, translation = parameters(seed)
    right = MODELS[Side.RIGHT].pose(pose, shape, translation)
    mirrored = Side.LEFT.mirror_axis_angles(pose.unflatten(-1, (16, 3))).flatten(1)
    left = MODELS[Side.LEFT].pose(mirrored, shape, Side.LEFT.mirror_points(translation))
    for name in ("vertices", "keypoints", "regressed", "rest_joints"):
        difference = getattr(left, name) - Side.LEFT.mirror_points(getattr(right, name))
        assert difference.abs().max() < 1e-14


@settings(max_examples=20)
@given(SEEDS)
def test_root_turns_the_hand_about_its_shaped_wrist(seed):
    pose, shape, translation = parameters(seed)
    model = MODELS[Side.RIGHT]
    flat_root = torch.cat([torch.zeros(len(pose), 3), pose[:, 3:]], -1)
    still, turned = model.pose(flat_root, shape), model.pose(pose, shape, translation)
    wrist = model.rest_joints(shape)[:, :1]
    rotation = axis_angle_to_matrix(pose[:, :3])
    for name, tolerance in (
        ("vertices", 1e-7),
        ("keypoints", 1e-7),
        ("regressed", 1e-6),
    ):  # weights sum to 1 in float32
        expected = (getattr(still, name) - wrist) @ rotation.mT + wrist + translation[:, None]
        assert (getattr(turned, name) - expected).abs().max() < tolerance
    assert (turned.keypoints[:, 0] - wrist[:, 0] - translation).abs().max() < 1e-14


@settings(max_examples=10)
@given(SEEDS)
def test_bones_between_joints_keep_their_length(seed):
    """Kinematic joints move rigidly along the chain, whatever the pose; tips are vertices and may give a little."""
    pose, shape, _ = parameters(seed)
    model = MODELS[Side.LEFT]
    pairs = [(start, end) for start, end in zip(BONE_STARTS, BONE_ENDS, strict=True) if end not in (4, 8, 12, 16, 20)]
    starts, ends = (list(joints) for joints in zip(*pairs, strict=True))
    posed, rest = model.pose(pose, shape).keypoints, model.pose(pose * 0, shape).keypoints
    lengths = [torch.linalg.vector_norm(points[:, ends] - points[:, starts], dim=-1) for points in (posed, rest)]
    assert (lengths[0] - lengths[1]).abs().max() < 1e-14


def test_components_and_axis_angles_give_the_same_hand():
    pose, shape, translation = parameters(1)
    model = MODELS[Side.RIGHT]
    coefficients = model.components_of(pose[:, 3:])
    direct = model.pose(pose, shape, translation).vertices
    by_components = model.pose_by_components(pose[:, :3], coefficients, shape, translation).vertices
    assert (direct - by_components).abs().max() < 1e-12
    few = model.pose_by_components(pose[:, :3], coefficients[:, :6], shape, translation).vertices
    assert (direct - few).abs().max() > 1e-3


def test_joint_transforms_place_rest_joints_on_keypoints():
    pose, shape, translation = parameters(2)
    posed = MODELS[Side.RIGHT].pose(pose, shape, translation)
    assert torch.equal(posed.joint_transforms[:, 0, :3, 3], posed.keypoints[:, 0])
    moved = posed.skinning_transforms[..., :3, :3] @ posed.rest_joints[..., None]
    moved = moved[..., 0] + posed.skinning_transforms[..., :3, 3]
    assert (moved - posed.joint_transforms[..., :3, 3]).abs().max() < 1e-14


def test_regressed_keypoints_are_not_the_kinematic_ones():
    pose, shape, _ = parameters(3)
    model = MODELS[Side.RIGHT]
    posed = model.pose(pose, shape)
    assert torch.equal(posed.regressed, model.regress(posed.vertices))
    assert torch.equal(posed.regressed[:, 4::4], posed.keypoints[:, 4::4])  # tips are the same vertices
    assert (posed.regressed - posed.keypoints).norm(dim=-1).max() > 1e-4


@pytest.mark.parametrize("at_zero", [False, True])
def test_gradients(at_zero):
    """Exact derivatives with respect to pose, shape and translation, also at the zero pose where the angle's root is."""
    model = MODELS[Side.RIGHT]
    inputs = parameters(4, 1)
    if at_zero:
        fingers = -model.mean_pose[None]
        inputs = (torch.cat([torch.zeros(1, 3), fingers], -1), *inputs[1:])
    inputs = tuple(value.detach().requires_grad_() for value in inputs)
    weights = torch.from_numpy(np.random.default_rng(5).normal(size=(778, 3)))

    def summary(pose, shape, translation):
        posed = model.pose(pose, shape, translation)
        return (posed.vertices * weights).sum(), (posed.keypoints * weights[:21]).sum()

    assert torch.autograd.gradcheck(summary, inputs)


def test_seal_appends_the_ring_centre_in_numpy_and_torch():
    model = MODELS[Side.LEFT]
    vertices = model.pose(*parameters(6)).vertices
    sealed = model.seal(vertices)
    assert sealed.shape == (2, 779, 3)
    assert torch.equal(sealed[:, :778], vertices)
    centre = vertices[:, model.wrist_ring.tolist()].mean(1)
    assert (sealed[:, 778] - centre).abs().max() < 1e-15
    assert np.abs(model.seal(vertices.numpy()) - sealed.numpy()).max() < 1e-15
    assert np.abs(model.seal(vertices[0].numpy()) - sealed[0].numpy()).max() < 1e-15


@pytest.mark.parametrize(
    ("pose", "shape", "translation", "message"),
    [
        ((2, 45), (2, 10), (2, 3), "axis_angles must have shape"),
        ((2, 48), (2, 16), (2, 3), "shape must have shape"),
        ((2, 48), (2, 10), (3,), "translation must have shape"),
        ((2, 48), (1, 10), (2, 3), "equal in number"),
    ],
)
def test_wrong_shapes_are_named(pose, shape, translation, message):
    with pytest.raises(DataError, match=message):
        MODELS[Side.RIGHT].pose(torch.zeros(pose), torch.zeros(shape), torch.zeros(translation))


def test_too_many_components_and_wrong_vertices_are_named():
    model = MODELS[Side.RIGHT]
    with pytest.raises(DataError, match="45 components"):
        model.pose_by_components(torch.zeros(1, 3), torch.zeros(1, 46), torch.zeros(1, 10))
    with pytest.raises(DataError, match="778"):
        model.seal(np.zeros((779, 3)))
    with pytest.raises(DataError, match="778"):
        model.regress(torch.zeros(1, 779, 3))
    with pytest.raises(DataError, match="rotations must have shape"):
        model.pose_by_rotations(torch.zeros(1, 15, 3, 3), torch.zeros(1, 10))


@pytest.mark.gpu
def test_same_hand_on_the_gpu():
    pose, shape, translation = parameters(7)
    here = MODELS[Side.RIGHT].pose(pose, shape, translation).vertices
    there = MODELS[Side.RIGHT].to("cuda").pose(pose, shape, translation).vertices
    assert there.is_cuda
    assert (there.cpu() - here).abs().max() < 1e-12
