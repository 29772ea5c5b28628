"""Training of the keypoint prior: it learns, what it learns is likelier hands, and the card says of which hand model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from im2hands.datasets.synthetic.gestures import ANGLE_NAMES, LIMITS, GesturePrior
from im2hands.datasets.synthetic.hand_crowd import CrowdSampler
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import ConfigError
from im2hands.networks.keypoint_prior import load_keypoint_prior
from im2hands.networks.model_folder import built_in
from im2hands.training.keypoint_prior import KEYPOINT_PRIOR, _name_of
from tests.training import trained as small
from tests.training.trained import trained
from tests.training.untrained import write_prior


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


def test_it_starts_from_given_weights(two_hands, tmp_path):
    """Next to no learning rate keeps them but for the hand model's skeleton; other sizes are refused with the remedy."""
    given = write_prior(tmp_path / "given")
    trained(KEYPOINT_PRIOR, small.KEYPOINT_PRIOR, two_hands, tmp_path, steps=1, lr=1e-12, start=str(given))
    ours, theirs = (load_keypoint_prior(folder)[0].state_dict() for folder in (tmp_path / "model", given))
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, atol=1e-6, rtol=0)
    with pytest.raises(
        ConfigError, match=r"have blocks 4, and params.yaml asks for 1; make them equal, or set start to scratch"
    ):
        trained(KEYPOINT_PRIOR, small.KEYPOINT_PRIOR, two_hands, tmp_path / "other", start="builtin")


def test_the_shipped_weights_take_10_mm_of_noise_to_less_than_9(two_hands):
    """On poses over the whole range of motion, which their training did not draw; gestures come out nearer, see docs."""
    network, card = load_keypoint_prior(built_in("keypoint_prior"))
    assert card.dataset == "hands drawn from the built-in hand model"
    true = hands_over_the_range_of_motion(60, seed=8)
    noisy = true + 0.01 * torch.from_numpy(np.random.default_rng(4).normal(size=true.shape)).float()
    found = about_the_middle_base(network(noisy).keypoints) - about_the_middle_base(true)
    assert 1000 * found.norm(dim=-1).mean() < 9


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
