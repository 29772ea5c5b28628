"""Tests whether points are inside a mesh, by winding numbers or by the published parity rule.

Rule `winding`: inside where the winding number is not 0. Exact on closed meshes, for points under edges and vertices too;
regions covered twice are inside; faces turned inside out make no difference.  Rule `parity`: the published one of HALO
preparation (inside_parity.py), with its losses.

Meshes must be closed (mesh.is_watertight): rays along z pass through a hole. Points and vertices share any one unit and frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from im2hands.geometry.inside_numpy import NumpyColumns
from im2hands.geometry.inside_parity import parity_inside
from im2hands.geometry.mesh import checked_mesh
from im2hands.io.errors import DataError

try:
    from im2hands.geometry.inside_numba import CompiledColumns
    from im2hands.geometry.inside_parity_numba import compiled_parity_inside
except ImportError:  # the portable form does the same without numba, more slowly
    CompiledColumns = None

Rule = Literal["parity", "winding"]
Backend = Literal["auto", "numba", "numpy"]


class InsideTest:
    """A mesh indexed for inside tests of many points.

    backend: numba (compiled) or numpy (portable), with equal results; auto takes numba where it is installed.
    name: what to call the mesh in messages.  Raises DataError for an empty mesh or one that is not finite.
    """

    def __init__(
        self,
        vertices: Float[np.ndarray, "vertices 3"],
        faces: Int[np.ndarray, "faces 3"],
        backend: Backend = "auto",
        name: str = "the mesh",
    ) -> None:
        self.vertices, self.faces = checked_mesh(vertices, faces, name)
        if backend == "numba" and CompiledColumns is None:
            raise DataError("the compiled inside test needs the package numba; install it or use the backend numpy.")
        self._compiled = backend != "numpy" and CompiledColumns is not None

    @cached_property
    def _columns(self) -> NumpyColumns:
        return (CompiledColumns if self._compiled else NumpyColumns)(self.vertices, self.faces)

    def winding(self, points: Float[np.ndarray, "*batch 3"]) -> Int[np.ndarray, "*batch"]:
        """Winding number of each point: 1 inside a shell, 2 inside two, 0 outside. Raises DataError for NaN points."""
        flat = _checked_points(points)
        return self._columns.winding(flat).reshape(np.shape(points)[:-1])

    def contains(self, points: Float[np.ndarray, "*batch 3"], rule: Rule = "winding") -> Bool[np.ndarray, "*batch"]:
        """Whether points are inside by a rule. Raises DataError for NaN or infinite points and for unknown rules."""
        if rule == "winding":
            return self.winding(points) != 0
        if rule != "parity":
            raise DataError(f"unknown rule {rule!r} for the inside test; use parity or winding.")
        label = compiled_parity_inside if self._compiled else parity_inside
        return label(self.vertices, self.faces, _checked_points(points)).reshape(np.shape(points)[:-1])

    def labels(self, points: Float[np.ndarray, "*batch 3"], rule: Rule = "winding") -> Labels:
        """Occupancy labels by a rule, with the number of points on which the two rules disagree."""
        winding = self.winding(points)
        by_winding = winding != 0
        if rule == "winding":  # the parity of crossings is that of the winding number, but under edges
            return Labels(by_winding, int(np.count_nonzero(by_winding & (winding % 2 == 0))))
        by_parity = self.contains(points, rule)
        return Labels(by_parity, int(np.count_nonzero(by_parity != by_winding)))


@dataclass(frozen=True)
class Labels:
    """Occupancy of points. conflicts: how many of them parity and winding number label differently."""

    inside: Bool[np.ndarray, "*batch"]
    conflicts: int


def inside_mesh(
    points: Float[np.ndarray, "*batch 3"],
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    rule: Rule = "winding",
    backend: Backend = "auto",
) -> Bool[np.ndarray, "*batch"]:
    """Whether points lie inside a closed mesh, by a rule. See InsideTest, which keeps the index for more points."""
    return InsideTest(vertices, faces, backend).contains(points, rule)


def _checked_points(points: np.ndarray) -> Float[np.ndarray, "points 3"]:
    points = np.asarray(points)
    if points.ndim < 1 or points.shape[-1] != 3:
        raise DataError(f"query points have shape {points.shape}, expected three coordinates in the last axis.")
    points = np.ascontiguousarray(points.reshape(-1, 3), np.float64)
    if not np.isfinite(points).all():
        raise DataError(
            f"{np.count_nonzero(~np.isfinite(points).all(axis=1))} of {len(points)} query points are not finite."
        )
    return points
