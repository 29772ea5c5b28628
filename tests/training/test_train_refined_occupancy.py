"""Training of refined occupancy: it learns, a killed run ends as an undisturbed one, options arrive, bad input is refused."""

from __future__ import annotations

import json
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
from im2hands.training.occupancy_data import StoredAnchors
from im2hands.training.refined_occupancy import REFINED_OCCUPANCY, RefinedOccupancyTask
from tests.training import trained as small
from tests.training.occupancy_frames import write_initial, write_split_anchors
from tests.training.trained import curves, trained
from tests.training.two_hand_frames import make_split

MODES = ["published", "consistent"]


def run(two_hands, folder: Path, **changes) -> dict:
    """Trains in `folder` for 5 steps, validating every 2."""
    return trained(REFINED_OCCUPANCY, small.REFINED_OCCUPANCY, two_hands, folder, **changes)


def steps_of(two_hands, with_images: bool = False, batch_frames: int = 2) -> FrameSteps:
    frames = FrameSet(two_hands["train_frames"], two_hands["train_hands"], two_hands["train_images"])
    hands = LabelledHands(two_hands["train_queries"], two_hands["train_hands"])
    anchors = StoredAnchors(frames, two_hands["train_anchors"])
    return FrameSteps(LabelledFrames(frames, hands, with_images, anchors), batch_frames, 64, 0.5, seed=1)


# ---- anchors in batches


def test_a_batch_has_one_of_the_stored_draws_of_each_frame(two_hands):
    """The same one for the same step; in the long run every draw."""
    steps, again = steps_of(two_hands), steps_of(two_hands)
    stored, seen = AnchorSet(two_hands["train_anchors"]), set()
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


def test_anchors_of_a_mirrored_frame_are_mirrored(two_hands):
    """The mirrored camera sees the mirrored hand's anchors where the mirror image shows them; left is right."""
    frames = FrameSet(two_hands["train_frames"], two_hands["train_hands"], two_hands["train_images"])
    anchors, item = StoredAnchors(frames, two_hands["train_anchors"]), frames.item(1)
    mirrored = item.flipped()
    plain, there = (one.camera.project(anchors(one, None).astype(float)) for one in (item, mirrored))
    np.testing.assert_allclose(there[::-1, :, 0], 255 - plain[..., 0], atol=1e-3)
    np.testing.assert_allclose(there[::-1, :, 1], plain[..., 1], atol=1e-3)


def test_only_frames_with_anchors_are_used(two_hands, tmp_path):
    """Of two cameras that see a pose, the first; the rest of the training does not notice."""
    first = {
        f"{split}_anchors": write_split_anchors(
            make_split(tmp_path, split, poses, maps=True), two_hands["initial"], draws=1, per_pose=1
        )
        for split, poses in (("train", 2), ("val", 1))
    }
    frames = FrameSet(two_hands["train_frames"], two_hands["train_hands"], two_hands["train_images"])
    anchors = StoredAnchors(frames, first["train_anchors"])
    kept = anchors.frames
    assert len(frames) == 2 * len(kept) == 2 * len(anchors.stored)
    assert kept.pair_ids == sorted(set(frames.pair_ids)) and set(kept.frame_ids) < set(frames.frame_ids)
    for place, frame_id in enumerate(kept.frame_ids):
        np.testing.assert_array_equal(kept.item(place).image, frames.item(frames.place_of(int(frame_id))).image)
    run(two_hands, tmp_path, **first, steps=1)


def test_frames_without_anchors_are_named(two_hands, tmp_path):
    with pytest.raises(DataError, match=r"no anchors for frame 2 \(2 missing\).*generate_anchors"):
        run(two_hands, tmp_path, train_anchors=two_hands["val_anchors"])


# ---- training


def test_outputs(finished):
    undisturbed = finished("refined_occupancy")
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


def test_it_learns_and_leaves_the_initial_network_alone(two_hands, tmp_path):
    """The loss falls from that of the initial field; the frozen network and both encoders stay as they were."""
    run(two_hands, tmp_path, steps=30, validate_every=15, penetration_weight=0.0)
    losses = [float(row["train_loss"]) for row in curves(tmp_path) if row["train_loss"]]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    before, after = load_initial_occupancy(two_hands["initial"])[0], load_refined_occupancy(tmp_path / "model")[0]
    for name, weight in before.state_dict().items():
        assert torch.equal(after.initial.state_dict()[name], weight)
    for name, weight in before.image_encoder.state_dict().items():
        assert torch.equal(after.image_encoder.state_dict()[name], weight)
    assert not torch.equal(after.image_projection.weight, before.image_projection.weight)


def test_it_starts_at_the_initial_field(two_hands, tmp_path):
    """A step of no length: but for the points between the levels 0.45 and 0.5, it and the refined one agree."""
    metrics = run(two_hands, tmp_path, steps=1, validate_every=1, lr=1e-12, weight_decay=0.0)
    other = run(two_hands, tmp_path / "random", steps=1, validate_every=1, lr=1e-12, initial_weights="published")
    assert metrics["val_iou"] == pytest.approx(metrics["val_initial_iou"], abs=0.02)
    assert other["val_iou"] != pytest.approx(metrics["val_initial_iou"], abs=0.04)


def test_trained_encoder_and_augmentation(two_hands, tmp_path):
    """The published way: images in the batches, this network's own encoder learns, the frozen network's does not."""
    published = {"image_encoder": "trained", "schedule": "published", "initial_weights": "published"}
    run(two_hands, tmp_path, **published, augmentation=True, steps=2)
    before, after = load_initial_occupancy(two_hands["initial"])[0], load_refined_occupancy(tmp_path / "model")[0]
    name = "resnet.conv1.weight"
    assert not torch.equal(after.image_encoder.state_dict()[name], before.image_encoder.state_dict()[name])
    assert torch.equal(after.initial.image_encoder.state_dict()[name], before.image_encoder.state_dict()[name])
    assert float(curves(tmp_path)[0]["learning_rate"]) == pytest.approx(small.REFINED_OCCUPANCY["lr"])


# ---- options


def task_of(two_hands, **changes) -> RefinedOccupancyTask:
    torch.manual_seed(0)
    first, _ = load_initial_occupancy(two_hands["initial"])
    architecture = dict(first.architecture)
    options = {name: changes.pop(name) for name in OPTIONS if name in changes}
    network = RefinedOccupancyNetwork(architecture.pop("encoder"), architecture, **small.SIZES, dropout=0.0, **options)
    network.start_from_initial(first)
    settings = LoopSettings(steps=9, validate_every=9, learning_rate=1e-4, schedule="published")
    return RefinedOccupancyTask(network, settings, **changes)


@pytest.mark.parametrize("option", [*OPTIONS, "penetration_reduction"])
def test_options_reach_the_loss(two_hands, option):
    """Either value of every option gives a loss of its own."""
    batch = steps_of(two_hands, with_images=True, batch_frames=1)[0]
    losses = []
    for value in MODES:
        task = task_of(two_hands, **{option: value}, penetration_weight=0.001).eval()
        with torch.no_grad():
            losses.append(float(task.loss(batch)))
    assert np.isfinite(losses).all()
    assert losses[0] != losses[1]


@pytest.mark.parametrize("value", MODES)
def test_options_are_kept_with_the_weights(two_hands, tmp_path, value):
    initial = write_initial(tmp_path / "initial", two_hands["train_hands"], two_hands["train_queries"], value)
    names = [*OPTIONS, "penetration_reduction"]
    run(two_hands, tmp_path, initial=initial, steps=1, validate_every=1, **dict.fromkeys(names, value))
    network, card = load_refined_occupancy(tmp_path / "model")
    assert all(card.compat[name] == value for name in names)
    found = (network.initial.depth_reference, network.initial.penetration_frame, network.penetration_context)
    assert (*found, network.feature_lookup, network.anchor_encoder.fps_dead_ball) == (value,) * 5


def test_published_schedule_and_weight_decay(two_hands):
    task = task_of(two_hands, weight_decay=0.25)
    assert [task.learning_rate_at(step) for step in (0, 4998, 4999, 9999)] == pytest.approx([1e-4, 1e-4, 2e-5, 4e-6])
    group = task.configure_optimizers().param_groups[0]
    assert group["weight_decay"] == 0.25
    assert not {id(each) for each in group["params"]} & {id(each) for each in task.network.initial.parameters()}


def test_initial_network_of_another_depth_reference_is_refused(two_hands, tmp_path):
    with pytest.raises(ConfigError, match=r"options.depth_reference: consistent"):
        run(two_hands, tmp_path, depth_reference="published")
