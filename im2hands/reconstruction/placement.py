"""Between the palm frame, in which surfaces are extracted, and the world, in which they are stored.

Palm frame: p = R_palm · mirror_if_left(x - wrist) / 0.4 (`im2hands.hands.bone_frames`). With the alignment `wrist` a hand made
from predicted keypoints stands on the true wrist; with true keypoints there is nothing to align.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from im2hands.geometry.mesh import Mesh
from im2hands.hands.bone_frames import palm_to_world, world_to_palm
from im2hands.hands.sides import Side

Behaviour = Literal["published", "consistent"]
ALIGNMENT = "wrist"


@dataclass(frozen=True, eq=False)
class PalmFrame:
    """The palm frame of one hand. wrist: world, metres.  rotation: world axes to palm axes."""

    side: Side
    wrist: Float[np.ndarray, "3"]
    rotation: Float[np.ndarray, "3 3"]

    def to_palm(self, world: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """World points (m) in palm units."""
        return world_to_palm(world, self.wrist, self.rotation, self.side)

    def to_world(self, palm: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """Palm points (palm units) in the world (m)."""
        return palm_to_world(palm, self.wrist, self.rotation, self.side)

    def mesh_to_world(self, mesh: Mesh) -> Mesh:
        """A mesh of this frame in the world; outside stays outside, also on mirrored (left) hands."""
        return Mesh(self.to_world(mesh.vertices), self.side.mirror_faces(mesh.faces))

    def mesh_to_palm(self, mesh: Mesh) -> Mesh:
        """A mesh of the world in this frame; outside stays outside."""
        return Mesh(self.to_palm(mesh.vertices), self.side.mirror_faces(mesh.faces))


def query_points(
    points: Float[np.ndarray, "points 3"], true: PalmFrame, used: PalmFrame, query_frame: Behaviour
) -> Float[np.ndarray, "points 3"]:
    """Stored query points as the occupancy network must be asked about them.

    points: palm units of the true hand.  used: palm frame of the keypoints that the bone frames come from.
    query_frame: `published` passes the points on as they are, although the bone frames belong to the palm frame in use;
    `consistent` moves them there through the world. Equal when both frames are.
    """
    if query_frame == "published" or _same(true, used):
        return points
    return used.to_palm(true.to_world(points))


def _same(a: PalmFrame, b: PalmFrame) -> bool:
    return bool(a.side is b.side and np.array_equal(a.wrist, b.wrist) and np.array_equal(a.rotation, b.rotation))
