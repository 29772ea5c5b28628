"""The built-in hand keeps the quality that was measured when it was made."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.hands.wrist import MANO_WRIST_RING, boundary_edges

MODELS = builtin_hand_models()
RIGHT = MODELS[Side.RIGHT]


def volumes(model, vertices):
    """Enclosed volumes, cm3, of open meshes (B, 778, 3)."""
    corners = model.seal(vertices)[:, torch.from_numpy(model.sealed_faces.copy())]
    return torch.linalg.det(corners).sum(-1) / 6 * 1e6


def random_fingers(rng, count, spread=0.5):
    """Coefficients of the first eight pose components, the first one widest."""
    widths = np.array([1.5, 0.7, 0.5, 0.5, 0.4, 0.3, 0.3, 0.3])
    return torch.from_numpy(rng.normal(size=(count, 8)) * widths * spread)


@pytest.mark.parametrize("side", Side)
def test_arrays_are_a_skinned_mesh(side):
    model = MODELS[side]
    assert (model.skinning_weights >= 0).all()
    assert (model.skinning_weights.sum(1) - 1).abs().max() < 1e-6
    assert (model.joint_regressor >= 0).all()
    assert (model.joint_regressor.sum(1) - 1).abs().max() < 1e-6
    components = model.pose_components
    assert (components @ components.mT - torch.eye(45)).abs().max() < 1e-6
    assert model.mean_pose.abs().max() == pytest.approx(0.5988, abs=0.0005)  # forgetting the mean pose must show
    assert 2e-3 < model.pose_directions.abs().max() < 4e-3  # as must forgetting the pose correction
    wrist = model.rest_joints(torch.zeros(1, 10))[0, 0]
    expected = side.mirror_points(torch.tensor([0.0940, 0.0159, -0.0067]).double())
    assert (wrist - expected).abs().max() < 1e-4  # the wrist is not the origin, as in MANO


def test_mesh_figures():
    """Edges, areas and valences as measured on the asset (millimetres)."""
    vertices, faces = RIGHT.template.numpy() * 1e3, RIGHT.faces
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1), axis=0)
    lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    assert [lengths.min(), lengths.mean(), lengths.max()] == pytest.approx([0.97, 8.58, 25.46], abs=0.01)
    assert len(vertices) - len(edges) + len(faces) == 1  # a disc
    assert np.bincount(edges.ravel()).max() == 10
    corners = vertices[faces]
    twice_area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    longest = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2).max(1)
    assert twice_area.min() / 2 > 1.3
    sliver = twice_area / longest**2
    assert (sliver < 0.18).sum() == 17
    assert sliver.min() == pytest.approx(0.0879, abs=1e-4)


@pytest.mark.parametrize("side", Side)
def test_wrist_ring_is_where_mano_has_it(side):
    model = MODELS[side]
    assert model.wrist_ring.tolist() == list(MANO_WRIST_RING)
    assert not model.faces_reversed
    directed = {tuple(edge) for edge in boundary_edges(model.faces)}
    ring = model.wrist_ring
    backwards = set(zip(ring, np.roll(ring, 1), strict=True))
    forwards = {(start, end) for end, start in backwards}
    assert directed == (backwards if side is Side.RIGHT else forwards)


@pytest.mark.parametrize("side", Side)
def test_closed_hand_is_watertight_and_outward(side):
    model = MODELS[side]
    faces = model.sealed_faces
    assert faces.shape == (1554, 3)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)  # consistent winding
    assert {tuple(edge) for edge in edges} == {tuple(edge) for edge in edges[:, ::-1]}  # no hole
    assert 779 - len(edges) // 2 + len(faces) == 2  # a ball
    fingers = random_fingers(np.random.default_rng(3), 60)
    posed = model.pose_by_components(torch.zeros(60, 3), fingers, torch.zeros(60, 10))
    volume = volumes(model, posed.vertices)
    rest = volumes(model, model.template[None])[0]
    assert rest == pytest.approx(322.16, abs=0.05)
    assert (volume / rest).min() > 0.85
    assert (volume / rest).max() < 1.05


def test_volume_over_shapes():
    shapes = torch.cat([2 * torch.eye(10), -2 * torch.eye(10)]).double()
    volume = volumes(RIGHT, RIGHT.shaped_template(shapes))
    assert volume.min() == pytest.approx(225, abs=1)
    assert volume.max() == pytest.approx(444, abs=1)


def test_hand_length_over_the_first_shape():
    shapes = torch.zeros(3, 10).double()
    shapes[:, 0] = torch.tensor([-2.0, 0.0, 2.0])
    tips = RIGHT.shaped_template(shapes)[:, 444]
    lengths = torch.linalg.vector_norm(tips - RIGHT.rest_joints(shapes)[:, 0], dim=-1) * 1e3
    assert lengths.tolist() == pytest.approx([156.6, 183.3, 209.9], abs=0.1)


def test_left_shape_directions_are_not_taken_for_defective():
    difference = (MODELS[Side.LEFT].shape_directions[:, 0] - RIGHT.shape_directions[:, 0]).abs().sum()
    assert difference == pytest.approx(10.28, abs=0.01)
    assert not MODELS[Side.LEFT].shape_directions_corrected


def test_hands_differ_in_proportions_as_people_do():
    """Palm width and finger length over palm length; phalanges as annotators of photographs mark them."""
    shapes = torch.from_numpy(np.random.default_rng(0).normal(size=(2000, 10)))
    keypoints = RIGHT.pose(torch.zeros(2000, 48), shapes).keypoints

    def length(start, end):
        return torch.linalg.vector_norm(keypoints[:, start] - keypoints[:, end], dim=-1)

    palm = length(0, 9)
    width, finger = length(5, 17) / palm, (length(9, 10) + length(10, 11) + length(11, 12)) / palm
    assert width.mean() == pytest.approx(0.647, abs=0.005)
    assert 0.04 < width.std() / width.mean() < 0.07
    assert 0.04 < finger.std() / finger.mean() < 0.09
    assert 0.02 < (length(5, 8) / length(13, 16)).std() < 0.08
    for base in (5, 9, 13, 17):
        assert 1.5 < (length(base, base + 1).mean() / length(base + 1, base + 2).mean()) < 2.0
