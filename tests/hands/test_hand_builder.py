"""The maintainer's hand builder: its steps on small meshes (the whole needs a download and is not run here)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from im2hands.hands.joints import TIP_VERTICES
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.hands.wrist import MANO_WRIST_RING, boundary_edges
from tools.build_hand_model.correctives import dual_quaternion_skinning
from tools.build_hand_model.cut import cut_hand
from tools.build_hand_model.decimate import decimate
from tools.build_hand_model.numbering import mano_like_numbers

RIGHT = builtin_hand_models()[Side.RIGHT]


def bump(side=14):
    """A square sheet of triangles over a smooth bump: vertices and outward faces."""
    row, column = np.mgrid[:side, :side].astype(float)
    height = 3 * np.exp(-((row - side / 2) ** 2 + (column - side / 2) ** 2) / side)
    vertices = np.stack([column, row, height], -1).reshape(-1, 3)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    lower = np.stack([corner, corner + 1, corner + side + 1], 1)
    return vertices, np.concatenate([lower, np.stack([corner, corner + side + 1, corner + side], 1)])


@pytest.mark.parametrize("boundary_count", [52, 24])
def test_decimation_reaches_its_counts_and_keeps_a_disc(boundary_count):
    vertices, faces = bump()
    kept, coarse = decimate(vertices, faces, vertex_count=100, boundary_count=boundary_count)
    assert len(kept) == 100
    assert len(coarse) == 2 * 100 - 2 - boundary_count
    assert len(boundary_edges(coarse)) == boundary_count
    assert set(coarse.ravel()) == set(range(100))
    if boundary_count == 52:  # the sheet's own border stays: only checked, inner collapses happened
        corners = vertices[kept][coarse]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert (normals[:, 2] > 0).all()


def test_decimation_that_cannot_go_on_says_so():
    vertices, faces = bump(5)
    with pytest.raises(SystemExit, match="every further collapse is refused"):
        decimate(vertices, faces, vertex_count=3, boundary_count=16)


def test_cut_is_a_linear_map_and_lies_in_front_of_the_plane():
    vertices, faces = bump()
    vertices = (vertices - vertices.mean(0)) * 10 - [20, 0, 0]
    elbow = np.array([200.0, 5.0, 0.0])
    cut = cut_hand(vertices, faces, elbow, middle_knuckle=np.zeros(3))
    hand = cut.combine @ vertices
    height = hand @ (-elbow / np.linalg.norm(elbow))
    assert np.abs(cut.combine.sum(1) - 1).max() < 1e-12
    assert height.min() == pytest.approx(-22)
    assert len(hand) < len(vertices)
    moved = vertices * [1, 2, 3] + [4, 5, 6]
    assert np.abs(cut.combine @ moved - (hand * [1, 2, 3] + [4, 5, 6])).max() < 1e-12


def test_dual_quaternions_of_one_motion_are_that_motion():
    rng = np.random.default_rng(0)
    vertices, weights = rng.normal(size=(30, 3)), rng.dirichlet(np.ones(16), 30)
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = Rotation.random(rng=rng).as_matrix(), rng.normal(size=3)
    moved = dual_quaternion_skinning(vertices, weights, np.tile(motion, (16, 1, 1)))
    assert np.abs(moved - (vertices @ motion[:3, :3].T + motion[:3, 3])).max() < 1e-13


def test_numbers_put_ring_and_tips_back_where_they_were():
    """The shipped hand with shuffled vertices is renumbered to the same ring and tips."""
    shuffled = np.random.default_rng(1).permutation(778)
    place = np.argsort(shuffled)  # new place of every vertex
    vertices, faces = RIGHT.template.numpy()[shuffled] * 1e3, place[RIGHT.faces]
    joints = (RIGHT.joint_regressor @ RIGHT.template).numpy() * 1e3
    tips = RIGHT.template.numpy()[list(TIP_VERTICES)] * 1e3
    order = mano_like_numbers(vertices, faces, joints[[15, 3, 6, 12, 9]], tips)
    assert sorted(order) == list(range(778))
    assert shuffled[order[list(TIP_VERTICES)]].tolist() == list(TIP_VERTICES)
    ring = shuffled[order[list(MANO_WRIST_RING)]].tolist()
    start = ring.index(MANO_WRIST_RING[0])
    assert ring[start:] + ring[:start] == list(MANO_WRIST_RING)
