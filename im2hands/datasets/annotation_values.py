"""Numbers, flags and names of annotation files: read if their meaning is certain, refused otherwise.

Scripts that rewrite annotations turn numbers into text ("0"), wrap them into lists ([0]) or write 5.0 for 5. `bool("0")` and
`bool([0])` are true in Python, so every value passes through here.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

HAND_TYPES = ("right", "left", "interacting")
LARGEST_WHOLE = 2**62
LARGEST_SIZE = 2**31 - 1
WHOLE = re.compile(r"\s*[+-]?[0-9]{1,18}(\.0*)?\s*")
LONGEST_SHOWN = 40
"""Characters of a refused value that messages show."""


def whole_number(value: Any) -> int:
    """5 of 5, 5.0, "5" or [5]. Raises ValueError for anything else, true and false among it."""
    number = _alone(value)
    if isinstance(number, str) and WHOLE.fullmatch(number):
        number = int(float(number)) if "." in number else int(number)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{_shown(value)} is no whole number")
    if not abs(number) < LARGEST_WHOLE or number != int(number):
        raise ValueError(f"{_shown(value)} is no whole number")
    return int(number)


def size_in_pixels(value: Any) -> int:
    """A whole number above 0. Raises ValueError for anything else."""
    number = whole_number(value)
    if not 0 < number <= LARGEST_SIZE:
        raise ValueError(f"{_shown(value)} is no size of an image")
    return number


def flag(value: Any) -> bool:
    """Of 1, 0, true, false, also as text or alone in a list. Raises ValueError for anything else."""
    one = _alone(value)
    if isinstance(one, bool):
        return one
    if isinstance(one, str) and one.strip().lower() in ("true", "false"):
        return one.strip().lower() == "true"
    try:
        number = whole_number(one)
    except ValueError:
        number = None
    if number not in (0, 1):
        raise ValueError(f"{_shown(value)} is neither 0 nor 1")
    return bool(number)


def name(value: Any) -> str:
    """A name as text; whole numbers are written as such. Raises ValueError for anything else and for no text at all."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(whole_number(value))
    raise ValueError(f"{_shown(value)} is no name")


def hand_type(value: Any) -> str:
    """One of HAND_TYPES; capitals and spaces do not matter. Raises ValueError for anything else."""
    found = value.strip().lower() if isinstance(value, str) else None
    if found not in HAND_TYPES:
        raise ValueError(f"{_shown(value)} is none of {', '.join(HAND_TYPES)}")
    return found


def relative_path(value: Any) -> str:
    """A path below a folder, with slashes, however it was written. Raises ValueError for one that leaves the folder."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"{_shown(value)} is no file name")
    path = PurePosixPath(value.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts[:1] and path.parts[0].endswith(":")):
        raise ValueError(f"{_shown(value)} leaves the folder of images")
    return path.as_posix()


def canonical_key(key: str) -> str:
    """Keys of captures and frames without leading zeros, so that "00005" is the frame 5; other keys unchanged."""
    return str(int(key)) if key.isascii() and key.isdecimal() and len(key) <= 18 else key


def _alone(value: Any) -> Any:
    """The value, or the only one of a list, however deep."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
