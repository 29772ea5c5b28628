"""The open wrist of the hand mesh: its boundary ring found from the triangles, and the fan that closes it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from im2hands.io.errors import DataError

RING_LENGTH = 16
MANO_WRIST_RING = (108, 79, 78, 121, 214, 215, 279, 239, 234, 92, 38, 122, 118, 117, 119, 120)
"""The ring of MANO's mesh; meshes with another one are accepted, this list only fixes where and which way round to start."""


def boundary_edges(faces: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, "edges 2"]:
    """Directed edges (start, end) of triangles that no neighbour runs through in the other direction."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    count = int(edges.max(initial=0)) + 1
    keys, opposite = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    return edges[~np.isin(keys, opposite)]


def find_wrist_ring(faces: Int[np.ndarray, "faces 3"], source: str) -> Int[np.ndarray, "16"]:
    """Vertices around the only hole of the mesh, in order.

    Starts and runs like MANO's list where the ring is MANO's, otherwise from its smallest vertex towards that one's smaller
    neighbour. source: file named in errors.  Raises DataError unless the mesh is consistently wound with one hole of 16 edges.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    if len(np.unique(edges, axis=0)) != len(edges):
        raise DataError(f"{source}: the triangles are not wound consistently; this is not the hand model's own mesh.")
    successor = {int(start): int(end) for start, end in boundary_edges(faces)}
    ring = [min(successor)] if successor else []
    while ring and successor.get(ring[-1], ring[0]) != ring[0]:
        ring.append(successor[ring[-1]])
        if len(ring) > RING_LENGTH:
            break
    if len(ring) != RING_LENGTH or len(successor) != RING_LENGTH:
        raise DataError(
            f"{source}: the mesh must have one hole, the wrist, of 16 edges; it has {len(successor)} boundary edges. "
            "Sealed or simplified meshes cannot be used as a hand model."
        )
    reverse = [ring[0], *ring[:0:-1]]
    if set(ring) == set(MANO_WRIST_RING):
        for candidate in (ring, reverse):
            first = candidate.index(MANO_WRIST_RING[0])
            if tuple(candidate[first:] + candidate[:first]) == MANO_WRIST_RING:
                return np.array(MANO_WRIST_RING)
    return np.array(min(ring, reverse))


def close_wrist(
    faces: Int[np.ndarray, "faces 3"], ring: Int[np.ndarray, "ring"], centre: int
) -> Int[np.ndarray, "closed 3"]:
    """The triangles and a fan from the ring to vertex `centre`, wound like the rest of the mesh.

    Fan triangle i joins ring[i-1] and ring[i]: as (ring[i-1], ring[i], centre) where the mesh runs from ring[i] to
    ring[i-1], as on right hands, and as (ring[i], ring[i-1], centre) on left ones.
    """
    ring = np.asarray(ring)
    previous = np.roll(ring, 1)
    towards_previous = (boundary_edges(faces) == [ring[0], previous[0]]).all(1).any()
    start, end = (previous, ring) if towards_previous else (ring, previous)
    return np.concatenate([faces, np.stack([start, end, np.full_like(ring, centre)], 1)])
