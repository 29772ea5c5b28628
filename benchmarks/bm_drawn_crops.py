"""CPU time of a training crop: drawn directly, against pictures of the synthetic dataset that are cut and mapped.

    python benchmarks/bm_drawn_crops.py
    python benchmarks/bm_drawn_crops.py --sheet FILE.jpg    # how both look, side by side

Both forms in one run, one thread, poses included: the old form draws sequences of touching pairs, pictures of 512 x 334 at
twice the size, encodes, decodes and cuts them; the new one draws crops of persons. Masks and dense maps are part of both.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import json

import cv2
import numpy as np
from jaxtyping import UInt8

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
ROWS, COLUMNS, THUMBNAIL = 3, 4, 128
BUSY = "Measured while other work ran on all cores. CPU time of the process; the forms take turns, the smallest turn counts."

Picture = UInt8[np.ndarray, "rows columns 3"]


def by_pictures(seed: int, maps: SurfaceMaps, poses: int = POSES) -> Iterator[Picture]:
    """Crops made by `synthesize_dataset` and `normalize_images`."""
    splits = ("train", "val", "test")
    settings = Settings({**dict.fromkeys(splits, 1), "train": poses}, dict.fromkeys(splits, 1), CAMERAS, 1, 2, 92, seed)
    models = builtin_hand_models()
    for task in picture_tasks("", settings, "train"):
        if len(task.fits) < 2 or task.black:
            continue
        stored = encode_jpeg(draw_picture(task).image[..., ::-1], 92)
        posed = pose_fits(models, [task.fits])
        vertices = np.stack([posed[side][0][0] for side in SIDES])
        affine, crop_camera = hands_crop(task.camera.camera, vertices)
        crop = crop_image(decode_rgb(stored), affine, CROP_SIZE)
        encode_jpeg(crop[..., ::-1])
        maps.encoded(crop_camera, vertices, CROP_SIZE)
        yield crop


def drawn(source: CropSource, numbers: Iterable[int], maps: SurfaceMaps) -> Iterator[Picture]:
    """Crops that are drawn directly."""
    for number in numbers:
        crop = source.crop(number)
        stored_image(crop)
        maps.encoded(crop.camera, crop.vertices, CROP_SIZE)
        yield crop.image


def cpu_ms(crops: Iterable[Picture]) -> float:
    """CPU milliseconds of each."""
    start = time.process_time()
    count = sum(1 for _ in crops)
    return 1000 * (time.process_time() - start) / count


def side_by_side(source: CropSource, maps: SurfaceMaps) -> Picture:
    """Crops of pictures on the left, drawn ones on the right, each of another person."""
    sides = []
    for crops in (
        (next(by_pictures(seed, maps, 1)) for seed in range(ROWS * COLUMNS)),
        drawn(source, range(0, ROWS * COLUMNS * CROPS_PER_PERSON, CROPS_PER_PERSON), maps),
    ):
        small = [cv2.resize(crop, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA) for crop in crops]
        sides.append(np.vstack([np.hstack(small[row::ROWS]) for row in range(ROWS)]))
    return np.hstack([sides[0], np.full((len(sides[0]), 8, 3), 255, np.uint8), sides[1]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sheet", type=Path, help="only write this picture file, with crops of both kinds")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    models = builtin_hand_models()
    maps, source = SurfaceMaps.of_models(models, masks=True, dense_maps=True), CropSource(models, 1)
    if arguments.sheet is not None:
        sheet = side_by_side(source, maps)
        cv2.imwrite(str(arguments.sheet), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
        return
    next(by_pictures(0, maps)), source.crop(0)  # compiles
    turns = {"pictures": [], "drawn": []}
    for turn in range(3):
        turns["pictures"].append(cpu_ms(by_pictures(turn + 1, maps)))
        turns["drawn"].append(
            cpu_ms(drawn(source, range(first := turn * CROPS_PER_PERSON, first + CROPS_PER_PERSON), maps))
        )
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
