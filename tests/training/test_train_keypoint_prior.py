"""Training of the keypoint prior: it learns, what it learns is likelier hands, and the card says of which hand model."""

from __future__ import annotations

import json

import numpy as np
import torch

from im2hands.datasets.synthetic.gestures import ANGLE_NAMES, LIMITS, GesturePrior
from im2hands.datasets.synthetic.hand_crowd import CrowdSampler
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.networks.keypoint_prior import load_keypoint_prior
from im2hands.training.keypoint_prior import KEYPOINT_PRIOR, _name_of
from tests.training import trained as small
from tests.training.trained import trained


def hands_over_the_range_of_motion(count: int, seed: int) -> torch.Tensor:
    """Pairs whose angles are uniform within anatomical limits, apart from each other: a sampler of its own."""
    rng, models = np.random.default_rng(seed), builtin_hand_models()
    prior = GesturePrior(models[Side.RIGHT])
    low, high = np.array([LIMITS[name.split(".")[1]] for name in ANGLE_NAMES]).T
    pairs = []
    for _ in range(count):
        shape, hands = rng.normal(size=(1, 10)), []
        for side in SIDES:
            pose = np.concatenate([rng.normal(0, 1.5, 3), prior.pose(rng.uniform(low, high), side)])
            hands.append(models[side].pose(pose[None], shape, rng.normal(0, 0.06, (1, 3))).keypoints[0])
        pairs.append(torch.stack(hands))
    return torch.stack(pairs).float()


def about_the_middle_base(keypoints: torch.Tensor) -> torch.Tensor:
    return keypoints - keypoints[:, :, 9:10]


def test_a_short_training_halves_the_noise_of_poses_from_elsewhere(two_hands, tmp_path):
    """400 steps; 10 mm of noise per coordinate on poses of a sampler that training does not share."""
    sizes = {"steps": 400, "batch_pairs": 48, "width": 160, "blocks": 2, "validate_every": 400, "weight_average": 0.95}
    trained(KEYPOINT_PRIOR, small.KEYPOINT_PRIOR, two_hands, tmp_path, **sizes)
    network, card = load_keypoint_prior(tmp_path / "model")
    assert card.metrics["val_jpe"] < 0.8 * card.metrics["val_in_jpe"]
    true = hands_over_the_range_of_motion(100, seed=3)
    noisy = true + 0.01 * torch.from_numpy(np.random.default_rng(4).normal(size=true.shape)).float()
    before, after = (
        (about_the_middle_base(hands) - about_the_middle_base(true)).norm(dim=-1).mean()
        for hands in (noisy, network(noisy).keypoints)
    )
    assert after < 0.5 * before


def test_the_card_names_the_hand_model(two_hands, finished, tmp_path):
    card = json.loads((finished("keypoint_prior") / "model/card.json").read_text())
    assert card["dataset"] == "hands drawn from the built-in hand model"
    assert card["architecture"] == {"width": 16, "blocks": 1}
    models = builtin_hand_models()
    for model in models.values():
        object.__setattr__(model, "template", model.template * 1.1)
    assert "licence" in _name_of(CrowdSampler(models))
    other = trained(KEYPOINT_PRIOR, small.KEYPOINT_PRIOR, two_hands, tmp_path, steps=1)
    assert set(other) > {"val_jpe", "val_in_jpe", "val_in_90"}
