"""Makes the synthetic dataset: poses, camera rigs, pictures, annotation files, in InterHand2.6M's layout.

The content is a function of the settings and the seed, whatever the number of workers. A killed run continues: whole images
are kept, and the annotation files, which make a split readable, come last.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import torch

from im2hands.datasets.synthetic.annotations import (
    SPLIT_FILES,
    AnnotatedFrame,
    annotated_joints,
    rounded,
    skeleton_text,
    subject_text,
    write_annotations,
)
from im2hands.datasets.synthetic.arms import ArmHolder
from im2hands.datasets.synthetic.cameras import HEIGHT, WIDTH, RigCamera, draw_rig
from im2hands.datasets.synthetic.forearm import Arm
from im2hands.datasets.synthetic.pairs import PairSampler
from im2hands.datasets.synthetic.plan import SPLITS, HardCase, PlannedCapture, PlannedSequence, Settings, plan
from im2hands.datasets.synthetic.render import HandPainter, Picture
from im2hands.datasets.synthetic.sequences import Fit, SequenceId, draw_sequence, pose_fits
from im2hands.datasets.synthetic.skin import skin_tone
from im2hands.hands.model_files import builtin_hand_models, write_hand_model_folder
from im2hands.hands.sides import Side
from im2hands.io.atomic import read_json, write_bytes, write_json, write_text
from im2hands.io.errors import DataError
from im2hands.io.hashing import digest, seed_of, sha256_file
from im2hands.io.parallel import ordered_map

NAME = "im2hands synthetic stand-in"
END_OF_JPEG = b"\xff\xd9"
SOURCES = ("datasets/synthetic", "rendering", "hands")
"""Parts of the package whose code and data decide what the images look like."""


@dataclass(frozen=True)
class PictureTask:
    """An image to make: everything a worker needs to know. camera_number: place of the camera in its rig."""

    path: str
    fits: Mapping[Side, Fit]
    arms: Mapping[Side, Arm]
    camera: RigCamera
    camera_number: int
    identity: SequenceId
    frame: int
    black: bool
    supersampling: int
    jpeg_quality: int


def make_dataset(root: str | os.PathLike, hand_model: str | os.PathLike, settings: Settings, threads: int) -> None:
    """Makes all splits, one after the other; see `make_split`."""
    for split in SPLITS:
        make_split(root, hand_model, settings, split, threads)


def make_split(
    root: str | os.PathLike, hand_model: str | os.PathLike, settings: Settings, split: str, threads: int
) -> None:
    """Makes one split below `root`, and what all splits share: the card, skeleton, subjects and the built-in hand model.

    hand_model: folder for the hand model files.  threads: worker processes; the result does not depend on them.
    Raises DataError if `root` contains images that this function did not make.
    """
    root = Path(root)
    _continue_or_start(root, settings, split)
    _write_shared(root, Path(hand_model), settings)
    torch.set_num_threads(1)
    captures = plan(settings, split)
    sequences = [sequence for capture in captures for sequence in capture.sequences]
    fits = ordered_map(_draw_fits, sequences, threads, f"poses of {split}", unit="sequence")
    fits_of = dict(zip([sequence.identity for sequence in sequences], fits, strict=True))
    frames, rigs, tasks = [], {}, []
    for capture in captures:
        found = [fits_of[sequence.identity] for sequence in capture.sequences]
        rigs[capture.capture], annotated, pictures = _annotate(root, settings, capture, found)
        frames += annotated
        tasks += pictures
    _compile()
    missing = [task for task in tasks if not _is_whole(Path(task.path))]
    for _ in ordered_map(_write_picture, missing, threads, f"images of {split}", unit="image"):
        pass
    write_annotations(root / "annotations" / split, split, frames, rigs)
    _write_manifest(root, split, [Path(task.path) for task in tasks])


def draw_picture(task: PictureTask) -> Picture:
    """The picture of a task, with its label map, depth and rest coordinates; deterministic."""
    identity = task.identity
    person = np.random.default_rng(seed_of(identity.seed, "skin", identity.subject))
    tone = skin_tone(person, identity.subject)
    return _painter().draw(
        task.fits,
        task.arms,
        task.camera.camera,
        HEIGHT,
        WIDTH,
        task.supersampling,
        tone,
        int(person.integers(0, 2**31)),
        identity.rng(task.frame, 2 + task.camera_number),
    )


def picture_tasks(root: str | os.PathLike, settings: Settings, split: str) -> list[PictureTask]:
    """All images of a split as tasks, in the order of the data file (poses are drawn, images are not)."""
    tasks = []
    for capture in plan(settings, split):
        found = [_draw_fits(sequence) for sequence in capture.sequences]
        tasks += _annotate(Path(root), settings, capture, found)[2]
    return tasks


def _annotate(
    root: Path, settings: Settings, capture: PlannedCapture, fits: list[list[dict[Side, Fit]]]
) -> tuple[list[RigCamera], list[AnnotatedFrame], list[PictureTask]]:
    """The rig of a capture, its annotated frames and the images to make. fits: per sequence and frame."""
    posed = pose_fits(_sampler().models, [frame for sequence in fits for frame in sequence])
    vertices, keypoints = (np.concatenate([posed[side][k] for side in Side], axis=1) for k in (0, 1))
    holders = [ArmHolder(_painter().forearms, sequence.identity) for sequence in capture.sequences]
    places = [
        (sequence, holder, place, both)
        for sequence, holder, sequence_fits in zip(capture.sequences, holders, fits, strict=True)
        for place, both in enumerate(sequence_fits)
    ]
    bends = [
        holder.bends(both, {side: posed[side][0][row] for side in Side})
        for row, (_, holder, _, both) in enumerate(places)
    ]
    directions = [holder.directions(both, bend) for (_, holder, _, both), bend in zip(places, bends, strict=True)]
    rig = draw_rig(
        settings.seed,
        SPLITS.index(capture.split),
        capture.capture,
        settings.cameras,
        vertices,
        keypoints,
        np.concatenate(directions),
    )
    names = tuple(camera.name for camera in rig)
    frames, tasks = [], []
    for row, (sequence, holder, place, both) in enumerate(places):
        hard = sequence.hard[place]
        frame = AnnotatedFrame(
            capture.capture,
            capture.subject,
            sequence.name,
            sequence.frame_numbers[place],
            hard,
            both,
            *annotated_joints({side: posed[side][1][row] for side in Side}, sequence.identity, place, hard),
            names if hard is None else names[:1],
        )
        arms = holder.arms(both, bends[row], {side: posed[side][0][row] for side in Side}, rig)
        frames.append(frame)
        tasks += _tasks(root / "images" / capture.split, settings, frame, arms, rig, sequence.identity, place)
    return rig, frames, tasks


def _tasks(
    folder: Path,
    settings: Settings,
    frame: AnnotatedFrame,
    arms: Mapping[Side, Arm],
    rig: list[RigCamera],
    identity: SequenceId,
    place: int,
) -> list[PictureTask]:
    return [
        PictureTask(
            str(folder / frame.file_name(camera.name)),
            {side: frame.fits[side] for side in frame.sides},
            arms,
            camera,
            number,
            identity,
            place,
            frame.hard is HardCase.BLACK_IMAGE,
            settings.supersampling,
            settings.jpeg_quality,
        )
        for number, camera in enumerate(rig)
        if camera.name in frame.cameras
    ]


@cache
def _sampler() -> PairSampler:
    return PairSampler(builtin_hand_models())


@cache
def _painter() -> HandPainter:
    return HandPainter(_sampler().models)


def _draw_fits(sequence: PlannedSequence) -> list[dict[Side, Fit]]:
    """Fits of a sequence, rounded as the annotation file contains them, so that pictures and annotations agree."""
    torch.set_num_threads(1)
    drawn = draw_sequence(_sampler(), sequence.identity, len(sequence.frame_numbers))
    return [
        {
            side: Fit(*(np.array(rounded(part)) for part in (fit.pose, fit.shape, fit.translation)))
            for side, fit in both.items()
        }
        for both in drawn
    ]


def _compile() -> None:
    """Compiles the renderer once and leaves it in numba's cache, before the workers start."""
    sequence = PlannedSequence(SequenceId(0, 0, 0, 0, 0), "", (0,), (None,))
    fits = _draw_fits(sequence)[0]
    straight = Arm(np.zeros(3), np.zeros(3))
    camera = RigCamera(
        "", np.array([0, 1000.0, -1000]), np.diag([-1.0, -1, 1]), np.full(2, 100.0), np.full(2, 32.0)
    ).camera
    rng = np.random.default_rng(0)
    _painter().draw(fits, dict.fromkeys(Side, straight), camera, 64, 64, 1, np.full(3, 0.5), 0, rng)


def _write_picture(task: PictureTask) -> None:
    torch.set_num_threads(1)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8) if task.black else draw_picture(task).image
    done, content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, task.jpeg_quality])
    if not done:
        raise DataError(f"{task.path}: the image could not be encoded as JPEG; is OpenCV built without JPEG support?")
    write_bytes(task.path, content.tobytes())


def _is_whole(path: Path) -> bool:
    """Whether an image of an earlier, killed run can be kept."""
    return path.is_file() and path.read_bytes()[-2:] == END_OF_JPEG


def _continue_or_start(root: Path, settings: Settings, split: str) -> None:
    """Keeps the images of a killed run with the same settings and code; clears those of any other run."""
    images, record = root / "images" / split, root / f"synthesis_{split}.json"
    wanted = {"settings": asdict(settings), "digest": digest([asdict(settings), split, _code_digest()])}
    found = read_json(record, "synthesis record") if record.is_file() else None
    if found is None and images.is_dir() and any(images.iterdir()):
        raise DataError(
            f"{images}: contains images that synthesize_dataset did not make; choose another folder for the synthetic dataset."
        )
    if found is not None and found.get("digest") != wanted["digest"] and images.is_dir():
        shutil.rmtree(images)
    for rest in images.rglob(".*.part.jpg"):
        rest.unlink(missing_ok=True)
    for path in _final_files(root, split):
        path.unlink(missing_ok=True)
    write_json(record, wanted)


def _final_files(root: Path, split: str) -> list[Path]:
    """Files that say that a split is complete."""
    folder = root / "annotations" / split
    return [root / f"manifest_{split}.json"] + [folder / f"InterHand2.6M_{split}_{kind}.json" for kind in SPLIT_FILES]


def _code_digest() -> str:
    """Changes when the code or the hand asset that decides about the images does."""
    package = files("im2hands")
    parts = []
    for source in SOURCES:
        with_suffix = (path for path in Path(str(package / source)).rglob("*") if path.suffix in (".py", ".npz"))
        parts += [(path.name, sha256_file(path)) for path in sorted(with_suffix)]
    return digest(parts)


def _write_shared(root: Path, hand_model: Path, settings: Settings) -> None:
    """What every split's run writes alike; files that are already right are left alone."""
    if list(hand_model.glob("*.pkl")):
        raise DataError(
            f"{hand_model}: contains .pkl files; choose another folder for the built-in hand that the synthetic dataset needs."
        )
    with tempfile.TemporaryDirectory() as temporary:
        write_hand_model_folder(temporary)
        for path in sorted(Path(temporary).iterdir()):
            _write_if_different(hand_model / path.name, path.read_bytes())
    shared = {"skeleton.txt": skeleton_text(), "subject.txt": subject_text(settings)}
    for name, text in shared.items():
        _write_if_different(root / "annotations" / name, text.encode())
    card = root / "dataset.json"
    if not card.is_file() or read_json(card, "dataset card") != _card(settings):
        write_json(card, _card(settings))


def _write_if_different(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        write_text(path, content.decode()) if path.suffix == ".txt" else write_bytes(path, content)


def _card(settings: Settings) -> dict:
    poses = {split: settings.usable_poses(split) for split in SPLITS}
    return {
        "name": NAME,
        "description": "Rendered images of two interacting hands in the layout of InterHand2.6M v1.0, made by "
        "synthesize_dataset. Poses are not from people; numbers measured on this set must not be set beside published "
        "InterHand2.6M numbers.",
        "licence": "CC0-1.0",
        "hand_model": "built-in hand of im2hands, cut from MakeHuman (CC0)",
        "usable_poses": poses,
        "usable_frames": {split: count * settings.cameras for split, count in poses.items()},
        "hard_cases_per_split": [case.value for case in HardCase],
        "settings": asdict(settings),
    }


def _write_manifest(root: Path, split: str, paths: list[Path]) -> None:
    entries = [{"path": path.relative_to(root).as_posix(), "sha256": sha256_file(path)} for path in paths]
    write_json(root / f"manifest_{split}.json", {"split": split, "files": entries})
