"""Z-buffers of closed meshes, for pictures by the hundred thousand: triangles that turn away are left out.

The plain forms are in `rasterizer` and `shading`; these give the same answers for closed meshes wound outwards, to the rounding
of a float32 buffer. Whatever is compared is linear in the picture and larger when nearer: 1 / depth under a pinhole camera,
height towards the light under parallel projection.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numba
import numpy as np
from jaxtyping import Float, Int

from im2hands.geometry.cameras import Camera
from im2hands.rendering.rasterizer import COMPILE
from im2hands.rendering.shading import frame_of_direction, sphere_directions, sunflower

BORDER = 8
"""Shadow pixels nearer than this to the border may have discs that leave the map; a disc has a smaller radius."""
TOWARDS_CAMERA, TOWARDS_LIGHT = -1.0, 1.0
"""Sign of the area in the picture of triangles that are seen: rows run downwards, away from a camera's up."""


def seen_by(
    vertices: Float[np.ndarray, "vertices 3"], camera: Camera, nearest: float
) -> tuple[Float[np.ndarray, "vertices 3"], Float[np.ndarray, "vertices 2"], Float[np.ndarray, "vertices"]]:
    """World vertices (m) in the camera frame, their pixels, and 1 / depth (1 / m).

    nearest: vertices nearer than this (m) get NaN as 1 / depth, and their triangles are not drawn.
    """
    points, pixels, inverse = np.empty((len(vertices), 3)), np.empty((len(vertices), 2)), np.empty(len(vertices))
    _project(vertices, camera.rotation, camera.translation, camera.intrinsics, nearest, points, pixels, inverse)
    return points, pixels, inverse


def front_triangles(
    pixels: Float[np.ndarray, "vertices 2"],
    inverse: Float[np.ndarray, "vertices"],
    faces: Int[np.ndarray, "faces 3"],
    height: int,
    width: int,
) -> Int[np.ndarray, "height width"]:
    """The triangle that every pixel centre of a pinhole camera sees, -1 for none. inverse: see `seen_by`."""
    triangle = np.full((height, width), -1, np.int32)
    _fill_front(pixels, inverse, faces, TOWARDS_CAMERA, np.zeros((height, width), np.float32), triangle)
    return triangle


class SoftShadow:
    """What one distant light sees of a mesh, for looks over a disc; see `shading.ShadowMap`.

    direction: unit, towards the light.  cell: size of a shadow pixel, metres.  radius: of the disc, metres.
    arrays: what `light_at` reads; rows and columns, then height (m), lowest and highest of all that a disc may meet.
    """

    def __init__(
        self,
        vertices: Float[np.ndarray, "vertices 3"],
        faces: Int[np.ndarray, "faces 3"],
        direction: Float[np.ndarray, "3"],
        cell: float,
        centre: Float[np.ndarray, "3"],
        size: int,
        radius: float,
        taps: int,
    ) -> None:
        frame = frame_of_direction(direction)
        self.frame = np.concatenate([frame[:2] / cell, frame[2:]])
        self.origin = np.array([size / 2, size / 2, 0.0]) - self.frame @ centre
        self.offsets = sunflower(taps) * (radius / cell)
        height = np.full((size, size), -np.inf, np.float32)
        seen = vertices @ self.frame.T + self.origin
        none = np.empty((0, 0), np.int32)
        _fill_front(
            np.ascontiguousarray(seen[:, :2]), np.ascontiguousarray(seen[:, 2]), faces, TOWARDS_LIGHT, height, none
        )
        reach = math.ceil(radius / cell)
        window, anchor = np.ones((2 * reach + 2,) * 2, np.uint8), (reach, reach)
        self.maps = (height, cv2.erode(height, window, anchor=anchor), cv2.dilate(height, window, anchor=anchor))


@numba.njit(inline="always", **COMPILE)
def light_at(x, y, z, bias, frame, origin, maps, offsets):
    """Share of the light (0 .. 1) that reaches a point (m) of the frame of `SoftShadow`'s vertices, as `ShadowMap.light`.

    frame, origin, maps, offsets: of the `SoftShadow`.
    """
    height, lowest, highest = maps
    column = frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z + origin[0]
    row = frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z + origin[1]
    limit = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z + origin[2] + bias
    total, border = 0.0, maps[0].shape[0] - BORDER
    if column >= BORDER and row >= BORDER and column < border and row < border:
        if highest[int(row), int(column)] < limit:
            return 1.0
        if lowest[int(row), int(column)] >= limit:
            return 0.0
        for k in range(offsets.shape[0]):
            x, y = column + offsets[k, 0], row + offsets[k, 1]
            total += _look_inside(height, int(x), int(y), x - int(x), y - int(y), limit)
    else:
        for k in range(offsets.shape[0]):
            total += _look(height, column + offsets[k, 0], row + offsets[k, 1], limit)
    return total / offsets.shape[0]


def open_sky(
    vertices: Float[np.ndarray, "vertices 3"],
    normals: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    centre: Float[np.ndarray, "3"],
    radius: float,
    directions: int = 24,
    size: int = 144,
) -> Float[np.ndarray, "vertices"]:
    """As `shading.openness`: share of the sky above each vertex that the mesh does not hide."""
    return _open_sky(vertices, normals, faces, _sky_frames(directions), centre, 2 * radius / size, size)


@lru_cache(4)
def _sky_frames(count: int) -> Float[np.ndarray, "count 3 3"]:
    return np.stack([frame_of_direction(direction) for direction in sphere_directions(count)])


@numba.njit(**COMPILE)
def _open_sky(vertices, normals, faces, frames, centre, cell, size):
    count = vertices.shape[0]
    seen, possible = np.zeros(count), np.zeros(count)
    pixels, height = np.empty((count, 2)), np.empty(count)
    buffer, none = np.empty((size, size), np.float32), np.empty((0, 0), np.int32)
    for k in range(frames.shape[0]):
        frame = frames[k]
        for i in range(count):
            x, y, z = vertices[i, 0] - centre[0], vertices[i, 1] - centre[1], vertices[i, 2] - centre[2]
            pixels[i, 0] = (frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z) / cell + size / 2
            pixels[i, 1] = (frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z) / cell + size / 2
            height[i] = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z
        buffer[:] = -np.inf
        _fill_front(pixels, height, faces, TOWARDS_LIGHT, buffer, none)
        for i in range(count):
            nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
            cosine = frame[2, 0] * nx + frame[2, 1] * ny + frame[2, 2] * nz
            if cosine <= 0:
                continue
            column = pixels[i, 0] + 1.5 * (frame[0, 0] * nx + frame[0, 1] * ny + frame[0, 2] * nz)
            row = pixels[i, 1] + 1.5 * (frame[1, 0] * nx + frame[1, 1] * ny + frame[1, 2] * nz)
            seen[i] += cosine * _look(buffer, column, row, height[i] + (1.5 * cosine + 1) * cell)
            possible[i] += cosine
    for i in range(count):
        seen[i] /= max(possible[i], 1e-9)
    return seen


@numba.njit(inline="always", **COMPILE)
def _look(height, x, y, limit):
    """Share of the light at a place of a map, bilinear between shadow pixels; all of it outside."""
    size = height.shape[0]
    column, row = math.floor(x), math.floor(y)
    if column < 0 or row < 0 or column >= size - 1 or row >= size - 1:
        return 1.0
    return _look_inside(height, column, row, x - column, y - row, limit)


@numba.njit(inline="always", **COMPILE)
def _look_inside(height, column, row, a, b, limit):
    top = (1 - a) * (height[row, column] < limit) + a * (height[row, column + 1] < limit)
    bottom = (1 - a) * (height[row + 1, column] < limit) + a * (height[row + 1, column + 1] < limit)
    return (1 - b) * top + b * bottom


@numba.njit(**COMPILE)
def _project(vertices, rotation, translation, intrinsics, nearest, points, pixels, inverse):
    for i in range(vertices.shape[0]):
        for k in range(3):
            points[i, k] = translation[k]
            for j in range(3):
                points[i, k] += rotation[k, j] * vertices[i, j]
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        inverse[i] = 1.0 / z if z >= nearest else np.nan
        for k in range(2):
            pixels[i, k] = (intrinsics[k, 0] * x + intrinsics[k, 1] * y + intrinsics[k, 2] * z) * inverse[i]


@numba.njit(**COMPILE)
def _fill_front(pixels, nearness, faces, sign, buffer, triangle):
    """Draws triangles whose area in the picture has the sign. triangle: gets their numbers, unless it is empty."""
    height, width = buffer.shape
    keep = triangle.size > 0
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        xa, ya, xb, yb, xc, yc = pixels[a, 0], pixels[a, 1], pixels[b, 0], pixels[b, 1], pixels[c, 0], pixels[c, 1]
        double_area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if not double_area * sign > 0.0:  # also if a corner is at the camera
            continue
        left = max(0, math.ceil(min(xa, xb, xc)))
        right = min(width - 1, math.floor(max(xa, xb, xc)))
        top = max(0, math.ceil(min(ya, yb, yc)))
        bottom = min(height - 1, math.floor(max(ya, yb, yc)))
        if left > right or top > bottom:
            continue
        step_b, step_c = (yc - ya) / double_area, (ya - yb) / double_area
        down_b, down_c = (xa - xc) / double_area, (xb - xa) / double_area
        over_b, over_c = nearness[b] - nearness[a], nearness[c] - nearness[a]
        for row in range(top, bottom + 1):
            weight_b = (left - xa) * step_b + (row - ya) * down_b
            weight_c = (left - xa) * step_c + (row - ya) * down_c
            for column in range(left, right + 1):
                if weight_b >= 0.0 and weight_c >= 0.0 and weight_b + weight_c <= 1.0:
                    near = np.float32(nearness[a] + weight_b * over_b + weight_c * over_c)
                    if near > buffer[row, column]:
                        buffer[row, column] = near
                        if keep:
                            triangle[row, column] = face
                weight_b += step_b
                weight_c += step_c
