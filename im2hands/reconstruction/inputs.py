"""Inputs of reconstruction for each hand: bone frames of the keypoints in use, and the evaluation points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from im2hands.config.choices import Behaviour
from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.frames import shard_range
from im2hands.datasets.hands import HandTable
from im2hands.datasets.keypoints import Alignment, KeypointTable, aligned
from im2hands.datasets.queries import EvaluationQueries
from im2hands.hands.frames import PalmFrame, query_points
from im2hands.hands.joints import WRIST
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.networks.halo import HaloNetwork, load_halo
from im2hands.reconstruction.failures import Reason, bone_frames
from im2hands.reconstruction.fields import BoneField
from im2hands.reconstruction.surfaces import HandInput, View

TRUE_KEYPOINTS = "keypoints_model"
"""Column of the hand table: the source `model`, see docs/conventions.md."""
COLUMNS = ["wrist", "palm_rotation", TRUE_KEYPOINTS]
POINTS_PER_CALL = 16384
NO_VIEW = Reason.NO_PHOTOGRAPH.value


@dataclass(frozen=True, eq=False)
class BoneInputs:
    """The hands of many pairs with their photographs. Picklable.

    hands: everything but the evaluation points, which are read when a pair is requested.  true_frames: by hand_id.
    """

    hands: Mapping[View, tuple[HandInput, ...]]
    true_frames: Mapping[str, PalmFrame]
    queries: EvaluationQueries
    query_frame: Behaviour

    @property
    def views(self) -> list[View]:
        return list(self.hands)

    def __call__(self, view: View) -> list[HandInput]:
        """The hands of a pair with their evaluation points; rejected ones have none."""
        return [hand if hand.rejected else self._with_points(hand) for hand in self.hands[view]]

    def shard(self, index: int, count: int) -> BoneInputs:
        """Part `index` of `count` nearly equal runs of views."""
        chosen = self.views[slice(*shard_range(len(self.hands), index, count))]
        return replace(self, hands={view: self.hands[view] for view in chosen})

    def of_whole_pairs(self) -> BoneInputs:
        """The same for a method that needs both hands: a hand whose other one is rejected or not there is rejected, too."""
        return replace(self, hands={view: _both_or_none(pair) for view, pair in self.hands.items()})

    def _with_points(self, hand: HandInput) -> HandInput:
        sets = self.queries.hand(hand.hand_id)
        published, uniform = (
            query_points(points.points, self.true_frames[hand.hand_id], hand.frame, self.query_frame)
            for points in (sets.published, sets.uniform_hand)
        )
        return replace(hand, published_points=published, uniform_points=uniform)


def evaluated_frames(frames: FrameSet, per_pose: int | None) -> dict[str, tuple[int, ...]]:
    """pair_id -> the frame ids from which the pair is reconstructed and evaluated, for every method the same.

    per_pose: the first so many usable frames of each pose; None for all, as published.
    """
    used, found = frames.first_of_poses(per_pose), {}
    for pair, frame_id in zip(used.pair_ids, used.frame_ids.tolist(), strict=True):
        found[pair] = (*found.get(pair, ()), frame_id)
    return found


def bone_inputs(
    table: HandTable,
    queries: EvaluationQueries,
    evaluated: Mapping[str, tuple[int, ...]] | None = None,
    keypoints: KeypointTable | None = None,
    alignment: Alignment = "wrist",
    from_photographs: bool = False,
    angle_clamp: Behaviour = "consistent",
    query_frame: Behaviour = "consistent",
) -> BoneInputs:
    """The hands of a table that have evaluation points, with bone frames from keypoints.

    table: with COLUMNS.  evaluated: see `evaluated_frames`; None for no frames at all.
    keypoints: predicted ones of the split, None for the true ones.  alignment: where predicted hands are placed, see
    `datasets.keypoints.aligned`.  from_photographs: whether every frame gives a reconstruction of its own even with true
    keypoints; with predicted ones it does anyway.
    angle_clamp: see `canonical_frames`.  query_frame: see `frames.query_points`.
    Hands that cannot be reconstructed are kept, with the reason (see `failures`). Raises DataError
    if no hand has evaluation points.
    """
    rows = [row for row, hand_id in enumerate(table.hand_ids) if hand_id in queries.rows]
    if not rows:
        raise DataError(
            f"{queries.path}: contains no evaluation points for the {len(table)} hands; make them for this split."
        )
    pair_ids, true = table.table["pair_id"].to_pylist(), table.array(TRUE_KEYPOINTS)
    wrists, rotations = table.array("wrist"), table.array("palm_rotation")
    per_frame = from_photographs or keypoints is not None
    seen = [(row, frames) for row in rows for frames in _views(pair_ids[row], evaluated, per_frame)]
    predicted = None if keypoints is None else _Predicted(keypoints, alignment)
    joints, problems = [], []
    for row, frames in seen:
        found = true[row] if predicted is None else predicted(frames, table.sides[row], wrists[row])
        problem = NO_VIEW if per_frame and not frames else found if isinstance(found, str) else None
        joints.append(true[row] if isinstance(found, str) else found)
        problems.append(problem)
    used, reasons = bone_frames(np.stack(joints), [table.sides[row] for row, _ in seen], problems, angle_clamp)
    palms, bones, lengths = (x.numpy() for x in (used.palm_rotation, used.bone_from_palm, used.bone_lengths))
    hands: dict[View, list[HandInput]] = {}
    for place, (row, frames) in enumerate(seen):
        hand = HandInput(
            pair_id=pair_ids[row],
            hand_id=table.hand_ids[row],
            frame=PalmFrame(table.sides[row], joints[place][WRIST], palms[place]),
            bone_from_palm=bones[place],
            bone_lengths=lengths[place],
            keypoints=joints[place],
            published_points=np.zeros((0, 3)),
            uniform_points=np.zeros((0, 3)),
            rejected=reasons[place],
            frame_ids=frames,
        )
        hands.setdefault((hand.pair_id, frames), []).append(hand)
    true_frames = {table.hand_ids[row]: PalmFrame(table.sides[row], wrists[row], rotations[row]) for row in rows}
    return BoneInputs({view: tuple(pair) for view, pair in hands.items()}, true_frames, queries, query_frame)


def _both_or_none(pair: tuple[HandInput, ...]) -> tuple[HandInput, ...]:
    usable = [hand for hand in pair if hand.rejected is None]
    if len(usable) == len(Side):
        return pair
    return tuple(replace(hand, rejected=hand.rejected or Reason.NO_OTHER_HAND.value) for hand in pair)


def _views(pair: str, evaluated: Mapping[str, tuple[int, ...]] | None, per_frame: bool) -> list[tuple[int, ...]]:
    """The frames for which the reconstructions of a pair are used; empty if no photograph of it is usable."""
    frames = (evaluated or {}).get(pair, ())
    return [(frame,) for frame in frames] if per_frame and frames else [frames]


class _Predicted:
    """Keypoints of a hand in a frame, or why it has none."""

    def __init__(self, table: KeypointTable, alignment: Alignment) -> None:
        self.keypoints, self.usable, self.reasons = table.keypoints(), table.usable, table.reasons
        self.alignment = alignment

    def __call__(self, frames: tuple[int, ...], side: Side, wrist: np.ndarray) -> np.ndarray | str:
        if not frames:
            return NO_VIEW
        if not self.usable[frames[0]]:
            return Reason.NO_KEYPOINTS.because(self.reasons[frames[0]])
        return aligned(self.keypoints[frames[0], side.index], wrist, self.alignment)


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
