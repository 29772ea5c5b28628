"""Training of refined occupancy: it learns, a killed run ends as an undisturbed one, options arrive, bad input is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from im2hands.datasets.anchors import AnchorSet
from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.occupancy_items import LabelledHands
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import ConfigError, DataError
from im2hands.networks.initial_occupancy import load_initial_occupancy
from im2hands.networks.refined_occupancy import OPTIONS, RefinedOccupancyNetwork, load_refined_occupancy
from im2hands.training.frame_steps import FrameSteps, LabelledFrames
from im2hands.training.loop import LoopSettings
from im2hands.training.refined_occupancy import REFINED_OCCUPANCY, RefinedOccupancyTask, StoredAnchors
from tests.training import trained as small
from tests.training.occupancy_frames import write_initial
from tests.training.trained import curves, trained

MODES = ["published", "consistent"]


@pytest.fixture
def files(two_hands) -> dict[str, Path]:
    return two_hands


def run(files, folder: Path, **changes) -> dict:
    """Trains in `folder` for 5 steps, validating every 2."""
    return trained(REFINED_OCCUPANCY, small.REFINED_OCCUPANCY, files, folder, **changes)


@pytest.fixture(scope="module")
def undisturbed(two_hands, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(two_hands, folder)
    return folder


def steps_of(files, with_images: bool = False) -> FrameSteps:
    frames = FrameSet(files["train_frames"], files["train_hands"], files["train_images"])
    hands = LabelledHands(files["train_queries"], files["train_hands"])
    anchors = StoredAnchors(frames, files["train_anchors"])
    return FrameSteps(LabelledFrames(frames, hands, with_images, anchors), 2, 64, 0.5, seed=1)


# ---- anchors in batches


def test_a_batch_has_one_of_the_stored_draws_of_each_frame(files):
    """The same one for the same step; in the long run every draw."""
    steps, again = steps_of(files), steps_of(files)
    stored, seen = AnchorSet(files["train_anchors"]), set()
    ids = steps.frames.frames.frame_ids
    for step in range(24):
        batch = steps[step]
        for row, place in enumerate(batch.frame_index.tolist()):
            drawn = np.stack([batch.anchors[side][row].numpy() for side in SIDES])
            matches = [np.array_equal(drawn, stored.anchors(int(ids[place]), draw)) for draw in range(2)]
            assert sum(matches) == 1
            seen.add((place, matches.index(True)))
        assert torch.equal(again[step].anchors[Side.LEFT], batch.anchors[Side.LEFT])
    assert len(seen) == 8


def test_anchors_of_a_mirrored_frame_are_mirrored(files):
    """The mirrored camera sees the mirrored hand's anchors where the mirror image shows them; left is right."""
    frames = FrameSet(files["train_frames"], files["train_hands"], files["train_images"])
    anchors, item = StoredAnchors(frames, files["train_anchors"]), frames.item(1)
    mirrored = item.flipped()
    plain, there = (one.camera.project(anchors(one, None).astype(float)) for one in (item, mirrored))
    np.testing.assert_allclose(there[::-1, :, 0], 255 - plain[..., 0], atol=1e-3)
    np.testing.assert_allclose(there[::-1, :, 1], plain[..., 1], atol=1e-3)


def test_frames_without_anchors_are_named(files, tmp_path):
    with pytest.raises(DataError, match=r"no anchors for frame 2 \(2 missing\).*generate_anchors"):
        run(files, tmp_path, train_anchors=files["val_anchors"])


# ---- training


def test_outputs(undisturbed):
    card = json.loads((undisturbed / "model/card.json").read_text())
    metrics = json.loads((undisturbed / "model/metrics.json").read_text())
    assert card["dataset"] == "made-up hands"
    assert {*OPTIONS, "penetration_reduction", "label_rule"} <= set(card["compat"])
    assert {"val_iou", "val_loss", "val_initial_iou", "val_frames", "step"} <= set(metrics)
    network, _ = load_refined_occupancy(undisturbed / "model")
    assert network.architecture["anchor_widths"] == [8, 12]
    assert list(curves(undisturbed)[-1]) == [
        "step",
        "learning_rate",
        "train_loss",
        "val_loss",
        "val_iou",
        "val_initial_iou",
    ]


def test_it_learns_and_leaves_the_initial_network_alone(files, tmp_path):
    """The loss falls from that of the initial field; the frozen network and both encoders stay as they were."""
    run(files, tmp_path, steps=30, validate_every=15, penetration_weight=0.0)
    losses = [float(row["train_loss"]) for row in curves(tmp_path) if row["train_loss"]]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    before, after = load_initial_occupancy(files["initial"])[0], load_refined_occupancy(tmp_path / "model")[0]
    for name, weight in before.state_dict().items():
        assert torch.equal(after.initial.state_dict()[name], weight)
    for name, weight in before.image_encoder.state_dict().items():
        assert torch.equal(after.image_encoder.state_dict()[name], weight)
    assert not torch.equal(after.image_projection.weight, before.image_projection.weight)


def test_it_starts_at_the_initial_field(files, tmp_path):
    """A step of no length: but for the points between the levels 0.45 and 0.5, it and the refined one agree."""
    metrics = run(files, tmp_path, steps=1, validate_every=1, lr=1e-12, weight_decay=0.0)
    other = run(files, tmp_path / "random", steps=1, validate_every=1, lr=1e-12, initial_weights="published")
    assert metrics["val_iou"] == pytest.approx(metrics["val_initial_iou"], abs=0.02)
    assert other["val_iou"] != pytest.approx(metrics["val_initial_iou"], abs=0.04)


def test_trained_encoder_and_augmentation(files, tmp_path):
    """The published way: images in the batches, this network's own encoder learns, the frozen network's does not."""
    run(files, tmp_path, image_encoder="trained", augmentation=True, steps=2, schedule="published")
    before, after = load_initial_occupancy(files["initial"])[0], load_refined_occupancy(tmp_path / "model")[0]
    name = "resnet.conv1.weight"
    assert not torch.equal(after.image_encoder.state_dict()[name], before.image_encoder.state_dict()[name])
    assert torch.equal(after.initial.image_encoder.state_dict()[name], before.image_encoder.state_dict()[name])
    assert float(curves(tmp_path)[0]["learning_rate"]) == pytest.approx(small.REFINED_OCCUPANCY["lr"])


# ---- options


def task_of(files, **changes) -> RefinedOccupancyTask:
    torch.manual_seed(0)
    first, _ = load_initial_occupancy(files["initial"])
    architecture = dict(first.architecture)
    options = {name: changes.pop(name) for name in OPTIONS if name in changes}
    network = RefinedOccupancyNetwork(architecture.pop("encoder"), architecture, **small.SIZES, dropout=0.0, **options)
    network.start_from_initial(first)
    settings = LoopSettings(steps=9, validate_every=9, learning_rate=1e-4, schedule="published")
    return RefinedOccupancyTask(network, settings, **changes)


@pytest.mark.parametrize("option", [*OPTIONS, "penetration_reduction"])
def test_options_reach_the_loss(files, option):
    """Either value of every option gives a loss of its own."""
    batch = steps_of(files, with_images=True)[0]
    one = replace(
        batch, **{name: _first(getattr(batch, name)) for name in ("frame_index", "images", "labels", "anchors")}
    )
    one = replace(
        one, hands={side: _first_hand(hand) for side, hand in batch.hands.items()}, camera=_first_camera(batch)
    )
    losses = []
    for value in MODES:
        task = task_of(files, **{option: value}, penetration_weight=0.001).eval()
        with torch.no_grad():
            losses.append(float(task.loss(one)))
    assert np.isfinite(losses).all()
    assert losses[0] != losses[1]


@pytest.mark.parametrize("value", MODES)
def test_options_are_kept_with_the_weights(files, tmp_path, value):
    initial = write_initial(tmp_path / "initial", _Split(files), files["train_queries"], value)
    names = [*OPTIONS, "penetration_reduction"]
    run(files, tmp_path, initial=initial, steps=1, validate_every=1, **dict.fromkeys(names, value))
    network, card = load_refined_occupancy(tmp_path / "model")
    assert all(card.compat[name] == value for name in names)
    found = (network.initial.depth_reference, network.initial.penetration_frame, network.penetration_context)
    assert (*found, network.feature_lookup, network.anchor_encoder.fps_dead_ball) == (value,) * 5


def test_published_schedule_and_weight_decay(files):
    task = task_of(files, weight_decay=0.25)
    assert [task.learning_rate_at(step) for step in (0, 4998, 4999, 9999)] == pytest.approx([1e-4, 1e-4, 2e-5, 4e-6])
    group = task.configure_optimizers().param_groups[0]
    assert group["weight_decay"] == 0.25
    assert not {id(each) for each in group["params"]} & {id(each) for each in task.network.initial.parameters()}


def test_initial_network_of_another_depth_reference_is_refused(files, tmp_path):
    with pytest.raises(ConfigError, match=r"options.depth_reference: consistent"):
        run(files, tmp_path, depth_reference="published")


class _Split:
    """The paths of the training split, as far as `write_initial` asks."""

    def __init__(self, files) -> None:
        self.hands = files["train_hands"]


def _first(value):
    return {side: tensor[:1] for side, tensor in value.items()} if isinstance(value, dict) else value[:1]


def _first_hand(hand):
    palm = replace(hand.palm, wrist=hand.palm.wrist[:1], rotation=hand.palm.rotation[:1])
    frames, lengths = hand.bone_from_palm[:1], hand.bone_lengths[:1]
    return replace(hand, palm=palm, bone_from_palm=frames, bone_lengths=lengths, points=hand.points[:1])


def _first_camera(batch):
    return replace(batch.camera, **{name: tensor[:1] for name, tensor in vars(batch.camera).items()})
