"""A user's own picture with its files, and what `im2hands reconstruct` makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from im2hands.datasets.frame_items import FrameSet
from im2hands.geometry.cameras import Camera
from tests.photographs.one_photograph import photographs, write_models


class Scene:
    """A picture with keypoints and camera as files, and tiny networks."""

    def __init__(self, folder: Path) -> None:
        self.data = photographs(folder / "data")
        self.models, self.folder = write_models(self.data), folder
        item = FrameSet(self.data.frames, self.data.hands, self.data.images).item(0)
        self.pixels, self.image = item.image[..., ::-1], folder / "photograph.png"
        cv2.imwrite(str(self.image), self.pixels)
        self.hands = {side: item.keypoints[place].tolist() for place, side in enumerate(("left", "right"))}
        camera = {name: getattr(item.camera, long).tolist() for name, long in NAMES.items()}
        self.camera = self.written("camera.json", camera)
        self.keypoints = self.written("keypoints.json", self.hands)
        self.camera_content = camera

    @property
    def seen(self) -> Camera:
        return Camera(*(np.array(self.camera_content[name]) for name in NAMES))

    def landmarks(self) -> list[dict]:
        """Both hands as a detector without errors would write them."""
        return [
            {
                "side": side,
                "pixels": self.seen.project(np.array(points)).tolist(),
                "relative": self.seen.to_camera(np.array(points)).tolist(),
            }
            for side, points in self.hands.items()
        ]

    def written(self, name: str, content: object) -> Path:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def picture(self, name: str, pixels: np.ndarray) -> Path:
        path = self.folder / name
        assert cv2.imwrite(str(path), pixels)
        return path


NAMES = {"K": "intrinsics", "R": "rotation", "t": "translation"}


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())
