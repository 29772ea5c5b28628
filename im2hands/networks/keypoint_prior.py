"""The keypoint prior: from uncertain keypoints of two hands to hands that could be a person's, without a photograph.

Keypoints of a hand are 63 numbers that depend on some 20 angles and a shape, so most of their errors are errors that no hand
can have. The network answers with parameters of the hand model (rotations, one shape for both hands, places), and its keypoints
are those of the model: bones have lengths of a hand. With every joint comes a standard deviation.

Each hand is seen in right-hand space, turned and moved onto the resting hand; the same weights see both hands, and each sees
the other one in its own frame. Metres in and out; joints in STANDARD order, hands in the order of SIDES.

Source: our own, after trials that took 21.7 mm of error to 6.5 mm; see docs/keypoint-prior.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from im2hands.hands.joints import JOINT_NAMES, PALM, THUMB_BASE
from im2hands.hands.model import JOINTS, SHAPES, HandModel
from im2hands.hands.sides import Side
from im2hands.hands.skeleton import HandSkeleton, both_sides, both_sides_rotations
from im2hands.networks.model_folder import ModelCard, restored_network

NAME = "keypoint_prior"
POINTS = len(JOINT_NAMES)
UNIT = 0.05
"""Metres per unit of the network's inputs."""
FAR = 0.3
"""Metres beyond which inputs grow no further."""
FINGER_WEIGHT = 0.15
"""Weight of joints beyond the palm and the thumb's base when a hand is turned onto the resting one."""
UNKNOWN_SIGMA = 0.01
"""Metres; only the weights of alignment, the network itself is told that it is unknown."""
SMALLEST_SIGMA, SIGMA_UNIT = 5e-4, 0.01
"""Metres: of the standard deviations that come out."""
START_SCALE = 0.1
"""Of the last layer's initial weights: training starts near the resting hand."""
INPUTS = 2 * 6 * POINTS
"""Of a hand: places, whether they are seen, whether their sigma is known, and it; the same of the other hand."""
PARAMETERS = 6 * JOINTS + SHAPES + 3
"""Of a hand: rotations as two columns of their matrices, shape, place."""


@dataclass(frozen=True)
class LikelyHands:
    """What the prior makes of keypoints; the frame of the given ones, m.

    keypoints: of both hands, left not mirrored.  sigma: standard deviation of every joint per coordinate.
    rotations: of every joint relative to its parent, mean pose included; the first is the root's.  shape: of both hands.
    translation: of the hand model.
    """

    keypoints: Float[Tensor, "pairs 2 21 3"]
    sigma: Float[Tensor, "pairs 2 21"]
    rotations: Float[Tensor, "pairs 2 16 3 3"]
    shape: Float[Tensor, "pairs 10"]
    translation: Float[Tensor, "pairs 2 3"]


class KeypointPriorNetwork(nn.Module):
    """width, blocks: of a residual network.

    `skeleton` holds what keypoints of the hand model depend on, so that the weights alone are enough for inference.
    """

    def __init__(self, width: int = 512, blocks: int = 4) -> None:
        super().__init__()
        self.architecture = {"width": width, "blocks": blocks}
        self.skeleton = HandSkeleton()
        self.enter = nn.Linear(INPUTS, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
            for _ in range(blocks)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, PARAMETERS + POINTS))
        nn.init.zeros_(self.leave[1].bias)
        with torch.no_grad():
            self.leave[1].weight *= START_SCALE

    def start_from(self, models: Mapping[Side, HandModel]) -> None:
        """Takes over the skeleton of these hand models."""
        self.skeleton.load_state_dict(HandSkeleton.of(models).state_dict())

    def forward(
        self, keypoints: Float[Tensor, "pairs 2 21 3"], sigma: Float[Tensor, "pairs 2 21"] | None = None
    ) -> LikelyHands:
        """keypoints: m, any frame that does not mirror, NaN where a joint is missing.

        sigma: their standard deviation per coordinate (m), NaN or None where unknown. A hand without any joint gets one, far
        from certain: put where the other hand is.
        """
        seen = keypoints.isfinite().all(-1)
        sigma = keypoints.new_full(keypoints.shape[:-1], torch.nan) if sigma is None else sigma
        points = torch.where(seen[..., None], both_sides(keypoints), 0.0)
        turn, centre = self._frames(points, seen, sigma)
        values = self.enter(self._inputs(points, seen, sigma, turn, centre))
        for block in self.blocks:
            values = values + block(values)
        parameters, spread = self.leave(values).split([PARAMETERS, POINTS], -1)
        return self._hands(parameters, SMALLEST_SIGMA + SIGMA_UNIT * F.softplus(spread), turn, centre)

    def _frames(
        self,
        points: Float[Tensor, "pairs 2 21 3"],
        seen: Bool[Tensor, "pairs 2 21"],
        sigma: Float[Tensor, "pairs 2 21"],
    ) -> tuple[Float[Tensor, "pairs 2 3 3"], Float[Tensor, "pairs 2 3"]]:
        """The turn (onto the resting hand) and the centre of every hand; hands that are not seen take the other's centre."""
        rest = self.skeleton.rest_keypoints().to(points)
        weights = points.new_full((POINTS,), FINGER_WEIGHT)
        weights[[*PALM, THUMB_BASE]] = 1.0
        spread = torch.where(sigma.isfinite(), sigma, UNKNOWN_SIGMA).clamp_min(2e-3)
        weights = torch.where(seen, weights / spread.square(), 0.0)
        total = weights.sum(-1, keepdim=True)
        weights = (weights / total.clamp_min(1e-9))[..., None]
        centre, rest_centre = (weights * points).sum(2), (weights * rest).sum(2)
        there = total > 0
        centre = torch.where(there, centre, both_sides(both_sides(centre).flip(1)))
        covariance = (weights * (rest - rest_centre[:, :, None])).mT @ (points - centre[:, :, None])
        return _nearest_rotation(covariance.detach()), centre

    def _inputs(
        self,
        points: Float[Tensor, "pairs 2 21 3"],
        seen: Bool[Tensor, "pairs 2 21"],
        sigma: Float[Tensor, "pairs 2 21"],
        turn: Float[Tensor, "pairs 2 3 3"],
        centre: Float[Tensor, "pairs 2 3"],
    ) -> Float[Tensor, "pairs 2 inputs"]:
        """What the network sees of each hand."""
        own = (points - centre[:, :, None]) @ turn.mT
        world = both_sides(points)
        other = (both_sides(world.flip(1)) - centre[:, :, None]) @ turn.mT
        known = sigma.isfinite() & seen
        told = torch.where(known, (sigma.clamp(1e-3, 0.1) / 0.01).log(), 0.0)
        others = seen.flip(1)
        parts = [
            _bounded(torch.where(seen[..., None], own, 0.0)).flatten(2),
            seen.to(own.dtype),
            known.to(own.dtype),
            told,
            _bounded(torch.where(others[..., None], other, 0.0)).flatten(2),
            others.to(own.dtype),
            (others & known.flip(1)).to(own.dtype),
            told.flip(1),
        ]
        return torch.cat(parts, -1)

    def _hands(
        self,
        parameters: Float[Tensor, "pairs 2 parameters"],
        sigma: Float[Tensor, "pairs 2 21"],
        turn: Float[Tensor, "pairs 2 3 3"],
        centre: Float[Tensor, "pairs 2 3"],
    ) -> LikelyHands:
        """The hands of parameters that count from the resting hand in the frame of each hand."""
        columns, shape, place = parameters.split([6 * JOINTS, SHAPES, 3], -1)
        rotations = rotations_of(columns.unflatten(-1, (JOINTS, 6)))
        shape = shape.mean(1)
        wrist = self.skeleton.rest_wrists(shape)
        # The model turns about its shaped wrist, which is not the origin.
        translation = ((wrist + UNIT * place)[:, :, None] @ turn)[:, :, 0] + centre - wrist
        rotations = torch.cat([turn.mT[:, :, None] @ rotations[:, :, :1], rotations[:, :, 1:]], 2)
        keypoints = self.skeleton.keypoints(rotations, shape[:, None].expand(-1, 2, -1), translation)
        return LikelyHands(
            both_sides(keypoints), sigma, both_sides_rotations(rotations), shape, both_sides(translation)
        )


def rotations_of(columns: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations from changes of the first two columns of the identity, made orthogonal (Zhou et al., CVPR 2019)."""
    first, second = (columns + columns.new_tensor([1, 0, 0, 0, 1, 0])).split(3, -1)
    x = F.normalize(first, dim=-1)
    y = F.normalize(second - (second * x).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def _nearest_rotation(covariance: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation R that makes sum w r (R p)ᵀ largest, for covariance = sum w r pᵀ (Kabsch)."""
    u, _, vt = torch.linalg.svd(covariance)
    sign = torch.linalg.det(u @ vt).sign()
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), torch.where(sign == 0, 1.0, sign)], -1)
    return (u * flip[..., None, :]) @ vt


def _bounded(metres: Tensor) -> Tensor:
    return metres.clamp(-FAR, FAR) / UNIT


def load_keypoint_prior(
    folder: str | os.PathLike, device: str | torch.device = "cpu"
) -> tuple[KeypointPriorNetwork, ModelCard]:
    """The network of a model folder, ready to evaluate, and its card. Raises as `restored_network`."""
    return restored_network(folder, NAME, lambda weights, card: KeypointPriorNetwork(**card.architecture), device)
