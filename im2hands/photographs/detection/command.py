"""The command `im2hands detect`: finds the hands of pictures and writes them into one landmark file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2

from im2hands.io.atomic import read_json, require_writable, write_bytes, write_json
from im2hands.io.errors import DataError, DiskFullError, Im2HandsError, NotWritableError
from im2hands.io.parallel import ordered_stream
from im2hands.io.progress import progress
from im2hands.photographs.detection.detector import HandDetector
from im2hands.photographs.detection.drawing import drawn
from im2hands.photographs.detection.landmark_entries import entry_of_pair
from im2hands.photographs.detection.networks import LiteRtNetworks
from im2hands.photographs.detection.pairing import PairOfHands, score
from im2hands.photographs.files import Photograph, number_of_photographs, photographs


@dataclass(frozen=True)
class Settings:
    """Of the command; see `im2hands detect --help`. networks: folder of the network files."""

    networks: Path | None = None
    every_hand: bool = False
    overlays: Path | None = None
    at_once: int = 1
    resume: bool = False


@dataclass(frozen=True)
class Looked:
    """A picture that was looked at. line: for the screen.  entry: None if the picture could not be used."""

    name: str
    line: str
    entry: dict[str, Any] | None = None


Task = Photograph | Looked
"""A picture, or what is to be said about a path that gives none."""


def detect_pictures(
    pictures: Sequence[str | os.PathLike], output: str | os.PathLike, settings: Settings
) -> Iterator[tuple[str, bool]]:
    """A line per picture, and whether it could be used. The file is written at the end, also of an interrupted run.

    Pictures without a hand are in the file, with an empty list. Raises what concerns all pictures at once.
    """
    output = Path(output)
    if settings.at_once < 1:
        raise DataError(f"--at-once {settings.at_once}: give 1 or more.")
    if output.is_dir():
        raise DataError(f"{output}: is a folder; give the name of a .json file.")
    _detector(settings)  # in any case, so that what concerns all pictures is said now
    for folder in (output.parent, *([settings.overlays] if settings.overlays else [])):
        require_writable(folder)
    entries = _kept(output) if settings.resume and output.exists() else {}
    tasks = _tasks(pictures, set(entries))
    try:
        looked = ordered_stream(partial(_look, settings), tasks, settings.at_once)
        for one in progress(looked, "detect", _count(pictures), "images"):
            if one.entry is not None:
                entries[one.name] = one.entry
            yield one.line, one.entry is not None or one.name in entries
    finally:
        if entries:
            write_json(output, entries, indent=None)


def _kept(output: Path) -> dict[str, Any]:
    """The entries of an earlier run. Raises DataError if the file is another one."""
    content = read_json(output, "landmark file")
    if not isinstance(content, dict) or not all(isinstance(one, dict) and "hands" in one for one in content.values()):
        raise DataError(f"{output}: is not a landmark file of `detect`; give another name, or leave --resume out.")
    return content


def _count(pictures: Sequence[str | os.PathLike]) -> int:
    return sum(number_of_photographs([path]) for path in pictures if Path(path).exists())


def _tasks(pictures: Sequence[str | os.PathLike], done: set[str]) -> Iterator[Task]:
    """The pictures that are to be looked at, by the names that the file gives them; a bad path does not stop the others."""
    files: dict[str, Path] = {}
    for path in pictures:
        try:
            for photograph in photographs([path]):
                name = name_of(photograph)
                if files.setdefault(name, photograph.file) != photograph.file:
                    raise DataError(
                        f"{photograph.file}: {files[name]} has the same name, by which the file tells pictures apart; rename "
                        "one of them, or write a file for each folder."
                    )
                yield Looked(name, f"{name}: already in the file, skipped") if name in done else photograph
        except Im2HandsError as error:
            yield Looked("", f"im2hands: error: {error}")


def name_of(photograph: Photograph) -> str:
    """The key of a picture in the landmark file: its file name; of a film's frame, its own name."""
    return photograph.file.name if photograph.number is None else photograph.name


def _look(settings: Settings, task: Task) -> Looked:
    if isinstance(task, Looked):
        return task
    name, begun = name_of(task), perf_counter()
    try:
        picture = task.read()
        pair = _detector(settings)(picture)
        if settings.overlays is not None:
            content = cv2.imencode(".png", drawn(picture, pair)[..., ::-1])[1].tobytes()
            write_bytes(settings.overlays / f"{name}.png", content)
    except (DiskFullError, NotWritableError):
        raise  # so it would be for every other picture
    except Im2HandsError as error:
        text = str(error)
        return Looked(name, f"im2hands: error: {text if str(task.file) in text else f'{task.file}: {text}'}")
    entry = entry_of_pair(pair, picture.shape, settings.every_hand)
    return Looked(name, f"{name}: {said(pair)} ({perf_counter() - begun:.1f} s)", entry)


def said(pair: PairOfHands) -> str:
    """What was found in a picture, with scores and notes."""
    hands = [f"{side.value} {score(hand):.2f}" for side, hand in pair.hands.items()]
    return "; ".join([", ".join(hands), *pair.notes] if hands else pair.notes)


@lru_cache(maxsize=1)
def _detector(settings: Settings) -> HandDetector:
    return HandDetector(LiteRtNetworks(settings.networks))
