"""Maps drawn from the fitted meshes in the pixels of a crop: which hand a pixel shows, and where on the hand.

Both hands are drawn together, so that they hide each other. Pixel centres are at whole numbers, as for the crop and its
camera; the published maps are half a pixel off because of their renderer's convention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from im2hands.geometry.cameras import Camera
from im2hands.hands.model import HandModel
from im2hands.hands.sides import SIDES, Side
from im2hands.rendering.rasterizer import hand_maps


@dataclass(frozen=True)
class SurfaceMaps:
    """What to draw. faces: triangles per side.  colors: rest-pose coordinates of the vertices in [0, 1], both hands."""

    faces: Mapping[Side, Int[np.ndarray, "f 3"]]
    colors: Float[np.ndarray, "778 3"]
    masks: bool = True
    dense_maps: bool = True

    @classmethod
    def of_models(cls, models: Mapping[Side, HandModel], masks: bool, dense_maps: bool) -> SurfaceMaps | None:
        """For the meshes of these models; None if nothing is to be drawn."""
        if not (masks or dense_maps):
            return None
        faces = {side: np.asarray(models[side].faces) for side in Side}
        return cls(faces, rest_coordinates(models[Side.RIGHT]), masks, dense_maps)

    def encoded(self, camera: Camera, vertices: Float[np.ndarray, "2 778 3"], size: int) -> dict[str, bytes]:
        """The columns mask_png and dense_png of a crop. vertices: left and right, metres, world."""
        labels, dense = self.draw(camera, vertices, size)
        columns = {"mask_png": _png(labels)} if self.masks else {}
        return columns | ({"dense_png": _png(cv2.cvtColor(dense, cv2.COLOR_RGB2BGR))} if self.dense_maps else {})

    def draw(
        self, camera: Camera, vertices: Float[np.ndarray, "2 778 3"], size: int
    ) -> tuple[UInt8[np.ndarray, "size size"], UInt8[np.ndarray, "size size 3"]]:
        """The label of every pixel (0 none, 1 left, 2 right) and its rest-pose coordinates times 255 (0 outside)."""
        faces = [self.faces[side] for side in SIDES]
        drawn = hand_maps(list(camera.to_camera(vertices)), faces, [self.colors] * 2, camera.intrinsics, size, size)
        return drawn.labels, np.rint(drawn.rest * 255).astype(np.uint8)


def rest_coordinates(model: HandModel) -> Float[np.ndarray, "778 3"]:
    """The mean hand's vertices, each coordinate scaled to [0, 1]: the colours of dense maps, for both hands alike."""
    template = model.template.double().cpu().numpy()
    low, high = template.min(axis=0), template.max(axis=0)
    return (template - low) / (high - low)


def decode_masks(png: bytes | memoryview) -> Bool[np.ndarray, "2 size size"]:
    """Pixels of the left and the right hand."""
    labels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    return np.stack([labels == 1 + side.index for side in SIDES])


def decode_dense_map(png: bytes | memoryview) -> Float[np.ndarray, "size size 3"]:
    """Rest-pose coordinates in [0, 1], 0 outside the hands, float32."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return image[..., ::-1].astype(np.float32) / 255


def _png(image: UInt8[np.ndarray, "..."]) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes()
