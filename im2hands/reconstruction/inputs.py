"""What reconstruction knows about each hand: bone frames of the keypoints in use, and the evaluation points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from im2hands.datasets.frames import shard_range
from im2hands.datasets.hands import HandTable
from im2hands.datasets.queries import EvaluationQueries
from im2hands.hands.bone_frames import canonical_frames
from im2hands.io.errors import ConfigError, DataError
from im2hands.networks.halo import HaloNetwork, load_halo
from im2hands.reconstruction.fields import BoneField
from im2hands.reconstruction.placement import Behaviour, PalmFrame, query_points
from im2hands.reconstruction.surfaces import HandInput

KEYPOINT_COLUMNS = {"model": "keypoints_model"}
"""Keypoint source -> column of the hand table. `model`: the true keypoints, see docs/conventions.md."""
COLUMNS = ["wrist", "palm_rotation", *KEYPOINT_COLUMNS.values()]


@dataclass(frozen=True, eq=False)
class BoneInputs:
    """The hands of many pairs by pair_id, for networks that need keypoints alone. Picklable.

    hands: hand_id -> everything but the evaluation points, which are read when a pair is asked for.
    """

    hands: Mapping[str, HandInput]
    true_frames: Mapping[str, PalmFrame]
    pairs: Mapping[str, tuple[str, ...]]
    queries: EvaluationQueries
    query_frame: Behaviour

    @property
    def pair_ids(self) -> list[str]:
        return list(self.pairs)

    def __call__(self, pair_id: str) -> list[HandInput]:
        """The hands of a pair with their evaluation points."""
        return [self._with_points(self.hands[hand_id]) for hand_id in self.pairs[pair_id]]

    def shard(self, index: int, count: int) -> BoneInputs:
        """The hands of part `index` of `count` nearly equal runs of pairs."""
        chosen = self.pair_ids[slice(*shard_range(len(self.pairs), index, count))]
        pairs = {pair_id: self.pairs[pair_id] for pair_id in chosen}
        names = [hand_id for hand_ids in pairs.values() for hand_id in hand_ids]
        hands, frames = ({name: all_of[name] for name in names} for all_of in (self.hands, self.true_frames))
        return BoneInputs(hands, frames, pairs, self.queries, self.query_frame)

    def _with_points(self, hand: HandInput) -> HandInput:
        sets = self.queries.hand(hand.hand_id)
        published, uniform = (
            query_points(points.points, self.true_frames[hand.hand_id], hand.frame, self.query_frame)
            for points in (sets.published, sets.uniform_hand)
        )
        return HandInput(**vars(hand) | {"published_points": published, "uniform_points": uniform})


def bone_inputs(
    table: HandTable,
    queries: EvaluationQueries,
    source: str,
    angle_clamp: Behaviour = "consistent",
    query_frame: Behaviour = "consistent",
) -> BoneInputs:
    """The hands of a table that have evaluation points, with bone frames from the keypoints of `source`.

    table: with COLUMNS.  angle_clamp: see `canonical_frames`.  query_frame: see `placement.query_points`.
    Hands whose keypoints have no palm frame are kept, with the reason. Raises ConfigError for an unknown source, DataError if
    no hand has evaluation points.
    """
    if source not in KEYPOINT_COLUMNS:
        raise ConfigError(f"there are no keypoints of the source {source!r}; available: {', '.join(KEYPOINT_COLUMNS)}.")
    rows = [row for row, hand_id in enumerate(table.hand_ids) if hand_id in queries.rows]
    if not rows:
        raise DataError(
            f"{queries.path}: holds no evaluation points of the {len(table)} hands; make them for this split."
        )
    sides = [table.sides[row] for row in rows]
    used = canonical_frames(table.array(KEYPOINT_COLUMNS[source])[rows], sides, angle_clamp)
    rotation, bones, lengths = (x.numpy() for x in (used.palm_rotation, used.bone_from_palm, used.bone_lengths))
    true_wrist, true_rotation = table.array("wrist")[rows], table.array("palm_rotation")[rows]
    pair_ids = table.table["pair_id"].to_pylist()
    hands, frames = {}, {}
    pairs: dict[str, list[str]] = {}
    for place, (row, side) in enumerate(zip(rows, sides, strict=True)):
        name = table.hand_ids[row]
        frames[name] = PalmFrame(side, true_wrist[place], true_rotation[place])
        hands[name] = HandInput(
            pair_id=pair_ids[row],
            hand_id=name,
            frame=PalmFrame(side, true_wrist[place], rotation[place]),  # alignment: wrist
            bone_from_palm=bones[place],
            bone_lengths=lengths[place],
            published_points=np.zeros((0, 3)),
            uniform_points=np.zeros((0, 3)),
            rejected=used.rejected[place],
        )
        pairs.setdefault(pair_ids[row], []).append(name)
    return BoneInputs(hands, frames, {pair: tuple(names) for pair, names in pairs.items()}, queries, query_frame)


@dataclass(frozen=True)
class HaloFields:
    """Makes the occupancy field of some hands with HALO. Picklable; the network is read once per process.

    model: folder of the weights.  points_per_call: see `fields.BoneField`.
    """

    model: str
    points_per_call: int
    device: str = "cpu"

    def __call__(self, hands: list[HandInput]) -> BoneField:
        network = _halo(self.model, self.device)
        bones, lengths = (
            np.stack([getattr(hand, name) for hand in hands]) for name in ("bone_from_palm", "bone_lengths")
        )
        return BoneField(network.occupancy, bones, lengths, points_per_call=self.points_per_call, device=self.device)


def fields_of(method: str, model: str, points_per_call: int, device: torch.device | str) -> HaloFields:
    """The fields of a method whose weights stand in the folder `model`; the weights are read and checked at once.

    Raises ConfigError for an unknown method, and what `load_halo` raises.
    """
    if method != "halo":
        raise ConfigError(f"there is no reconstruction method {method!r}; available: halo.")
    _halo(model, str(device))
    return HaloFields(model, points_per_call, str(device))


@lru_cache(maxsize=1)
def _halo(model: str, device: str) -> HaloNetwork:
    return load_halo(model, device)[0]
