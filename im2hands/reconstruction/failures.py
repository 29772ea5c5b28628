"""Whether a hand can be reconstructed: decided here for every method and keypoint source, with the reason if it cannot.

A failed hand is counted and never stops a run. Keypoints are checked before any network is evaluated (`bone_frames`), a mesh
before it is measured (`mesh_problem`), and the field in between by the search itself. The stored sentence begins with the
words of a Reason, so that tables can count it (`reason_of`). docs/evaluation.md lists all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from jaxtyping import Float

from im2hands.config.choices import Behaviour
from im2hands.datasets.keypoints import LARGEST_DISTANCE, implausible
from im2hands.geometry.isosurface import EMPTY, FULL, NOT_FINITE, OVERGROWN
from im2hands.geometry.mesh import Mesh
from im2hands.hands.bone_frames import CanonicalHands, canonical_frames
from im2hands.hands.sides import Side

LARGEST_MESH = 1.0
"""Metres: the longest side of the box around a hand's mesh; a stretched hand is 0.2 m long, the searched box 0.44 m."""


class Reason(StrEnum):
    """Why a hand counts as failed; the words with which the stored sentence begins."""

    NO_PHOTOGRAPH = "no usable photograph of the pair"
    NO_KEYPOINTS = "no keypoints"
    NO_PALM_FRAME = "no palm frame"
    NO_OTHER_HAND = "the other hand cannot be reconstructed"
    NOT_FINITE = NOT_FINITE
    OVERGROWN = OVERGROWN
    EMPTY = EMPTY
    FULL = FULL
    NO_HAND = "the mesh is no hand"
    NO_FILE = "no mesh file"
    UNREADABLE = "unreadable mesh file"
    NO_HAND_SIZE = "not as large as a hand"
    OPEN = "the surface is not closed"
    NO_AREA = "the surface has no area"
    OTHER = "another reason"

    def because(self, detail: str) -> str:
        """The sentence that is stored."""
        return f"{self}: {detail}"


def reason_of(sentence: str | None) -> Reason | None:
    """The reason that a stored sentence begins with; OTHER for words that are not ours, None without a sentence."""
    if sentence is None:
        return None
    words = sentence.partition(":")[0]
    return Reason(words) if words in set(Reason) else Reason.OTHER


def bone_frames(
    keypoints: Float[np.ndarray, "hands 21 3"],
    sides: Sequence[Side],
    known: Sequence[str | None] | None = None,
    angle_clamp: Behaviour = "consistent",
) -> tuple[CanonicalHands, list[str | None]]:
    """The frames of hands, and why a hand has none.

    keypoints: STANDARD order, world, m; anything where there is a reason.  known: reasons that are known before.
    angle_clamp: see `canonical_frames`.  The frames of a hand without a reason are finite; of the others they may be NaN.
    """
    reasons = list(known) if known is not None else [None] * len(keypoints)
    for hand, reason in enumerate(reasons):
        problem = None if reason else implausible(keypoints[hand][None, None])
        if problem is not None:
            reasons[hand] = Reason.NO_KEYPOINTS.because(problem[1])
    judged = np.where(np.array([reason is None for reason in reasons], bool)[:, None, None], keypoints, np.nan)
    frames = canonical_frames(judged, list(sides), angle_clamp)
    finite = np.logical_and.reduce(
        [
            np.isfinite(values.numpy()).reshape(len(reasons), -1).all(axis=1)
            for values in (frames.palm_rotation, frames.bone_from_palm, frames.bone_lengths)
        ]
    )
    for hand, rejected in enumerate(frames.rejected):
        if reasons[hand] is None and rejected is not None:
            reasons[hand] = Reason.NO_PALM_FRAME.because(rejected)
        elif reasons[hand] is None and not finite[hand]:
            reasons[hand] = Reason.NO_PALM_FRAME.because("the bone frames are not finite")
    return frames, reasons


def mesh_problem(mesh: Mesh) -> str | None:
    """Why a mesh (world, m) cannot be measured as a hand, or None if it can. An empty one has no problem of this kind."""
    if mesh.is_empty:
        return None
    vertices = np.asarray(mesh.vertices, np.float64)
    if not np.isfinite(vertices).all():
        return Reason.NO_HAND.because("a vertex is NaN or infinite")
    size, place = float(np.ptp(vertices, axis=0).max()), float(np.abs(vertices).max())
    if size > LARGEST_MESH:
        return Reason.NO_HAND.because(f"it is more than {LARGEST_MESH:g} m long")
    if place > LARGEST_DISTANCE:
        return Reason.NO_HAND.because(f"it is more than {LARGEST_DISTANCE:g} m away")
    return None
