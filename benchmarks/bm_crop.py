"""Normalised images: the stage's form against the naive sequence, one core, 512 x 334 JPEG frames in the page cache.

Also the inspection of images for the frame index: reduced decoding against reading every image in full.
"""

from __future__ import annotations

from benchmarks.harness import Benchmark  # first: it sets the number of threads

# isort: split
import tempfile
from pathlib import Path

import cv2
import numpy as np

from im2hands.datasets.image_files import inspect_image, read_image
from im2hands.datasets.images import CropSettings, crop_image, encode_jpeg, hands_crop
from im2hands.geometry.cameras import Camera
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from tests.naive.crop import naive_crop

FRAMES, HEIGHT, WIDTH = 16, 512, 334


def write_frames(folder: Path) -> list[Path]:
    """JPEG photographs' stand-ins: smooth noise of about the size that a camera's images have."""
    paths = []
    for index in range(FRAMES):
        noise = np.random.default_rng(index).normal(110, 90, (HEIGHT // 4, WIDTH // 4, 3))
        image = cv2.resize(np.clip(noise, 0, 255).astype(np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        paths.append(folder / f"{index}.jpg")
        cv2.imwrite(str(paths[-1]), image)
    return paths


def posed_hands() -> np.ndarray:
    generator = np.random.default_rng(0)
    models = builtin_hand_models()
    hands = []
    for side, x in ((Side.LEFT, 0.08), (Side.RIGHT, -0.08)):
        pose, shape = generator.normal(0, 0.2, (FRAMES, 48)), generator.normal(0, 1, (FRAMES, 10))
        hands.append(models[side].pose(pose, shape, np.tile([x, 0.0, 0.0], (FRAMES, 1))).vertices.double().numpy())
    return np.stack(hands, axis=1)


def main() -> None:
    cv2.setNumThreads(1)
    camera = Camera(np.array([[1270.0, 0, 160], [0, 1270.0, 250], [0, 0, 1]]), np.eye(3), np.array([0.0, 0.0, 1.1]))
    vertices, settings = posed_hands(), CropSettings()
    benchmark = Benchmark("crop", ("numpy", "opencv-python-headless"))
    with tempfile.TemporaryDirectory() as folder:
        paths = write_frames(Path(folder))

        def ours() -> list[bytes]:
            crops = []
            for path, hands in zip(paths, vertices, strict=True):
                affine, _ = hands_crop(camera, hands, settings)
                crops.append(encode_jpeg(crop_image(read_image(path), affine, settings.size)))
            return crops

        def naive() -> list[bytes]:
            return [
                naive_crop(path, hands, camera.rotation, camera.translation, camera.intrinsics)[0]
                for path, hands in zip(paths, vertices, strict=True)
            ]

        assert ours() == naive()
        benchmark.compare(
            "project, read, crop, encode",
            ours,
            {"naive sequence, damage unnoticed": naive},
            repeats=9,
            per=FRAMES,
        )
        benchmark.compare(
            "inspect for the index (whole, not black)",
            lambda: [inspect_image(path, 10, WIDTH, HEIGHT) for path in paths],
            {"decode in full, damage unnoticed": lambda: [cv2.imread(str(path)).mean() >= 10 for path in paths]},
            repeats=9,
            per=FRAMES,
        )
    benchmark.save()


if __name__ == "__main__":
    main()
