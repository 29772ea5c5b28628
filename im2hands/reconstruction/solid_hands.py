"""Hands with a mesh from the start, predicted or read from a file: their field is 1 inside it and 0 outside."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from im2hands.geometry.inside import InsideTest
from im2hands.geometry.isosurface import EMPTY
from im2hands.geometry.mesh import Mesh
from im2hands.reconstruction.failures import mesh_problem
from im2hands.reconstruction.surfaces import HandInput, HandSurface


def solid_hand(hand: HandInput, mesh: Mesh, seconds: float) -> HandSurface:
    """A hand with its mesh (world, m, closed) and the mesh's inside at the evaluation points; without them if it cannot be a
    hand.

    hand: not rejected.  seconds: what making the mesh took.
    """
    problem = mesh_problem(mesh)
    if problem is not None:
        return hand.missing(problem)
    begun = perf_counter()
    solid = None if mesh.is_empty else InsideTest(mesh.vertices, mesh.faces)
    published, uniform = (
        np.zeros(len(points), bool) if solid is None else solid.contains(hand.frame.to_world(points))
        for points in (hand.published_points, hand.uniform_points)
    )
    return HandSurface(
        pair_id=hand.pair_id,
        hand_id=hand.hand_id,
        side=hand.frame.side,
        mesh=Mesh() if mesh.is_empty else mesh,
        failure=EMPTY if mesh.is_empty else None,
        published_field=published,
        uniform_field=uniform,
        extraction_s=seconds,
        evaluation_points_s=perf_counter() - begun,
        frame_ids=hand.frame_ids,
    )
