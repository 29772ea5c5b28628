"""Both hands from whatever is known of their joints: pixels, metric points, relative points, each with its uncertainty.

Damped least squares (Levenberg-Marquardt) on the hand model's rotations, one shape for both hands and their places, for many
pairs at once, with analytic derivatives. Poses are kept near those of people by a normal distribution of rotation vectors,
wrong joints count less and less (Cauchy weights), and hands are kept from running through each other. What comes out has a
covariance: the inverse of the normal matrix.

Camera frame (x right, y down, z forward), metres, STANDARD order, hands in the order of SIDES; inside, hands are in right-hand
space (see `hands.sides`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from im2hands.datasets.synthetic.hand_crowd import SHAPE_DEVIATION, CrowdSampler
from im2hands.geometry.rotations import axis_angle_to_matrix, cross_matrix, matrix_to_axis_angle
from im2hands.hands.joints import JOINT_NAMES, MANO_PARENTS, PARENTS, WRIST, JointOrder
from im2hands.hands.model import JOINTS, SHAPES, HandModel
from im2hands.hands.sides import Side
from im2hands.hands.skeleton import HandSkeleton, both_sides, both_sides_rotations
from im2hands.networks.keypoint_prior import LikelyHands

POINTS = len(JOINT_NAMES)
OF_HAND = 3 * JOINTS + 3
"""Parameters of a hand: a turn of every joint and a move."""
PARAMETERS = 2 * OF_HAND + SHAPES
STEPS = 10
CAUCHY = 3.0
"""Standard deviations from where on a joint counts less and less."""
CROWD = 3000
"""Pairs that the distribution of poses is estimated from."""
TOUCH, CONTACT_SIGMA, CONTACTS = 0.014, 0.003, 16
"""Metres between the middle lines of fingers that touch, and how firmly; number of closest places that are looked at."""
CLOSEST = 0.05
"""Metres: hands are not fitted nearer to the camera than this."""


@dataclass(frozen=True)
class Evidence:
    """What is known of the joints of some pairs; NaN where nothing is.

    intrinsics: camera matrices.  pixels, pixel_sigma: in the picture, and their standard deviations (px).  points,
    point_sigma: in the camera frame (m).  relative, relative_sigma: in camera axes, up to place and size of each hand (and up
    to a turn, if `turned`); sigma in metres once they have the size of the hand.
    """

    intrinsics: Float[Tensor, "pairs 3 3"]
    pixels: Float[Tensor, "pairs 2 21 2"] | None = None
    pixel_sigma: Float[Tensor, "pairs 2 21"] | None = None
    points: Float[Tensor, "pairs 2 21 3"] | None = None
    point_sigma: Float[Tensor, "pairs 2 21"] | None = None
    relative: Float[Tensor, "pairs 2 21 3"] | None = None
    relative_sigma: Float[Tensor, "pairs 2 21"] | None = None
    turned: bool = False

    def _with(self, change: Callable[[Tensor], Tensor]) -> Evidence:
        return Evidence(
            **{name: change(value) if isinstance(value, Tensor) else value for name, value in vars(self).items()}
        )

    def double(self) -> Evidence:
        """In float64."""
        return self._with(Tensor.double)

    def pairs(self, chosen: slice | np.ndarray) -> Evidence:
        """That of some of the pairs."""
        return self._with(lambda value: value[chosen])

    def seen_hands(self) -> Bool[Tensor, "pairs 2"]:
        """Of which hands anything is known; one that nobody saw must not push the other one away."""
        seen = torch.zeros(len(self.intrinsics), 2, dtype=torch.bool)
        for given in (self.pixels, self.points, self.relative):
            if given is not None:
                seen |= given.isfinite().flatten(2).any(2)
        return seen


@dataclass(frozen=True)
class FittedHands:
    """The most likely hands, camera frame, m.

    keypoints, rotations, shape, translation: as of LikelyHands.  covariance: of each hand's 63 coordinates (m²).
    cost: half the sum of squares that is left.
    """

    keypoints: Float[Tensor, "pairs 2 21 3"]
    rotations: Float[Tensor, "pairs 2 16 3 3"]
    shape: Float[Tensor, "pairs 10"]
    translation: Float[Tensor, "pairs 2 3"]
    covariance: Float[Tensor, "pairs 2 63 63"]
    cost: Float[Tensor, " pairs"]


@dataclass(frozen=True)
class PoseDistribution:
    """Normal distribution of the 15 finger joints' rotation vectors (right-hand space, mean pose included).

    mean: rad.  whitener: turns a difference from the mean into independent units of one standard deviation.
    """

    mean: Float[Tensor, "45"]
    whitener: Float[Tensor, "45 45"]

    @classmethod
    def of(cls, models: Mapping[Side, HandModel], seed: int = 0) -> PoseDistribution:
        """That of the poses which the keypoint prior learns from."""
        crowd = CrowdSampler(models).draw(np.random.default_rng(seed), CROWD)
        fingers = both_sides_rotations(crowd.rotations)[:, :, 1:].flatten(0, 1).double()
        vectors = matrix_to_axis_angle(fingers).flatten(1)
        mean = vectors.mean(0)
        covariance = (vectors - mean).T @ (vectors - mean) / len(vectors) + 1e-5 * torch.eye(45, dtype=torch.float64)
        return cls(mean, torch.linalg.inv(torch.linalg.cholesky(covariance)))


@dataclass
class PairState:
    """Parameters of hands in right-hand space; see LikelyHands. A step is, for each hand, 16 turns that are applied after the
    joints' rotations and a move, and then the common shape."""

    rotations: Float[Tensor, "pairs 2 16 3 3"]
    shape: Float[Tensor, "pairs 10"]
    translation: Float[Tensor, "pairs 2 3"]

    @classmethod
    def of(cls, hands: LikelyHands | FittedHands) -> PairState:
        """In float64."""
        return cls(
            both_sides_rotations(hands.rotations).double(), hands.shape.double(), both_sides(hands.translation).double()
        )

    def moved(self, step: Float[Tensor, "pairs 112"]) -> PairState:
        of_hands, shape = step.split([2 * OF_HAND, SHAPES], -1)
        turns, moves = of_hands.unflatten(-1, (2, OF_HAND)).split([3 * JOINTS, 3], -1)
        turned = axis_angle_to_matrix(turns.unflatten(-1, (JOINTS, 3))) @ self.rotations
        return PairState(turned, self.shape + shape, self.translation + moves)

    def where(self, chosen: Bool[Tensor, " pairs"], other: PairState) -> PairState:
        def pick(ours: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(chosen.view(-1, *[1] * (ours.ndim - 1)), ours, theirs)

        return PairState(*(pick(a, b) for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


class HandFit:
    """models: both hands.  steps: Levenberg-Marquardt steps."""

    def __init__(self, models: Mapping[Side, HandModel], steps: int = STEPS) -> None:
        self.skeleton, self.poses, self.steps = HandSkeleton.of(models).double(), PoseDistribution.of(models), steps

    @staticmethod
    def shape_information() -> Float[Tensor, "10 10"]:
        """Inverse covariance of people's shapes."""
        return torch.eye(SHAPES, dtype=torch.float64) / SHAPE_DEVIATION**2

    @torch.no_grad()
    def fit(self, evidence: Evidence, start: LikelyHands) -> FittedHands:
        """The hands that fit the evidence best, found from `start` (camera frame)."""
        evidence, state = evidence.double(), PairState.of(start)
        damping = torch.full((len(state.shape),), 1e-2, dtype=torch.float64)
        normal, gradient, cost = self.normal(evidence, state)
        for _ in range(self.steps):
            diagonal = normal.diagonal(dim1=-2, dim2=-1)
            damped = normal + torch.diag_embed(damping[:, None] * diagonal + 1e-9)
            step = -torch.linalg.solve(damped, gradient)
            tried = state.moved(step)
            new_normal, new_gradient, new_cost = self.normal(evidence, tried)
            better = new_cost < cost
            state = tried.where(better, state)
            normal = torch.where(better[:, None, None], new_normal, normal)
            gradient = torch.where(better[:, None], new_gradient, gradient)
            cost = torch.where(better, new_cost, cost)
            damping = torch.where(better, damping / 4, damping * 8).clamp(1e-7, 1e6)
        return self._result(state, normal, cost)

    def _result(self, state: PairState, normal: Tensor, cost: Tensor) -> FittedHands:
        keypoints, jacobian = self.keypoints(state)
        parameters = torch.linalg.inv(normal + 1e-9 * torch.eye(PARAMETERS, dtype=normal.dtype))
        of_hands = jacobian.unflatten(1, (2, 3 * POINTS))
        covariance = of_hands @ parameters[:, None] @ of_hands.mT
        return FittedHands(
            keypoints,
            both_sides_rotations(state.rotations),
            state.shape,
            both_sides(state.translation),
            covariance,
            cost,
        )

    def normal(
        self, evidence: Evidence, state: PairState, pose_weight: Float[Tensor, "pairs 2"] | None = None
    ) -> tuple[Float[Tensor, "pairs 112 112"], Float[Tensor, "pairs 112"], Float[Tensor, " pairs"]]:
        """Normal matrix, gradient and cost (half the sum of squares) at a state; evidence in float64.

        pose_weight: how much each hand is kept near the poses of people, 1 by default.
        """
        pairs = len(state.shape)
        normal = state.shape.new_zeros(pairs, PARAMETERS, PARAMETERS)
        gradient, cost = state.shape.new_zeros(pairs, PARAMETERS), state.shape.new_zeros(pairs)
        keypoints, jacobian = self.keypoints(state)
        for residual, slope, robust in self._blocks(evidence, keypoints, jacobian):
            squares = residual.square().sum(-1)
            weight = 1 / (1 + squares / CAUCHY**2) if robust else torch.ones_like(squares)
            cost = cost + 0.5 * (CAUCHY**2 * (squares / CAUCHY**2).log1p() if robust else squares).sum(-1)
            slope = (weight.sqrt()[..., None, None] * slope).flatten(1, 2)
            residual = (weight.sqrt()[..., None] * residual).flatten(1)
            normal += slope.mT @ slope
            gradient += (slope.mT @ residual[..., None])[..., 0]
        turns, slope = self._pose_residual(state)
        if pose_weight is not None:
            turns, slope = pose_weight.sqrt()[..., None] * turns, pose_weight.sqrt()[..., None, None] * slope
        cost = cost + 0.5 * turns.square().sum((-1, -2))
        for hand in range(2):
            fingers = slice(hand * OF_HAND + 3, hand * OF_HAND + 3 * JOINTS)
            normal[:, fingers, fingers] += slope[:, hand].mT @ slope[:, hand]
            gradient[:, fingers] += (slope[:, hand].mT @ turns[:, hand, :, None])[..., 0]
        shape = slice(2 * OF_HAND, PARAMETERS)
        normal[:, shape, shape] += self.shape_information()
        gradient[:, shape] += state.shape / SHAPE_DEVIATION**2
        return normal, gradient, cost + 0.5 * (state.shape / SHAPE_DEVIATION).square().sum(-1)

    def _blocks(
        self, evidence: Evidence, keypoints: Tensor, jacobian: Tensor
    ) -> Iterator[tuple[Float[Tensor, "pairs joints axes"], Float[Tensor, "pairs joints axes 112"], bool]]:
        """Residuals in standard deviations, their derivatives, and whether wrong ones are to count less."""
        points, slopes = keypoints.flatten(1, 2), jacobian.unflatten(1, (2 * POINTS, 3))
        if evidence.pixels is not None:
            yield *_pixel_residual(evidence, points, slopes), True
        if evidence.points is not None:
            given, sigma = evidence.points.flatten(1, 2), evidence.point_sigma.flatten(1)[..., None]
            known = given.isfinite()
            yield torch.where(known, points - given, 0.0) / sigma, known[..., None] * slopes / sigma[..., None], True
        if evidence.relative is not None:
            for hand in range(2):
                own = slice(hand * POINTS, (hand + 1) * POINTS)
                yield (
                    *_relative_residual(
                        evidence.relative[:, hand],
                        evidence.relative_sigma[:, hand],
                        points[:, own],
                        slopes[:, own],
                        evidence.turned,
                    ),
                    True,
                )
        residual, slope = _contact_residual(keypoints, slopes)
        both = evidence.seen_hands().all(1)
        yield both[:, None, None] * residual, both[:, None, None, None] * slope, False

    def keypoints(self, state: PairState) -> tuple[Float[Tensor, "pairs 2 21 3"], Float[Tensor, "pairs 126 112"]]:
        """Keypoints in the camera frame and their derivatives; finger tips move as parts of their last joint."""
        pairs, skeleton = len(state.shape), self.skeleton
        both = state.shape[:, None].expand(-1, 2, -1)
        keypoints, turned = skeleton.pose(state.rotations, both, state.translation)
        places = keypoints[:, :, list(JointOrder.MANO.value[:JOINTS])]
        parents = turned[:, :, list(MANO_PARENTS)].clone()
        parents[:, :, 0] = torch.eye(3, dtype=turned.dtype)
        arms = keypoints[:, :, :, None] - places[:, :, None]
        turns = -cross_matrix(arms) @ parents[:, :, None] * _moved_by()[:, :, None, None]
        of_shape = torch.eye(SHAPES, dtype=turned.dtype)
        stretched = skeleton.keypoints(
            state.rotations.repeat_interleave(SHAPES + 1, 0),
            torch.cat([of_shape, 0 * of_shape[:1]])[:, None].expand(-1, 2, -1).repeat(pairs, 1, 1),
            state.translation.new_zeros(1, 2, 3).expand(pairs * (SHAPES + 1), -1, -1),
        ).unflatten(0, (pairs, SHAPES + 1))
        jacobian = keypoints.new_zeros(pairs, 2, POINTS, 3, PARAMETERS)
        for hand in range(2):
            first = hand * OF_HAND
            jacobian[:, hand, ..., first : first + 3 * JOINTS] = turns[:, hand].transpose(-3, -2).flatten(-2)
            jacobian[:, hand, ..., first + 3 * JOINTS : first + OF_HAND] = torch.eye(3, dtype=turned.dtype)
        jacobian[..., 2 * OF_HAND :] = (stretched[:, :-1] - stretched[:, -1:]).permute(0, 2, 3, 4, 1)
        mirrored = both_sides(jacobian.transpose(-2, -1)).transpose(-2, -1)
        return both_sides(keypoints), mirrored.flatten(1, 3)

    def _pose_residual(self, state: PairState) -> tuple[Float[Tensor, "pairs 2 45"], Float[Tensor, "pairs 2 45 45"]]:
        """Finger rotations in standard deviations from the mean pose, and their derivatives by turns of the joints."""
        vectors = matrix_to_axis_angle(state.rotations[:, :, 1:])
        residual = (vectors.flatten(2) - self.poses.mean) @ self.poses.whitener.T
        slopes = inverse_left_jacobian(vectors)
        whitener = self.poses.whitener.unflatten(1, (JOINTS - 1, 3))
        return residual, torch.einsum("rjc,phjcd->phrjd", whitener, slopes).flatten(-2)


def _pixel_residual(evidence: Evidence, points: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    camera = evidence.intrinsics
    depth = points[..., 2:].clamp_min(CLOSEST)
    flat = points[..., :2] / depth
    seen = flat @ camera[:, :2, :2].mT + camera[:, None, :2, 2]
    by_point = torch.cat([torch.eye(2, dtype=points.dtype).expand(*flat.shape[:2], 2, 2), -flat[..., None]], -1)
    by_point = camera[:, None, :2, :2] @ by_point / depth[..., None]
    given, sigma = evidence.pixels.flatten(1, 2), evidence.pixel_sigma.flatten(1)[..., None]
    known = given.isfinite()
    residual = torch.where(known, seen - given, 0.0) / sigma
    return residual, known[..., None] * (by_point @ slopes) / sigma[..., None]


def _relative_residual(
    relative: Float[Tensor, "pairs 21 3"],
    sigma: Float[Tensor, "pairs 21"],
    points: Float[Tensor, "pairs 21 3"],
    slopes: Float[Tensor, "pairs 21 3 112"],
    turned: bool,
) -> tuple[Tensor, Tensor]:
    """Points against relative ones that have the best place and size (and turn); what those could explain is taken out."""
    known = relative.isfinite().all(-1)
    weight = torch.where(known, 1 / sigma, 0.0)[..., None]
    given = torch.where(known[..., None], relative, 0.0)
    share = weight.square() / weight.square().sum(1, keepdim=True).clamp_min(1e-12)
    centre = (share * points).sum(1, keepdim=True)
    about, given = points - centre, given - (share * given).sum(1, keepdim=True)
    if turned:
        u, _, vt = torch.linalg.svd((share * given).mT @ about)
        sign = torch.linalg.det(u @ vt)
        given = given @ (u * torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)[:, None]) @ vt
    size = (share * given * about).sum((1, 2)) / (share * given.square()).sum((1, 2)).clamp_min(1e-12)
    given = size[:, None, None] * given
    free = [torch.eye(3, dtype=points.dtype).expand(len(points), POINTS, 3, 3), given[..., None]]
    if turned:
        free.append(-cross_matrix(given))
    free = (weight[..., None] * torch.cat(free, -1)).flatten(1, 2)
    basis, _ = torch.linalg.qr(free)
    residual, slopes = (weight * (about - given)).flatten(1), (weight[..., None] * slopes).flatten(1, 2)
    residual = residual - (basis @ (basis.mT @ residual[..., None]))[..., 0]
    slopes = slopes - basis @ (basis.mT @ slopes)
    return residual.unflatten(1, (POINTS, 3)), slopes.unflatten(1, (POINTS, 3))


def _contact_residual(keypoints: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """How much nearer than TOUCH the middle lines of the two hands' fingers are, for the nearest places."""
    ends = list(PARENTS[1:])
    middles = 0.5 * (keypoints[:, :, 1:] + keypoints[:, :, ends])
    spheres = torch.cat([keypoints, middles], 2)
    slopes = slopes.unflatten(1, (2, POINTS))
    slopes = torch.cat([slopes, 0.5 * (slopes[:, :, 1:] + slopes[:, :, ends])], 2)
    apart = spheres[:, 0, :, None] - spheres[:, 1, None]
    distance = apart.norm(dim=-1)
    nearest = distance.flatten(1).topk(CONTACTS, dim=1, largest=False).indices
    left, right = nearest // distance.shape[2], nearest % distance.shape[2]
    row = torch.arange(len(keypoints))[:, None]
    near = distance[row, left, right]
    direction = apart[row, left, right] / near[..., None].clamp_min(1e-6)
    missing = (TOUCH - near).clamp_min(0.0)
    slope = -(direction[..., None, :] @ (slopes[row, 0, left] - slopes[row, 1, right]))
    return missing[..., None] / CONTACT_SIGMA, (missing > 0)[..., None, None] * slope / CONTACT_SIGMA


@cache
def _moved_by() -> Float[Tensor, "21 16"]:
    """Whether a joint (STANDARD order) moves when a joint of the hand model (MANO order) turns."""
    standard_of = JointOrder.MANO.value[:JOINTS]
    moved = torch.zeros(POINTS, JOINTS, dtype=torch.float64)
    for joint in range(POINTS):
        above = joint
        while above != -1:
            if above in standard_of and above != joint:
                moved[joint, standard_of.index(above)] = 1
            above = PARENTS[above]
    moved[:, 0] = 1
    moved[WRIST, 0] = 0
    return moved


def inverse_left_jacobian(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Change of a rotation vector per small turn that is applied after it."""
    squared = vectors.square().sum(-1)[..., None, None]
    angle = squared.clamp_min(1e-12).sqrt()
    factor = torch.where(
        squared < 1e-6, 1 / 12 + squared / 720, 1 / squared.clamp_min(1e-12) - 0.5 / angle / (angle / 2).tan()
    )
    cross = cross_matrix(vectors)
    return torch.eye(3, dtype=vectors.dtype) - 0.5 * cross + factor * cross @ cross
