"""A first-stage training item, one image and query points of two hands: our shards against a file per image and hand.

The file-per-item sequence is that of HALO-style loaders: image file to a normalised float tensor on the CPU, an annotation
pickle, and for each hand a meta file and all of its 100 000 points. Ours decodes a stored JPEG to uint8 (normalised later on
the device) and reads a block of points per hand. Files lie in the page cache.
"""

from __future__ import annotations

from benchmarks.harness import Benchmark  # first: it sets the number of threads

# isort: split
import pickle
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.bm_query_read import HANDS, POINTS_PER_READ, READ, read_npz, write_hands
from im2hands.datasets.images import IMAGES, CropSet, encode_jpeg
from im2hands.datasets.queries import QuerySet
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance, ShardWriter

IMAGE_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGE_STD = np.array([0.229, 0.224, 0.225], np.float32)
ITEMS = HANDS // 2


def photograph(seed: int) -> np.ndarray:
    """A stand-in for a photograph: noise whose strength falls with its frequency; about 25 kB as a JPEG of quality 95."""
    rng = np.random.default_rng(seed)
    image = np.full((256, 256, 3), 110.0)
    for side, strength in ((4, 40), (8, 30), (16, 20), (32, 12), (64, 7), (128, 4)):
        image += cv2.resize(rng.normal(0, strength, (side, side, 3)), (256, 256), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


def write_images(folder: Path) -> CropSet:
    """The same 256-pixel crops as a shard, and as files with an annotation and a meta file each."""
    shard = folder / "images" / "0-of-1.arrow"
    with ShardWriter(shard, IMAGES, Provenance()) as writer:
        for item in range(ITEMS):
            jpeg = encode_jpeg(photograph(item))
            numbers = {"crop_affine": np.zeros(6), "crop_K": np.zeros(9), "R": np.zeros(9), "t": np.zeros(3)}
            writer.append({"frame_id": item, "jpeg": jpeg, "quarantined": False, **numbers})
            (folder / f"{item}.jpg").write_bytes(jpeg)
            camera = {"R": np.eye(3), "t": np.zeros(3), "camera": np.eye(3)}
            (folder / f"{item}.pkl").write_bytes(
                pickle.dumps({"camera": camera, "image": {"capture": 0, "frame_idx": item}})
            )
    for hand in range(HANDS):
        np.savez(
            folder / f"meta_{hand}.npz", root_xyz=np.zeros(3), root_rot_mat=np.eye(4), hand_joints=np.zeros((21, 3))
        )
    write_manifest(shard.parent / "manifest.json", [shard])
    return CropSet(shard.parent / "manifest.json")


def naive_item(folder: Path, item: int, points: list[Path], rng: np.random.RandomState) -> dict[str, Any]:
    image = cv2.cvtColor(cv2.imread(str(folder / f"{item}.jpg")), cv2.COLOR_BGR2RGB)
    image = cv2.resize(image, (256, 256)).astype(np.float32) / 255
    with (folder / f"{item}.pkl").open("rb") as file:
        annotation = pickle.load(file)
    content = {"image": ((image - IMAGE_MEAN) / IMAGE_STD).transpose(2, 0, 1).copy(), **annotation["camera"]}
    for hand in (2 * item, 2 * item + 1):
        meta = np.load(folder / f"meta_{hand}.npz")
        content[hand] = (meta["root_xyz"], meta["root_rot_mat"], *read_npz(points[hand], POINTS_PER_READ, rng))
    return content


def our_item(images: CropSet, queries: QuerySet, item: int, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "image": images.image(item),
        "hands": [queries.block(hand, rng, READ) for hand in (2 * item, 2 * item + 1)],
    }


def main() -> None:
    cv2.setNumThreads(1)
    benchmark = Benchmark("training_item", ("numpy", "pyarrow", "opencv-python-headless"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        queries, points = write_hands(folder)
        images = write_images(folder)
        ours_rng, naive_rng = np.random.default_rng(0), np.random.RandomState(0)
        naive = naive_item(folder, 0, points, naive_rng)
        ours = our_item(images, queries, 0, ours_rng)
        pixels = ((ours["image"].astype(np.float32) / 255 - IMAGE_MEAN) / IMAGE_STD).transpose(2, 0, 1)
        assert np.allclose(pixels, naive["image"], atol=1e-5)
        benchmark.compare(
            "image and query points of two hands",
            lambda: [our_item(images, queries, item, ours_rng) for item in range(ITEMS)],
            {"file per image and hand": lambda: [naive_item(folder, item, points, naive_rng) for item in range(ITEMS)]},
            {"file per image and hand": 20},
            repeats=9,
            per=ITEMS,
            jpeg_bytes=round(np.mean([path.stat().st_size for path in folder.glob("*.jpg")])),
        )
    benchmark.save()


if __name__ == "__main__":
    main()
