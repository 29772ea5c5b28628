"""Training of keypoint refinement by joint views: what it is given, that it learns, that a killed run resumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.keypoints import KeypointTable
from im2hands.hands.frames import RefinementKeypoints
from im2hands.networks.keypoint_prior import load_keypoint_prior
from im2hands.networks.keypoint_refinement import load_keypoint_refinement
from im2hands.networks.view_refinement import ViewRefinementNetwork
from im2hands.training.keypoint_inputs import KeypointFrames, RefinementSteps
from im2hands.training.keypoint_losses import distance_loss
from im2hands.training.keypoint_refinement import KEYPOINT_REFINEMENT, RefinementTask
from im2hands.training.loop import LoopSettings
from tests.training import trained as small
from tests.training.trained import trained
from tests.training.two_hand_frames import TwoHandSplit


def run(refinement_files, folder: Path, **changes) -> dict:
    """Trains in `folder` for 5 steps, validating every 2."""
    return trained(KEYPOINT_REFINEMENT, small.KEYPOINT_REFINEMENT, refinement_files, folder, **changes)


def frames_where_predicted(data: TwoHandSplit) -> KeypointFrames:
    frames = FrameSet(data.frames, data.hands, data.images)
    return KeypointFrames(frames, data.keypoints("noisy"), with_images=True, alignment="camera")


def in_camera(keypoints: RefinementKeypoints) -> torch.Tensor:
    return torch.stack(keypoints.in_camera(), dim=1)


def test_hands_are_given_where_they_were_predicted_and_every_frame_several_times(two_hand_splits):
    """Samples of a frame stand in a row, with its camera; perturbed wrists are not the true ones."""
    data = two_hand_splits["train"]
    frames, predicted = frames_where_predicted(data), KeypointTable.read(data.keypoints("noisy")).keypoints()
    batch = RefinementSteps(frames, 4, 0.5, 10.0, augmentation=False, seed=3, draws=3)[0]
    assert batch.images.shape == (4, 3, 256, 256) and len(batch.intrinsics) == 12
    given, true, kinds = in_camera(batch.given["mixture"]).numpy(), in_camera(batch.true).numpy(), []
    for row in range(12):
        frame = int(batch.frame_index[row // 3])
        item = frames.frames.item(frame, with_image=False)
        np.testing.assert_allclose(batch.intrinsics[row], item.camera.intrinsics)
        np.testing.assert_allclose(true[row], item.camera.to_camera(item.keypoints), atol=1e-12)
        kinds.append(np.allclose(given[row], item.camera.to_camera(predicted[frame]), atol=1e-12))
        assert kinds[-1] or np.abs(given[row, :, 0] - true[row, :, 0]).max() > 1e-4
    assert 0 < sum(kinds) < 12


def test_a_part_of_the_samples_has_a_detectors_errors(two_hand_splits):
    """Only those lack joints; the prior fills them in, where the other joints say they are."""
    frames = frames_where_predicted(two_hand_splits["train"])
    shares, missing = {}, 0.0
    for share in (0.0, 1.0):
        steps = RefinementSteps(frames, 8, 0.0, 10.0, augmentation=False, seed=3, draws=4, detector_share=share)
        given = torch.cat([in_camera(steps[step].given["mixture"]) for step in range(8)])
        shares[share] = given.isnan().any(dim=(1, 2, 3)).float().mean().item()
        missing = given.isnan().float().mean().item()
    assert shares[0.0] == 0 and 0.2 < shares[1.0] < 0.8
    assert 0.02 < missing < 0.2  # a missing joint leaves the others where they are, whichever it is


def test_the_prior_fills_in_what_is_missing_and_hands_stay_where_it_puts_them(refinement_files):
    prior = load_keypoint_prior(refinement_files["prior"])[0]
    task = RefinementTask(ViewRefinementNetwork("resnet10_narrow", 8, 1), LoopSettings(1, 1, 1e-3), 0.5, prior=prior)
    generator = torch.Generator().manual_seed(0)
    keypoints = 0.05 * torch.randn(3, 2, 21, 3, generator=generator, dtype=torch.float64) + torch.tensor([0, 0, 0.6])
    keypoints[1, 0, 4:10] = torch.nan  # the left middle base too, from which the others count
    keypoints[2, 0] = torch.nan
    shown = in_camera(task._corrected(RefinementKeypoints.of(*keypoints.unbind(1))))
    centre = keypoints.nanmean(dim=(1, 2), keepdim=True)
    expected = prior((keypoints - centre).float()).keypoints.double() + centre
    torch.testing.assert_close(shown, expected, rtol=0, atol=1e-9)
    assert shown.isfinite().all()


def test_the_loss_counts_distances_about_two_joints_and_a_part_of_the_place():
    generator = torch.Generator().manual_seed(1)
    left, right = 0.05 * torch.randn(2, 2, 21, 3, generator=generator, dtype=torch.float64)
    true = RefinementKeypoints.of(left, right)
    assert distance_loss(true, true).tolist() == pytest.approx([1.25, 1.25])  # ROUND_MM: what is left of no distance
    moved = RefinementKeypoints.of(left + 0.1, right + 0.1)  # 173 mm away as a whole
    assert distance_loss(moved, true).tolist() == pytest.approx([1 + 0.25 * 173.2, 1 + 0.25 * 173.2], rel=1e-3)
    tip = left.clone()
    tip[0, 20] += torch.tensor([0.3, 0, 0])  # of 42 joints; it counts as far as it is, not squared
    loss = distance_loss(RefinementKeypoints.of(tip, right), true)
    assert loss.tolist() == pytest.approx([1.25 + 1.25 * 299 / 42, 1.25], rel=1e-3)


def test_it_learns_on_a_tiny_set(refinement_files, tmp_path):
    """Perturbed keypoints of the four training poses come closer to the truth, about the middle base and about the wrist."""
    same = {name.replace("train", "val"): path for name, path in refinement_files.items() if name.startswith("train")}
    metrics = run(
        refinement_files | same,
        tmp_path,
        steps=150,
        batch_frames=8,
        validate_every=150,
        validation_frames=8,
        predicted_share=0.0,
        view_width=32,
        draws_per_frame=2,
        keypoint_prior="published",
    )
    assert metrics["val_perturbed_jpe"] < 0.85 * metrics["val_perturbed_in_jpe"]
    assert metrics["val_perturbed_jpe_wrist"] < 0.85 * metrics["val_perturbed_in_jpe_wrist"]


def test_before_training_keypoints_stay(refinement_files, tmp_path):
    metrics = run(refinement_files, tmp_path, steps=1, lr=1e-12)
    assert metrics["val_jpe"] == pytest.approx(metrics["val_in_jpe"], rel=1e-5)
    assert metrics["val_perturbed_jpe_wrist"] == pytest.approx(metrics["val_perturbed_in_jpe_wrist"], rel=1e-5)


def test_the_options_decide_which_network_is_trained(refinement_files, tmp_path):
    run(refinement_files, tmp_path / "views", steps=1)
    run(refinement_files, tmp_path / "published", steps=1, joint_views="published")
    views, published = (load_keypoint_refinement(tmp_path / name / "model") for name in ("views", "published"))
    assert isinstance(views[0], ViewRefinementNetwork) and not isinstance(published[0], ViewRefinementNetwork)
    assert [card.compat["joint_views"] for _, card in (views, published)] == ["consistent", "published"]
