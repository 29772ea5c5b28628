"""The table of fitted hands: one row per pose and side, shared by all cameras that see the pose.

Everything is in metres in the world frame. Keypoints are in STANDARD order; `model` keypoints are what networks are given
and tables call true, `annotation` ones serve the audit only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float

from im2hands.config.choices import Behaviour
from im2hands.datasets.audit import AUDIT, REMEDIES, Audit, Finding, Reason, RowBuffer, Unusable
from im2hands.datasets.frames import FrameTable, hand_id, pair_id
from im2hands.datasets.interhand26m import HandFit, InterHand26M, annotated_joints, hand_fit
from im2hands.hands.bone_frames import canonical_frames
from im2hands.hands.model import HandModel
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.parallel import chunks
from im2hands.io.progress import progress
from im2hands.io.tables import Layout, Provenance, read_parquet, write_parquet

SHAPES = {
    "pose": (48,),
    "shape": (10,),
    "translation": (3,),
    "vertices": (778, 3),
    "keypoints_model": (21, 3),
    "keypoints_regressed": (21, 3),
    "keypoints_annotation": (21, 3),
    "annotation_valid": (21,),
    "wrist": (3,),
    "palm_rotation": (3, 3),
    "bone_from_palm": (16, 4, 4),
    "bone_lengths": (16,),
}
TYPES = {"vertices": pa.float32(), "annotation_valid": pa.bool_()}
HANDS = Layout(
    "hands",
    1,
    pa.schema(
        [
            ("hand_id", pa.string()),
            ("pair_id", pa.string()),
            ("capture", pa.int64()),
            ("frame_idx", pa.int64()),
            ("side", pa.string()),
            ("subject", pa.int64()),
            *((name, pa.list_(TYPES.get(name, pa.float64()), int(np.prod(shape)))) for name, shape in SHAPES.items()),
            ("joint_distance_mm", pa.float64()),
        ]
    ),
)
"""Arrays are row-major. pose: axis-angle, minus the mean pose. wrist, palm_rotation, bone_from_palm, bone_lengths: see
`hands.bone_frames`. joint_distance_mm: mean distance of annotated joints to the model's, null without annotation."""

Pair = tuple[int, int]
"""A pose: (capture, frame_idx)."""
MOST_IN_METRES = 0.5
"""Part of the hands whose joints may be in metres; with more, the whole file is."""
HANDS_PER_BATCH = 256
ROWS_PER_GROUP = 256
"""Small row groups let a reader of a few hands touch a few megabytes of the file."""


@dataclass(frozen=True)
class HandTable:
    """Fitted hands."""

    table: pa.Table

    @classmethod
    def read(
        cls, path: str | os.PathLike, columns: list[str] | None = None, hand_ids: Iterable[str] | None = None
    ) -> HandTable:
        """All hands, or those of `hand_ids` that the file contains, with some or all columns.

        Only the parts of the file that contain these hands are read.
        """
        names = None if columns is None else list(dict.fromkeys(["hand_id", "pair_id", "side", *columns]))
        if hand_ids is None:
            return cls(read_parquet(path, HANDS, names).combine_chunks())
        wanted = set(hand_ids)
        ids = read_parquet(path, HANDS, ["hand_id"])["hand_id"].to_pylist()
        file = pq.ParquetFile(path)
        groups, start = [], 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            if not wanted.isdisjoint(ids[start:stop]):
                groups.append(group)
            start = stop
        table = file.read_row_groups(groups, columns=names)
        chosen = pa.array([name in wanted for name in table["hand_id"].to_pylist()], pa.bool_())
        return cls(table.filter(chosen).combine_chunks())

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def hand_ids(self) -> list[str]:
        return self.table["hand_id"].to_pylist()

    @cached_property
    def sides(self) -> list[Side]:
        return [Side(name) for name in self.table["side"].to_pylist()]

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of every hand_id."""
        return {name: row for row, name in enumerate(self.hand_ids)}

    def pair_ids(self) -> list[str]:
        """Pairs of which both hands are here, by first occurrence."""
        pairs = self.table["pair_id"].to_pylist()
        return [pair for pair in dict.fromkeys(pairs) if all(f"{pair}_{side.value}" in self.rows for side in Side)]

    def array(self, name: str) -> np.ndarray:
        """A column as an array (rows, *shape); lists without a copy."""
        column = self.table[name].combine_chunks()
        if name not in SHAPES:
            return column.to_numpy(zero_copy_only=False)
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(self), *SHAPES[name])


def fit_hands(
    root: str | os.PathLike,
    split: str,
    frames: FrameTable,
    models: Mapping[Side, HandModel],
    suspicious_joint_distance_mm: float,
    angle_clamp: Behaviour = "consistent",
    degenerate_hands: Behaviour = "consistent",
) -> tuple[pa.Table, Audit]:
    """Both hands (HANDS) of every pose that a kept frame shows, and the audit.

    models: one per side.  suspicious_joint_distance_mm: mean distance of the annotated joints to the model's above which
    a hand is noted as JOINTS_FAR_FROM_MODEL, and kept.  degenerate_hands: `consistent` drops hands without a palm frame
    with a reason, `published` keeps what the formulas give.
    Raises DataError if the fits of a frame are gone, no hand remains or the annotated joints are in metres.
    """
    dataset = InterHand26M.open(root)
    wanted = set(frames.pairs())
    fits, joints = _wanted_fits(dataset, split, wanted), _wanted_joints(dataset, split, wanted)
    missing = [pair for pair in frames.pairs() if pair not in fits]
    if missing:
        raise DataError(
            f"{dataset.annotation_file(split, 'MANO_NeuralAnnot')}: has no usable fits for capture {missing[0][0]}, frame "
            f"{missing[0][1]} ({len(missing)} poses in all), which the frame table lists; run index_frames again."
        )
    table, audit = pose_fits(frames, fits, joints, models, suspicious_joint_distance_mm, angle_clamp, degenerate_hands)
    in_metres = audit.counts[Reason.JOINTS_IN_METRES]
    if in_metres > MOST_IN_METRES * (len(table) or 1):
        raise DataError(
            f"{dataset.annotation_file(split, 'joint_3d')}: the joints of {in_metres} of {len(table)} hands are within a "
            f"millimetre; {REMEDIES[Reason.JOINTS_IN_METRES]}: multiply world_coord by 1000."
        )
    if len(table) == 0:
        raise DataError(f"{root}: no hand of the split {split} has a palm frame: {audit.summary()}; check the fits.")
    return table, audit


def pose_fits(
    frames: FrameTable,
    fits: Mapping[Pair, Mapping[Side, HandFit]],
    joints: Mapping[Pair, Any],
    models: Mapping[Side, HandModel],
    suspicious_joint_distance_mm: float,
    angle_clamp: Behaviour = "consistent",
    degenerate_hands: Behaviour = "consistent",
) -> tuple[pa.Table, Audit]:
    """What `fit_hands` gives, from fits that were read: (capture, frame_idx) -> side -> fit, for every pose of `frames`.

    joints: annotated joints by pose, see `annotated_joints`; poses without them are noted as ANNOTATION_MISSING, and kept.
    """
    subjects = dict(zip(frames.pair_keys, frames.table["subject"].to_pylist(), strict=True))
    audit, rows = Audit(), RowBuffer(HANDS.schema, HANDS_PER_BATCH)
    keys = [(pair, side) for pair in frames.pairs() for side in Side]
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # so that the last bits do not depend on the machine
    try:
        for batch in progress(chunks(keys, HANDS_PER_BATCH), f"pose hands (x{HANDS_PER_BATCH})"):
            for key, values, rejected in _posed(batch, fits, models, angle_clamp, degenerate_hands):
                (capture, frame_idx), side = key
                place = {"capture": capture, "frame_idx": frame_idx, "side": side.value}
                if rejected is not None:
                    audit.note(Finding(Reason.DEGENERATE_HAND, rejected), **place)
                    continue
                annotation, finding = _annotation(joints, key, values["keypoints_model"], suspicious_joint_distance_mm)
                if finding is not None:
                    audit.note(finding, **place)
                names = {"hand_id": hand_id(capture, frame_idx, side), "pair_id": pair_id(capture, frame_idx)}
                lists = {name: np.ravel(value) for name, value in (values | annotation).items()}
                distance = lists.pop("joint_distance_mm")[0]
                rows.append(
                    **names,
                    **place,
                    subject=subjects[capture, frame_idx],
                    joint_distance_mm=None if np.isnan(distance) else float(distance),
                    **lists,
                )
    finally:
        torch.set_num_threads(before)
    return rows.table(), audit


def write_hands(
    hands: str | os.PathLike, audit: str | os.PathLike, table: pa.Table, notes: Audit, provenance: Provenance
) -> None:
    """Writes the hand table and its audit."""
    write_parquet(audit, notes.table(), AUDIT, provenance)
    write_parquet(hands, table, HANDS, provenance, row_group_rows=ROWS_PER_GROUP)


def _wanted_fits(dataset: InterHand26M, split: str, pairs: set[Pair]) -> dict[Pair, dict[Side, HandFit]]:
    found = {}
    for capture, frame, entry in dataset.fits(split):
        pair = _key(capture, frame)
        if pair in pairs:
            try:
                found[pair] = {side: hand_fit(entry, side) for side in Side}
            except Unusable:
                continue
    return found


def _wanted_joints(dataset: InterHand26M, split: str, pairs: set[Pair]) -> dict[Pair, Any]:
    """Annotated joints per pair, or the finding that there are none."""
    found: dict[Pair, Any] = {}
    for capture, frame, entry in dataset.joints(split):
        pair = _key(capture, frame)
        if pair in pairs:
            try:
                found[pair] = annotated_joints(entry)
            except Unusable as unusable:
                found[pair] = unusable.finding
    return found


def _key(capture: str, frame: str) -> Pair | None:
    return (int(capture), int(frame)) if capture.isdigit() and frame.isdigit() else None


def _posed(
    keys: list[tuple[Pair, Side]],
    fits: Mapping[Pair, Mapping[Side, HandFit]],
    models: Mapping[Side, HandModel],
    angle_clamp: str,
    degenerate_hands: str,
) -> list[tuple[tuple[Pair, Side], dict[str, np.ndarray], str | None]]:
    """(key, columns of HANDS, reason of rejection or None) of a batch of hands, in its order."""
    results = {}
    for side in Side:
        own = [key for key in keys if key[1] is side]
        if not own:
            continue
        fit = [fits[pair][side] for pair, _ in own]
        pose, shape, translation = (np.stack([getattr(one, name) for one in fit]) for name in HandFit._fields)
        posed = models[side].pose(pose, shape, translation)
        vertices, keypoints, regressed = (
            part.double().cpu().numpy() for part in (posed.vertices, posed.keypoints, posed.regressed)
        )
        frames = canonical_frames(keypoints, side, angle_clamp=angle_clamp, degenerate_hands=degenerate_hands)
        for row, key in enumerate(own):
            columns = {
                "pose": pose[row],
                "shape": shape[row],
                "translation": translation[row],
                "vertices": vertices[row].astype(np.float32),
                "keypoints_model": keypoints[row],
                "keypoints_regressed": regressed[row],
                "wrist": frames.wrist[row].double().cpu().numpy(),
                "palm_rotation": frames.palm_rotation[row].double().cpu().numpy(),
                "bone_from_palm": frames.bone_from_palm[row].double().cpu().numpy(),
                "bone_lengths": frames.bone_lengths[row].double().cpu().numpy(),
            }
            results[key] = key, columns, frames.rejected[row]
    return [results[key] for key in keys]


def _annotation(
    joints: Mapping[Pair, Any], key: tuple[Pair, Side], keypoints: Float[np.ndarray, "21 3"], suspicious_mm: float
) -> tuple[dict[str, Any], Finding | None]:
    """The annotation's columns of a hand, and what is suspicious about it."""
    pair, side = key
    annotation = joints.get(pair, Finding(Reason.ANNOTATION_MISSING, "no entry of this frame"))
    if isinstance(annotation, Finding):
        absent = {"keypoints_annotation": np.full((21, 3), np.nan), "annotation_valid": np.zeros(21, bool)}
        return absent | {"joint_distance_mm": np.nan}, annotation
    points, valid = annotation[side]
    columns = {"keypoints_annotation": points, "annotation_valid": valid}
    if not valid.any():
        return columns | {"joint_distance_mm": np.nan}, Finding(Reason.ANNOTATION_MISSING, "no joint is annotated")
    distance = 1000 * float(np.linalg.norm(points[valid] - keypoints[valid], axis=-1).mean())
    finding = None
    if distance > suspicious_mm:
        detail = f"mean over {valid.sum()} joints, mm; is joint_3d of another release?"
        finding = Finding(Reason.JOINTS_FAR_FROM_MODEL, detail, distance)
    return columns | {"joint_distance_mm": distance}, finding
