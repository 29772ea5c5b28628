"""The adapter of the documentation runs unchanged, and its file gives the hands that were painted."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import torch

from im2hands.geometry.cameras import Camera
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.photographs.keypoint_files import read_keypoints

PAGE = (Path(__file__).parents[2] / "docs/own-images.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CAMERA = Camera(np.array([[1200.0, 0, 500], [0, 1200, 300], [0, 0, 1]]), np.eye(3), np.zeros(3))


def painted(hands: np.ndarray) -> np.ndarray:
    """A picture with a dot of its own shade for every joint."""
    image = np.zeros((600, 1000, 3), np.uint8)
    for side in Side:
        for joint, (column, row) in enumerate(CAMERA.project(hands[side.index])):
            centre = round(column), round(row)
            colour = (50 + 10 * joint, 0, 0) if side is Side.LEFT else (0, 0, 50 + 10 * joint)
            cv2.circle(image, centre, 1, colour, -1)
    return image


def test_the_toy_detector_of_the_page(tmp_path, monkeypatch):
    hands = np.zeros((2, 21, 3))
    for side in Side:
        flat = builtin_hand_models()[side].pose(torch.zeros(1, 48), torch.zeros(1, 10)).keypoints[0].numpy()
        facing = np.stack([flat[:, 0], -flat[:, 2], flat[:, 1]], axis=1)
        hands[side.index] = facing - facing.mean(axis=0) + [0.12 if side is Side.LEFT else -0.12, 0, 0.7]
    cv2.imwrite(str(tmp_path / "a.png"), painted(hands))
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[0], "own-images.md", "exec"), {})
    found = read_keypoints("landmarks.json").keypoints(("a.png",), CAMERA)
    assert np.linalg.norm(found - hands, axis=-1).max() < 0.004
    relative = found[0, 0] - found[1, 0]
    np.testing.assert_allclose(relative, hands[0, 0] - hands[1, 0], atol=0.004)


def test_both_adapters_are_python_and_the_one_that_is_not_run_says_so():
    assert len(BLOCKS) == 2
    compile(BLOCKS[1], "own-images.md", "exec")
    assert "our tests do not run this" in PAGE
