"""Posed built-in hands in front of a camera, for the tests of keypoint sources."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from im2hands.datasets.synthetic.gestures import GesturePrior
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side


def two_hands(seed: int) -> np.ndarray:
    """Left and right hand of a drawn gesture, shape, orientation and place: (2, 21, 3), camera, m, STANDARD order."""
    random, models = np.random.default_rng(seed), builtin_hand_models()
    prior, hands = GesturePrior(models[Side.RIGHT]), np.zeros((2, 21, 3))
    shape = torch.tensor(random.normal(0, 1, (1, 10)))
    for side in Side:
        model = models[side]
        root = Rotation.random(random_state=random).as_rotvec()
        pose = np.concatenate([root, prior.pose(prior.draw(random)[0], side)])[None]
        points = model.pose(torch.tensor(pose), shape).keypoints[0].numpy()
        x = 0.06 if side is Side.RIGHT else -0.06
        place = np.array([x, 0, 0.7]) + random.uniform(-0.05, 0.05, 3)
        hands[side.index] = points - points.mean(axis=0) + place
    return hands
