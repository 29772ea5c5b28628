"""The fit of both hands to pixels, points and relative points: derivatives, what it finds, what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from im2hands.datasets.synthetic.hand_crowd import CrowdSampler, HandCrowd
from im2hands.geometry.rotations import axis_angle_to_matrix
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.skeleton import both_sides, both_sides_rotations
from im2hands.networks.keypoint_prior import LikelyHands
from im2hands.photographs import hand_fit
from im2hands.photographs.hand_fit import PARAMETERS, Evidence, HandFit

CAMERA = torch.tensor([[600.0, 0, 128], [0, 600, 128], [0, 0, 1]], dtype=torch.float64)
PLACE = torch.tensor([0.0, 0.0, 0.7])


@pytest.fixture(scope="module")
def fit():
    return HandFit(builtin_hand_models())


@pytest.fixture(scope="module")
def crowd():
    """Pairs before the camera."""
    drawn = CrowdSampler(builtin_hand_models()).draw(np.random.default_rng(0), 12)
    return HandCrowd(drawn.keypoints + PLACE, drawn.rotations, drawn.shape, drawn.translation + PLACE)


def intrinsics(crowd) -> torch.Tensor:
    return CAMERA.expand(len(crowd.shape), 3, 3)


def sigma(crowd, value: float) -> torch.Tensor:
    return torch.full(crowd.keypoints.shape[:-1], value, dtype=torch.float64)


def disturbed(crowd: HandCrowd, seed: int = 1) -> LikelyHands:
    """A start some 10 degrees and 2 cm beside the truth, with the mean shape."""
    random = torch.Generator().manual_seed(seed)
    turns = axis_angle_to_matrix(0.17 * torch.randn(*crowd.rotations.shape[:3], 3, generator=random))
    moved = crowd.translation + 0.02 * torch.randn(*crowd.translation.shape, generator=random)
    return LikelyHands(crowd.keypoints, None, turns @ crowd.rotations, 0 * crowd.shape, moved)


def pixels_of(keypoints: torch.Tensor) -> torch.Tensor:
    seen = keypoints.double() @ CAMERA.T
    return seen[..., :2] / seen[..., 2:]


def about_wrist(keypoints: torch.Tensor) -> torch.Tensor:
    return keypoints - keypoints[:, :, :1]


def errors_mm(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    return 1000 * (found - true).norm(dim=-1)


# ---- derivatives


def state_of(crowd) -> hand_fit.PairState:
    rotations, translation = both_sides_rotations(crowd.rotations), both_sides(crowd.translation)
    return hand_fit.PairState(rotations.double(), crowd.shape.double(), translation.double())


def test_derivatives_are_those_of_finite_differences(fit, crowd):
    """Of the whole gradient of the cost without outliers, every kind of evidence together."""
    state = state_of(crowd)
    keypoints, jacobian = fit.keypoints(state)
    turned, slope = fit._pose_residual(state)
    for parameter in range(PARAMETERS):
        step = torch.zeros(len(crowd.shape), PARAMETERS, dtype=torch.float64)
        step[:, parameter] = 1e-6
        after, before = state.moved(step), state.moved(-step)
        numeric = (fit.keypoints(after)[0] - fit.keypoints(before)[0]).flatten(1) / 2e-6
        torch.testing.assert_close(jacobian[..., parameter], numeric, atol=1e-5, rtol=0)
        hand, joint = divmod(parameter, hand_fit.OF_HAND)
        if hand < 2 and 3 <= joint < 48:
            numeric = (fit._pose_residual(after)[0] - fit._pose_residual(before)[0])[:, hand] / 2e-6
            torch.testing.assert_close(slope[:, hand, :, joint - 3], numeric, atol=1e-4, rtol=1e-5)
    assert turned.shape == (12, 2, 45) and keypoints.shape == crowd.keypoints.shape


@pytest.mark.parametrize("kind", ["pixels", "points", "relative", "turned", "contact"])
def test_the_gradient_is_that_of_the_cost(fit, crowd, kind):
    given = crowd.keypoints.double() + 0.004 * torch.randn(
        crowd.keypoints.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    given[0, 0, 5] = torch.nan
    of_kind = {
        "pixels": {"pixels": pixels_of(given), "pixel_sigma": sigma(crowd, 2.0)},
        "points": {"points": given, "point_sigma": sigma(crowd, 0.005)},
        "relative": {"relative": 2 * given + 1, "relative_sigma": sigma(crowd, 0.05)},
        "turned": {"relative": 2 * given + 1, "relative_sigma": sigma(crowd, 0.05), "turned": True},
        "contact": {"points": crowd.keypoints.double(), "point_sigma": sigma(crowd, 10.0)},
    }
    evidence, state = Evidence(intrinsics(crowd), **of_kind[kind]), state_of(crowd)
    if kind == "contact":
        state.translation = both_sides(both_sides(state.translation) * torch.tensor([0.3, 0.3, 1.0]))
    gradient = fit.normal(evidence, state)[1]
    random = torch.Generator().manual_seed(4)
    for _ in range(4):
        step = torch.randn(len(crowd.shape), PARAMETERS, generator=random, dtype=torch.float64)
        costs = [fit.normal(evidence, state.moved(sign * 1e-6 * step))[2] for sign in (1, -1)]
        numeric = (costs[0] - costs[1]) / 2e-6
        # Size, place and turn of relative points are the best without Cauchy weights, which are near 1 here.
        torch.testing.assert_close((gradient * step).sum(1), numeric, atol=1e-3, rtol=5e-3)


# ---- what is found


def test_exact_points_are_met(fit, crowd):
    found = fit.fit(
        Evidence(intrinsics(crowd), points=crowd.keypoints, point_sigma=sigma(crowd, 3e-4)), disturbed(crowd)
    )
    assert errors_mm(found.keypoints, crowd.keypoints).mean() < 0.5
    for side, hand in ((side, side.index) for side in builtin_hand_models()):
        whole = builtin_hand_models()[side].pose_by_rotations(
            found.rotations[:, hand], found.shape, found.translation[:, hand]
        )
        torch.testing.assert_close(whole.keypoints, found.keypoints[:, hand], atol=1e-7, rtol=0)


def test_noise_becomes_less_and_the_covariance_says_how_much_is_left(fit):
    """10 mm of noise on 100 pairs: the 90 % intervals of coordinates hold the truth in 85 to 97 %."""
    crowd = CrowdSampler(builtin_hand_models()).draw(np.random.default_rng(5), 100)
    true = crowd.keypoints.double() + PLACE
    noisy = true + 0.01 * torch.randn(true.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = disturbed(HandCrowd(true, crowd.rotations, crowd.shape, crowd.translation + PLACE))
    found = fit.fit(Evidence(intrinsics(crowd), points=noisy, point_sigma=sigma(crowd, 0.01)), start)
    assert errors_mm(found.keypoints, true).mean() < 0.62 * errors_mm(noisy, true).mean()
    deviation = found.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    inside = ((found.keypoints - true).flatten(2).abs() < 1.645 * deviation).double().mean()
    assert 0.85 < inside < 0.97


def test_pixels_alone_are_enough(fit, crowd):
    """2 px of noise: shape about the wrist within 15 mm for most hands, and the joints lie on their pixels."""
    pixels = pixels_of(crowd.keypoints)
    noisy = pixels + 2 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = fit.fit(Evidence(intrinsics(crowd), pixels=noisy, pixel_sigma=sigma(crowd, 2.0)), disturbed(crowd))
    assert errors_mm(about_wrist(found.keypoints), about_wrist(crowd.keypoints)).mean((1, 2)).median() < 15
    assert (pixels_of(found.keypoints) - pixels).norm(dim=-1).mean() < 2.5


def test_relative_points_count_up_to_place_and_size(fit, crowd):
    """The same points ten times as large and elsewhere say the same; turned ones too if a turn is allowed."""
    turn = axis_angle_to_matrix(torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64))
    pixels = {"pixels": pixels_of(crowd.keypoints), "pixel_sigma": sigma(crowd, 2.0)}
    points, deviation, start = crowd.keypoints.double(), sigma(crowd, 0.005), disturbed(crowd)

    def found(relative: torch.Tensor, turned: bool) -> torch.Tensor:
        evidence = Evidence(intrinsics(crowd), relative=relative, relative_sigma=deviation, turned=turned, **pixels)
        return fit.fit(evidence, start).keypoints

    plain, larger = found(points, False), found(10 * points + 3, False)
    torch.testing.assert_close(plain, larger, atol=1e-6, rtol=0)
    free, turned = found(points, True), found(10 * points @ turn.T + 3, True)
    torch.testing.assert_close(free, turned, atol=1e-6, rtol=0)
    assert errors_mm(about_wrist(plain), about_wrist(crowd.keypoints)).mean() < 8


def test_a_wrong_joint_does_little(fit, crowd):
    points = crowd.keypoints.double().clone()
    points[:, 0, 7] += 0.08
    right, wrong = (
        fit.fit(Evidence(intrinsics(crowd), points=given, point_sigma=sigma(crowd, 0.003)), disturbed(crowd)).keypoints
        for given in (crowd.keypoints, points)
    )
    assert errors_mm(right, wrong).mean() < 1
    assert errors_mm(right, wrong)[:, 0, 7].mean() < 8


def test_hands_are_kept_from_running_through_each_other(fit, crowd):
    """Both hands at one place: nothing but contact pushes them apart."""
    together = crowd.keypoints.double() - crowd.keypoints.double().mean(2, keepdim=True) + PLACE
    nearest = []
    for keypoints in (
        together,
        fit.fit(
            Evidence(intrinsics(crowd), points=together, point_sigma=sigma(crowd, 0.02)), disturbed(crowd)
        ).keypoints,
    ):
        nearest.append(torch.cdist(keypoints[:, 0], keypoints[:, 1]).flatten(1).amin(1))
    assert nearest[1].mean() > 1.5 * nearest[0].mean()


def test_a_hand_that_nobody_saw_does_not_push_the_other(fit, crowd):
    """Wherever the unseen hand starts, also within the seen one."""
    points = crowd.keypoints.double().clone()
    points[:, 1] = torch.nan
    evidence, start = Evidence(intrinsics(crowd), points=points, point_sigma=sigma(crowd, 0.005)), disturbed(crowd)
    inside = start.translation.clone()
    inside[:, 1] += crowd.keypoints[:, 0].mean(1) - crowd.keypoints[:, 1].mean(1)
    moved = LikelyHands(None, None, start.rotations, start.shape, inside)
    apart, within = (fit.fit(evidence, one).keypoints[:, 0] for one in (start, moved))
    torch.testing.assert_close(apart, within, atol=1e-6, rtol=0)


def test_pairs_do_not_depend_on_their_neighbours(fit, crowd):
    """Also where a hand, or all that is known, is missing."""
    points = crowd.keypoints.double().clone()
    points[1, 0], points[2] = torch.nan, torch.nan
    start, deviation = disturbed(crowd), sigma(crowd, 0.01)
    together = fit.fit(Evidence(intrinsics(crowd), points=points, point_sigma=deviation), start)
    assert together.keypoints.isfinite().all() and together.covariance.isfinite().all()
    for pair in range(3):
        own = slice(pair, pair + 1)
        alone = fit.fit(
            Evidence(CAMERA[None], points=points[own], point_sigma=deviation[own]),
            LikelyHands(None, None, start.rotations[own], start.shape[own], start.translation[own]),
        )
        torch.testing.assert_close(alone.keypoints[0], together.keypoints[pair], atol=1e-6, rtol=0)
