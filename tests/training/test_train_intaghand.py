"""Training of IntagHand: where it starts, that it learns, that a killed run ends as an undisturbed one, bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from im2hands.datasets.two_hand_item import Augmentation, AugmentationRanges
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.rotations import angle_between, axis_angle_to_matrix
from im2hands.hands.joints import FINGER_BASES, INDEX_BASE, LITTLE_BASE, MIDDLE_BASE, WRIST
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import ConfigError, DataError
from im2hands.networks.intaghand import HandPairPrediction, PredictedHand, load_intaghand, project
from im2hands.networks.model_folder import read_model, write_model
from im2hands.training import start_weights
from im2hands.training.determinism import seed_torch
from im2hands.training.intaghand import INTAGHAND, new_network
from im2hands.training.intaghand_items import IntagHandBatch, IntagHandSteps, TwoHandFrames
from im2hands.training.intaghand_losses import WEIGHTS, HandTruth, projection_term, with_given_projection
from im2hands.training.intaghand_start import best_projection, both_ways, hand_frames, start_statistics, turned
from tests.training import trained as small
from tests.training.trained import curves, trained
from tests.training.two_hand_frames import TwoHandSplit, make_split


@pytest.fixture(scope="module")
def splits(tmp_path_factory) -> dict[str, TwoHandSplit]:
    folder = tmp_path_factory.mktemp("two_hands")
    return {name: make_split(folder, name, poses, maps=True) for name, poses in (("train", 3), ("val", 1))}


@pytest.fixture(scope="module")
def frames(splits) -> TwoHandFrames:
    data = splits["train"]
    return TwoHandFrames(data.frames, data.hands, data.images)


@pytest.fixture(scope="module")
def files(splits, hand_model) -> dict[str, Path]:
    return splits["train"].inputs() | splits["val"].inputs() | {"hand_model": hand_model}


def run(files, folder: Path, **changes) -> dict:
    """Trains in `folder` for 3 steps, validating every 2."""
    return trained(INTAGHAND, small.INTAGHAND, files, folder, **changes)


# ---- where training starts


def test_best_projection_is_the_one_that_made_the_pixels():
    random = torch.Generator().manual_seed(0)
    points = 0.1 * torch.randn(3, 50, 3, generator=random)
    scale, shift = torch.tensor([3.0, 4.0, 2.5]), torch.tensor([[0.1, -0.2], [0.0, 0.4], [-0.3, 0.0]])
    fitted = best_projection(points, project(points, scale, shift))
    torch.testing.assert_close(fitted, torch.cat([scale[:, None], shift], dim=1))


def test_offsets_and_axes_change_as_augmentation_changes_them(frames):
    """Against training items made by image augmentation of the same turn and flip."""
    plain = IntagHandBatch.of([frames.item(frame, Augmentation(), "consistent") for frame in range(3)])
    for flip, offsets in zip((False, True), both_ways(plain.true.root_offset), strict=True):
        change = Augmentation(angle=15.0, flip=flip)
        item = IntagHandBatch.of([frames.item(frame, change, "consistent") for frame in range(3)])
        # images are turned before they are mirrored
        torch.testing.assert_close(turned(offsets, -15.0 if flip else 15.0), item.true.root_offset, atol=1e-6, rtol=0)
        for side in Side:
            before = side.other if flip else side
            here, there = (
                hand_frames(which.mirror_points(joints[:, which.index]))
                for which, joints in ((side, item.joints), (before, plain.joints))
            )
            angle = 15.0 if before is Side.RIGHT else -15.0
            torch.testing.assert_close(here.mT, turned(there.mT, angle), atol=1e-5, rtol=0)


def test_hand_frames_bring_palms_together():
    """Turned copies of one hand get frames that turn along; x runs from the wrist to the middle base, y towards the index."""
    model = builtin_hand_models()[Side.RIGHT]
    joints = model.keypoints_of(model.rest_joints(torch.zeros(1, 10, dtype=model.dtype)), model.template[None])[
        0
    ].float()
    joints = joints - joints[MIDDLE_BASE]
    turns = axis_angle_to_matrix(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)))
    found, own_frame = hand_frames(joints @ turns.mT), hand_frames(joints[None])[0]
    torch.testing.assert_close(found, turns @ own_frame, atol=1e-5, rtol=0)
    own = joints @ own_frame
    assert own[WRIST, 0] < 0 and own[WRIST, 1:].abs().max() < 1e-6
    assert own[INDEX_BASE, 1] > own[LITTLE_BASE, 1] and torch.linalg.det(found).allclose(torch.ones(8))


def test_start_hands_span_the_training_hands(frames):
    """With enough components, mean plus components, turned, gives every hand; numbers have spread 1."""
    graphs = {side: new_network(builtin_hand_models(), "resnet10_narrow", (8,) * 4).graph(side) for side in Side}
    found = start_statistics(frames, graphs, 20, 0.0)
    batch = IntagHandBatch.of([frames.item(frame, Augmentation(), "consistent") for frame in range(len(frames))])
    joints = torch.cat([side.mirror_points(batch.joints[:, side.index]) for side in SIDES])
    hands = torch.cat([side.mirror_points(graphs[side].pooled(batch.true.vertices[side], 2)) for side in SIDES])
    shapes = (hands @ hand_frames(joints) - found.mean[0]).flatten(1).double()
    used = found.components[:, 0].flatten(1).double()
    used = used[used.any(dim=1)]
    numbers = torch.linalg.lstsq(used.T, shapes.T).solution
    torch.testing.assert_close(used.T @ numbers, shapes.T, atol=1e-5, rtol=0)
    torch.testing.assert_close(numbers.square().mean(1), torch.ones(len(used), dtype=torch.float64), atol=0.02, rtol=0)
    assert len(used) == 5  # three poses of two hands, each seen by two cameras
    assert 1 < found.projection[0] < 10 and found.projection[1:].abs().max() < 0.5
    torch.testing.assert_close(found.offset[1:], torch.zeros(2), atol=1e-6, rtol=0)
    assert found.offset_spread.min() > 0 and found.axes[0].norm() > found.axes[1].norm()


def test_start_predicts_the_mean_hands_in_every_image(frames):
    """Of the mirrored and turned hands too; maps are zero; the decoder adds nothing yet."""
    torch.manual_seed(0)
    network = new_network(builtin_hand_models(), "resnet10_narrow", (8, 8, 8, 8), start_components=4).eval()
    statistics = start_statistics(frames, {side: network.graph(side) for side in Side}, 4, 20.0)
    network.begin_at(statistics)
    images = IntagHandBatch.of([frames.item(frame, Augmentation(), "consistent") for frame in range(2)]).images
    with torch.inference_mode():
        features = network.image_encoder(images)
        whole, start = network.decode(features), network.decode_start(features)
    placement = network.start_hands.placement(torch.zeros(1, 2, 3))[0]
    for side, hand in whole.hands.items():
        mean = side.mirror_points(statistics.mean[side.index] @ placement.mT)
        mean = mean + statistics.offset if side is Side.RIGHT else mean
        for row in range(2):
            torch.testing.assert_close(hand.coarse[row], mean)
        torch.testing.assert_close(hand.vertices, start.hands[side].vertices)
        torch.testing.assert_close(hand.scale, statistics.projection[0].expand(2))
        torch.testing.assert_close(hand.shift, statistics.projection[1:].expand(2, 2))
    assert not features.heat_maps.any() and not features.masks.any() and not features.dense_maps.any()


@pytest.mark.parametrize("size", [0.3, 3.0, 1e6])
def test_start_hands_are_hands_whatever_the_numbers(frames, size):
    """No palm collapses, no bone of it changes its length much, and the mesh keeps a volume."""
    network = new_network(builtin_hand_models(), "resnet10_narrow", (8, 8, 8, 8), start_components=4).eval()
    starts = network.start_hands
    network.begin_at(start_statistics(frames, {side: network.graph(side) for side in Side}, 4, 20.0))
    generator = torch.Generator().manual_seed(1)
    numbers = size * torch.randn(64, starts.numbers.out_features, generator=generator)
    numbers[0] = 0  # the mean
    numbers[1, :6] = torch.cat([-starts.axes[0] / starts.axes_spread[0]] * 2)  # no direction
    truth = IntagHandBatch.of([frames.item(frame, Augmentation(), "consistent") for frame in range(6)]).joints.flatten(
        0, 1
    )
    models = builtin_hand_models()
    with torch.inference_mode():
        hands = {side: network.hand(*start) for side, start in starts.hands(numbers).items()}
    for side, hand in hands.items():
        assert torch.isfinite(hand.vertices).all() and (hand.scale > 1).all()
        model = models[side]
        joints = HandTruth(model, network.graph(side)).regressor @ hand.vertices
        assert palm_angles(joints).min() > 5.0
        lengths, true = (metacarpals(of).norm(dim=-1) for of in (joints, truth))
        assert (lengths / true.mean(0)).min() > 0.75 and (lengths / true.mean(0)).max() < 1.25
        volumes = [Mesh(model.seal(each.double().numpy()), model.sealed_faces).volume for each in hand.vertices]
        rest = Mesh(model.seal(model.template.double().numpy()), model.sealed_faces).volume
        assert min(volumes) > 0.2 * rest


def test_a_hand_turned_wrongly_keeps_its_scale(frames):
    """Terms in the image would shrink it; the projection is learnt from the true mesh, and best where that meets its pixels."""
    true = IntagHandBatch.of([frames.item(frame, Augmentation(), "consistent") for frame in range(3)]).true
    network = new_network(builtin_hand_models(), "resnet10_narrow", (8,) * 4, start_components=3)
    half_turn = torch.tensor([-1.0, -1.0, 1.0])
    hands, best = {}, {}
    for side in Side:
        best[side] = best_projection(true.placed(side), true.vertices_2d[side]).requires_grad_()
        vertices = (half_turn * true.placed(side)).requires_grad_()
        coarse = network.graph(side).pooled(vertices, 2)
        scale, shift = best[side][:, 0], best[side][:, 1:]
        flat, coarse_flat = project(vertices, scale, shift), project(coarse, scale, shift)
        hands[side] = PredictedHand(vertices, flat, coarse, coarse_flat, scale, shift)

    def scale_gradient(value: torch.Tensor) -> torch.Tensor:
        found = torch.autograd.grad(value, list(best.values()), retain_graph=True, allow_unused=True)
        return torch.stack([torch.zeros(3) if each is None else each[:, 0] for each in found])

    def in_image(prediction: HandPairPrediction) -> torch.Tensor:
        return sum(
            (hand.vertices_2d - true.vertices_2d[side]).square().mean() for side, hand in prediction.hands.items()
        )

    prediction = HandPairPrediction(hands, None)
    assert (scale_gradient(in_image(prediction)) > 0).all()
    given = with_given_projection(prediction)
    assert not scale_gradient(in_image(given)).any()
    assert torch.autograd.grad(in_image(given), hands[Side.LEFT].vertices)[0].any()
    error = projection_term(hands, true)
    assert scale_gradient(error).abs().max() < 1e-4 and error < 1e-3
    hands[Side.LEFT] = replace(hands[Side.LEFT], scale=0.7 * best[Side.LEFT][:, 0])
    assert projection_term(hands, true) > error + 1e-3
    assert (scale_gradient(projection_term(hands, true))[list(best).index(Side.LEFT)] < 0).all()


def metacarpals(joints: torch.Tensor) -> torch.Tensor:
    """From the wrist to the four finger bases."""
    return joints[:, FINGER_BASES] - joints[:, WRIST, None]


def palm_angles(joints: torch.Tensor) -> torch.Tensor:
    """Between neighbouring metacarpals, degrees."""
    along = metacarpals(joints)
    return torch.rad2deg(angle_between(along[:, 1:], along[:, :-1]))


def test_largest_turn_bounds_the_turns(frames):
    """In-plane directions of the bones between frame and training item differ by at most the turn, but for mirroring."""
    steps = IntagHandSteps(frames, 6, 3, AugmentationRanges(angle=5.0, flip_probability=0.0), "consistent")
    plain = [frames.item(frame, Augmentation(), "consistent").joints[0, 0, :2] for frame in range(6)]
    wrists = steps[0].joints[:, 0, 0, :2].numpy()

    def turn(a: np.ndarray, b: np.ndarray) -> float:
        return abs(np.rad2deg(np.angle(complex(*a) / complex(*b))))

    turns = [min(turn(wrist, original) for original in plain) for wrist in wrists]
    assert 0.5 < max(turns) <= 5.01
    assert IntagHandSteps(frames, 6, 3, None, "consistent")[0].joints[:, 0, 0, :2].numpy()[0] in np.float32(plain)


# ---- training


def test_dense_maps_hold_x_y_z_in_the_published_order(frames):
    """As the file of IntagHand's preparation is read: channel 0 is x of the rest hand."""
    crop = frames.frames.crops[int(frames.frames.frame_ids[0])]
    item = frames.item(0, Augmentation(), "consistent")
    small = crop.dense.reshape(64, 4, 64, 4, 3).mean((1, 3)).transpose(2, 0, 1)
    inside = item.mask.any(0)
    assert np.abs(item.dense - small)[:, inside].mean() < 0.03
    assert np.abs(item.dense[::-1] - small)[:, inside].mean() > 0.1


def test_outputs(finished):
    undisturbed = finished("intaghand")
    card = json.loads((undisturbed / "model/card.json").read_text())
    metrics = json.loads((undisturbed / "model/metrics.json").read_text())
    assert card["dataset"] == "made-up hands" and card["compat"] == {
        "heat_maps": "consistent",
        "hand_axes": "consistent",
    }
    assert card["parameters"]["loss_weights"] == {**WEIGHTS, **small.INTAGHAND["loss_weights"]}
    assert card["metrics"] == metrics and set(metrics) == {"step", "steps", "val_loss", "val_mpjpe", "val_frames"}
    rows = curves(undisturbed)
    assert [row["step"] for row in rows if row["val_loss"]] == ["2", "3"]
    network, _ = load_intaghand(undisturbed / "model")
    sizes = {"widths": [8, 8, 8, 8], "start_components": 3, "joint_width": 8}
    assert network.architecture == {"encoder": "resnet10_narrow", **sizes}
    assert network.start_hands.components[0].any() and network.hand_axes == "consistent"


def test_other_weights_of_the_loss_are_another_run(finished, files, tmp_path):
    """Terms without weight leave what only they train as it was."""
    run(
        files,
        tmp_path,
        loss_weights={**small.INTAGHAND["loss_weights"], "heat_maps": 0.0},
        weight_average=0.0,
    )
    last = "image_encoder.heat_map_decoder.last.weight"
    assert not load_intaghand(tmp_path / "model")[0].state_dict()[last].any()
    assert load_intaghand(finished("intaghand") / "model")[0].state_dict()[last].any()


@pytest.mark.parametrize("start_components", [0, 3])
def test_the_decoder_waits(files, tmp_path, start_components):
    """Before `decoder_from` the image encoder and the start hands are trained, and nothing of the decoder."""
    options = {"start_components": start_components, "weight_average": 0.0, "steps": 2}
    options |= {"joint_width": 0, "maps_until": 0.0}
    run(files, tmp_path / "waits", **options, decoder_from=1.0)
    run(files, tmp_path / "begins", **options, decoder_from=0.5)
    waits, begins = (load_intaghand(tmp_path / name / "model")[0].state_dict() for name in ("waits", "begins"))
    changed = {name for name in waits if not torch.equal(waits[name], begins[name])}
    assert "coordinates.weight" in changed
    seed_torch(1, "initial weights of intaghand")
    fresh = new_network(builtin_hand_models(), "resnet10_narrow", (8,) * 4, 0.05, start_components).state_dict()
    decoder = [
        name for name in fresh if name.startswith(("levels", "feature_mixer", "global_projection", "node_average"))
    ]
    assert all(torch.equal(waits[name], fresh[name]) for name in decoder)
    learnt = "image_encoder.heat_map_decoder.last.bias"
    assert not torch.equal(waits[learnt], fresh[learnt])
    if start_components:
        assert waits["start_hands.numbers.weight"].any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start_components", "joint_width", "heat_maps"),
    # Cross entropy of the heat maps where joints are tokens starts at 7.5: at 100 it would be all that is learnt.
    [(0, 0, 100.0), (3, 0, 100.0), (3, 8, 5.0)],
)
def test_loss_falls_on_a_tiny_set(files, tmp_path, start_components, joint_width, heat_maps):
    """Validated on the training frames, half of the steps without the decoder."""
    same = {f"val_{name}": files[f"train_{name}"] for name in ("frames", "hands", "images")}
    options = {"start_components": start_components, "augmentation": False, "edge_loss_from": 0.0, "batch_frames": 6}
    options |= {"decoder_from": 0.5, "validation_frames": 6, "joint_width": joint_width}
    options |= {"loss_weights": small.INTAGHAND["loss_weights"] | {"heat_maps": heat_maps}}
    run(files, tmp_path, **same, **options, steps=60, validate_every=5)
    rows = curves(tmp_path)
    losses = [float(row["val_loss"]) for row in rows if row["val_loss"]]
    assert losses[-1] < 0.75 * losses[0]


def test_weights_of_another_mesh_give_their_image_encoder(files, tmp_path, monkeypatch):
    """Those of the package, so that other hand models need no other parameters; given ones are refused in words."""
    run(files, tmp_path / "theirs", steps=1)
    weights, card = read_model(tmp_path / "theirs/model", "intaghand")
    weights["left_vertex_of_node"] = weights["left_vertex_of_node"].roll(1)
    write_model(tmp_path / "other", weights, card)
    with pytest.raises(
        ConfigError, match=r"for hands of another mesh than those of .*; set start to builtin or scratch"
    ):
        run(files, tmp_path / "refused", start=str(tmp_path / "other"))
    monkeypatch.setattr(start_weights, "built_in", lambda name: tmp_path / "other")
    run(files, tmp_path / "ours", start="builtin", lr=1e-12, steps=1)
    ours, card = read_model(tmp_path / "ours/model", "intaghand")
    assert card.parameters["start_parts"] == ["image_encoder"]
    for name in ("image_encoder.resnet.conv1.weight", "left_vertex_of_node"):
        given = name.startswith("image_encoder")
        assert torch.allclose(ours[name].double(), weights[name].double(), atol=1e-6) == given


# ---- bad input


def test_crops_without_maps_are_refused(files, tmp_path):
    plain = make_split(tmp_path / "plain", "train", poses=1)
    with pytest.raises(DataError, match=r"have no masks or dense maps.*set normalize_images.masks and dense_maps"):
        run(files | plain.inputs(), tmp_path)


def test_files_of_different_splits_are_refused(files, tmp_path):
    with pytest.raises(DataError, match=r"has 2 crops for the 6 frames .* run normalize_images again"):
        run(files, tmp_path, train_images=files["val_images"])


@pytest.mark.parametrize("name", ["train_frames", "val_hands", "train_images"])
def test_missing_files_are_named(files, tmp_path, name):
    with pytest.raises(DataError, match="nowhere"):
        run(files, tmp_path, **{name: tmp_path / "nowhere"})


def test_frozen_blocks_need_an_encoder_that_has_them(files, tmp_path):
    with pytest.raises(ConfigError, match="frozen_blocks: encoder resnet10_narrow has no such blocks; set it to 0"):
        run(files, tmp_path, frozen_blocks=2)
