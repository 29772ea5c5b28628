"""A contact sheet of a dataset in InterHand2.6M's layout: crops of two-hand images in rows, for a person to look at.

`python -m im2hands.datasets.synthetic.contact_sheet --root data/raw/synthetic --output sheet.png`
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from im2hands.datasets.interhand26m import InterHand26M, annotated_joints
from im2hands.geometry.cameras import square_crop
from im2hands.hands.sides import Side
from im2hands.io.atomic import atomic_path
from im2hands.io.errors import DataError
from im2hands.io.stage import stage_main

HAND_SHARE = 0.7
BLACK = 10
"""Grey levels; darker images show nothing."""


def contact_sheet(
    root: str | Path, split: str, images: int, columns: int, size: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Crops (size x size, RGB) of up to `images` two-hand images, drawn from the split (always the same ones), in file order.

    Raises DataError if there is none, or one cannot be read.
    """
    dataset = InterHand26M.open(root)
    cameras = dataset.cameras(split)
    joints = {(capture, frame): entry for capture, frame, entry in dataset.joints(split)}
    found = [
        image for image in dataset.annotated_images(split) if image.hand_type == "interacting" and image.hand_type_valid
    ]
    if not found:
        raise DataError(f"{root}: the split {split} has no valid two-hand image.")
    order = np.random.default_rng(0).permutation(len(found))
    crops: dict[int, np.ndarray] = {}
    for place in order:
        if len(crops) == images:
            break
        image = found[place]
        path = dataset.image_file(split, image.file_name)
        pixels = cv2.imread(str(path))
        if pixels is None:
            raise DataError(f"{path}: the image cannot be read; make the dataset again.")
        if pixels.mean() < BLACK:
            continue
        both = annotated_joints(joints[str(image.capture), str(image.frame_idx)])
        camera = cameras.get(image.capture, image.camera)
        affine = square_crop(camera.project(np.concatenate([both[side][0] for side in Side])), size, HAND_SHARE)
        crops[int(place)] = cv2.warpAffine(pixels, affine, (size, size), flags=cv2.INTER_AREA)[..., ::-1]
    sheet = np.zeros((-(-len(crops) // columns), columns, size, size, 3), np.uint8)
    for slot, place in enumerate(sorted(crops)):
        sheet[slot // columns, slot % columns] = crops[place]
    return sheet.transpose(0, 2, 1, 3, 4).reshape(-1, columns * size, 3)


def main(root: str, output: str, split: str = "train", images: int = 24, columns: int = 6, size: int = 256) -> None:
    sheet = contact_sheet(root, split, images, columns, size)
    with atomic_path(output) as temporary:
        cv2.imwrite(str(temporary), sheet[..., ::-1])


if __name__ == "__main__":
    stage_main(main)
