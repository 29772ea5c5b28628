"""The audit: one row for every frame or hand that was dropped or looks suspicious, with a reason from a fixed list."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Any, NamedTuple

import pyarrow as pa

from im2hands.io.errors import DataError
from im2hands.io.tables import Layout

AUDIT = Layout(
    "audit",
    1,
    pa.schema(
        [
            ("image_id", pa.int64()),
            ("file_name", pa.string()),
            ("capture", pa.int64()),
            ("camera", pa.string()),
            ("frame_idx", pa.int64()),
            ("side", pa.string()),
            ("kept", pa.bool_()),
            ("reason", pa.string()),
            ("detail", pa.string()),
            ("value", pa.float64()),
        ]
    ),
)
"""Rows about a hand have a side and no image; `value` is the number that decided, in the unit that `detail` names."""


class Reason(StrEnum):
    """Why a frame or a hand is in the audit."""

    SINGLE_HAND = "single_hand"
    HAND_TYPE_INVALID = "hand_type_invalid"
    ENTRY_MALFORMED = "entry_malformed"
    FIT_CAPTURE_MISSING = "fit_capture_missing"
    FIT_FRAME_MISSING = "fit_frame_missing"
    FIT_SIDE_MISSING = "fit_side_missing"
    FIT_NULL = "fit_null"
    FIT_MALFORMED = "fit_malformed"
    FIT_NOT_FINITE = "fit_not_finite"
    FIT_TRANSLATION_IMPLAUSIBLE = "fit_translation_implausible"
    FIT_POSE_IMPLAUSIBLE = "fit_pose_implausible"
    CAMERA_MISSING = "camera_missing"
    CAMERA_NOT_FINITE = "camera_not_finite"
    CAMERA_IMPLAUSIBLE = "camera_implausible"
    CAMERA_POSITION_IMPLAUSIBLE = "camera_position_implausible"
    PICKLE_UNREADABLE = "pickle_unreadable"
    IMAGE_MISSING = "image_missing"
    IMAGE_UNREADABLE = "image_unreadable"
    BLACK_IMAGE = "black_image"
    IMAGE_SCALED = "image_scaled"
    IMAGE_SIDES_EXCHANGED = "image_sides_exchanged"
    IMAGE_TURNED = "image_turned"
    IMAGE_SIZE_DIFFERS = "image_size_differs"
    DEGENERATE_HAND = "degenerate_hand"
    HAND_MISSING = "hand_missing"
    HANDS_NOT_PROJECTABLE = "hands_not_projectable"
    ANNOTATION_MISSING = "annotation_missing"
    JOINTS_IN_METRES = "joints_in_metres"
    JOINTS_FAR_FROM_MODEL = "joints_far_from_model"

    @property
    def is_damage(self) -> bool:
        """Whether the input is broken, as opposed to a frame that the selection leaves out on purpose."""
        return self in REMEDIES

    @property
    def keeps(self) -> bool:
        """Whether a frame or hand with this reason is suspicious but kept."""
        return self in KEPT


KEPT = frozenset(
    {Reason.IMAGE_SCALED, Reason.ANNOTATION_MISSING, Reason.JOINTS_IN_METRES, Reason.JOINTS_FAR_FROM_MODEL}
)
REMEDIES = {
    Reason.ENTRY_MALFORMED: "fetch the data file of v1.0 again, or correct the script that rewrote it",
    Reason.FIT_MALFORMED: "fetch the MANO_NeuralAnnot file of v1.0 again",
    Reason.FIT_NOT_FINITE: "fetch the MANO_NeuralAnnot file of v1.0 again",
    Reason.FIT_TRANSLATION_IMPLAUSIBLE: "translations of fits must be in metres but look like millimetres",
    Reason.FIT_POSE_IMPLAUSIBLE: "poses of fits must be in radians but look like degrees",
    Reason.CAMERA_MISSING: "fetch the camera file of the same release as the data file",
    Reason.CAMERA_NOT_FINITE: "fetch the camera file again",
    Reason.CAMERA_IMPLAUSIBLE: "fetch the camera file again",
    Reason.CAMERA_POSITION_IMPLAUSIBLE: "camera positions (campos) must be in millimetres but look like metres",
    Reason.PICKLE_UNREADABLE: "copy the annotation pickles again from their source",
    Reason.IMAGE_MISSING: "check that every image archive is unpacked in images/<split>",
    Reason.IMAGE_UNREADABLE: "unpack the image archives again; truncated files end early or do not decode",
    Reason.IMAGE_SIDES_EXCHANGED: "images with swapped width and height do not match their camera: fetch them again",
    Reason.IMAGE_TURNED: "save the images without an EXIF orientation that rotates them, or fetch them again",
    Reason.IMAGE_SIZE_DIFFERS: "resized images must keep their aspect ratio: fetch or resize them again",
    Reason.DEGENERATE_HAND: "check the fits, some of their keypoints coincide",
    Reason.JOINTS_IN_METRES: "joints (world_coord) must be in millimetres but look like metres",
    Reason.HAND_MISSING: "run fit_hands again; its audit lists the skipped hands",
    Reason.HANDS_NOT_PROJECTABLE: "cameras must be in millimetres and fits in metres, in the same world",
}
"""Reasons that mean damage, with what the user can do about each."""


class Finding(NamedTuple):
    """Why something is in the audit. value: the number that decided, in the unit that `detail` names."""

    reason: Reason
    detail: str = ""
    value: float | None = None


class Unusable(Exception):
    """An input that cannot be used, with the finding for the audit."""

    def __init__(self, reason: Reason, detail: str = "", value: float | None = None) -> None:
        super().__init__(detail)
        self.finding = Finding(reason, detail, value)


class RowBuffer:
    """Collects rows column by column and packs them every so often, so that millions of rows stay small."""

    def __init__(self, schema: pa.Schema, rows_per_batch: int = 50_000) -> None:
        self._schema, self._rows_per_batch = schema, rows_per_batch
        self._batches: list[pa.RecordBatch] = []
        self._columns: dict[str, list[Any]] = {name: [] for name in schema.names}
        self._pending = 0

    def append(self, **row: Any) -> None:
        """Adds a row; columns that are not given become null."""
        for name, column in self._columns.items():
            column.append(row.get(name))
        self._pending += 1
        if self._pending == self._rows_per_batch:
            self._pack()

    def table(self) -> pa.Table:
        """All rows so far."""
        self._pack()
        return pa.Table.from_batches(self._batches, schema=self._schema)

    def _pack(self) -> None:
        if self._pending:
            self._batches.append(pa.RecordBatch.from_pydict(self._columns, schema=self._schema))
            self._columns = {name: [] for name in self._schema.names}
            self._pending = 0


class Audit(RowBuffer):
    """Audit rows and the count of every reason. first_damage: the first row that means damage, in words; "" for none."""

    def __init__(self) -> None:
        super().__init__(AUDIT.schema)
        self.counts: Counter[Reason] = Counter()
        self.first_damage = ""

    def note(self, finding: Finding, **columns: Any) -> None:
        """Adds a row. columns: whatever is known of image_id, file_name, capture, camera, frame_idx, side."""
        reason, detail, value = finding
        self.counts[reason] += 1
        if reason.is_damage and not self.first_damage:
            place = columns.get("file_name") or f"capture {columns.get('capture')}, frame {columns.get('frame_idx')}"
            number = "" if value is None else f" {value:g}"
            self.first_damage = f"{place} ({reason}{': ' if detail else ''}{detail}{number})"
        self.append(kept=reason.keeps, reason=reason.value, detail=detail, value=value, **columns)

    def summary(self) -> str:
        """The counts in one line, most frequent first."""
        return ", ".join(f"{count} {reason}" for reason, count in self.counts.most_common()) or "nothing"


def require_few_damaged(counts: Counter[Reason], total: int, max_fraction: float, what: str, first: str = "") -> None:
    """Raises DataError if damaged inputs are more than `max_fraction` of `total`.

    what: the file or folder and what is counted, for the message, e.g. "data/raw/x: two-hand frames of train".
    first: one of the damaged inputs, see `Audit.first_damage`.
    """
    damaged = {reason: count for reason, count in counts.items() if reason.is_damage}
    number = sum(damaged.values())
    if number <= max_fraction * total:
        return
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(damaged.items(), key=lambda item: -item[1]))
    remedies = "; ".join(dict.fromkeys(REMEDIES[reason] for reason in sorted(damaged, key=lambda r: -damaged[r])))
    raise DataError(
        f"{what}: {number} of {total} cannot be used ({listed}), more than max_unreadable_fraction = {max_fraction:g} "
        f"allows: {remedies}.{f' The first: {first}.' if first else ''}"
    )
