"""The most likely motion of both hands through a film, given what is known of their joints in every picture.

One least squares problem over all pictures: each picture's evidence as in `photographs.hand_fit`, one shape for the whole
film, and hands that move little, at speeds that change little. How much is found from the film itself, separately for the
wrist's place, its turning and the fingers: the value at which speeds and changes are as large as expected (MacKay, Neural
Computation 1992). Both have heavy tails (Student's t), so that a hand that starts at once is followed. Nothing is delayed,
because every picture is judged by those after it as well.

Turns are corrected on the manifold: a step is a small turn after each joint's rotation. Camera frame, metres, seconds; hands in
the order of SIDES, inside in right-hand space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from im2hands.films.chain import Chain
from im2hands.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from im2hands.hands.joints import FINGER_BASES, WRIST
from im2hands.hands.model import JOINTS, SHAPES
from im2hands.hands.sides import SIDES
from im2hands.hands.skeleton import both_sides, both_sides_rotations
from im2hands.io.progress import progress
from im2hands.photographs.hand_fit import OF_HAND, Evidence, FittedHands, HandFit, PairState, inverse_left_jacobian

BATCH = 64
STEPS, NORMAL_STEPS = 18, 12
"""The first ones take speeds and changes for normally distributed: heavy tails from the start would keep every jump that
pictures by themselves make."""
VECTORS = JOINTS + 1
"""Of a hand: a turn of every joint, and its move."""
GROUPS = np.array([1, *[2] * (JOINTS - 1), 0])
"""Of every vector: place, wrist's turn, fingers' turns."""
SPEEDS, ACCELERATIONS = np.array([0.5, 3.0, 3.0]), np.array([3.0, 30.0, 30.0])
LEAST_SPEEDS, LEAST_ACCELERATIONS = np.array([5e-4, 0.003, 0.006]), np.array([0.005, 0.03, 0.06])
"""Speeds (m/s, rad/s) and accelerations (per s) that a film is first taken for, and that no hand is taken to stay below, by
group."""
STILL = 4.0
"""So many values are taken to have shown a hand that keeps still: a short film could else be explained by noise that moves."""
LARGEST_CHANGE, HASTE = 4.0, 1.5
"""Of a size in one step, and the power of a change that is taken, because sizes converge slowly."""
FREEDOM = 4.0
"""Degrees of freedom of Student's t."""
FILM_FRAMES = 2
"""A film's shape counts as known from so many independent pictures: neighbours are alike in their errors and in what the pose
hides. On drawn films the joints were 6.6 mm off with 12, 5.5 mm with 2."""
ANYWHERE = 1.0
"""Precision (per m² or rad²) of a hand's place and turns before anything is known."""
UNSEEN_POSE = 0.05
"""Weight of the poses of people in a picture in which a hand is not seen."""
PALM_SIGMA = 0.001


@dataclass(frozen=True)
class Piece:
    """A run of pictures in which a hand is followed, with the short gaps in it. hand: its index in SIDES."""

    hand: int
    first: int
    end: int

    @property
    def pictures(self) -> slice:
        return slice(self.first, self.end)


@dataclass(frozen=True, eq=False)
class FilmShape:
    """The hand model's shape of a film's hands, and how certain it is."""

    mean: Float[Tensor, "10"]
    covariance: Float[Tensor, "10 10"]


@dataclass(frozen=True, eq=False)
class SmoothMotion:
    """hands: of every picture; those outside the pieces mean nothing.  accelerations: of the wrist's place (m/s²), its turning
    and the fingers' (rad/s²), found for each piece."""

    hands: FittedHands
    accelerations: list[Float[np.ndarray, "3"]]


@torch.no_grad()
def smooth_motion(
    fit: HandFit,
    evidence: Evidence,
    start: FittedHands,
    times: Float[np.ndarray, " pictures"],
    pieces: Sequence[Piece],
    shape: FilmShape,
) -> SmoothMotion:
    """start: each picture's own fit.  pieces: of one hand they do not overlap.  shape: of the hands, see `film_shape`."""
    evidence, state = evidence.double(), PairState.of(start)
    seen = evidence.seen_hands().numpy()
    state = _bridged(replace(state, shape=shape.mean.expand(len(times), SHAPES).clone()), seen, pieces)
    weight = torch.from_numpy(np.where(seen, 1.0, UNSEEN_POSE))
    ties = [_Ties(piece, times) for piece in pieces]
    damping = 1e-3
    normal, gradient, cost = _normal(fit, evidence, state, weight)
    for number in progress(range(STEPS), f"smooth film (x{len(times)} pictures)", unit="steps"):
        for tie in ties:
            tie.set_heavy(number >= NORMAL_STEPS)
        step = torch.zeros(len(times), 2 * OF_HAND + SHAPES, dtype=torch.float64)
        for tie in ties:
            step[tie.rows, tie.columns] = torch.from_numpy(tie.step(state, normal, gradient, damping))
        before = float(cost.sum()) + sum(tie.cost(state) for tie in ties)
        tried = state.moved(step)
        new = _normal(fit, evidence, tried, weight)
        if float(new[2].sum()) + sum(tie.cost(tried) for tie in ties) < before:
            state, (normal, gradient, cost), damping = tried, new, max(damping / 5, 1e-7)
            for tie in ties:
                tie.learn(state, normal)
        else:
            damping *= 10
    return SmoothMotion(
        _described(fit, state, normal, cost, ties, shape.covariance), [tie.changes.size.copy() for tie in ties]
    )


@torch.no_grad()
def film_shape(fit: HandFit, evidence: Evidence, start: FittedHands, palm: float | None = None) -> FilmShape:
    """The shape that fits all pictures best, given the fit of each.

    palm: size of the palm (m), if it is known, see `landmarks.palm_size`.
    """
    evidence, state = evidence.double(), PairState.of(start)
    normal, _, _ = _normal(fit, evidence, state)
    moves, form = slice(0, 2 * OF_HAND), slice(2 * OF_HAND, None)
    own = normal[:, moves, moves] + 1e-9 * torch.eye(2 * OF_HAND, dtype=normal.dtype)
    left = normal[:, form, form] - normal[:, form, moves] @ torch.linalg.solve(own, normal[:, moves, form])
    prior = fit.shape_information()
    used = evidence.seen_hands().any(1)
    share = min(1.0, FILM_FRAMES / max(int(used.sum()), 1))
    total = prior + share * (left[used] - prior).sum(0)
    wanted = share * (left[used] @ state.shape[used, :, None])[..., 0].sum(0)
    if palm is not None:
        size, slope = _palm_size(fit, torch.linalg.solve(total, wanted))
        total = total + torch.outer(slope, slope) / PALM_SIGMA**2
        wanted = wanted + slope * (palm - size) / PALM_SIGMA**2
    return FilmShape(torch.linalg.solve(total, wanted), torch.linalg.inv(total))


def _palm_size(fit: HandFit, at: Float[Tensor, "10"]) -> tuple[float, Float[Tensor, "10"]]:
    """Size of the palm of shape 0, continued linearly as it is near a shape, and its slope."""

    def size(shape: Tensor) -> Tensor:
        rest = torch.eye(3, dtype=torch.float64).expand(1, len(SIDES), JOINTS, 3, 3)
        move = torch.zeros(1, len(SIDES), 3, dtype=torch.float64)
        points = fit.skeleton.keypoints(rest, shape.expand(1, len(SIDES), SHAPES), move)
        return (points[:, :, list(FINGER_BASES)] - points[:, :, [WRIST]]).norm(dim=-1).mean()

    with torch.enable_grad():
        slope = torch.func.jacrev(size)(at)
    return float(size(at) - slope @ at), slope


def _bridged(state: PairState, seen: Bool[np.ndarray, "pictures 2"], pieces: Sequence[Piece]) -> PairState:
    """The state with hands that are not seen put between the nearest pictures that show them."""
    rotations, translation = state.rotations.clone(), state.translation.clone()
    for piece in pieces:
        known = np.flatnonzero(seen[piece.pictures, piece.hand]) + piece.first
        for picture in range(piece.first, piece.end):
            if seen[picture, piece.hand]:
                continue
            after = int(np.searchsorted(known, picture))
            a, b = int(known[max(after - 1, 0)]), int(known[min(after, len(known) - 1)])
            share = 0.0 if a == b else (picture - a) / (b - a)
            first, last = rotations[a, piece.hand], rotations[b, piece.hand]
            turn = matrix_to_axis_angle(last @ first.mT)
            rotations[picture, piece.hand] = axis_angle_to_matrix(share * turn) @ first
            translation[picture, piece.hand] = torch.lerp(translation[a, piece.hand], translation[b, piece.hand], share)
    return PairState(rotations, state.shape, translation)


def _normal(
    fit: HandFit, evidence: Evidence, state: PairState, weight: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    parts = []
    for first in range(0, len(state.shape), BATCH):
        rows = slice(first, first + BATCH)
        part = PairState(*(value[rows] for value in vars(state).values()))
        parts.append(fit.normal(evidence.pairs(rows), part, None if weight is None else weight[rows]))
    return tuple(torch.cat(values) for values in zip(*parts, strict=True))


class _Ties:
    """What ties the pictures of a piece together: speeds that are small, and change little."""

    def __init__(self, piece: Piece, times: Float[np.ndarray, " pictures"]) -> None:
        self.hand, self.rows = piece.hand, piece.pictures
        self.columns = slice(piece.hand * OF_HAND, (piece.hand + 1) * OF_HAND)
        gaps = np.diff(times[self.rows])
        self.speeds = _Tie(np.ones(len(gaps)), SPEEDS, LEAST_SPEEDS)
        self.changes = _Tie((gaps[1:] + gaps[:-1]) / 2, ACCELERATIONS, LEAST_ACCELERATIONS)
        self.rate = 1 / gaps[:, None, None]

    def set_heavy(self, heavy: bool) -> None:
        """Whether speeds and changes have heavy tails."""
        self.speeds.heavy = self.changes.heavy = heavy

    def values(self, state: PairState) -> list[tuple[_Tie, np.ndarray, list[np.ndarray]]]:
        """Of each tie: values (links, 17, 3), and their slopes by steps of the two or three pictures that they link."""
        rotations = state.rotations[self.rows, self.hand]
        turns = matrix_to_axis_angle(rotations[1:] @ rotations[:-1].mT)
        later, earlier = inverse_left_jacobian(turns), inverse_left_jacobian(-turns)
        places = state.translation[self.rows, self.hand]
        moves = torch.cat([turns, (places[1:] - places[:-1])[:, None]], 1).numpy()
        straight = torch.eye(3, dtype=later.dtype).expand(len(later), 1, 3, 3)
        speeds = self.rate * moves
        later, earlier = (self.rate[..., None] * torch.cat([one, straight], 1).numpy() for one in (later, earlier))
        return [
            (self.speeds, speeds, [-earlier, later]),
            (self.changes, speeds[1:] - speeds[:-1], [earlier[:-1], -earlier[1:] - later[:-1], later[1:]]),
        ]

    def cost(self, state: PairState) -> float:
        """Of speeds and changes, up to a constant."""
        return sum(tie.cost(values) for tie, values, _ in self.values(state))

    def chain(self, state: PairState, normal: Tensor, damping: float) -> tuple[Chain, Float[np.ndarray, "pictures 51"]]:
        """The normal matrix of the piece, and the gradient of the ties."""
        own = normal[self.rows, self.columns, self.columns].numpy().copy()
        count = len(own)
        np.einsum("tii->ti", own)[:] += damping * np.einsum("tii->ti", own) + 1e-9
        blocks = [own, *(np.zeros((max(count - apart, 0), OF_HAND, OF_HAND)) for apart in (1, 2))]
        gradient = np.zeros((count, VECTORS, 3))
        for tie, values, slopes in self.values(state):
            links, weight = len(values), (tie.belief / tie.variance)[..., None]
            for i, slope in enumerate(slopes):
                weighted = weight[..., None] * slope
                gradient[i : links + i] += np.einsum("tvab,tva->tvb", weighted, values)
                for j in range(i, len(slopes)):
                    _add_blocks(blocks[j - i][i : i + links], np.einsum("tvab,tvac->tvbc", weighted, slopes[j]))
        return Chain(*blocks), gradient.reshape(count, OF_HAND)

    def step(
        self, state: PairState, normal: Tensor, gradient: Tensor, damping: float
    ) -> Float[np.ndarray, "pictures 51"]:
        """Of the piece's hand, towards less cost."""
        chain, own = self.chain(state, normal, damping)
        return -chain.solve(gradient[self.rows, self.columns].numpy() + own)

    def learn(self, state: PairState, normal: Tensor) -> None:
        """How fast hands move and accelerate, and which values are believed less."""
        chain, _ = self.chain(state, normal, 0.0)
        blocks = [_diagonal_blocks(one) for one in chain.covariances()]
        before = self._open_before()
        for (tie, values, slopes), prior in zip(self.values(state), before, strict=True):
            links, open_ = len(values), np.zeros(values.shape[:2])
            for i, slope in enumerate(slopes):
                for j in range(i, len(slopes)):
                    both = np.einsum("tvij,tvjk,tvik->tv", slope, blocks[j - i][i : i + links], slopes[j])
                    open_ += both if i == j else 2 * both
            tie.learn(values, open_, prior)

    def _open_before(self) -> list[Float[np.ndarray, "links 17"]]:
        """The variances that both kinds of ties together leave to the values of each, without any picture; as if turns added up
        like moves, so that every coordinate is by itself."""
        count = len(self.rate) + 1
        rate = self.rate[:, :, 0] * np.ones(VECTORS)
        slopes = ([-rate, rate], [rate[:-1], -rate[1:] - rate[:-1], rate[1:]])
        blocks = [np.zeros((max(count - apart, 0), VECTORS)) for apart in range(3)]
        blocks[0] += ANYWHERE
        ties = (self.speeds, self.changes)
        for tie, of_tie in zip(ties, slopes, strict=True):
            for i, slope in enumerate(of_tie):
                for j in range(i, len(of_tie)):
                    blocks[j - i][i : i + len(slope)] += tie.belief / tie.variance * slope * of_tie[j]
        chain = Chain(*(block[..., None] * np.eye(VECTORS) for block in blocks))
        own = [np.einsum("tvv->tv", one) for one in chain.covariances()]
        found = []
        for of_tie in slopes:
            links = len(of_tie[0])
            terms = (
                (1 if i == j else 2) * of_tie[i] * own[j - i][i : i + links] * of_tie[j]
                for i in range(len(of_tie))
                for j in range(i, len(of_tie))
            )
            found.append(3 * sum(terms))
        return found


class _Tie:
    """Values that are near zero: how near is learnt, by group, and where one is not, it is believed less (Student's t)."""

    def __init__(
        self, scale: Float[np.ndarray, " links"], start: Float[np.ndarray, "3"], least: Float[np.ndarray, "3"]
    ) -> None:
        self.scale, self.size, self.least = scale[:, None], start.copy(), least
        self.belief, self.heavy = np.ones((len(scale), VECTORS)), False

    @property
    def variance(self) -> Float[np.ndarray, "links 17"]:
        """Of a coordinate."""
        return (self.size[GROUPS] * self.scale) ** 2

    def cost(self, values: Float[np.ndarray, "links 17 3"]) -> float:
        squares = np.square(values).sum(axis=-1) / self.variance
        if not self.heavy:
            return float(0.5 * squares.sum())
        return float(0.5 * (FREEDOM + 3) * np.log1p(squares / FREEDOM).sum())

    def learn(
        self,
        values: Float[np.ndarray, "links 17 3"],
        open_: Float[np.ndarray, "links 17"],
        before: Float[np.ndarray, "links 17"],
    ) -> None:
        """open_, before: variances of the values, all three coordinates together, with and without the pictures."""
        if not len(values):
            return
        squares = np.square(values).sum(axis=-1)
        belief, variance = self.belief, self.variance
        found = belief * squares / self.scale**2
        known = np.clip(belief * (before - open_) / variance, 1e-4, 3)
        for group, least in enumerate(self.least):
            chosen = group == GROUPS
            square = (found[:, chosen].sum() + STILL * least**2) / (known[:, chosen].sum() + STILL)
            change = np.clip(np.sqrt(square) / self.size[group], 1 / LARGEST_CHANGE, LARGEST_CHANGE)
            self.size[group] = max(least, self.size[group] * change**HASTE)
        if self.heavy:
            self.belief = (FREEDOM + 3) / (FREEDOM + (squares + open_) / self.variance)


def _add_blocks(target: Float[np.ndarray, "t 51 51"], blocks: Float[np.ndarray, "t 17 3 3"]) -> None:
    cells = target.reshape(len(target), VECTORS, 3, VECTORS, 3)
    vectors = np.arange(VECTORS)
    cells[:, vectors, :, vectors, :] += blocks.swapaxes(0, 1)


def _diagonal_blocks(matrices: Float[np.ndarray, "t 51 51"]) -> Float[np.ndarray, "t 17 3 3"]:
    cells, vectors = matrices.reshape(len(matrices), VECTORS, 3, VECTORS, 3), np.arange(VECTORS)
    return cells[:, vectors, :, vectors, :].swapaxes(0, 1)


def _described(
    fit: HandFit, state: PairState, normal: Tensor, cost: Tensor, ties: Sequence[_Ties], shape_covariance: Tensor
) -> FittedHands:
    """The hands with the covariance of their keypoints: what is open in each picture, and the film's shape."""
    keypoints, jacobian = fit.keypoints(state)
    pictures = len(keypoints)
    covariance = torch.full((pictures, len(SIDES), 63, 63), torch.nan, dtype=torch.float64)
    form = slice(2 * OF_HAND, None)
    for tie in ties:
        chain, _ = tie.chain(state, normal, 0.0)
        slopes = jacobian[tie.rows, 63 * tie.hand : 63 * (tie.hand + 1)]
        by_step, by_shape = slopes[..., tie.columns], slopes[..., form]
        own = torch.from_numpy(chain.covariances()[0])
        answer = np.stack(
            [chain.solve(column) for column in normal[tie.rows, tie.columns, form].permute(2, 0, 1).numpy()]
        )
        by_shape = by_shape - by_step @ torch.from_numpy(answer).permute(1, 2, 0)
        covariance[tie.rows, tie.hand] = by_step @ own @ by_step.mT + by_shape @ shape_covariance @ by_shape.mT
    return FittedHands(
        keypoints,
        both_sides_rotations(state.rotations),
        state.shape,
        both_sides(state.translation),
        covariance,
        cost,
    )
