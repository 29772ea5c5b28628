"""A z-buffer on the CPU: which triangle a pixel sees, how far away it is, and where on the triangle.

Pixels are (column, row), the centre of the top-left pixel is (0, 0). Depth is the camera z in the unit of the input (metres
inside this project). Barycentric weights are perspective-correct, so that anything given per vertex (normals, rest-pose
coordinates, colours) can be interpolated with them. Compiled without `fastmath`: equal input gives equal bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Bool, Float, Int

from im2hands.geometry.cameras import project
from im2hands.io.errors import DataError

NEAREST = 1e-3
"""Triangles with a corner nearer than this (m) are not drawn; nothing is clipped."""

COMPILE = {"cache": True, "error_model": "numpy", "nogil": True}


@dataclass(frozen=True)
class Raster:
    """What every pixel sees.

    depth: infinite where nothing is seen.  triangle: index into the faces, -1 where nothing is seen.  barycentric: weights of
    the triangle's three corners, zero where nothing is seen.
    """

    depth: Float[np.ndarray, "height width"]
    triangle: Int[np.ndarray, "height width"]
    barycentric: Float[np.ndarray, "height width 3"]

    @property
    def covered(self) -> Bool[np.ndarray, "height width"]:
        """Pixels that see a triangle."""
        return self.triangle >= 0

    def interpolate(
        self, attributes: Float[np.ndarray, "vertices channels"], faces: Int[np.ndarray, "faces 3"]
    ) -> Float[np.ndarray, "covered channels"]:
        """Attributes given per vertex, at the covered pixels in row order."""
        covered = self.covered
        attributes = np.ascontiguousarray(attributes, np.float64)
        return _gather(attributes, faces[self.triangle[covered]], self.barycentric[covered])


@dataclass(frozen=True)
class HandMaps:
    """Maps of several meshes seen by one camera.

    labels: 0 nothing, k + 1 for mesh k.  depth: metres, 0 where nothing is seen.  rest: coordinates given per vertex (the
    dense correspondence), 0 where nothing is seen.
    """

    labels: Int[np.ndarray, "height width"]
    depth: Float[np.ndarray, "height width"]
    rest: Float[np.ndarray, "height width 3"]


def rasterize(
    vertices_pixels: Float[np.ndarray, "vertices 2"],
    depth: Float[np.ndarray, "vertices"],
    faces: Int[np.ndarray, "faces 3"],
    height: int,
    width: int,
) -> Raster:
    """The nearest triangle at every pixel centre; of equally near ones, the first.

    vertices_pixels, depth: projected vertices.  Both sides of a triangle are drawn. Triangles without area in the image or
    with a corner nearer than `NEAREST` are left out.  Raises DataError for non-finite vertices or faces out of range.
    """
    vertices_pixels = np.ascontiguousarray(vertices_pixels, np.float64)
    depth, faces = np.ascontiguousarray(depth, np.float64), np.ascontiguousarray(faces, np.int64)
    if not (np.isfinite(vertices_pixels).all() and np.isfinite(depth).all()):
        raise DataError("a mesh with non-finite vertices cannot be drawn; was it projected from behind the camera?")
    if len(faces) and (faces.min() < 0 or faces.max() >= len(depth)):
        raise DataError(f"the triangles refer to vertex {faces.max()}, but the mesh has only {len(depth)} vertices.")
    nearest, triangle = np.full((height, width), np.inf), np.full((height, width), -1, np.int32)
    barycentric = np.zeros((height, width, 3))
    _fill(vertices_pixels, depth, faces, nearest, triangle)
    _weigh(vertices_pixels, depth, faces, nearest, triangle, barycentric)
    return Raster(nearest, triangle, barycentric)


def rasterize_depth(
    vertices_pixels: Float[np.ndarray, "vertices 2"],
    depth: Float[np.ndarray, "vertices"],
    faces: Int[np.ndarray, "faces 3"],
    height: int,
    width: int,
) -> Float[np.ndarray, "height width"]:
    """Depth alone under parallel projection (depth is linear in the image), infinite where nothing is: a shadow map."""
    buffer = np.full((height, width), np.inf)
    _fill_depth(
        np.ascontiguousarray(vertices_pixels, np.float64),
        np.ascontiguousarray(depth, np.float64),
        np.ascontiguousarray(faces, np.int64),
        buffer,
    )
    return buffer


def hand_maps(
    vertices: Sequence[Float[np.ndarray, "vertices 3"]],
    faces: Sequence[Int[np.ndarray, "faces 3"]],
    rest: Sequence[Float[np.ndarray, "vertices 3"]],
    intrinsics: Float[np.ndarray, "3 3"],
    height: int,
    width: int,
) -> HandMaps:
    """Label map, depth and dense correspondence of meshes that hide one another.

    vertices: per mesh, camera frame, metres.  rest: per mesh, the coordinates that the dense map shows (such as the model's
    template).  Raises DataError if a vertex lies on or behind the camera plane.
    """
    offsets = np.cumsum([0, *(len(part) for part in vertices)])
    together = np.concatenate([np.asarray(part, np.float64) for part in vertices])
    triangles = np.concatenate([part + offset for part, offset in zip(faces, offsets, strict=False)])
    owner = np.repeat(np.arange(1, len(faces) + 1, dtype=np.uint8), [len(part) for part in faces])
    raster = rasterize(project(together, intrinsics), together[:, 2], triangles, height, width)
    labels, depth = np.zeros((height, width), np.uint8), np.zeros((height, width), np.float32)
    coordinates = np.zeros((height, width, 3), np.float32)
    attributes = np.ascontiguousarray(np.concatenate(rest), np.float64)
    _read(raster.depth, raster.triangle, raster.barycentric, triangles, owner, attributes, labels, depth, coordinates)
    return HandMaps(labels, depth, coordinates)


@numba.njit(**COMPILE)
def _fill(pixels, depth, faces, nearest, triangle):
    height, width = nearest.shape
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        if depth[a] < NEAREST or depth[b] < NEAREST or depth[c] < NEAREST:
            continue
        xa, ya, xb, yb, xc, yc = pixels[a, 0], pixels[a, 1], pixels[b, 0], pixels[b, 1], pixels[c, 0], pixels[c, 1]
        double_area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if double_area == 0.0:
            continue
        sign = 1.0 if double_area > 0.0 else -1.0
        left = max(0, math.ceil(min(xa, xb, xc)))
        right = min(width - 1, math.floor(max(xa, xb, xc)))
        top = max(0, math.ceil(min(ya, yb, yc)))
        bottom = min(height - 1, math.floor(max(ya, yb, yc)))
        inverse_a, inverse_b, inverse_c = 1.0 / depth[a], 1.0 / depth[b], 1.0 / depth[c]
        surely_nearer = min(depth[a], depth[b], depth[c]) * (1.0 - 1e-9)
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                if nearest[row, column] < surely_nearer:
                    continue
                area_b = (column - xa) * (yc - ya) - (xc - xa) * (row - ya)
                area_c = (xb - xa) * (row - ya) - (column - xa) * (yb - ya)
                if area_b * sign < 0.0 or area_c * sign < 0.0:
                    continue
                weight_b, weight_c = area_b / double_area, area_c / double_area
                weight_a = 1.0 - weight_b - weight_c
                if weight_a < 0.0:
                    continue
                z = 1.0 / (weight_a * inverse_a + weight_b * inverse_b + weight_c * inverse_c)
                if z < nearest[row, column]:
                    nearest[row, column] = z
                    triangle[row, column] = face


@numba.njit(**COMPILE)
def _weigh(pixels, depth, faces, nearest, triangle, barycentric):
    """Perspective-correct weights where a triangle is seen."""
    for row in range(triangle.shape[0]):
        for column in range(triangle.shape[1]):
            face = triangle[row, column]
            if face < 0:
                continue
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            xa, ya, xb, yb, xc, yc = pixels[a, 0], pixels[a, 1], pixels[b, 0], pixels[b, 1], pixels[c, 0], pixels[c, 1]
            double_area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
            weight_b = ((column - xa) * (yc - ya) - (xc - xa) * (row - ya)) / double_area
            weight_c = ((xb - xa) * (row - ya) - (column - xa) * (yb - ya)) / double_area
            weight_a, z = 1.0 - weight_b - weight_c, nearest[row, column]
            barycentric[row, column, 0] = weight_a * (1.0 / depth[a]) * z
            barycentric[row, column, 1] = weight_b * (1.0 / depth[b]) * z
            barycentric[row, column, 2] = weight_c * (1.0 / depth[c]) * z


@numba.njit(**COMPILE)
def _fill_depth(pixels, depth, faces, nearest):
    height, width = nearest.shape
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        xa, ya, xb, yb, xc, yc = pixels[a, 0], pixels[a, 1], pixels[b, 0], pixels[b, 1], pixels[c, 0], pixels[c, 1]
        double_area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if double_area == 0.0:
            continue
        left = max(0, math.ceil(min(xa, xb, xc)))
        right = min(width - 1, math.floor(max(xa, xb, xc)))
        top = max(0, math.ceil(min(ya, yb, yc)))
        bottom = min(height - 1, math.floor(max(ya, yb, yc)))
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                weight_b = ((column - xa) * (yc - ya) - (xc - xa) * (row - ya)) / double_area
                weight_c = ((xb - xa) * (row - ya) - (column - xa) * (yb - ya)) / double_area
                weight_a = 1.0 - weight_b - weight_c
                if weight_a < 0.0 or weight_b < 0.0 or weight_c < 0.0:
                    continue
                z = weight_a * depth[a] + weight_b * depth[b] + weight_c * depth[c]
                if z < nearest[row, column]:
                    nearest[row, column] = z


@numba.njit(**COMPILE)
def _gather(attributes, corners, weights):
    count, channels = corners.shape[0], attributes.shape[1]
    values = np.empty((count, channels))
    for i in range(count):
        for k in range(channels):
            values[i, k] = (
                attributes[corners[i, 0], k] * weights[i, 0]
                + attributes[corners[i, 1], k] * weights[i, 1]
                + attributes[corners[i, 2], k] * weights[i, 2]
            )
    return values


@numba.njit(**COMPILE)
def _read(nearest, triangle, barycentric, faces, owner, attributes, labels, depth, coordinates):
    """Fills the maps of `HandMaps` where a triangle is seen. owner: label of every triangle."""
    for row in range(triangle.shape[0]):
        for column in range(triangle.shape[1]):
            face = triangle[row, column]
            if face < 0:
                continue
            labels[row, column], depth[row, column] = owner[face], nearest[row, column]
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            for k in range(attributes.shape[1]):
                coordinates[row, column, k] = (
                    attributes[a, k] * barycentric[row, column, 0]
                    + attributes[b, k] * barycentric[row, column, 1]
                    + attributes[c, k] * barycentric[row, column, 2]
                )
