"""Vertex numbers: the wrist ring and the finger tips at the places where users of MANO's mesh look for them."""

from __future__ import annotations

import numpy as np

from im2hands.hands.joints import TIP_VERTICES
from im2hands.hands.wrist import MANO_WRIST_RING, find_wrist_ring

TIP_NEIGHBOURS = {745: (744,), 317: (320,), 444: (443, 445), 556: (554,), 673: (671,)}
"""Vertices next to a tip that some code uses instead."""
OFF_AXIS_PENALTY = 0.5
FINGER_WIDTH = 15.0
"""Millimetres around the tip marker within which its vertex lies."""


def mano_like_numbers(vertices: np.ndarray, faces: np.ndarray, last_joints: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """For every new number the old vertex that gets it.

    last_joints, tips: where the last bones of thumb, index, middle, ring and little finger start and end, inside the flesh.
    The tip vertex is the outermost one near the bone's axis: furthest along it, less half its distance from it.
    """
    place: dict[int, int] = dict(zip(MANO_WRIST_RING, _ring_for_right_hands(faces), strict=True))
    for number, start, end in zip(TIP_VERTICES, last_joints, tips, strict=True):
        axis = (end - start) / np.linalg.norm(end - start)
        along = (vertices - start) @ axis
        off_axis = np.linalg.norm(vertices - start - along[:, None] * axis, axis=1)
        best = np.argsort(OFF_AXIS_PENALTY * off_axis - along)
        best = best[np.linalg.norm(vertices[best] - end, axis=1) < FINGER_WIDTH]
        place |= dict(zip((number, *TIP_NEIGHBOURS[number]), best.tolist(), strict=False))
    used = set(place.values())
    rest = iter(vertex for vertex in range(len(vertices)) if vertex not in used)
    return np.array([place[number] if number in place else next(rest) for number in range(len(vertices))])


def _ring_for_right_hands(faces: np.ndarray) -> list[int]:
    """The wrist ring from its first vertex on, so that fan triangles (ring[i-1], ring[i], centre) fit the mesh."""
    ring = find_wrist_ring(faces, "decimated hand").tolist()
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    if not (edges == [ring[1], ring[0]]).all(1).any():
        ring = [ring[0], *ring[:0:-1]]
    return ring
