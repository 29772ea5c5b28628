"""`Reconstructor`: one photograph, its keypoints and its camera in; meshes and a field that can be asked out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import im2hands
from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.hands import HandTable
from im2hands.datasets.images import hands_crop
from im2hands.geometry.cameras import Camera
from im2hands.geometry.mesh import Mesh
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.model_fit import fit_hand_model
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.networks.catalogue import method_of
from im2hands.networks.initial_occupancy import InitialOccupancyNetwork
from im2hands.photographs.reconstructor import Reconstructor, hand_inputs, photograph_crop
from im2hands.reconstruction.hand_extent import extent
from im2hands.reconstruction.image_fields import ImageFields
from im2hands.reconstruction.surfaces import reconstruct_hands
from tests.photographs.one_photograph import photographs, write_models

METHODS = ["initial", "im2hands"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def models(data):
    return write_models(data)


@pytest.fixture(scope="module")
def item(data):
    return FrameSet(data.frames, data.hands, data.images).item(0)


@pytest.fixture(scope="module")
def photograph(item):
    """The crop of a frame taken for a photograph."""
    return item.image, item.keypoints, item.camera


@pytest.fixture(scope="module", params=METHODS)
def reconstructor(request, models) -> Reconstructor:
    return im2hands.Reconstructor.from_pretrained(models, request.param, resolution=64)


@pytest.fixture(scope="module")
def hands(reconstructor, photograph):
    return reconstructor.reconstruct(*photograph)


def test_the_workflow_gives_the_same_meshes_for_the_same_crop_and_keypoints(reconstructor, data, models, item):
    method = reconstructor._for(2)[2]
    given = [type(hand)(**{**vars(hand), "pair_id": "pair", "frame_ids": (0,)}) for hand in hand_inputs(item.keypoints)]
    fields = ImageFields(
        method, str(models / method_of(method).network), data.frames, data.hands, data.images, 0, reconstructor.anchors
    )
    wanted = reconstruct_hands(fields, given, reconstructor.extraction)
    made = reconstructor.reconstruct_crop(item.image, np.eye(2, 3), item.camera, hand_inputs(item.keypoints))
    for hand in wanted:
        assert len(hand.mesh.faces) > 100
        assert np.array_equal(made.meshes[hand.side].vertices, hand.mesh.vertices)
        assert np.array_equal(made.meshes[hand.side].faces, hand.mesh.faces)


def test_the_field_is_at_the_level_on_the_mesh(reconstructor, hands):
    level = reconstructor.extraction.threshold
    for side in Side:
        mesh = hands.meshes[side]
        assert hands.failures[side] is None
        assert mesh.volume > 0
        values = hands.occupancy(torch.from_numpy(mesh.vertices), side, "world")
        in_camera = hands.occupancy(torch.from_numpy(hands.camera.to_camera(mesh.vertices)), side)
        assert (values - level).abs().median() < 0.1
        assert (values - in_camera).abs().max() < 1e-3
        assert hands.occupancy(torch.from_numpy(mesh.vertices + 0.5), side, "world").max() < level


@pytest.mark.parametrize("side", Side)
def test_gradients_are_the_slope_of_the_field(hands, side):
    """At keypoints, where a bone's coordinates are zero, and on the surface."""
    places = np.concatenate([hands.keypoints[side.index], hands.meshes[side].vertices[::97]])
    points = torch.from_numpy(places).requires_grad_()
    hands.occupancy(points, side, "world").sum().backward()
    assert torch.isfinite(points.grad).all()
    chosen = np.linspace(21, len(places) - 1, 12).astype(int)
    direction = points.grad[chosen] / points.grad[chosen].norm(dim=1, keepdim=True)
    step = 5e-4 * direction
    ahead, behind = (hands.occupancy(points.detach()[chosen] + sign * step, side, "world") for sign in (1, -1))
    slope, gradient = (ahead - behind).double() / 1e-3, points.grad[chosen].norm(dim=1)
    assert ((slope - gradient).abs() / gradient).median() < 0.1


def test_a_moved_world_moves_the_meshes(reconstructor, photograph, hands):
    image, keypoints, camera = photograph
    shift = np.array([0.1, -0.2, 0.3])
    moved = Camera(camera.intrinsics, camera.rotation, camera.translation - camera.rotation @ shift)
    (there,) = reconstructor.reconstruct_many([(image, keypoints + shift, moved)])
    for side in Side:
        before, after = (one.meshes[side].vertices.mean(axis=0) for one in (hands, there))
        assert np.allclose(after - before, shift, atol=2e-4)


def test_many_at_once_are_the_same_in_their_order(reconstructor, photograph):
    """Worker processes; the fields work afterwards too, also of one hand, whose network is the initial one."""
    image, keypoints, camera = photograph
    one = keypoints.copy()
    one[Side.LEFT.index] = np.nan
    asked = [(np.roll(image, 5 * number, axis=1), keypoints, camera) for number in range(3)] + [(image, one, camera)]
    points = torch.from_numpy(keypoints[Side.RIGHT.index])
    for alone, among in zip(
        reconstructor.reconstruct_many(asked), reconstructor.reconstruct_many(asked, 2), strict=True
    ):
        assert alone.method == among.method
        np.testing.assert_array_equal(alone.crop, among.crop)
        mesh, other = (hands.meshes[Side.RIGHT] for hands in (alone, among))
        np.testing.assert_array_equal(mesh.faces, other.faces)
        np.testing.assert_allclose(mesh.vertices, other.vertices, atol=1e-6)
        values = [hands.occupancy(points, Side.RIGHT, "world") for hands in (alone, among)]
        torch.testing.assert_close(*values, rtol=0, atol=1e-5)


def test_one_hand_alone_comes_from_the_initial_field(reconstructor, photograph):
    image, keypoints, camera = photograph
    one = keypoints.copy()
    one[Side.LEFT.index] = np.nan
    alone = reconstructor.reconstruct(image, one, camera)
    assert alone.method == "initial"
    assert alone.meshes[Side.LEFT] is None
    assert alone.failures[Side.LEFT] == "no keypoints"
    assert alone.meshes[Side.RIGHT].volume > 0
    assert alone.penetration is None
    assert alone.confidence[Side.LEFT] is None
    with pytest.raises(DataError, match="left hand has no field"):
        alone.occupancy(torch.zeros(1, 3), Side.LEFT)


def test_confidence_falls_where_the_hands_are_not(hands):
    assert all(0.3 < value <= 1 for value in hands.confidence.values())
    assert hands.penetration.volume_cm3 >= 0


def test_crops_from_keypoints_are_those_of_training(data):
    """The box of the joints with their flesh is that of the hand model's vertices, to 4 % and 6 of 256 pixels."""
    table = HandTable.read(data.hands, ["vertices", "keypoints_model"])
    keypoints = np.stack([table.array("keypoints_model")[table.sides.index(side)] for side in SIDES])
    vertices = np.stack([table.array("vertices")[table.sides.index(side)] for side in SIDES])
    for frame in data.frame_table:
        points = np.concatenate(
            [extent(hand.keypoints, hand.frame, frame.camera) for hand in hand_inputs(keypoints.astype(float))]
        )
        made, _ = hands_crop(frame.camera, points[None])
        wanted, _ = hands_crop(frame.camera, vertices.astype(float))
        change = np.vstack([made, [0, 0, 1]]) @ np.linalg.inv(np.vstack([wanted, [0, 0, 1]]))
        corners = np.array([[0, 0, 1], [255, 0, 1], [0, 255, 1], [255, 255, 1]]).T
        assert abs(change[0, 0] - 1) < 0.04
        assert np.abs((change @ corners - corners)[:2]).max() < 6


@pytest.mark.parametrize("side", Side)
def test_the_hand_model_is_found_again_from_its_own_mesh(side):
    model = builtin_hand_models()[side]
    rng = np.random.default_rng(3)
    pose, shape = rng.normal(0, 0.25, (1, 48)), rng.normal(0, 1, (1, 10))
    pose[:, :3] = [0.5, 2.0, -1.0]
    posed = model.pose(pose, shape, np.array([[0.1, -0.2, 0.9]]))
    vertices = posed.vertices[0].double().numpy()
    mesh = Mesh(model.seal(vertices), model.sealed_faces)
    noisy = posed.keypoints[0].double().numpy() + rng.normal(0, 0.003, (21, 3))
    fitted = fit_hand_model(model, mesh, noisy)
    assert np.linalg.norm(fitted.vertices - vertices, axis=1).mean() < 0.002
    assert fitted.residual_mm < 1.5
    again = model.pose(fitted.pose[None], fitted.shape[None], fitted.translation[None])
    assert np.allclose(again.vertices[0].numpy(), fitted.vertices, atol=1e-5)


def test_fitted_models_lie_on_the_meshes(hands):
    fitted = hands.fit_hand_model()
    assert set(fitted) == set(Side)
    assert all(np.isfinite(one.vertices).all() and one.residual_mm > 0 for one in fitted.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, k, c: (i.astype(np.uint16), k, c), "give 8-bit RGB"),
        (lambda i, k, c: (i[..., 0], k, c), "give 8-bit RGB"),
        (lambda i, k, c: (np.dstack([i, i[..., 0]]), k, c), "give 8-bit RGB"),
        (lambda i, k, c: (i, k[0], c), r"give \(2, 21, 3\)"),
        (lambda i, k, c: (i, k * 1000, c), "millimetres"),
        (lambda i, k, c: (i, np.full_like(k, np.nan), c), "there are no keypoints"),
        (lambda i, k, c: (i, np.where(np.arange(21)[:, None] == 3, np.nan, k), c), "not all are numbers"),
        (lambda i, k, c: (i, np.zeros_like(k), c), "bone frames cannot be computed"),
        (lambda i, k, c: (i, k, Camera(c.intrinsics, c.rotation, c.translation - [0, 0, 5])), "behind the camera"),
        (lambda i, k, c: (i, k, Camera(c.intrinsics, c.rotation, c.translation - [-5, 0, 0])), "no keypoint is in"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(photograph, change, message):
    image, keypoints, camera = change(*photograph)
    with pytest.raises(DataError, match=message):
        photograph_crop(image, hand_inputs(keypoints), camera)


def test_missing_weights_and_unknown_methods_are_named(tmp_path):
    with pytest.raises(DataError, match="refined_occupancy"):
        Reconstructor.from_pretrained(tmp_path)
    with pytest.raises(DataError, match=r"unknown method .halo."):
        Reconstructor.from_pretrained(tmp_path, "halo")
    with pytest.raises(DataError, match="doublings"):
        Reconstructor.from_pretrained(tmp_path, resolution=100)


@pytest.mark.parametrize("damage", ["no palm plane", "one joint lost", "far away"])
def test_a_hand_that_cannot_be_used_leaves_the_other_one(reconstructor, photograph, damage):
    """It fails by name; the other one is made as if it had been given alone."""
    image, keypoints, camera = photograph
    left, alone = keypoints.copy(), keypoints.copy()
    alone[Side.LEFT.index] = np.nan
    if damage == "no palm plane":
        wrist, ring = left[Side.LEFT.index, [0, 13]]
        left[Side.LEFT.index, 17] = wrist + 0.9 * (ring - wrist)
    else:
        left[Side.LEFT.index, 5] = np.nan if damage == "one joint lost" else 1e30
    made, expected = (reconstructor.reconstruct(image, each, camera) for each in (left, alone))
    words = {"no palm plane": "ring and little finger are parallel", "one joint lost": "not all are numbers"}
    assert words.get(damage, "more than 0.5 m from its wrist") in made.failures[Side.LEFT]
    assert made.method == "initial" and made.meshes[Side.LEFT] is None and made.confidence[Side.LEFT] is None
    np.testing.assert_array_equal(made.meshes[Side.RIGHT].vertices, expected.meshes[Side.RIGHT].vertices)


@pytest.mark.parametrize(("bias", "words"), [(np.nan, "NaN or infinite"), (1e30, "nowhere below"), (-1e30, "empty")])
def test_a_network_that_says_nothing_sensible_is_a_failure_of_each_hand(
    reconstructor, photograph, monkeypatch, bias, words
):
    """No number of it reaches a mesh or the confidence, which go into a JSON file."""

    one = photograph[1].copy()
    one[Side.LEFT.index] = np.nan
    true = InitialOccupancyNetwork.occupancy
    monkeypatch.setattr(InitialOccupancyNetwork, "occupancy", lambda *arguments: true(*arguments) * 0 + bias)
    made = reconstructor.reconstruct(photograph[0], one, photograph[2])
    assert words in made.failures[Side.RIGHT]
    assert made.meshes[Side.RIGHT] is None or made.meshes[Side.RIGHT].is_empty
    assert made.confidence[Side.RIGHT] is None or np.isfinite(made.confidence[Side.RIGHT])
    assert made.penetration is None
