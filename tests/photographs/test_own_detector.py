"""The programs of the documentation run unchanged; their files give the hands that were painted, and nobody else's."""

from __future__ import annotations

import io
import re
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from im2hands.geometry.cameras import Camera
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.photographs.detection import network_files
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


def program(block: int, pictures: list, monkeypatch) -> None:
    """Runs a program of the page with these pictures as its words."""
    monkeypatch.setattr(sys, "argv", ["program.py", *map(str, pictures)])
    exec(compile(BLOCKS[block], "own-images.md", "exec"), {})


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Pictures that MediaPipe's own reader refuses, one that nobody can read, and one without hands."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    image = np.full((60, 80, 3), 200, np.uint8)
    cv2.imwrite(str(pictures / "a.webp"), image)
    cv2.imwrite(str(pictures / "b.png"), image[..., 0])
    (pictures / "c.jpg").write_bytes(b"\xff\xd8 cut off")
    cv2.imwrite(str(pictures / "d.png"), np.zeros_like(image))
    monkeypatch.chdir(tmp_path)
    return pictures


class Landmarker:
    """In the place of MediaPipe's: both hands in every picture that is not black."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def detect(self, image):
        assert image.shape == (60, 80, 3) and image.dtype == np.uint8
        sides = SIDES if image.any() else ()
        flat = {side: CAMERA_SPACE[side] for side in sides}
        return SimpleNamespace(
            handedness=[[SimpleNamespace(category_name=side.value.capitalize())] for side in sides],
            hand_landmarks=[[SimpleNamespace(x=0.5 + x, y=0.5 + y) for x, y, _ in flat[side]] for side in sides],
            hand_world_landmarks=[[SimpleNamespace(x=x, y=y, z=z) for x, y, z in flat[side]] for side in sides],
        )


def facing(side: Side) -> np.ndarray:
    flat = builtin_hand_models()[side].pose(torch.zeros(1, 48), torch.zeros(1, 10)).keypoints[0].numpy()
    turned = np.stack([flat[:, 0], -flat[:, 2], flat[:, 1]], axis=1)
    return turned - turned.mean(axis=0)


CAMERA_SPACE = {side: facing(side) for side in SIDES}


def test_the_program_for_mediapipe_reads_what_mediapipe_does_not(folder, monkeypatch, capsys):
    """With a stand-in for the package; the real one, 0.10.21 and 1.2.3, was run by hand."""
    given = {}
    vision = SimpleNamespace(
        HandLandmarkerOptions=lambda **options: given.update(options),
        HandLandmarker=SimpleNamespace(create_from_options=lambda _: Landmarker()),
        RunningMode=SimpleNamespace(IMAGE="image"),
    )
    package = ModuleType("mediapipe")
    package.Image, package.ImageFormat = (lambda image_format, data: data), SimpleNamespace(SRGB=1)
    tasks = ModuleType("mediapipe.tasks.python")
    tasks.BaseOptions, tasks.vision = (lambda model_asset_buffer: model_asset_buffer), vision
    for name, module in (("mediapipe", package), ("mediapipe.tasks", package), ("mediapipe.tasks.python", tasks)):
        monkeypatch.setitem(sys.modules, name, module)
    networks = {network_files.PALM_FILE: b"palm", network_files.LANDMARK_FILE: b"landmarks"}
    monkeypatch.setattr(network_files, "read_networks", lambda: networks)
    program(1, [folder], monkeypatch)
    assert "c.jpg: the image cannot be used: truncated" in capsys.readouterr().err
    assert given["running_mode"] == "image" and given["num_hands"] == 2
    with zipfile.ZipFile(io.BytesIO(given["base_options"])) as task:
        assert sorted(task.namelist()) == ["hand_detector.tflite", "hand_landmarks_detector.tflite"]
        assert task.read("hand_detector.tflite") == b"palm"
    found = read_keypoints("landmarks.json")
    assert set(found.landmarks) == {"a.webp", "b.png"} and set(found.refused) == {"d.png"}
    pixels = found.landmarks["a.webp"].hands[Side.LEFT].pixels
    np.testing.assert_allclose(pixels, (CAMERA_SPACE[Side.LEFT][:, :2] + 0.5) * [80, 60] - 0.5)


def test_the_program_for_rtmlib_makes_no_hand_of_nobody(folder, monkeypatch, capsys):
    """With a stand-in that, like the real package, gives a full result for the whole picture if it gets no box."""

    class Wholebody:
        def __init__(self, mode, to_openpose):
            assert not to_openpose

        def det_model(self, image):
            return np.zeros((int(image.any()), 4))

        def pose_model(self, image, bboxes):
            points = np.zeros((max(1, len(bboxes)), 133, 2))
            points[:, 91:112], points[:, 112:133] = ([400.0, 300] + 900 * CAMERA_SPACE[side][:, :2] for side in SIDES)
            scores = np.full(points.shape[:2], 1.3)
            scores[:, 95] = -0.2
            return points, scores

    package = ModuleType("rtmlib")
    package.Wholebody = Wholebody
    monkeypatch.setitem(sys.modules, "rtmlib", package)
    program(2, sorted(folder.iterdir()), monkeypatch)
    assert "c.jpg: cannot be read" in capsys.readouterr().err
    found = read_keypoints("wholebody.json")
    assert set(found.landmarks) == {"a.webp", "b.png"}
    assert "nobody has a hand" in found.refused["d.png"]
    hands = found.landmarks["b.png"].hands
    assert np.isnan(hands[Side.LEFT].pixels[4]).all(), "a joint that is not seen"
    np.testing.assert_allclose(hands[Side.RIGHT].pixels, [400, 300] + 900 * CAMERA_SPACE[Side.RIGHT][:, :2])


def test_these_are_all_programs_of_the_page():
    assert len(BLOCKS) == 3
