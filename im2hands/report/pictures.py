"""Still pictures of hands: shaded meshes over the photograph, from the side, and coloured by error.

Meshes come in the camera frame (metres, OpenCV axes); pictures are RGBA in [0, 1] with premultiplied alpha until they are
encoded, so that they can be shown on light and dark pages.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from im2hands.geometry.cameras import project
from im2hands.rendering.rasterizer import Raster, rasterize

SUPERSAMPLING = 2
OUTLINE_STEP = 0.004
"""Neighbouring pixels whose depths differ by more than this (m) have an outline between them."""
KEY, FILL = np.array([-0.45, -0.65, -0.80]), np.array([0.80, 0.10, -0.45])
"""Directions towards the lights, camera frame."""
FROM_THE_RIGHT = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
"""Turns the camera by 90 degrees about the picture's vertical: the hands as seen from the right of the picture."""
FILLED_SHARE = 0.86
NEAREST = 0.01
"""Metres before the camera; hands are farther, meshes of an untrained network may be anywhere."""
PHOTO_BRIGHTNESS, PHOTO_COLOUR = 0.72, 0.45
"""What is left of the photograph's brightness and colour behind an overlay."""


@dataclass(frozen=True, eq=False)
class Painted:
    """A mesh to draw. vertices: camera frame, metres.  colours: per vertex, sRGB in [0, 1]."""

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    colours: Float[np.ndarray, "vertices 3"]


def painted(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], colour: Sequence[float]
) -> Painted:
    """A mesh in one colour."""
    return Painted(vertices, faces, np.broadcast_to(np.asarray(colour, np.float64), vertices.shape))


@dataclass(frozen=True, eq=False)
class View:
    """A camera without a place: intrinsics (pixels) of a square picture with sides of `size` pixels."""

    intrinsics: Float[np.ndarray, "3 3"]
    size: int

    def enlarged(self, factor: float) -> View:
        """The same view on a picture `factor` times larger; pixel centres stay at whole numbers."""
        intrinsics = np.diag([factor, factor, 1.0]) @ self.intrinsics
        intrinsics[:2, 2] += (factor - 1) / 2
        return View(intrinsics, round(self.size * factor))


def render(meshes: Sequence[Painted], view: View) -> Float[np.ndarray, "size size 4"]:
    """The lit meshes, hiding one another, on nothing: premultiplied RGBA; transparent without a mesh.

    Triangles that reach nearer than NEAREST, or behind the camera, are left out.
    """
    drawn = view.enlarged(SUPERSAMPLING)
    picture = np.zeros((drawn.size, drawn.size, 4))
    if any(len(mesh.faces) for mesh in meshes):
        together = _in_front(_joined(meshes))
        raster = _rasterized(together, drawn)
        covered = raster.covered
        normals = vertex_normals(together.vertices, together.faces)
        seen = raster.interpolate(np.concatenate([together.colours, normals, together.vertices], 1), together.faces)
        picture[covered, :3] = _lit(seen[:, :3], seen[:, 3:6], seen[:, 6:])
        picture[covered, 3] = 1
        picture[_outlines(raster), :3] *= 0.5
    return cv2.resize(picture, (view.size, view.size), interpolation=cv2.INTER_AREA)


def silhouette(meshes: Sequence[Painted], view: View, colour: Sequence[float]) -> Float[np.ndarray, "size size 4"]:
    """The outline of all meshes together as a line in one colour, premultiplied RGBA."""
    drawn = view.enlarged(SUPERSAMPLING)
    picture = np.zeros((drawn.size, drawn.size, 4))
    if any(len(mesh.faces) for mesh in meshes):
        covered = _rasterized(_in_front(_joined(meshes)), drawn).covered.astype(np.uint8)
        contours, _ = cv2.findContours(covered, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        line = np.zeros(covered.shape, np.uint8)
        cv2.drawContours(line, contours, -1, 255, thickness=max(2, drawn.size // 200), lineType=cv2.LINE_AA)
        picture = np.concatenate([np.broadcast_to(np.asarray(colour), (*line.shape, 3)), np.ones((*line.shape, 1))], -1)
        picture = picture * (line / 255.0)[..., None]
    return cv2.resize(picture, (view.size, view.size), interpolation=cv2.INTER_AREA)


def over(
    front: Float[np.ndarray, "size size 4"], back: Float[np.ndarray, "size size 4"], opacity: float = 1.0
) -> Float[np.ndarray, "size size 4"]:
    """One picture in front of another, both with premultiplied alpha."""
    front = front * opacity
    return front + back * (1 - front[..., 3:])


def backdrop(image: UInt8[np.ndarray, "height width 3"], size: int) -> Float[np.ndarray, "size size 4"]:
    """The photograph (RGB) enlarged, darker and paler, so that a mesh stands out from it."""
    photo = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC) / 255.0
    grey = photo @ np.array([0.299, 0.587, 0.114])
    toned = PHOTO_BRIGHTNESS * (PHOTO_COLOUR * photo + (1 - PHOTO_COLOUR) * grey[..., None])
    return np.concatenate([toned, np.ones((size, size, 1))], -1)


def from_the_right(
    clouds: Sequence[Float[np.ndarray, "vertices 3"]], size: int, framed: int | None = None
) -> tuple[list[Float[np.ndarray, "vertices 3"]], View]:
    """Meshes' vertices (camera frame, m) turned to be seen from the right, and a view that the first `framed` fill (all of them
    by default)."""
    together = np.concatenate(clouds[:framed])
    centre = (together.min(0) + together.max(0)) / 2
    turned = [(cloud - centre) @ FROM_THE_RIGHT.T + [0, 0, centre[2]] for cloud in clouds]
    slopes = np.abs(np.concatenate([cloud[:, :2] / cloud[:, 2:] for cloud in turned[:framed]])).max()
    focal, middle = FILLED_SHARE * size / 2 / slopes, (size - 1) / 2
    return turned, View(np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]]), size)


def vertex_normals(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "vertices 3"]:
    """Unit normals, triangles weighted by area; zero where a vertex has no area about it."""
    corners = np.asarray(vertices, np.float64)[faces]
    areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    index = faces.reshape(-1)
    normals = np.stack([np.bincount(index, np.repeat(areas[:, i], 3), len(vertices)) for i in range(3)], -1)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-30)


def webp(picture: Float[np.ndarray, "height width 4"], quality: int = 86) -> bytes:
    """A premultiplied picture as WebP; with an alpha channel unless it is opaque."""
    alpha = picture[..., 3:]
    straight = np.where(alpha > 0, picture[..., :3] / np.maximum(alpha, 1e-6), 0)[..., ::-1]
    pixels = straight if (alpha == 1).all() else np.concatenate([straight, alpha], -1)
    bytes_per_channel = np.clip(np.round(255 * pixels), 0, 255).astype(np.uint8)
    return cv2.imencode(".webp", bytes_per_channel, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()


def data_uri(content: bytes, media_type: str) -> str:
    """Bytes as an address that a page can embed."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _joined(meshes: Sequence[Painted]) -> Painted:
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return Painted(
        np.concatenate([np.asarray(mesh.vertices, np.float64) for mesh in meshes]),
        np.concatenate([mesh.faces.astype(np.int64) + offset for mesh, offset in zip(meshes, offsets, strict=False)]),
        np.concatenate([mesh.colours for mesh in meshes]),
    )


def _in_front(mesh: Painted) -> Painted:
    """The triangles before the camera; vertices of others are moved there, where nothing uses them."""
    behind = ~(mesh.vertices[:, 2] > NEAREST)
    faces = mesh.faces[~behind[mesh.faces].any(1)]
    return Painted(np.where(behind[:, None], [0, 0, NEAREST], mesh.vertices), faces, mesh.colours)


def _rasterized(mesh: Painted, view: View) -> Raster:
    pixels = project(mesh.vertices, view.intrinsics)
    return rasterize(pixels, mesh.vertices[:, 2], mesh.faces, view.size, view.size)


def _lit(
    colours: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Two lights, sky and a soft gloss; normals are turned to the viewer, so that insides of open meshes are lit too."""
    towards_eye = -points / np.linalg.norm(points, axis=-1, keepdims=True)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    facing = (normals * towards_eye).sum(-1)
    normals, facing = normals * np.where(facing < 0, -1, 1)[:, None], np.abs(facing)
    key, fill = (light / np.linalg.norm(light) for light in (KEY, FILL))
    wrapped = np.clip((normals @ key + 0.25) / 1.25, 0, None)
    light = 0.34 - 0.12 * normals[:, 1] + 0.72 * wrapped + 0.16 * np.clip(normals @ fill, 0, None)
    light *= 0.72 + 0.28 * facing
    half = key + towards_eye
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    gloss = 0.10 * np.clip((normals * half).sum(-1), 0, None) ** 24
    return np.clip(colours**2.2 * light[:, None] + gloss[:, None], 0, 1) ** (1 / 2.2)


def _outlines(raster: Raster) -> Bool[np.ndarray, "height width"]:
    """Covered pixels with a neighbour that is much farther away, or see through to nothing."""
    nearest = np.where(raster.covered, raster.depth, 1e3)
    behind = cv2.dilate(nearest, np.ones((3, 3), np.uint8))
    return raster.covered & (behind - nearest > OUTLINE_STEP)
