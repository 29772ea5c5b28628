"""What reconstruction knows about each hand: bone frames of the keypoints in use, and the evaluation points."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.frames import shard_range
from im2hands.datasets.hands import HandTable
from im2hands.datasets.keypoints import Alignment, KeypointTable, aligned
from im2hands.datasets.queries import EvaluationQueries
from im2hands.hands.bone_frames import canonical_frames
from im2hands.hands.joints import WRIST
from im2hands.io.errors import DataError
from im2hands.networks.halo import HaloNetwork, load_halo
from im2hands.reconstruction.fields import BoneField
from im2hands.reconstruction.placement import Behaviour, PalmFrame, query_points
from im2hands.reconstruction.surfaces import HandInput

TRUE_KEYPOINTS = "keypoints_model"
"""Column of the hand table: the source `model`, see docs/conventions.md."""
COLUMNS = ["wrist", "palm_rotation", TRUE_KEYPOINTS]
POINTS_PER_CALL = 65536
NO_VIEW = "no usable photograph of the pair"


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

    def without_view(self, seen: Container[str]) -> BoneInputs:
        """The same hands, those that are not in `seen` rejected for want of a photograph."""
        hands = {
            name: hand if name in seen else replace(hand, rejected=hand.rejected or NO_VIEW)
            for name, hand in self.hands.items()
        }
        return replace(self, hands=hands)

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
    keypoints: Mapping[str, Float[np.ndarray, "21 3"] | str] | None = None,
    angle_clamp: Behaviour = "consistent",
    query_frame: Behaviour = "consistent",
) -> BoneInputs:
    """The hands of a table that have evaluation points, with bone frames from keypoints.

    table: with COLUMNS.  keypoints: of every hand (world, m), or why it has none; None for the true ones.
    angle_clamp: see `canonical_frames`.  query_frame: see `placement.query_points`.
    Hands without keypoints, or whose keypoints have no palm frame, are kept, with the reason. Raises DataError if no hand has
    evaluation points.
    """
    rows = [row for row, hand_id in enumerate(table.hand_ids) if hand_id in queries.rows]
    if not rows:
        raise DataError(
            f"{queries.path}: holds no evaluation points of the {len(table)} hands; make them for this split."
        )
    names, sides = [table.hand_ids[row] for row in rows], [table.sides[row] for row in rows]
    true = table.array(TRUE_KEYPOINTS)[rows]
    found = [true[place] if keypoints is None else keypoints[name] for place, name in enumerate(names)]
    joints = np.stack([true[place] if isinstance(each, str) else each for place, each in enumerate(found)])
    used = canonical_frames(joints, sides, angle_clamp)
    rotation, bones, lengths = (x.numpy() for x in (used.palm_rotation, used.bone_from_palm, used.bone_lengths))
    true_wrist, true_rotation = table.array("wrist")[rows], table.array("palm_rotation")[rows]
    pair_ids = table.table["pair_id"].to_pylist()
    hands, frames = {}, {}
    pairs: dict[str, list[str]] = {}
    for place, (row, name, side) in enumerate(zip(rows, names, sides, strict=True)):
        frames[name] = PalmFrame(side, true_wrist[place], true_rotation[place])
        hands[name] = HandInput(
            pair_id=pair_ids[row],
            hand_id=name,
            frame=PalmFrame(side, joints[place, WRIST], rotation[place]),
            bone_from_palm=bones[place],
            bone_lengths=lengths[place],
            keypoints=joints[place],
            published_points=np.zeros((0, 3)),
            uniform_points=np.zeros((0, 3)),
            rejected=found[place] if isinstance(found[place], str) else used.rejected[place],
        )
        pairs.setdefault(pair_ids[row], []).append(name)
    return BoneInputs(hands, frames, {pair: tuple(names) for pair, names in pairs.items()}, queries, query_frame)


def keypoints_of_hands(
    table: HandTable, keypoints: KeypointTable, frames: FrameSet, alignment: Alignment
) -> dict[str, Float[np.ndarray, "21 3"] | str]:
    """Predicted keypoints of every hand of a table, from the first usable frame of its pair, or why it has none.

    keypoints: of the split that `frames` shows.  alignment: where the hands stand, see `datasets.keypoints.aligned`.
    """
    predicted, usable, reasons = keypoints.keypoints(), keypoints.usable, keypoints.reasons
    wrists, views = table.array("wrist"), first_frames(frames)
    found: dict[str, Float[np.ndarray, "21 3"] | str] = {}
    for row, (name, side) in enumerate(zip(table.hand_ids, table.sides, strict=True)):
        view = views.get(name)
        if view is None:
            found[name] = NO_VIEW
        elif not usable[frames.frame_ids[view]]:
            found[name] = f"no keypoints: {reasons[frames.frame_ids[view]]}"
        else:
            found[name] = aligned(predicted[frames.frame_ids[view], side.index], wrists[row], alignment)
    return found


def first_frames(frames: FrameSet) -> dict[str, int]:
    """hand_id -> place of the first frame of the set that shows it: the view from which the hand is reconstructed."""
    first: dict[str, int] = {}
    for place, pair in enumerate(frames.hand_ids):
        for name in pair:
            first.setdefault(name, place)
    return first


@dataclass(frozen=True)
class HaloFields:
    """Makes the occupancy field of some hands with HALO. Picklable; the network is read once per process.

    model: folder of the weights.  points_per_call: see `fields.BoneField`.
    """

    model: str
    device: str = "cpu"
    points_per_call: int = POINTS_PER_CALL

    def __call__(self, hands: list[HandInput]) -> BoneField:
        network = _halo(self.model, self.device)
        bones, lengths = (
            np.stack([getattr(hand, name) for hand in hands]) for name in ("bone_from_palm", "bone_lengths")
        )
        return BoneField(network.occupancy, bones, lengths, points_per_call=self.points_per_call, device=self.device)


@lru_cache(maxsize=1)
def _halo(model: str, device: str) -> HaloNetwork:
    return load_halo(model, device)[0]
