"""Hands that bend and travel, for the tests of films."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from scipy.spatial.transform import Rotation, Slerp

from im2hands.datasets.synthetic.hand_crowd import CrowdSampler
from im2hands.films.motion import FilmClock, HandMotion
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side

MODELS = builtin_hand_models()


def moving_pair(pictures: int, seed: int = 0, poses: int = 4) -> dict[Side, HandMotion]:
    """Both hands of a person going through drawn poses, 0.7 m before the camera."""
    crowd = CrowdSampler(MODELS).draw(np.random.default_rng(seed), poses)
    rotations, shape = crowd.rotations.double().numpy(), crowd.shape[0].double().numpy()
    share = np.linspace(0, poses - 1, pictures)
    made = {}
    for side in SIDES:
        keys = rotations[:, side.index]
        turned = np.stack(
            [Slerp(np.arange(poses), Rotation.from_matrix(keys[:, j]))(share).as_matrix() for j in range(16)], axis=1
        )
        wrist = np.array([0.12 if side is Side.RIGHT else -0.12, 0.05, 0.7])
        travel = 0.08 * np.stack([np.sin(share), np.cos(share), np.sin(0.7 * share)], axis=1)
        made[side] = HandMotion(side, turned, shape, wrist + travel, np.ones(pictures, bool))
    return made


def skinned(motion: HandMotion, picture: int) -> np.ndarray:
    """The hand model's vertices by plain skinning, without pose corrections, in the motion's frame: (778, 3)."""
    model = MODELS[motion.side]
    shape = torch.from_numpy(motion.shape)[None]
    posed = model.pose_by_rotations(torch.from_numpy(motion.rotations[picture])[None], shape)
    shaped = torch.cat([model.shaped_template(shape)[0], torch.ones(778, 1)], -1).double()
    moved = torch.einsum("vj,jab,vb->va", model.skinning_weights, posed.skinning_transforms[0], shaped)[:, :3]
    return (moved - posed.keypoints[0, 0]).numpy() + motion.wrist[picture]


def clock_of(pictures: int, rate: Fraction = Fraction(30)) -> FilmClock:
    return FilmClock.regular(pictures, rate)
