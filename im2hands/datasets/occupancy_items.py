"""Training and validation batches: labelled query points of hands and the bones of these hands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from im2hands.datasets.frame_items import Rounds
from im2hands.datasets.hands import HandTable
from im2hands.datasets.queries import SETS, QueryPoints, QuerySet
from im2hands.hands.bone_frames import world_to_palm
from im2hands.hands.joints import BONE_ENDS, BONE_STARTS
from im2hands.io.errors import DataError
from im2hands.io.hashing import seed_of

NEAR_SURFACE, UNIFORM_SETS = "near_surface", ("uniform_cube", "uniform_hand")
VALIDATION_SETS = ("uniform_hand", "uniform_cube", "near_surface")
"""Sets to validate on, the preferred first: uniform points in the hand's bounding box with a margin."""
VALIDATION_HANDS = 512
"""A validation scores at most so many hands, evenly spaced in the split."""
VALIDATION_BATCH_POINTS = 65536
BONE_CENTRE_HANDS = 512
BONE_CENTRE_RIDGE = 1e-3
"""Metres: differences of bone lengths below this are not trusted."""


@dataclass(frozen=True)
class OccupancyBatch:
    """Labelled points of some hands.

    points: palm units.  labels: 1 inside, 0 outside.  bone_from_palm: palm units.  bone_lengths: metres.
    """

    points: Float[Tensor, "hands points 3"]
    labels: Float[Tensor, "hands points"]
    bone_from_palm: Float[Tensor, "hands 16 4 4"]
    bone_lengths: Float[Tensor, "hands 16"]

    def scaled(self, factors: Float[Tensor, " hands"]) -> OccupancyBatch:
        """The batch of hands that are `factors` times as large."""
        frames = self.bone_from_palm.clone()
        frames[:, :, :3, 3] *= factors[:, None, None]
        return OccupancyBatch(
            self.points * factors[:, None, None], self.labels, frames, self.bone_lengths * factors[:, None]
        )

    def to(self, device: torch.device, non_blocking: bool = True) -> OccupancyBatch:
        moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in vars(self).items()}
        return OccupancyBatch(**moved)

    def pin_memory(self) -> OccupancyBatch:
        return OccupancyBatch(**{name: tensor.pin_memory() for name, tensor in vars(self).items()})


class LabelledHands:
    """The hands of a query manifest with their stored points and their bones. Picklable: workers open files themselves."""

    def __init__(self, manifest: str | os.PathLike, hands: str | os.PathLike) -> None:
        """manifest: of QUERIES shards.  hands: the hand table that they were made from.

        Raises DataError if there are no hands, or one of them has no usable row in the table.
        """
        self.manifest = manifest
        self.queries = QuerySet.read(manifest)
        ids = self.queries.hand_ids
        if not ids:
            raise DataError(f"{manifest}: lists no hands; run sample_queries again, unless the split is empty.")
        table = HandTable.read(hands, ["bone_from_palm", "bone_lengths"])
        self._table_path = hands
        missing = [hand for hand in ids if hand not in table.rows]
        if missing:
            raise DataError(
                f"{hands}: has no row for hand {missing[0]} of {manifest} ({len(missing)} missing); "
                "the files come from different runs: run fit_hands and sample_queries again."
            )
        rows = [table.rows[hand] for hand in ids]
        self.bone_from_palm = torch.from_numpy(table.array("bone_from_palm")[rows].astype(np.float32))
        self.bone_lengths = torch.from_numpy(table.array("bone_lengths")[rows].astype(np.float32))
        bad = ~(self.bone_from_palm.flatten(1).isfinite().all(1) & self.bone_lengths.isfinite().all(1))
        if bad.any():
            raise DataError(
                f"{hands}: the bone frames of hand {ids[int(bad.nonzero()[0])]} are not finite; "
                "run fit_hands with degenerate_hands: consistent, then sample_queries."
            )

    def __len__(self) -> int:
        return len(self.queries)

    def has(self, name: str) -> bool:
        """Whether the shards contain points of a set (all hands of a run have the same number)."""
        return self.queries.count(0, name) > 0

    def bone_centres(self) -> Float[Tensor, "16 3 16"]:
        """Map from bone lengths (m) to the middle of every bone in its own frame (palm units), over evenly spaced hands."""
        ids = [self.queries.hand_ids[row] for row in evenly_spaced(len(self), BONE_CENTRE_HANDS)]
        columns = ["keypoints_model", "wrist", "palm_rotation", "bone_from_palm", "bone_lengths"]
        table = HandTable.read(self._table_path, columns, ids)
        keypoints, wrists, rotations, frames, lengths = (table.array(name) for name in columns)
        middles = []
        for row, side in enumerate(table.sides):
            palm = world_to_palm(keypoints[row], wrists[row], rotations[row], side)
            middle = (palm[list(BONE_STARTS)] + palm[list(BONE_ENDS)]) / 2
            middles.append(np.einsum("kij,kj->ki", frames[row, :, :3, :3], middle) + frames[row, :, :3, 3])
        return torch.from_numpy(bone_centre_map(np.asarray(middles), lengths).astype(np.float32))

    def batch(self, hands: list[int], points: list[QueryPoints]) -> OccupancyBatch:
        return OccupancyBatch(
            torch.from_numpy(np.stack([each.points for each in points])),
            torch.from_numpy(np.stack([each.labels for each in points]).astype(np.float32)),
            self.bone_from_palm[hands],
            self.bone_lengths[hands],
        )


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 .. count - 1, both ends among them."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


def points_per_set(hands: LabelledHands, points_per_hand: int, uniform_share: float) -> Mapping[str, int]:
    """How many points of each stored set make up a training item.

    uniform_share: part drawn from the uniform sets, in equal parts from those that are stored; the rest is near the surface.
    Raises DataError if the shards lack what is requested.
    """
    uniform = round(points_per_hand * uniform_share)
    stored = [name for name in UNIFORM_SETS if hands.has(name)]
    lacking = "uniform" if uniform and not stored else None
    if uniform < points_per_hand and not hands.has(NEAR_SURFACE):
        lacking = NEAR_SURFACE
    if lacking:
        raise DataError(
            f"{hands.manifest}: contains no {lacking} points, but uniform_share {uniform_share} needs them; "
            "change it, or raise their number in sample_queries."
        )
    counts = {NEAR_SURFACE: points_per_hand - uniform}
    for place, name in enumerate(stored):
        counts[name] = uniform * (place + 1) // len(stored) - uniform * place // len(stored)
    return {name: counts[name] for name in SETS if counts.get(name)}


class TrainingSteps(Dataset):
    """Item i is the batch of global step i, independent of who requests it and when.

    Every hand comes once per round, in a new random order each round, with a new random block of its points.
    counts: points per hand of each set, see points_per_set.
    size_spread: hands are made larger or smaller by a random factor, this is the standard deviation of its logarithm. Points,
    bone frames and lengths scale together, so that the labels stay true.
    """

    def __init__(
        self, hands: LabelledHands, batch_hands: int, counts: Mapping[str, int], seed: int, size_spread: float = 0.0
    ) -> None:
        self.hands, self.batch_hands, self.counts, self.seed = hands, batch_hands, counts, seed
        self.size_spread = size_spread
        self._order = Rounds(len(hands), seed, "order of hands")

    def __getitem__(self, step: int) -> OccupancyBatch:
        hands, points, factors = [], [], []
        for place in range(step * self.batch_hands, (step + 1) * self.batch_hands):
            hand = self._order[place]
            random = np.random.default_rng(seed_of(self.seed, "query points", place))
            hands.append(hand)
            points.append(self.hands.queries.block(hand, random, self.counts))
            factors.append(np.exp(self.size_spread * random.standard_normal()))
        batch = self.hands.batch(hands, points)
        return batch.scaled(torch.tensor(factors, dtype=torch.float32)) if self.size_spread else batch


class ValidationBatches(Dataset):
    """Fixed batches: the first points of one set of evenly spaced hands.

    set_name: the set that is used, the first of VALIDATION_SETS that is stored.
    """

    def __init__(self, hands: LabelledHands, points_per_hand: int, most_hands: int = VALIDATION_HANDS) -> None:
        self.hands = hands
        self.set_name = next((name for name in VALIDATION_SETS if hands.has(name)), None)
        if self.set_name is None:
            raise DataError(f"{hands.manifest}: contains no points; raise their numbers in sample_queries.")
        self.points_per_hand = min(points_per_hand, hands.queries.count(0, self.set_name))
        self.chosen = evenly_spaced(len(hands), most_hands)
        self._per_batch = max(1, VALIDATION_BATCH_POINTS // self.points_per_hand)

    def __len__(self) -> int:
        return -(-len(self.chosen) // self._per_batch)

    def __getitem__(self, index: int) -> OccupancyBatch:
        if not 0 <= index < len(self):
            raise IndexError(f"validation batch {index} of {len(self)}")
        hands = self.chosen[index * self._per_batch : (index + 1) * self._per_batch]
        return self.hands.batch(hands, [self._first_points(hand) for hand in hands])

    def _first_points(self, hand: int) -> QueryPoints:
        whole = self.hands.queries.points(hand, self.set_name)
        return QueryPoints(whole.points[: self.points_per_hand], whole.labels[: self.points_per_hand])


def bone_centre_map(
    centres: Float[np.ndarray, "hands bones 3"], lengths: Float[np.ndarray, "hands bones"]
) -> Float[np.ndarray, "bones 3 bones"]:
    """Linear map from a hand's bone lengths (m) to the centres of its bones (palm units).

    Both sides grow in proportion to the hand, so the map has no constant part. Ridge regression about the map that scales the
    mean hand by its summed length.
    """
    lengths = lengths.astype(np.float64)
    size = lengths.sum(axis=1)[:, None, None]
    by_size = (centres / size).mean(axis=0)
    rest = (centres - by_size * size).reshape(len(centres), -1)
    ridge = BONE_CENTRE_RIDGE**2 * len(lengths) * np.eye(lengths.shape[1])
    by_length = np.linalg.solve(lengths.T @ lengths + ridge, lengths.T @ rest)
    return by_size[..., None] + by_length.T.reshape(*by_size.shape, -1)
