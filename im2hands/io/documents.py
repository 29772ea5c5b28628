"""JSON and YAML from a user's text: depth, digits and size are limited before it is built, and duplicate keys are refused."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.limits import DEEPEST, LARGEST_SETTINGS, MOST_DIGITS, read_text

STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A string of JSON, also one that never ends: so the search passes over every character once."""
MOST_VALUES = 50_000
"""Limit for a YAML file; aliases count each time they are used."""


class RefusedValue(ValueError):
    """A value that JSON allows and no file of this project contains."""


def parsed_json(text: str) -> Any:
    """The parsed text. Raises ValueError with the reason if it is not JSON, is nested too deeply, or contains a number with
    too many digits, a duplicate key or half a surrogate pair.
    """
    if _depth(text) > DEEPEST:
        raise RefusedValue(f"more than {DEEPEST} nested lists and objects")
    content = decoder().decode(text)
    if "\\ud" in text or "\\uD" in text:
        _require_characters(content)
    return content


def decoder() -> json.JSONDecoder:
    """A decoder that refuses, with RefusedValue, numbers with too many digits and duplicate keys."""
    return json.JSONDecoder(parse_int=_whole_number, object_pairs_hook=_object)


def _whole_number(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise RefusedValue(f"a number of {len(text)} digits")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise RefusedValue(f"the key {twice[:40]!r} twice in the same object")
    return made


def _depth(text: str) -> int:
    """Largest number of brackets that are open at the same time, strings left out."""
    bare = np.frombuffer(STRING.sub("", text).encode(errors="replace"), np.uint8)
    opening, closing = ((bare == ord(pair[0])) | (bare == ord(pair[1])) for pair in ("[{", "]}"))
    steps = (opening.astype(np.int8) - closing)[opening | closing]
    return int(np.cumsum(steps, dtype=np.int64).max(initial=0))


def _require_characters(content: Any) -> None:
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RefusedValue("text with half of a surrogate pair") from None


def read_yaml(path: str | os.PathLike, purpose: str) -> Any:
    """The plain values of a YAML file. Raises what `read_yaml_text` raises."""
    import yaml

    text = read_yaml_text(path, purpose)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise not_yaml(path, purpose, error) from None


def read_yaml_text(path: str | os.PathLike, purpose: str) -> str:
    """The text of a YAML file that any parser may have.

    Raises DataError if it is missing or too large, DamagedFileError if it is not YAML, nested too deeply, expands by its
    aliases, or has a tag, a number of too many digits or a key twice.
    """
    import yaml

    text = read_text(path, purpose, LARGEST_SETTINGS, "run from the folder that contains it")
    try:
        _check_events(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (yaml.YAMLError, ValueError) as error:
        raise not_yaml(path, purpose, error) from None
    return text


def not_yaml(path: str | os.PathLike, purpose: str, error: Exception) -> DamagedFileError:
    return DamagedFileError(f"{path}: the {purpose} is not valid YAML: {' '.join(str(error).split())}; correct it.")


@dataclass
class _Open:
    """A list or section that has begun. keys: None for lists.  values: number of values in it so far."""

    anchor: str | None
    keys: set[str] | None
    values: int = 1
    parts: int = field(default=0)


def _check_events(events: Iterator[Any]) -> None:
    """Raises ValueError at the first event that goes beyond the limits, before those behind it are parsed."""
    import yaml

    stack: list[_Open] = [_Open(None, None)]
    sizes: dict[str, int] = {}
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            _require_untagged(event)
            if len(stack) > DEEPEST:
                raise RefusedValue(f"more than {DEEPEST} nested lists and sections{_line(event)}")
            _begin_value(stack[-1], None, event)
            stack.append(_Open(event.anchor, set() if isinstance(event, yaml.MappingStartEvent) else None))
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = stack.pop()
            _count(stack[-1], ended.values, event)
            if ended.anchor:
                sizes[ended.anchor] = ended.values
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise RefusedValue(f"*{event.anchor} refers to itself or to nothing{_line(event)}")
            _begin_value(stack[-1], None, event)
            _count(stack[-1], sizes[event.anchor], event)
        elif isinstance(event, yaml.ScalarEvent):
            _require_untagged(event)
            if not event.style and sum(map(str.isdigit, event.value)) > MOST_DIGITS and _is_number(event.value):
                raise RefusedValue(f"a number of {len(event.value)} digits{_line(event)}")
            _begin_value(stack[-1], event.value, event)
            _count(stack[-1], 1, event)
            if event.anchor:
                sizes[event.anchor] = 1


def _begin_value(inside: _Open, text: str | None, event: Any) -> None:
    """Notes a key or a value; keys and values of a section take turns."""
    if inside.keys is not None and inside.parts % 2 == 0 and text is not None:
        if text in inside.keys:
            raise RefusedValue(f"the key {text[:40]!r} occurs twice in one section{_line(event)}")
        inside.keys.add(text)
    inside.parts += 1


def _count(inside: _Open, values: int, event: Any) -> None:
    inside.values += values
    if inside.values > MOST_VALUES:
        raise RefusedValue(f"more than {MOST_VALUES} values{_line(event)}")


def _require_untagged(event: Any) -> None:
    if event.tag is not None and event.tag != "!":
        raise RefusedValue(f"the tag {event.tag[:60]}{_line(event)}, but only plain values are allowed")


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[0-9][0-9a-fA-FxXoO_.:]*", text) is not None


def _line(event: Any) -> str:
    return f" (line {event.start_mark.line + 1})"


def require_object(path: str | os.PathLike, content: Any, purpose: str) -> dict[str, Any]:
    """The content of a JSON file that must contain an object. Raises DataError for anything else."""
    if not isinstance(content, dict):
        raise DataError(f"{path}: the {purpose} must contain an object, not a {type(content).__name__}; make it again.")
    return content
