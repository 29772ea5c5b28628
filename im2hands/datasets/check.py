"""Checks that a dataset is complete and of the right version before hours are spent: folders, annotations, counts, images.

Annotation files are read to their end, so truncated ones are found; an evenly spaced sample of two-hand images is decoded.
Counts are compared with those of InterHand2.6M v1.0 at 5 fps (dataset page).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from im2hands.datasets.audit import REMEDIES, Finding, Reason, Unusable
from im2hands.datasets.external_keypoints import SMALLEST_HAND
from im2hands.datasets.frames import Pose, hand_poses, position_in_metres
from im2hands.datasets.image_files import image_size, inspect_image
from im2hands.datasets.interhand26m import (
    NAME,
    AnnotatedImage,
    Cameras,
    InterHand26M,
    annotated_joints,
    dataset_name,
)
from im2hands.datasets.keypoints import LARGEST_HAND
from im2hands.hands.joints import JOINT_NAMES, WRIST
from im2hands.hands.model import SHAPES, HandModel
from im2hands.hands.model_files import load_hand_models
from im2hands.io.errors import DataError, Im2HandsError
from im2hands.io.findings import Found

TWO_HANDS = "interacting"
MIDDLE_TIP = JOINT_NAMES.index("middle4")
SHOWN = 3
"""Missing or damaged images that are named."""
OF_ARCHIVES = (Reason.IMAGE_MISSING, Reason.IMAGE_UNREADABLE)
ARCHIVE = "compare the archive's parts with its checksum file and unpack it again"


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
    faults = [image for image in images if image.fault]
    if faults:
        yield Found(False, f"{split} entries", _entries(faults, len(images)))
    poses: dict[str, dict[str, Pose]] = {}
    fits = _attempt(f"{split} fits", lambda: _fits(dataset, split, pairs, poses))
    yield _attempt(f"{split} cameras", lambda: _cameras(dataset, split, pairs, poses))
    yield fits
    yield _attempt(f"{split} joints", lambda: _joints(dataset, split, pairs))
    yield _images(dataset, split, pairs, count)


def _entries(faults: Sequence[AnnotatedImage], total: int) -> str:
    first = f"image {faults[0].image_id} has {faults[0].fault}"
    return f"{len(faults):,} of {total:,} have unusable values ({first}); {REMEDIES[Reason.ENTRY_MALFORMED]}"


def _hand_model(folder: str | os.PathLike) -> str:
    models = load_hand_models(folder)
    return ", ".join(f"{side.value} from {models[side].source} ({_length(models[side])})" for side in models)


def _length(model: HandModel) -> str:
    """Length of the mean hand in words. Raises DataError if it has no size of a hand in metres."""
    joints = model.pose(torch.zeros(1, 48), torch.zeros(1, SHAPES)).keypoints[0]
    length = float(torch.linalg.norm(joints[MIDDLE_TIP] - joints[WRIST]))
    if not SMALLEST_HAND < length < LARGEST_HAND:
        raise DataError(
            f"{model.source}: the mean hand is {length:.3g} m long from wrist to middle finger tip; template and directions "
            "must be in metres."
        )
    return f"mean hand {1000 * length:.0f} mm"


def _counts(name: str, split: str, size: SplitSize) -> Found:
    text = f"{size.images:,} images, {size.two_hands:,} of two hands"
    if not size.two_hands:
        return Found(False, f"{split} annotations", f"{text}; there are no two-hand frames to train on")
    expected = PUBLISHED.get(split)
    if name != NAME or expected is None or size == expected:
        return Found(True, f"{split} annotations", text + (" (as published)" if name == NAME and expected else ""))
    if size.images > expected.images:
        hint = "more than the 5 fps release has; the 30 fps release works too, but takes about six times the space and time"
    else:
        hint = f"the 5 fps release has {expected.images:,} and {expected.two_hands:,}; this is only a part"
    return Found(True, f"{split} annotations", f"{text}; {hint}")


def _cameras(
    dataset: InterHand26M, split: str, pairs: Sequence[AnnotatedImage], poses: Mapping[str, Mapping[str, Pose]]
) -> str:
    cameras = dataset.cameras(split)
    findings: dict[tuple[int, str], Finding | None] = {}
    for image in pairs:
        name = image.capture, image.camera
        if findings.get(name) is None:
            findings[name] = _camera_problem(
                image, cameras, poses.get(str(image.capture), {}).get(str(image.frame_idx))
            )
    _require_none(findings.values(), f"of {len(findings)} cameras")
    return f"{len(findings)} cameras of {len({capture for capture, _ in findings})} captures"


def _camera_problem(image: AnnotatedImage, cameras: Cameras, pose: Pose | None) -> Finding | None:
    try:
        camera = cameras.get(image.capture, image.camera)
    except Unusable as unusable:
        return unusable.finding
    if pose is None or isinstance(pose, Finding):
        return None
    return position_in_metres(camera, pose, (image.width, image.height))


def _fits(dataset: InterHand26M, split: str, pairs: Sequence[AnnotatedImage], poses: dict[str, dict[str, Pose]]) -> str:
    """Fills `poses` with what the fit file contains."""
    poses.update(hand_poses(dataset, split))
    there = {(capture, frame): pose for capture, frames in poses.items() for frame, pose in frames.items()}
    return _frames(there, pairs, "a fit")


def _joints(dataset: InterHand26M, split: str, pairs: Sequence[AnnotatedImage]) -> str:
    there: dict[tuple[str, str], Any] = {}
    for capture, frame, entry in dataset.joints(split):
        try:
            annotated_joints(entry)
            there[capture, frame] = None
        except Unusable as unusable:
            there[capture, frame] = unusable.finding
    return _frames(there, pairs, "annotated joints")


def _frames(there: Mapping[tuple[str, str], Any], pairs: Sequence[AnnotatedImage], what: str) -> str:
    needed = {(str(image.capture), str(image.frame_idx)) for image in pairs}
    found = [there[key] for key in needed if key in there]
    if not found:
        raise Im2HandsError(
            f"none of the {len(needed)} two-hand poses has {what}; the file belongs to another release."
        )
    _require_none((one for one in found if isinstance(one, Finding)), f"of {len(found):,} two-hand poses with {what}")
    return f"{len(found):,} of {len(needed):,} two-hand poses have {what}"


def _require_none(findings: Iterable[Finding | None], of: str) -> None:
    """Raises Im2HandsError if findings mean damage. of: what they are counted among."""
    counts = Counter(one.reason for one in findings if one is not None and one.reason in REMEDIES)
    if counts:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
        raise Im2HandsError(f"{reasons} {of}; {'; '.join(REMEDIES[reason] for reason in counts)}.")


def _images(dataset: InterHand26M, split: str, pairs: Sequence[AnnotatedImage], count: int) -> Found:
    try:
        dataset.require_images(split)
    except Im2HandsError as error:
        return Found(False, f"{split} images", str(error))
    places = np.unique(np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)) if pairs else []
    sizes: Counter[str] = Counter()
    bad: dict[str, Reason] = {}
    resized = 0
    for place in places:
        image = pairs[place]
        path = dataset.image_file(split, image.file_name)
        finding = inspect_image(path, 0, image.width, image.height)
        if finding is not None and not finding.reason.keeps:
            bad[f"{path} ({finding.reason}: {finding.detail})"] = finding.reason
            continue
        resized += finding is not None
        sizes["{} x {}".format(*image_size(path))] += 1
    subject, text = f"{split} images", f"{len(places) - len(bad)} of {len(places)} inspected images are intact"
    text += f", {resized} of them resized (their cameras will be scaled with them)" if resized else ""
    if bad:
        named = ", ".join(list(bad)[:SHOWN]) + (", ..." if len(bad) > SHOWN else "")
        remedies = dict.fromkeys(ARCHIVE if reason in OF_ARCHIVES else REMEDIES[reason] for reason in bad.values())
        return Found(False, subject, f"{text}; damaged: {named}; {'; '.join(remedies)}")
    return Found(True, subject, f"{text}, {', '.join(size for size, _ in sizes.most_common())} pixels")


def _attempt(subject: str, look: Callable[[], str]) -> Found:
    try:
        return Found(True, subject, look())
    except Im2HandsError as error:
        return Found(False, subject, str(error))
