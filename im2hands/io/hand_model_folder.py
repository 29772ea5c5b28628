"""Finds the two files of a hand model in the given folder or a little below it, in upper or lower case.

MANO's archive unpacks to `mano_v1_2/models/`, other packages expect `mano/`; some convert the names to lower case.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from im2hands.io.errors import DataError

NAMES = ("MANO_RIGHT", "MANO_LEFT")
SUFFIXES = (".pkl", ".npz")
"""The originals first."""
DEEPEST = 2
"""Folders below the one that was named, as in mano_v1_2/models."""
BUILT_IN = "for the built-in hand, set dataset.hand_model to data/hand_model; the first run creates it"


def hand_model_files(folder: str | os.PathLike) -> tuple[Path, Path]:
    """The files of the right and the left hand.

    They must lie in one folder: `folder` itself, otherwise the only one with both in the two levels below it.
    Raises DataError if there is no such folder or more than one, or if the two files are of different kinds.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file; give the folder that contains it" if folder.exists() else "does not exist"
        raise DataError(
            f"{folder}: the hand model folder {what}; correct dataset.hand_model in params.yaml ({BUILT_IN})."
        )
    own = _files_in(folder)
    if any(own):
        return _both(folder, own)
    below = [(place, found) for place in _folders_below(folder) if all(found := _files_in(place))]
    if len(below) > 1:
        listed = ", ".join(place.relative_to(folder).as_posix() for place, _ in below)
        raise DataError(
            f"{folder}: several folders below it contain MANO's files ({listed}); set dataset.hand_model to one of them."
        )
    if not below:
        raise DataError(_nothing_in(folder))
    return _both(*below[0])


def _files_in(folder: Path) -> tuple[Path | None, Path | None]:
    """The files of the right and the left hand that a folder contains: the right spelling first, originals first."""
    try:
        there = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError:
        return None, None
    places = {}
    for hand in NAMES:
        wanted = [f"{hand}{suffix}" for suffix in SUFFIXES]
        found = [name for name in wanted if name in there]
        found += [name for low in map(str.lower, wanted) for name in there if name.lower() == low]
        places[hand] = folder / found[0] if found else None
    return places[NAMES[0]], places[NAMES[1]]


def _folders_below(folder: Path, levels: int = DEEPEST) -> Iterator[Path]:
    try:
        inner = sorted(Path(entry) for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return
    for one in inner:
        yield one
        if levels > 1:
            yield from _folders_below(one, levels - 1)


def _both(folder: Path, files: tuple[Path | None, Path | None]) -> tuple[Path, Path]:
    right, left = files
    if right is None or left is None:
        lacking = NAMES[0] if right is None else NAMES[1]
        raise DataError(
            f"{folder}: {lacking}.pkl or {lacking}.npz is missing; copy it next to the other hand's file, both come in the "
            "same archive from MANO's site."
        )
    if right.suffix.lower() != left.suffix.lower():
        raise DataError(
            f"{folder}: found {right.name} and {left.name}; both must be .pkl or both .npz, because they could be of two "
            "models; remove one and add its match."
        )
    return right, left


def _nothing_in(folder: Path) -> str:
    archives = sorted(path.name for path in folder.glob("*.zip"))
    advice = (
        f"unpack {archives[0]} there"
        if archives
        else "copy MANO's two .pkl files into this folder, or set dataset.hand_model to the folder that contains them"
    )
    return f"{folder}: contains neither MANO_RIGHT.pkl nor MANO_RIGHT.npz; {advice} ({BUILT_IN})."
