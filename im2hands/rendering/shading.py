"""Light on surfaces: normals, three-dimensional noise, shadows of one light, openness to the sky, tone curve.

Points are in metres unless stated otherwise; colours are linear light, 0 .. 1 before the tone curve. Nothing here is specific
to hands.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from jaxtyping import Float, Int

from im2hands.rendering.rasterizer import COMPILE, rasterize_depth


def vertex_normals(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "vertices 3"]:
    """Unit normals of vertices: mean of the adjacent triangles' normals, weighted by area."""
    vertices = np.ascontiguousarray(vertices, np.float64)
    return _vertex_normals(vertices, np.ascontiguousarray(faces, np.int64))


@numba.njit(**COMPILE)
def _vertex_normals(vertices, faces):
    normals = np.zeros_like(vertices)
    for face in range(faces.shape[0]):
        a, b, c = vertices[faces[face, 0]], vertices[faces[face, 1]], vertices[faces[face, 2]]
        ux, uy, uz, vx, vy, vz = b[0] - a[0], b[1] - a[1], b[2] - a[2], c[0] - a[0], c[1] - a[1], c[2] - a[2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in range(3):
            normal = normals[faces[face, k]]
            normal[0] += x
            normal[1] += y
            normal[2] += z
    for i in range(normals.shape[0]):
        x, y, z = normals[i, 0], normals[i, 1], normals[i, 2]
        normals[i] /= max(math.sqrt(x * x + y * y + z * z), 1e-15)
    return normals


def frame_of_direction(direction: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """A rotation whose last row is the unit `direction`; its other rows span the plane across it."""
    helper = np.eye(3)[np.abs(direction).argmin()]
    across = cross(helper, direction)
    across /= np.linalg.norm(across)
    return np.stack([across, cross(direction, across), direction])


def cross(one: Float[np.ndarray, "3"], other: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """The cross product of two vectors; `np.cross` takes ten times as long for so few numbers."""
    (a, b, c), (x, y, z) = one.tolist(), other.tolist()
    return np.array([b * z - c * y, c * x - a * z, a * y - b * x])


@numba.njit(inline="always", **COMPILE)
def _lattice(x, y, z, seed):
    """A value in 0 .. 1 for a lattice point, by an integer hash."""
    h = (
        np.uint32(x) * np.uint32(374761393)
        + np.uint32(y) * np.uint32(668265263)
        + np.uint32(z) * np.uint32(2246822519)
        + np.uint32(seed) * np.uint32(3266489917)
    )
    h = np.uint32(h ^ (h >> np.uint32(15))) * np.uint32(2246822519)
    h = np.uint32(h ^ (h >> np.uint32(13))) * np.uint32(3266489917)
    h = np.uint32(h ^ (h >> np.uint32(16)))
    return (h & np.uint32(0xFFFF)) / 65535.0


@numba.njit(**COMPILE)
def noise_at(x, y, z, seed):
    """Value noise at one point, 0 .. 1, smooth between the points of the unit lattice."""
    x0, y0, z0 = math.floor(x), math.floor(y), math.floor(z)
    a, b, c = x - x0, y - y0, z - z0
    a, b, c = a * a * (3 - 2 * a), b * b * (3 - 2 * b), c * c * (3 - 2 * c)
    i, j, k = int(x0) + 100000, int(y0) + 100000, int(z0) + 100000
    low = (_lattice(i, j, k, seed) * (1 - a) + _lattice(i + 1, j, k, seed) * a) * (1 - b) + (
        _lattice(i, j + 1, k, seed) * (1 - a) + _lattice(i + 1, j + 1, k, seed) * a
    ) * b
    high = (_lattice(i, j, k + 1, seed) * (1 - a) + _lattice(i + 1, j, k + 1, seed) * a) * (1 - b) + (
        _lattice(i, j + 1, k + 1, seed) * (1 - a) + _lattice(i + 1, j + 1, k + 1, seed) * a
    ) * b
    return low * (1 - c) + high * c


@numba.njit(**COMPILE)
def slope_at(x, y, z, seed):
    """The gradient of `noise_at`, per axis."""
    x0, y0, z0 = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - x0, y - y0, z - z0
    a, b, c = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    i, j, k = int(x0) + 100000, int(y0) + 100000, int(z0) + 100000
    n000, n100 = _lattice(i, j, k, seed), _lattice(i + 1, j, k, seed)
    n010, n110 = _lattice(i, j + 1, k, seed), _lattice(i + 1, j + 1, k, seed)
    n001, n101 = _lattice(i, j, k + 1, seed), _lattice(i + 1, j, k + 1, seed)
    n011, n111 = _lattice(i, j + 1, k + 1, seed), _lattice(i + 1, j + 1, k + 1, seed)
    low_x = (n100 - n000) * (1 - b) + (n110 - n010) * b
    high_x = (n101 - n001) * (1 - b) + (n111 - n011) * b
    near, far = n000 + (n100 - n000) * a, n010 + (n110 - n010) * a
    near_high, far_high = n001 + (n101 - n001) * a, n011 + (n111 - n011) * a
    low_y, high_y = far - near, far_high - near_high
    low, high = near + low_y * b, near_high + high_y * b
    return (
        (low_x + (high_x - low_x) * c) * 6 * u * (1 - u),
        (low_y + (high_y - low_y) * c) * 6 * v * (1 - v),
        (high - low) * 6 * w * (1 - w),
    )


class ShadowMap:
    """What one distant light sees of a mesh.

    direction: unit, towards the light.  cell: size of a shadow pixel, metres.
    """

    def __init__(
        self,
        vertices: Float[np.ndarray, "vertices 3"],
        faces: Int[np.ndarray, "faces 3"],
        direction: Float[np.ndarray, "3"],
        cell: float,
        centre: Float[np.ndarray, "3"],
        size: int,
    ) -> None:
        across, down, towards = frame_of_direction(direction)
        self.frame, self.centre, self.cell, self.size = np.stack([across, down, -towards]), centre, cell, size
        seen = self._seen(vertices)
        self.depth = rasterize_depth(seen[:, :2], seen[:, 2], faces, size, size)

    def _seen(self, points: np.ndarray) -> np.ndarray:
        """Column, row (shadow pixels) and depth (m) of points."""
        seen = (points - self.centre) @ self.frame.T
        seen[:, :2] = seen[:, :2] / self.cell + self.size / 2
        return seen

    def light(
        self,
        points: Float[np.ndarray, "n 3"],
        bias: float | Float[np.ndarray, "n"],
        softness: float = 0.0,
        taps: int = 1,
    ) -> Float[np.ndarray, "n"]:
        """Share of the light (0 .. 1) that reaches each point; all of it outside the map.

        bias: how far (m) a point may lie behind the surface that the light sees.  softness: radius (m) of a disc of `taps`
        looks over which the answer is averaged; bilinear between shadow pixels.
        """
        biases = np.broadcast_to(np.asarray(bias, np.float64), (len(points),))
        return _light(self.depth, self._seen(points), biases, sunflower(taps) * softness / self.cell)


def openness(
    vertices: Float[np.ndarray, "vertices 3"],
    normals: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    centre: Float[np.ndarray, "3"],
    radius: float,
    directions: int = 24,
    size: int = 144,
) -> Float[np.ndarray, "vertices"]:
    """Share of the sky (all directions above each vertex's surface, weighted by the cosine) that the mesh does not hide.

    centre, radius: the ball (m) in which hiding is looked at; beyond it the mesh hides nothing.
    """
    cell = 2 * radius / size
    lifted = vertices + normals * 1.5 * cell
    seen, possible = np.zeros(len(vertices)), np.zeros(len(vertices))
    for direction in sphere_directions(directions):
        cosine = np.maximum(normals @ direction, 0)
        seen += cosine * ShadowMap(vertices, faces, direction, cell, centre, size).light(lifted, cell)
        possible += cosine
    return seen / np.maximum(possible, 1e-9)


def sphere_directions(count: int) -> Float[np.ndarray, "count 3"]:
    """Evenly spread unit directions (Fibonacci lattice)."""
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)


def sunflower(taps: int) -> Float[np.ndarray, "taps 2"]:
    """Points spread evenly over the unit disc (sunflower), the first at its centre if it is the only one."""
    if taps == 1:
        return np.zeros((1, 2))
    radius = np.sqrt((np.arange(taps) + 0.5) / taps)
    turn = np.arange(taps) * np.pi * (3 - np.sqrt(5))
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)


@numba.njit(**COMPILE)
def _light(depth, seen, bias, offsets):
    size, count = depth.shape[0], seen.shape[0]
    light = np.empty(count)
    for i in range(count):
        limit, total = seen[i, 2] - bias[i], 0.0
        for k in range(offsets.shape[0]):
            x, y = seen[i, 0] + offsets[k, 0], seen[i, 1] + offsets[k, 1]
            column, row = math.floor(x), math.floor(y)
            if column < 0 or row < 0 or column >= size - 1 or row >= size - 1:
                total += 1.0
                continue
            a, b = x - column, y - row
            top = (1 - a) * (depth[row, column] > limit) + a * (depth[row, column + 1] > limit)
            bottom = (1 - a) * (depth[row + 1, column] > limit) + a * (depth[row + 1, column + 1] > limit)
            total += (1 - b) * top + b * bottom
        light[i] = total / offsets.shape[0]
    return light


def to_linear(srgb: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Linear light of sRGB values, both 0 .. 1."""
    srgb = np.asarray(srgb, np.float64)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.04045) + 0.055) / 1.055) ** 2.4)


def tone_curve(light: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """sRGB values (0 .. 1) of linear light: nearly straight below 0.6, a soft shoulder that keeps highlights from clipping."""
    knee = 0.6
    light = np.maximum(light, 0)
    rolled = np.where(light > knee, 1 - (1 - knee) * np.exp(-(light - knee) / (1 - knee)), light)
    return np.where(rolled <= 0.0031308, rolled * 12.92, 1.055 * np.maximum(rolled, 0.0031308) ** (1 / 2.4) - 0.055)
