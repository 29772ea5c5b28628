"""CPU time of a training crop: drawn directly, against pictures of the synthetic dataset that are cut and mapped.

    python benchmarks/bm_drawn_crops.py

Both forms in one run, one thread, poses included: the old form draws sequences of touching pairs, pictures of 512 x 334 at
twice the size, encodes, decodes and cuts them; the new one draws crops of persons. Masks and dense maps are part of both.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import json

import cv2
import numpy as np

from benchmarks.harness import RESULTS, describe_machine  # sets the threads; before numpy
from im2hands.datasets.images import crop_image, decode_rgb, encode_jpeg, hands_crop
from im2hands.datasets.surface_maps import SurfaceMaps
from im2hands.datasets.synthetic.crop_tables import CROPS_PER_PERSON, stored_image
from im2hands.datasets.synthetic.crops import CropSource
from im2hands.datasets.synthetic.dataset import draw_picture, picture_tasks
from im2hands.datasets.synthetic.plan import Settings
from im2hands.datasets.synthetic.sequences import pose_fits
from im2hands.geometry.cameras import CROP_SIZE
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES

POSES, CAMERAS = 12, 2
BUSY = "Measured while other work ran on all cores. CPU time of the process; the forms take turns, the smallest turn counts."


def by_pictures(seed: int, maps: SurfaceMaps) -> tuple[int, float]:
    """Crops made by `synthesize_dataset` and `normalize_images`, and their CPU seconds."""
    splits = ("train", "val", "test")
    settings = Settings({**dict.fromkeys(splits, 1), "train": POSES}, dict.fromkeys(splits, 1), CAMERAS, 1, 2, 92, seed)
    models, start = builtin_hand_models(), time.process_time()
    tasks = [task for task in picture_tasks("", settings, "train") if len(task.fits) == 2 and not task.black]
    for task in tasks:
        stored = encode_jpeg(draw_picture(task).image[..., ::-1], 92)
        camera = task.camera.camera
        posed = pose_fits(models, [task.fits])
        vertices = np.stack([posed[side][0][0] for side in SIDES])
        affine, crop_camera = hands_crop(camera, vertices)
        encode_jpeg(crop_image(decode_rgb(stored), affine, CROP_SIZE)[..., ::-1])
        maps.encoded(crop_camera, vertices, CROP_SIZE)
    return len(tasks), time.process_time() - start


def drawn(source: CropSource, first: int, maps: SurfaceMaps) -> tuple[int, float]:
    """The crops of one person, and their CPU seconds."""
    start = time.process_time()
    for number in range(first, first + CROPS_PER_PERSON):
        crop = source.crop(number)
        stored_image(crop)
        maps.encoded(crop.camera, crop.vertices, CROP_SIZE)
    return CROPS_PER_PERSON, time.process_time() - start


def main() -> None:
    cv2.setNumThreads(1)
    models = builtin_hand_models()
    maps, source = SurfaceMaps.of_models(models, masks=True, dense_maps=True), CropSource(models, 1)
    by_pictures(0, maps), source.crop(0)  # compiles
    turns = {"pictures": [], "drawn": []}
    for turn in range(3):
        for name, (crops, seconds) in (
            ("pictures", by_pictures(turn + 1, maps)),
            ("drawn", drawn(source, turn * CROPS_PER_PERSON, maps)),
        ):
            turns[name].append(1000 * seconds / crops)
    ms = {name: round(min(values), 1) for name, values in turns.items()}
    result = {
        "machine": describe_machine(("numpy", "numba", "opencv-python-headless", "torch")),
        "note": BUSY,
        "ms_per_crop": ms,
        "ms_of_every_turn": {name: [round(value, 1) for value in values] for name, values in turns.items()},
        "times_faster": round(ms["pictures"] / ms["drawn"], 1),
    }
    (RESULTS / "drawn_crops.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
