"""Cutting the hand off the body: a mesh whose vertices are linear combinations of the body's. Millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

BEHIND_WRIST = 22.0
REACH = 260.0
"""Only vertices this near to the middle knuckle are looked at, so that the other arm is left out."""


@dataclass(frozen=True)
class CutHand:
    """combine: (hand vertices, body vertices), rows sum to 1: hand = combine @ body.  faces: triangles of the hand."""

    combine: sparse.csr_matrix
    faces: np.ndarray


def triangles(quads: list[tuple[int, ...]]) -> np.ndarray:
    corners = np.array(quads)
    return np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])


def cut_hand(vertices: np.ndarray, faces: np.ndarray, elbow: np.ndarray, middle_knuckle: np.ndarray) -> CutHand:
    """The hand in front of a plane across the forearm; vertices in the hand frame (wrist at the origin).

    New vertices on cut edges combine the two ends linearly, so that every morph target and weight carries over.
    """
    near = np.linalg.norm(vertices - middle_knuckle, axis=1) < REACH
    height = vertices @ (-elbow / np.linalg.norm(elbow)) + BEHIND_WRIST
    inside = near & (height > 0)
    rows: list[dict[int, float]] = []
    number: dict[tuple[int, ...], int] = {}

    def numbered(key: tuple[int, ...], row: dict[int, float]) -> int:
        if key not in number:
            number[key] = len(rows)
            rows.append(row)
        return number[key]

    def crossing(a: int, b: int) -> int:
        a, b = min(a, b), max(a, b)
        share = height[a] / (height[a] - height[b])
        return numbered((a, b), {a: 1 - share, b: share})

    result = []
    for face in faces[near[faces].all(1) & inside[faces].any(1)].tolist():
        polygon = []
        for a, b in zip(face, face[1:] + face[:1], strict=True):
            if inside[a]:
                polygon.append(numbered((a,), {a: 1.0}))
            if inside[a] != inside[b]:
                polygon.append(crossing(a, b))
        result += [(polygon[0], polygon[k], polygon[k + 1]) for k in range(1, len(polygon) - 1)]

    combine = sparse.lil_matrix((len(rows), len(vertices)))
    for row, entries in enumerate(rows):
        for vertex, share in entries.items():
            combine[row, vertex] = share
    return _largest_part(combine.tocsr(), np.array(result))


def _largest_part(combine: sparse.csr_matrix, faces: np.ndarray) -> CutHand:
    """Without loose pieces (nails and the like are separate in some meshes)."""
    count = combine.shape[0]
    links = sparse.coo_matrix(
        (np.ones(len(faces) * 2), (faces[:, [0, 1]].ravel("F"), faces[:, [1, 2]].ravel("F"))), (count, count)
    )
    _, part = connected_components(links, directed=False)
    keep = part == np.bincount(part).argmax()
    renumber = np.cumsum(keep) - 1
    return CutHand(combine[np.flatnonzero(keep)], renumber[faces[keep[faces].all(1)]])
