"""Training of keypoint refinement: its inputs, that it learns, that a killed run ends as an undisturbed one, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.keypoints import KeypointTable
from im2hands.hands.frames import RefinementKeypoints
from im2hands.io.errors import ConfigError, DataError, Im2HandsError
from im2hands.networks.intaghand import load_intaghand
from im2hands.networks.keypoint_prior import load_keypoint_prior
from im2hands.networks.keypoint_refinement import load_keypoint_refinement
from im2hands.training.keypoint_inputs import KeypointFrames, RefinementSteps, RefinementValidation
from im2hands.training.keypoint_refinement import KEYPOINT_REFINEMENT, RefinementTask
from im2hands.training.loop import LoopSettings
from tests.training import trained as small
from tests.training.stopping import interrupted_at
from tests.training.trained import curves, outputs, trained
from tests.training.two_hand_frames import TwoHandSplit, write_noisy


def run(refinement_files, folder: Path, **changes) -> dict:
    """Trains the published network in `folder` for 5 steps, validating every 2; without the prior, unless said."""
    options = {"keypoint_prior": "published", "joint_views": "published"} | changes
    return trained(KEYPOINT_REFINEMENT, small.KEYPOINT_REFINEMENT, refinement_files, folder, **options)


def keypoint_frames(data: TwoHandSplit, with_images: bool = False) -> KeypointFrames:
    return KeypointFrames(FrameSet(data.frames, data.hands, data.images), data.keypoints("noisy"), with_images)


def hands_in_camera(keypoints: RefinementKeypoints) -> np.ndarray:
    return torch.stack(keypoints.in_camera(), dim=1).numpy()


# ---- inputs


def test_given_keypoints_stand_on_the_true_wrists(two_hand_splits):
    """Predictions are the file's but for their place; the true ones are the hand table's in the crop's camera."""
    data = two_hand_splits["train"]
    frames, predicted = keypoint_frames(data), KeypointTable.read(data.keypoints("noisy")).keypoints()
    batch = RefinementSteps(frames, 8, 1.0, 0.0, augmentation=False, seed=3)[0]
    true, given = hands_in_camera(batch.true), hands_in_camera(batch.given["mixture"])
    assert sorted(batch.frame_index.tolist()) == list(range(8))
    for row, frame in enumerate(batch.frame_index.tolist()):
        item = frames.frames.item(frame, with_image=False)
        np.testing.assert_allclose(true[row], item.camera.to_camera(item.keypoints), atol=1e-12)
        np.testing.assert_allclose(given[row, :, 0], true[row, :, 0], atol=1e-12)
        turned = predicted[frame] @ item.camera.rotation.T
        np.testing.assert_allclose(given[row] - given[row, :, :1], turned - turned[:, :1], atol=1e-12)
    assert batch.images is None


def test_mixture_has_the_stated_parts(two_hand_splits):
    """Over 200 steps: the share of predictions, and noise of every size up to the largest one."""
    frames = keypoint_frames(two_hand_splits["train"])
    steps = RefinementSteps(frames, 8, 0.25, 12.0, augmentation=False, seed=3)
    known = {frame: frames[frame].predicted for frame in range(8)}
    predictions, deviations = [], []
    for step in range(200):
        batch = steps[step]
        given, true = hands_in_camera(batch.given["mixture"]), hands_in_camera(batch.true)
        for row, frame in enumerate(batch.frame_index.tolist()):
            predictions.append(np.allclose(given[row], known[frame], atol=1e-9))
            if not predictions[-1]:
                noise = 1000 * (given[row] - true[row])
                np.testing.assert_allclose(noise[:, 0], 0, atol=1e-9)
                deviations += np.sqrt(((noise - noise.mean(1, keepdims=True)) ** 2).mean(axis=(1, 2))).tolist()
    assert np.mean(predictions) == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 1600))
    assert np.min(deviations) < 0.5 and 11 < np.max(deviations) < 16
    assert np.mean(deviations) == pytest.approx(6, abs=0.5)


def test_every_frame_once_per_round_and_items_depend_on_seed_and_step_alone(two_hand_splits):
    frames = keypoint_frames(two_hand_splits["train"], with_images=True)
    steps, again = (RefinementSteps(frames, 4, 0.5, 10.0, augmentation=True, seed=3) for _ in range(2))
    first = [steps[step] for step in range(6)]
    for start in (0, 2, 4):
        assert sorted(torch.cat([batch.frame_index for batch in first[start : start + 2]]).tolist()) == list(range(8))
    late = again[5]
    assert torch.equal(late.images, first[5].images)
    assert torch.equal(late.given["mixture"].left, first[5].given["mixture"].left)
    other = RefinementSteps(frames, 4, 0.5, 10.0, augmentation=True, seed=4)[5]
    assert not torch.equal(other.given["mixture"].left, first[5].given["mixture"].left)


def test_augmentation_moves_true_and_predicted_keypoints_alike(two_hand_splits):
    """What separates prediction and truth keeps its lengths, and a mirrored frame swaps the hands."""
    frames = keypoint_frames(two_hand_splits["train"])
    plain = {index: frames[index] for index in range(8)}
    batch = RefinementSteps(frames, 16, 1.0, 0.0, augmentation=True, seed=3)[0]
    true, given = hands_in_camera(batch.true), hands_in_camera(batch.given["mixture"])
    swapped = 0
    for row, frame in enumerate(batch.frame_index.tolist()):
        before = np.linalg.norm(plain[frame].predicted - plain[frame].true, axis=-1)
        after = np.linalg.norm(given[row] - true[row], axis=-1)
        mirrored = not np.allclose(after, before, atol=1e-9)
        np.testing.assert_allclose(after[::-1] if mirrored else after, before, atol=1e-9)
        swapped += mirrored
    assert 0 < swapped < 16


def test_validation_is_fixed_and_holds_both_kinds(two_hand_splits):
    frames = keypoint_frames(two_hand_splits["val"])
    one, all_of_it = RefinementValidation(frames, 3, seed=1)[0], RefinementValidation(frames, 99, seed=1)[0]
    assert one.frame_index.tolist() == [0, 2, 3] and all_of_it.frame_index.tolist() == [0, 1, 2, 3]
    assert torch.equal(one.given["perturbed"].left, all_of_it.given["perturbed"].left[[0, 2, 3]])
    noise = 1000 * (hands_in_camera(all_of_it.given["perturbed"]) - hands_in_camera(all_of_it.true))
    assert np.std(noise - noise.mean(axis=2, keepdims=True)) == pytest.approx(10, rel=0.15)
    with pytest.raises(IndexError):
        RefinementValidation(frames, 3, seed=1)[1]


# ---- training


def test_outputs(finished):
    undisturbed = finished("keypoint_refinement")
    card = json.loads((undisturbed / "model/card.json").read_text())
    metrics = json.loads((undisturbed / "model/metrics.json").read_text())
    assert card["dataset"] == "made-up hands"
    assert card["compat"] == dict.fromkeys(("joint_regressors", "keypoint_prior", "joint_views"), "consistent")
    assert {"intaghand", "prior", "train_predictions", "val_images"} < set(card["data"])
    assert card["metrics"] == metrics
    joints = {
        f"val_{kind}{when}jpe{about}" for kind in ("", "perturbed_") for when in ("", "in_") for about in ("", "_wrist")
    }
    assert set(metrics) == joints | {
        "val_loss",
        "step",
        "steps",
        "val_frames",
        "train_frames_without_prediction",
        "val_frames_without_prediction",
    }
    rows = curves(undisturbed)
    assert [row["step"] for row in rows if row["val_loss"]] == ["0", "2", "4", "5"]
    assert min(float(row["val_loss"]) for row in rows if row["val_loss"]) == pytest.approx(
        metrics["val_loss"], rel=1e-5
    )
    network, _ = load_keypoint_refinement(undisturbed / "model")
    assert network.architecture == {"encoder": "resnet10_narrow", "width": 8, "layers": 1}


def test_a_frozen_encoder_is_intaghands_in_every_bit(finished, two_hands):
    ours = load_keypoint_refinement(finished("keypoint_refinement") / "model")[0].image_encoder.state_dict()
    theirs = load_intaghand(two_hands["intaghand"])[0].image_encoder.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def test_scores_before_the_first_step_are_those_of_the_given_keypoints(refinement_files, tmp_path):
    """With a learning rate of next to nothing the identity start stays: before and after refinement agree."""
    metrics = run(refinement_files, tmp_path, steps=1, lr=1e-12)
    assert metrics["val_jpe"] == pytest.approx(metrics["val_in_jpe"], rel=1e-5)
    assert metrics["val_perturbed_jpe"] == pytest.approx(metrics["val_perturbed_in_jpe"], rel=1e-5)
    assert 5 < metrics["val_in_jpe"] < 25 < 2 * metrics["val_perturbed_in_jpe"]


def test_the_prior_comes_first(two_hand_splits, refinement_files, tmp_path):
    """The network is shown the prior's hands, on the wrists of the given ones; NaN, no prediction, stays NaN."""
    metrics = run(refinement_files, tmp_path, steps=1, lr=1e-12, keypoint_prior="consistent")
    validation = RefinementValidation(keypoint_frames(two_hand_splits["val"]), 3, seed=1)[0]
    prior, errors = load_keypoint_prior(refinement_files["prior"])[0], []
    given, true = (torch.from_numpy(hands_in_camera(of)) for of in (validation.given["perturbed"], validation.true))
    likely = prior(given.float()).keypoints.double()
    errors = (likely - likely[:, :, 9:10]) - (true - true[:, :, 9:10])
    assert metrics["val_perturbed_in_jpe"] == pytest.approx(1000 * errors.norm(dim=-1).mean().item(), rel=1e-4)
    assert metrics["val_perturbed_jpe"] == pytest.approx(metrics["val_perturbed_in_jpe"], rel=1e-5)
    task = RefinementTask(None, LoopSettings(1, 1, 1e-3), 0.5, prior=prior)
    nothing = RefinementKeypoints.of(torch.full((1, 21, 3), torch.nan), torch.full((1, 21, 3), torch.nan))
    assert torch.stack(task._corrected(nothing).in_camera()).isnan().all()
    shown = torch.from_numpy(hands_in_camera(task._corrected(validation.given["perturbed"])))
    torch.testing.assert_close(shown[:, :, 0], given[:, :, 0], atol=1e-9, rtol=0)


def test_without_a_prior_it_says_how_to_go_on(refinement_files, tmp_path):
    with pytest.raises(ConfigError, match=r"--prior models/keypoint_prior.*options\.keypoint_prior to published"):
        run(refinement_files, tmp_path, keypoint_prior="consistent", prior=None)


def test_noise_is_refined_away_on_a_tiny_set(refinement_files, tmp_path):
    """Perturbed keypoints of the four training poses come out closer to the truth than they went in."""
    same = {name.replace("train", "val"): path for name, path in refinement_files.items() if name.startswith("train")}
    metrics = run(
        refinement_files | same, tmp_path, steps=60, validate_every=60, validation_frames=8, predicted_share=0.0
    )
    assert metrics["val_perturbed_jpe"] < 0.85 * metrics["val_perturbed_in_jpe"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {"initial_weights": "identity"},
        {"initial_weights": "published"},
        {"joint_views": "consistent", "keypoint_prior": "consistent", "draws_per_frame": 2},
    ],
)
def test_a_trained_encoder_with_augmentation_resumes_too(refinement_files, tmp_path, monkeypatch, more):
    options = {"image_encoder": "trained", "augmentation": True, "steps": 4} | more
    run(refinement_files, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        interrupted_at(patch, RefinementSteps, 3)
        with pytest.raises((ConnectionAbortedError, Im2HandsError)):
            run(refinement_files, tmp_path / "broken", **options)
    run(refinement_files, tmp_path / "broken", **options)
    assert outputs(tmp_path / "broken") == outputs(tmp_path / "whole")


# ---- bad input


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("other frames", "its keypoints do not belong to the frames"),
        ("millimetres", "are they in millimetres"),
        ("not a number", "not all are numbers"),
        ("none usable", "has usable keypoints; predict them again"),  # with predicted_share 1
    ],
)
def test_bad_predictions(two_hand_splits, refinement_files, tmp_path, damage, sentence):
    data, reasons = two_hand_splits["train"], [None] * 8
    keypoints = KeypointTable.read(data.keypoints("noisy")).keypoints()
    if damage == "other frames":
        path = two_hand_splits["val"].keypoints("noisy")
    else:
        factor = {"millimetres": 1000.0, "not a number": np.nan}.get(damage, 1.0)
        reasons = ["no hands were found"] * 8 if damage == "none usable" else reasons
        path = write_noisy(data, keypoints * factor, reasons, damage.replace(" ", "_"))
    with pytest.raises(DataError, match=sentence):
        run(refinement_files, tmp_path, train_predictions=path, predicted_share=1.0)


@pytest.fixture(scope="module")
def one_missing(two_hand_splits) -> Path:
    """Predictions of the training split without frame 1."""
    data = two_hand_splits["train"]
    keypoints = KeypointTable.read(data.keypoints("noisy")).keypoints()
    return write_noisy(data, keypoints, [None, "no hands were found"] + [None] * 6, "one_missing")


def test_frames_without_a_prediction_are_left_out_of_the_published_training(two_hand_splits, one_missing):
    data = two_hand_splits["train"]
    frame_set = FrameSet(data.frames, data.hands, data.images)
    frames = KeypointFrames(frame_set, one_missing, with_images=False, predicted_only=True)
    assert [frames.frame_id(index) for index in range(len(frames))] == [0, 2, 3, 4, 5, 6, 7]
    assert frames.without_prediction == 0


def test_frames_without_a_prediction_get_noise_in_the_mixture(two_hand_splits, one_missing):
    """Whatever the share of predictions below 1; the others keep theirs."""
    data = two_hand_splits["train"]
    frames = KeypointFrames(FrameSet(data.frames, data.hands, data.images), one_missing, with_images=False)
    assert len(frames) == 8 and frames.without_prediction == 1
    batch = RefinementSteps(frames, 8, 0.999999, 5.0, augmentation=False, seed=3)[0]
    given = hands_in_camera(batch.given["mixture"])
    assert np.isfinite(given).all()
    for row, frame in enumerate(batch.frame_index.tolist()):
        assert np.allclose(given[row], frames[frame].predicted, atol=1e-9) == (frame != 1)


def test_training_goes_on_without_any_prediction(two_hand_splits, refinement_files, tmp_path):
    """Then the weights are chosen by perturbed keypoints, and the metrics say how many predictions there were."""
    given = {}
    for name, data in two_hand_splits.items():
        keypoints = KeypointTable.read(data.keypoints("noisy")).keypoints()
        given[f"{name}_predictions"] = write_noisy(data, keypoints, ["none"] * len(keypoints), "nothing")
    metrics = run(refinement_files, tmp_path, steps=2, **given)
    assert (metrics["train_frames_without_prediction"], metrics["val_frames_without_prediction"]) == (8, 4)
    assert np.isfinite(metrics["val_loss"]) and "val_perturbed_jpe" in metrics and "val_jpe" not in metrics
    assert json.loads((tmp_path / "model/metrics.json").read_text()) == metrics
    assert "nan" not in (tmp_path / "model/curves.csv").read_text()
