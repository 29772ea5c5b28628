"""Is a dataset complete and of the right version? Looks before hours are spent: folders, annotation files, counts, images.

Annotation files are read to their end, so a truncated one is found; of the images an evenly spaced sample of two-hand frames
is decoded. Counts are compared with those of InterHand2.6M v1.0 at 5 fps (dataset page).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from im2hands.datasets.audit import Unusable
from im2hands.datasets.image_files import read_image
from im2hands.datasets.interhand26m import NAME, AnnotatedImage, InterHand26M, dataset_name
from im2hands.hands.model_files import load_hand_models
from im2hands.io.errors import Im2HandsError
from im2hands.io.findings import Found

TWO_HANDS = "interacting"
SHOWN = 3
"""Missing or damaged images that are named."""


class SplitSize(NamedTuple):
    """Images of a split, and how many of them show two hands."""

    images: int
    two_hands: int


PUBLISHED: Mapping[str, SplitSize] = {
    "train": SplitSize(1_361_062, 673_514),
    "val": SplitSize(380_125, 145_942),
    "test": SplitSize(849_160, 360_192),
}
"""InterHand2.6M v1.0, 5 fps, human and machine annotations together."""


def check_data(
    root: str | os.PathLike, hand_model: str | os.PathLike, splits: Sequence[str], images_per_split: int = 200
) -> Iterator[Found]:
    """What is there and what is not, one finding after the other.

    root: dataset folder.  hand_model: folder of the hand model files.  images_per_split: images that are decoded.
    """
    yield _attempt("hand model", lambda: _hand_model(hand_model))
    try:
        dataset, name = InterHand26M.open(root), dataset_name(root)
    except Im2HandsError as error:
        yield Found(False, "dataset", str(error))
        return
    yield Found(True, "dataset", f"{name}, images in {dataset.images}, annotations in {dataset.annotations}")
    for split in splits:
        yield from _check_split(dataset, name, split, images_per_split)


def _check_split(dataset: InterHand26M, name: str, split: str, count: int) -> Iterator[Found]:
    try:
        images = list(dataset.annotated_images(split))
    except Im2HandsError as error:
        yield Found(False, f"{split} annotations", str(error))
        return
    pairs = [image for image in images if image.hand_type == TWO_HANDS]
    yield _counts(name, split, SplitSize(len(images), len(pairs)))
    yield _attempt(f"{split} cameras", lambda: _cameras(dataset, split, pairs))
    yield _attempt(f"{split} fits", lambda: _frames(dataset.fits(split), pairs, "a fit"))
    yield _attempt(f"{split} joints", lambda: _frames(dataset.joints(split), pairs, "annotated joints"))
    yield _images(dataset, split, pairs, count)


def _hand_model(folder: str | os.PathLike) -> str:
    models = load_hand_models(folder)
    return ", ".join(f"{side.value} from {models[side].source}" for side in models)


def _counts(name: str, split: str, size: SplitSize) -> Found:
    text = f"{size.images:,} images, {size.two_hands:,} of two hands"
    if not size.two_hands:
        return Found(False, f"{split} annotations", f"{text}; without two-hand frames there is nothing to learn from")
    expected = PUBLISHED.get(split)
    if name != NAME or expected is None or size == expected:
        return Found(True, f"{split} annotations", text + (" (as published)" if name == NAME and expected else ""))
    if size.images > expected.images:
        hint = "more than the 5 fps release has; the 30 fps release works, and takes about six times the room and time"
    else:
        hint = f"the 5 fps release has {expected.images:,} and {expected.two_hands:,}; this is a part of it"
    return Found(True, f"{split} annotations", f"{text}; {hint}")


def _cameras(dataset: InterHand26M, split: str, pairs: Sequence[AnnotatedImage]) -> str:
    cameras = dataset.cameras(split)
    names = sorted({(image.capture, image.camera) for image in pairs})
    bad: Counter[str] = Counter()
    for capture, camera in names:
        try:
            cameras.get(capture, camera)
        except Unusable as unusable:
            bad[unusable.finding.reason.value] += 1
    if bad:
        reasons = ", ".join(f"{count} {reason}" for reason, count in bad.most_common())
        raise Im2HandsError(f"{reasons} of {len(names)} cameras; fetch the camera file again.")
    return f"{len(names)} cameras of {len({capture for capture, _ in names})} captures"


def _frames(entries: Iterator[tuple[str, str, object]], pairs: Sequence[AnnotatedImage], what: str) -> str:
    there = {(capture, frame) for capture, frame, _ in entries}
    needed = {(str(image.capture), str(image.frame_idx)) for image in pairs}
    found = len(needed & there)
    if not found:
        raise Im2HandsError(f"no two-hand pose of {len(needed)} has {what}; the file belongs to another release.")
    return f"{found:,} of {len(needed):,} two-hand poses have {what}"


def _images(dataset: InterHand26M, split: str, pairs: Sequence[AnnotatedImage], count: int) -> Found:
    places = np.unique(np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)) if pairs else []
    sizes: Counter[str] = Counter()
    bad: list[str] = []
    for place in places:
        image = pairs[place]
        path = dataset.image_file(split, image.file_name)
        try:
            rows, columns = read_image(path).shape[:2]
            sizes[f"{columns} x {rows}"] += 1
            if (columns, rows) != (image.width, image.height):
                bad.append(f"{path} (announced {image.width} x {image.height})")
        except Unusable as unusable:
            bad.append(f"{path} ({unusable.finding.reason.value})")
    subject, text = f"{split} images", f"{len(places) - len(bad)} of {len(places)} looked at are whole"
    if bad:
        named = ", ".join(bad[:SHOWN]) + (", ..." if len(bad) > SHOWN else "")
        remedy = "compare the archive's parts with its checksum file and unpack it again"
        return Found(False, subject, f"{text}; not: {named}; {remedy}")
    return Found(True, subject, f"{text}, {', '.join(size for size, _ in sizes.most_common())} pixels")


def _attempt(subject: str, look: Callable[[], str]) -> Found:
    try:
        return Found(True, subject, look())
    except Im2HandsError as error:
        return Found(False, subject, str(error))
