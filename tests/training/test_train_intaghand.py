"""Training of IntagHand: where it starts, that it learns, that a killed run ends as an undisturbed one, bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from im2hands.config import IntagHandTraining
from im2hands.datasets.two_hand_item import Augmentation, AugmentationRanges
from im2hands.hands.model_files import builtin_hand_models, write_hand_model_folder
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError, Im2HandsError
from im2hands.networks.intaghand import load_intaghand, project
from im2hands.training.intaghand import new_network, train_intaghand
from im2hands.training.intaghand_items import IntagHandBatch, IntagHandSteps, TwoHandFrames
from im2hands.training.intaghand_losses import WEIGHTS
from im2hands.training.intaghand_start import MeanHands, best_projection
from im2hands.training.loop import LoopSettings
from stages import train_intaghand as stage
from tests.training.two_hand_frames import TwoHandSplit, make_split

FILES = ("model.safetensors", "card.json", "metrics.json", "curves.csv")
LOOP = {"steps": 3, "validate_every": 2, "learning_rate": 1e-3, "schedule": "cosine", "seed": 1, "weight_average": 0.5}
TURNS = AugmentationRanges(angle=20.0)
OTHERS = {
    "batch_frames": 2,
    "validation_frames": 2,
    "encoder": "resnet10_narrow",
    "widths": (8, 8, 8, 8),
    "edge_loss_from": 0.5,
    "augmentation": TURNS,
    "heat_maps": "consistent",
    "initial_weights": "mean_hands",
    "dropout": 0.05,
    "maps_until": 0.4,
    "loss_weights": {**WEIGHTS, "masks": 50.0, "normals": 0.2},
}


@pytest.fixture(scope="module")
def splits(tmp_path_factory) -> dict[str, TwoHandSplit]:
    folder = tmp_path_factory.mktemp("two_hands")
    return {name: make_split(folder, name, poses, maps=True) for name, poses in (("train", 3), ("val", 1))}


@pytest.fixture(scope="module")
def hand_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hand_model")
    write_hand_model_folder(folder)
    return folder


@pytest.fixture(scope="module")
def frames(splits) -> TwoHandFrames:
    data = splits["train"]
    return TwoHandFrames(data.frames, data.hands, data.images)


def paths(splits: dict[str, TwoHandSplit], hand_model: Path) -> dict[str, Path]:
    files = {"hand_model": hand_model}
    for name, data in splits.items():
        files |= {f"{name}_frames": data.frames, f"{name}_hands": data.hands, f"{name}_images": data.images}
    return files


def run(splits, hand_model, folder: Path, **changes) -> dict:
    """Trains in `folder` for 3 steps, validating every 2."""
    loop = LOOP | {name: changes.pop(name) for name in list(changes) if name in LoopSettings.__dataclass_fields__}
    files = paths(splits, hand_model)
    files |= {name: changes.pop(name) for name in list(changes) if name in files}
    return train_intaghand(
        **files,
        output=folder / "model",
        checkpoint_folder=folder / "checkpoints",
        logs=folder / "logs",
        settings=LoopSettings(**loop),
        **OTHERS | changes,
    )


def outputs(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "model" / name).read_bytes() for name in FILES}


# ---- where training starts


def test_best_projection_is_the_one_that_made_the_pixels():
    random = torch.Generator().manual_seed(0)
    points = 0.1 * torch.randn(3, 50, 3, generator=random)
    scale, shift = torch.tensor([3.0, 4.0, 2.5]), torch.tensor([[0.1, -0.2], [0.0, 0.4], [-0.3, 0.0]])
    fitted, moved = best_projection(points, project(points, scale, shift))
    torch.testing.assert_close(fitted, scale)
    torch.testing.assert_close(moved, shift)


def test_start_predicts_the_mean_hands_in_every_image(frames):
    """Joints of the untrained network are the mean ones to 5 mm (upsampling), its pixels those of the mean projection."""
    models = builtin_hand_models()
    start = MeanHands.of(frames)
    items = IntagHandBatch.of([frames.item(frame, Augmentation(), "consistent") for frame in range(len(frames))])
    torch.manual_seed(0)
    network = new_network(models, "resnet10_narrow", (8, 8, 8, 8), start=start).eval()
    with torch.inference_mode():
        prediction = network(items.images[:2])
    for side, hand in prediction.hands.items():
        mean = items.true.placed(side).mean(0)
        torch.testing.assert_close(start.vertices[side], mean)
        joints = models[side].regress(torch.stack([mean, *hand.vertices]).double())
        assert (joints[1:] - joints[0]).norm(dim=-1).max() < 0.005
        assert torch.equal(hand.vertices[0], hand.vertices[1])
        torch.testing.assert_close(hand.scale, torch.full((2,), start.scale))
    assert 1 < start.scale < 10 and start.shift.abs().max() < 0.5
    features = prediction.features
    assert not features.heat_maps.any() and not features.masks.any() and not features.dense_maps.any()


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


@pytest.fixture(scope="module")
def undisturbed(splits, hand_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(splits, hand_model, folder)
    return folder


def test_outputs(undisturbed):
    card = json.loads((undisturbed / "model/card.json").read_text())
    metrics = json.loads((undisturbed / "model/metrics.json").read_text())
    assert card["dataset"] == "made-up hands" and card["compat"] == {"heat_maps": "consistent"}
    assert card["metrics"] == metrics and set(metrics) == {"step", "steps", "val_loss", "val_mpjpe", "val_frames"}
    rows = list(csv.DictReader((undisturbed / "model/curves.csv").open()))
    assert [row["step"] for row in rows if row["val_loss"]] == ["2", "3"]
    network, _ = load_intaghand(undisturbed / "model")
    assert network.architecture == {"encoder": "resnet10_narrow", "widths": [8, 8, 8, 8], "mean_hands": True}
    assert all(getattr(network, f"{side.value}_mean").any() for side in Side)


def test_an_interrupted_run_ends_with_the_same_bits(undisturbed, splits, hand_model, tmp_path, monkeypatch):
    original = IntagHandSteps.__getitem__

    def stop(self, index):
        if index == 2:
            raise ConnectionAbortedError("stopped by the test")
        return original(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(IntagHandSteps, "__getitem__", stop)
        with pytest.raises((ConnectionAbortedError, Im2HandsError)):
            run(splits, hand_model, tmp_path)
    run(splits, hand_model, tmp_path)
    assert outputs(tmp_path) == outputs(undisturbed)


def test_other_weights_of_the_loss_are_another_run(undisturbed, splits, hand_model, tmp_path):
    """Terms without weight leave what only they train as it was."""
    run(splits, hand_model, tmp_path, loss_weights={**WEIGHTS, "heat_maps": 0.0}, weight_average=0.0)
    last = "image_encoder.heat_map_decoder.last.weight"
    assert not load_intaghand(tmp_path / "model")[0].state_dict()[last].any()
    assert load_intaghand(undisturbed / "model")[0].state_dict()[last].any()


def test_meshes_wait_for_the_maps(splits, hand_model, tmp_path):
    """While maps alone are trained, the heads of the meshes stay as they started and those of the maps do not."""
    run(splits, hand_model, tmp_path, maps_until=1.0, weight_average=0.0)
    weights = load_intaghand(tmp_path / "model")[0].state_dict()
    assert not weights["coordinates.weight"].any() and not weights["projection.weight"].any()
    assert weights["image_encoder.heat_map_decoder.last.weight"].any()


@pytest.mark.slow
@pytest.mark.parametrize("initial_weights", ["mean_hands", "published"])
def test_loss_and_joint_error_fall_on_a_tiny_set(splits, hand_model, tmp_path, initial_weights):
    """Validated on the training frames."""
    same = {
        "val_frames": splits["train"].frames,
        "val_hands": splits["train"].hands,
        "val_images": splits["train"].images,
    }
    options = {"initial_weights": initial_weights, "augmentation": None, "edge_loss_from": 0.0, "batch_frames": 6}
    run(splits, hand_model, tmp_path, **same, **options, steps=60, validate_every=1, validation_frames=6)
    rows = list(csv.DictReader((tmp_path / "model/curves.csv").open()))
    losses = [float(row["val_loss"]) for row in rows if row["val_loss"]]
    assert losses[-1] < 0.75 * losses[0]


# ---- bad input


def test_crops_without_maps_are_refused(hand_model, splits, tmp_path):
    plain = make_split(tmp_path / "plain", "train", poses=1)
    files = {"train_frames": plain.frames, "train_hands": plain.hands, "train_images": plain.images}
    with pytest.raises(DataError, match=r"have no masks or dense maps.*set normalize_images.masks and dense_maps"):
        run(splits, hand_model, tmp_path, **files)


def test_files_of_different_splits_are_refused(hand_model, splits, tmp_path):
    with pytest.raises(DataError, match=r"holds 2 crops for the 6 frames .* run normalize_images again"):
        run(splits, hand_model, tmp_path, train_images=splits["val"].images)


@pytest.mark.parametrize("name", ["train_frames", "val_hands", "train_images"])
def test_missing_files_are_named(hand_model, splits, tmp_path, name):
    with pytest.raises(DataError, match="nowhere"):
        run(splits, hand_model, tmp_path, **{name: tmp_path / "nowhere"})


def test_stage_passes_every_setting_on(splits, hand_model, monkeypatch):
    """Each key of the section reaches the training function, and none is left out."""
    seen = {}
    monkeypatch.setattr(stage, "train_intaghand", lambda **arguments: seen.update(arguments) or {})
    terms = [name for name in WEIGHTS if name != "upsampling"]
    section = dict(
        weights=None,
        steps=3,
        batch_frames=2,
        lr=1e-3,
        schedule="cosine",
        augmentation=True,
        weight_average=0.5,
        validate_every=2,
        validation_frames=2,
        gradient_clip=0.25,
        precision="32",
        encoder="resnet10_narrow",
        widths=[8, 8, 8, 8],
        edge_loss_from=0.5,
        initial_weights="mean_hands",
        largest_turn=20,
        dropout=0.05,
        maps_until=0.4,
        loss_weights={name: float(place) for place, name in enumerate(terms)},
    )
    files = {name: str(path) for name, path in paths(splits, hand_model).items()}
    params = IntagHandTraining(**section)
    stage.main(**files, checkpoints="c", output="o", seed=1, heat_maps="consistent", params=params)
    assert vars(seen["settings"]) | {"workers": 0} == vars(LoopSettings(**LOOP, gradient_clip=0.25, precision="32"))
    expected = OTHERS | {"widths": [8, 8, 8, 8], "loss_weights": section["loss_weights"]}
    assert {name: seen[name] for name in OTHERS} == expected
    assert all(str(seen[name]) == path for name, path in files.items())
    stage.main(
        **files,
        checkpoints="c",
        output="o",
        seed=1,
        heat_maps="consistent",
        params=IntagHandTraining(**section | {"augmentation": False}),
    )
    assert seen["augmentation"] is None
