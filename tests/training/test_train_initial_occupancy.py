"""Training of initial occupancy: it starts at HALO's field and learns.

Also what all trainings on frames share: batches, validation frames, the frozen encoder and given weights.
"""

from __future__ import annotations

import errno
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.occupancy_items import LabelledHands
from im2hands.datasets.two_hand_item import Augmentation
from im2hands.hands.sides import Side
from im2hands.io.errors import CheckpointError, DataError
from im2hands.networks.frame_batches import frame_batch
from im2hands.networks.halo import NAME as HALO
from im2hands.networks.halo import load_halo
from im2hands.networks.image_encoder import normalise
from im2hands.networks.initial_occupancy import POINT_FEATURES, load_initial_occupancy
from im2hands.networks.intaghand import load_intaghand
from im2hands.networks.two_hands import query_points_in_camera
from im2hands.training.frame_steps import FrameSteps, FrameValidation, LabelledFrames
from im2hands.training.frozen_encoder import FrozenEncoder
from im2hands.training.initial_occupancy import INITIAL_OCCUPANCY, InitialOccupancyTask, started_from
from im2hands.training.loop import LoopSettings
from im2hands.training.losses import occupancy_scores
from im2hands.training.trained_model import use_given_weights
from tests.training import trained as small
from tests.training.trained import curves, trained

MAPS = ("backbone", "of_heat_maps", "of_dense_maps")


def run(two_hands, folder: Path, **changes) -> dict:
    """Trains in `folder` for 5 steps, validating every 2."""
    return trained(INITIAL_OCCUPANCY, small.INITIAL_OCCUPANCY, two_hands, folder, **changes)


def frame_set(two_hands, split: str = "train") -> FrameSet:
    return FrameSet(two_hands[f"{split}_frames"], two_hands[f"{split}_hands"], two_hands[f"{split}_images"])


def labelled(two_hands, split: str = "train", with_images: bool = False) -> LabelledFrames:
    hands = LabelledHands(two_hands[f"{split}_queries"], two_hands[f"{split}_hands"])
    return LabelledFrames(frame_set(two_hands, split), hands, with_images)


# ---- batches of frames


def test_a_step_is_the_same_whoever_asks_for_it(two_hands):
    """Also after other steps; hands draw their own points, and every frame comes once per round."""
    steps = FrameSteps(labelled(two_hands), 2, 64, 0.5, seed=1)
    batches = [steps[step] for step in range(4)]
    again = FrameSteps(labelled(two_hands), 2, 64, 0.5, seed=1)[2]
    other = FrameSteps(labelled(two_hands), 2, 64, 0.5, seed=2)[2]
    for side in Side:
        assert torch.equal(again.hands[side].points, batches[2].hands[side].points)
        assert torch.equal(again.labels[side], batches[2].labels[side])
        assert batches[2].hands[side].points.shape == (2, 64, 3)
        assert 0 < batches[2].labels[side].mean() < 1
    assert not torch.equal(again.hands[Side.LEFT].points, again.hands[Side.RIGHT].points)
    assert not torch.equal(again.hands[Side.LEFT].points, other.hands[Side.LEFT].points)
    for first in (0, 2):
        seen = torch.cat([batches[first].frame_index, batches[first + 1].frame_index])
        assert sorted(seen.tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("flip", [False, True])
def test_query_points_of_an_augmented_frame_stay_on_their_pixels(two_hands, flip):
    """Their labels go with them: the points of the hand that is left now are those that the right one had."""
    frames, queries = frame_set(two_hands), LabelledHands(two_hands["train_queries"], two_hands["train_hands"]).queries
    item, augmentation = frames.item(1), Augmentation(angle=33.0, scale=1.05, flip=flip)
    before, after = (_with_stored_points(one, queries) for one in (item, item.augmented(augmentation)))
    affine = torch.from_numpy(augmentation.affine(256)).float()
    for side in Side:
        pixels = _pixels(before, side) @ affine[:, :2].T + affine[:, 2]
        expected = pixels * torch.tensor([-1.0, 1.0]) + torch.tensor([255.0, 0.0]) if flip else pixels
        there = side.other if flip else side
        torch.testing.assert_close(_pixels(after, there), expected, atol=0.01, rtol=0)
        assert torch.equal(after.labels[there], before.labels[side])


def _with_stored_points(item, queries):
    return frame_batch([item], [[queries.points(queries.row_of(name), "near_surface") for name in item.hand_ids]])


def _pixels(batch, side: Side) -> torch.Tensor:
    return batch.camera.pixels(query_points_in_camera(batch.hands[side], batch.camera))


def test_augmented_steps_show_other_images_of_the_same_frames(two_hands):
    frames = labelled(two_hands, with_images=True)
    plain, changed = (FrameSteps(frames, 2, 64, 0.5, seed=1, augmentation=flag)[0] for flag in (False, True))
    assert torch.equal(plain.frame_index, changed.frame_index)
    raw = np.stack([frames.frames.image(int(frame)) for frame in plain.frame_index])
    assert torch.equal(plain.images, normalise(torch.from_numpy(raw)))
    assert not torch.equal(plain.images, changed.images)
    assert not torch.allclose(plain.camera.rotation, changed.camera.rotation)


def test_validation_takes_the_first_points_of_evenly_spaced_frames(two_hands):
    frames = labelled(two_hands)
    validation = FrameValidation(frames, most_frames=2, points_per_hand=100)
    assert len(validation) == 1
    batch = validation[0]
    assert batch.frame_index.tolist() == [0, 3]
    name = frames.frames.hand_ids[3][Side.LEFT.index]
    stored = frames.hands.queries.points(frames.rows[name], "uniform_hand")
    np.testing.assert_array_equal(batch.hands[Side.LEFT].points[1].numpy(), stored.points[:100])
    np.testing.assert_array_equal(batch.labels[Side.LEFT][1].numpy(), stored.labels[:100])
    with pytest.raises(IndexError):
        validation[1]


def test_frames_without_query_points_are_named(two_hands):
    hands = LabelledHands(two_hands["val_queries"], two_hands["val_hands"])
    with pytest.raises(DataError, match=r"no query points for hand \S+_left .*sample_queries"):
        LabelledFrames(frame_set(two_hands), hands, False)


# ---- the frozen encoder


class FullDisk(io.BytesIO):
    def write(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_frozen_maps_do_not_depend_on_room_or_neighbours(two_hands):
    """Kept or made again, alone or in a batch: the same bits, and those of the encoder itself up to rounding."""
    frames, encoder = frame_set(two_hands), load_intaghand(two_hands["intaghand"])[0].image_encoder
    plenty = FrozenEncoder(encoder, frames, torch.device("cpu"))
    none, some = (FrozenEncoder(encoder, frames, torch.device("cpu"), budget_bytes=room) for room in (0, 2_000_000))
    full_disk = FrozenEncoder(encoder, frames, torch.device("cpu"))
    full_disk._file = FullDisk()
    asked = torch.tensor([2, 0, 3])
    first = plenty.features(asked)
    with torch.no_grad():
        direct = encoder(normalise(torch.from_numpy(np.stack([frames.image(int(frame)) for frame in asked]))))
    for name in MAPS:
        ours = getattr(first, name)[3]
        for other in (plenty, none, some, full_disk):
            assert torch.equal(getattr(other.features(asked), name)[3], ours)
            assert torch.equal(getattr(other.features(asked[1:2]), name)[3], ours[1:2])
        torch.testing.assert_close(ours, getattr(direct, name)[3], atol=1e-4, rtol=1e-4)
    assert [len(each._kept) for each in (plenty, none, full_disk)] == [3, 0, 0]
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_a_frozen_encoder_is_intaghands_in_every_bit(two_hands, finished):
    ours = load_initial_occupancy(finished("initial_occupancy") / "model")[0].image_encoder.state_dict()
    theirs = load_intaghand(two_hands["intaghand"])[0].image_encoder.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@pytest.mark.parametrize("split", ["train", "val"])
def test_frozen_maps_give_the_scores_of_the_images(two_hands, split):
    """Of the split that is asked for: the frames of training while training, else those of validation."""
    network = started_from(two_hands["halo"], two_hands["intaghand"])
    torch.manual_seed(1)
    for decoder in network.decoders.values():
        torch.nn.init.normal_(decoder.layers[2].weight[..., -POINT_FEATURES:], std=0.3)  # the image matters
    settings = LoopSettings(steps=1, validate_every=1, learning_rate=1.0)
    sets = [frame_set(two_hands, name) for name in ("train", "val")]
    frozen = tuple(FrozenEncoder(network.image_encoder, each, torch.device("cpu")) for each in sets)
    plain, cached = (
        InitialOccupancyTask(network, settings).eval(),
        InitialOccupancyTask(network, settings, frozen).eval(),
    )
    batch = FrameValidation(labelled(two_hands, split, with_images=True), 2, 256)[0]
    cached.training = split == "train"
    with torch.no_grad():
        expected, found = plain.scores(batch)["val_loss"], cached.scores(batch)["val_loss"]
        others = plain.scores(replace(batch, images=batch.images.flip(0)))["val_loss"]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(others, expected, atol=1e-4, rtol=1e-4)


# ---- training


@pytest.mark.parametrize("image_attention", [True, False])
@pytest.mark.parametrize("depth_reference", ["published", "consistent"])
def test_it_starts_at_halos_field(two_hands, image_attention, depth_reference):
    """Whatever the image shows, and for both hands; the encoder is IntagHand's."""
    torch.manual_seed(5)
    network = started_from(
        two_hands["halo"], two_hands["intaghand"], image_attention, {"depth_reference": depth_reference}
    ).eval()
    halo, batch = (
        load_halo(two_hands["halo"])[0],
        FrameSteps(labelled(two_hands, with_images=True), 2, 64, 0.5, seed=1)[0],
    )
    with torch.no_grad():
        occupancy = network(batch.images, batch.hands, batch.camera)
        for side, hand in batch.hands.items():
            expected = halo.occupancy(hand.points, hand.bone_from_palm, hand.bone_lengths)
            assert 0.1 < (expected > 0.5).float().mean() < 0.9
            torch.testing.assert_close(occupancy[side], expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(
        network.image_encoder.resnet.conv1.weight,
        load_intaghand(two_hands["intaghand"])[0].image_encoder.resnet.conv1.weight,
    )


def test_outputs(finished):
    undisturbed = finished("initial_occupancy")
    card = json.loads((undisturbed / "model/card.json").read_text())
    metrics = json.loads((undisturbed / "model/metrics.json").read_text())
    assert card["dataset"] == "made-up hands"
    assert {"depth_reference", "penetration_frame", "angle_clamp", "label_rule"} <= set(card["compat"])
    assert {"val_iou", "val_loss", "val_frames", "val_set", "step", "steps"} == set(metrics)
    rows = curves(undisturbed)
    scores = {row["step"]: float(row["val_iou"]) for row in rows if row["val_iou"]}
    assert list(scores) == ["2", "4", "5"]
    assert max(scores.values()) == pytest.approx(metrics["val_iou"], rel=1e-5)


def test_it_learns(two_hands, tmp_path):
    """The loss on the training frames falls far below that of HALO's field, and their IoU rises."""
    same = {f"val_{name}": two_hands[f"train_{name}"] for name in ("frames", "hands", "images", "queries")}
    start = run(two_hands, tmp_path / "start", steps=1, validate_every=1, lr=1e-12, **same)
    end = run(two_hands, tmp_path / "end", steps=60, validate_every=60, lr=3e-3, **same)
    assert end["val_loss"] < 0.6 * start["val_loss"]
    assert end["val_iou"] > start["val_iou"] + 0.05
    before, after = (load_initial_occupancy(tmp_path / name / "model")[0] for name in ("start", "end"))
    for part in ("image_projection", "image_attention", "point_encoders", "decoders"):
        weights = dict(getattr(before, part).named_parameters())
        assert any(
            (weight - weights[name]).abs().max() > 1e-3 for name, weight in getattr(after, part).named_parameters()
        )
    assert after.decoders["left"].layers[2].weight[..., -19:].abs().max() > 1e-3


def test_a_trained_encoder_with_augmentation(two_hands, tmp_path):
    """The published way but for the augmentation: images in the batches, and the encoder learns."""
    run(two_hands, tmp_path, image_encoder="trained", augmentation=True, steps=2)
    after, start = load_initial_occupancy(tmp_path / "model")[0], load_intaghand(two_hands["intaghand"])[0]
    assert not torch.equal(after.image_encoder.resnet.conv1.weight, start.image_encoder.resnet.conv1.weight)


@pytest.mark.parametrize("value", ["published", "consistent"])
def test_options_are_kept_with_the_weights(two_hands, tmp_path, value):
    run(
        two_hands,
        tmp_path,
        steps=1,
        validate_every=1,
        depth_reference=value,
        penetration_frame=value,
        image_attention=False,
    )
    network, card = load_initial_occupancy(tmp_path / "model")
    assert (network.depth_reference, network.penetration_frame) == (value, value)
    assert (card.compat["depth_reference"], card.compat["penetration_frame"]) == (value, value)
    assert network.architecture["image_attention"] is False and not network.image_attention


def test_scores_are_means_over_both_hands():
    """By hand: IoU 1/3 and 1/2; a hand without true or found points has no IoU."""
    found = {Side.LEFT: torch.tensor([[0.9, 0.6, 0.1, 0.2]]), Side.RIGHT: torch.tensor([[0.7, 0.8, 0.0, 0.0]])}
    true = {Side.LEFT: torch.tensor([[1.0, 0, 1, 0]]), Side.RIGHT: torch.tensor([[1.0, 0, 0, 0]])}
    scores = occupancy_scores(found, true, 0.5)
    assert scores["val_iou"].tolist() == pytest.approx([(1 / 3 + 1 / 2) / 2])
    errors = (0.1**2 + 0.6**2 + 0.9**2 + 0.2**2) / 4 + (0.3**2 + 0.8**2) / 4
    assert scores["val_loss"].tolist() == pytest.approx([errors])


# ---- given weights


def test_given_weights_take_the_place_of_a_training(two_hands, tmp_path):
    """The same weights and card, the card's metrics, and curves without a row."""
    metrics = use_given_weights(two_hands["halo"], HALO, tmp_path / "halo")
    assert metrics == {"val_iou": 0.5} == json.loads((tmp_path / "halo/metrics.json").read_text())
    given, ours = load_halo(two_hands["halo"])[0].state_dict(), load_halo(tmp_path / "halo")[0].state_dict()
    assert all(torch.equal(given[name], ours[name]) for name in given)
    assert len((tmp_path / "halo/curves.csv").read_text().splitlines()) == 1


def test_unfit_given_weights_are_refused(two_hands, tmp_path):
    with pytest.raises(CheckpointError, match="halo"):
        use_given_weights(two_hands["intaghand"], HALO, tmp_path / "halo")
    with pytest.raises(DataError):
        use_given_weights(tmp_path / "nowhere", HALO, tmp_path / "halo")
    own = shutil.copytree(two_hands["halo"], tmp_path / "models/halo")
    with pytest.raises(CheckpointError, match="import the weights into another"):
        use_given_weights(own, HALO, own)
    assert not (tmp_path / "halo").exists()
