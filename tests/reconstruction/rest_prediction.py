"""What IntagHand would say of two hands at rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from im2hands.hands.joints import MIDDLE_BASE
from im2hands.hands.model import HandModel
from im2hands.hands.sides import Side
from im2hands.networks.image_encoder import ImageFeatures
from im2hands.networks.intaghand import HandPairPrediction, PredictedHand, project

FEATURES = ImageFeatures(*[torch.zeros(1, 1, 64, 64)] * 3, [], [], [])
OFFSET = torch.tensor([0.06, -0.02, 0.03])
"""Right middle base minus left one, m."""


def prediction(
    models: Mapping[Side, HandModel], scales: Sequence[float], shifts: Sequence[Sequence[float]]
) -> HandPairPrediction:
    """Both rest hands about the left middle base with the given projections."""
    hands = {}
    for side in Side:
        vertices = models[side].template[None].float()
        root = models[side].regress(vertices.to(models[side].dtype))[:, MIDDLE_BASE].float()
        vertices = vertices - root[:, None] + (OFFSET if side is Side.RIGHT else 0)
        scale, shift = torch.tensor([scales[side.index]]), torch.tensor([shifts[side.index]])
        pixels = project(vertices, scale, shift)
        hands[side] = PredictedHand(vertices, pixels, vertices[:, :244], pixels[:, :244], scale, shift)
    return HandPairPrediction(hands, FEATURES)
