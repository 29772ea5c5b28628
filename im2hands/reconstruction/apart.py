"""Fields of two hands kept apart: where both are occupied, the region belongs to the hand with the larger occupancy.

Occupancy networks decide about each hand without asking the other field, so hands that touch run through each other by a few
cubic centimetres. A point can be inside one hand only. Where it is inside both fields, the field of the weaker hand is brought
below the threshold, continuously: the new surface of both is where their occupancies are equal. Nothing changes elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from im2hands.geometry.isosurface import BOX, Field
from im2hands.hands.frames import PalmFrame

MARGIN = 0.2
"""Points are looked at in both fields from so far below the threshold on, so that the surface is interpolated right."""


@dataclass(frozen=True, eq=False)
class FieldsApart:
    """The field of several hands, in which pairs share no point. A function like `field`, see `isosurface.Field`.

    frames, pairs: palm frame and name of the pair of each item.  threshold: occupancy at the surface.
    """

    field: Field
    frames: Sequence[PalmFrame]
    pairs: Sequence[str]
    threshold: float
    others: Int[np.ndarray, " items"] = field(init=False)
    """For each item the other hand of its pair, -1 without one."""

    def __post_init__(self) -> None:
        others = np.full(len(self.frames), -1)
        for item, (frame, pair) in enumerate(zip(self.frames, self.pairs, strict=True)):
            for other, (its_frame, its_pair) in enumerate(zip(self.frames, self.pairs, strict=True)):
                if its_pair == pair and its_frame.side is not frame.side:
                    others[item] = other
        object.__setattr__(self, "others", others)

    def __call__(self, items: Int[np.ndarray, " m"], points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, " m"]:
        values = np.array(self.field(items, points))
        items = np.asarray(items)
        near = np.flatnonzero((values > self.threshold - MARGIN) & (self.others[items] >= 0))
        there = self._in_other_frames(items[near], points[near])
        inside = (np.abs(there) < BOX / 2).all(1)
        near, there = near[inside], there[inside]
        if len(near):
            other_values = self.field(self.others[items[near]], there.astype(points.dtype))
            equal_at = self.threshold + (values[near] - other_values) / 2
            taken = other_values > self.threshold - MARGIN
            values[near] = np.where(taken, np.minimum(values[near], equal_at), values[near])
        return values

    def _in_other_frames(
        self, items: Int[np.ndarray, " m"], points: Float[np.ndarray, "m 3"]
    ) -> Float[np.ndarray, "m 3"]:
        """Points of each item's palm frame in the palm frame of the other hand of its pair."""
        moved = np.empty((len(points), 3))
        for item in np.unique(items):
            own = items == item
            world = self.frames[item].to_world(points[own].astype(np.float64))
            moved[own] = self.frames[self.others[item]].to_palm(world)
        return moved
