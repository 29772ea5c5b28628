"""Rules that make a damaged JSON or YAML file, or any damaged file, of a whole one: damage that leaves no doubt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Rule = Callable[[Path], None]
"""Changes a whole file in its place."""
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PAGE = b"<!DOCTYPE html><html><head><title>404 not found</title></head><body>not here</body></html>\n"


def changed(change: Callable[[bytes], bytes]) -> Rule:
    def rule(path: Path) -> None:
        whole = path.read_bytes()
        made = change(whole)
        assert made != whole
        path.write_bytes(made)

    return rule


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


ANY: dict[str, Rule] = {
    "empty": changed(lambda _: b""),
    "a byte": changed(lambda whole: whole[:1]),
    "a third": changed(lambda whole: whole[: len(whole) // 3]),
    "two thirds": changed(lambda whole: whole[: 2 * len(whole) // 3]),
    "another format": changed(lambda _: PICTURE),
    "a web page": changed(lambda _: PAGE),
    "zeros": changed(lambda whole: bytes(min(len(whole), 4096))),
    "a folder": _folder,
}


def changed_json(change: Callable[[object], object]) -> Rule:
    return lambda path: path.write_text(json.dumps(change(json.loads(path.read_text()))))


def _nested(path: Path) -> None:
    path.write_text('{"left": ' + "[" * 20_000 + "]" * 20_000 + "}")


def _twice(path: Path) -> None:
    content = json.loads(path.read_text())
    inner = content[0] if isinstance(content, list) else content
    key = next(iter(inner))
    text = json.dumps(inner)
    doubled = text[:-1] + f", {json.dumps(key)}: {json.dumps(inner[key])}}}"
    path.write_text(f"[{doubled}]" if isinstance(content, list) else doubled)


def _every_number(value: object, into: Callable[[float], object]) -> object:
    """Numbers replaced in place; text, flags and null stay."""
    if isinstance(value, dict):
        return {key: _every_number(one, into) for key, one in value.items()}
    if isinstance(value, list):
        return [_every_number(one, into) for one in value]
    return into(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


JSON: dict[str, Rule] = {
    "last byte gone": changed(lambda whole: whole.rstrip()[:-1]),
    "a comma more": changed(lambda whole: whole.rstrip()[:-1] + b",}"),
    "single quotes": changed(lambda whole: whole.replace(b'"', b"'")),
    "latin-1": changed(lambda whole: whole.replace(b"{", b'{"\xe9": 1, ', 1)),
    "utf-16": changed(lambda whole: whole.decode().encode("utf-16")),
    "half a character": changed(lambda whole: whole.replace(b"{", b'{"\\ud800": 1, ', 1)),
    "nested": _nested,
    "a key twice": _twice,
    "null": changed(lambda _: b"null"),
    "true": changed(lambda _: b"true"),
    "a number": changed(lambda _: b"17"),
    "a text": changed(lambda _: b'"text"'),
    "an empty list": changed(lambda _: b"[]"),
    "lists of lists": changed(lambda _: b"[[[[]]]]"),
    "400 digits": changed(lambda whole: whole.replace(b"{", b'{"a": ' + b"9" * 400 + b", ", 1)),
    "5000 digits": changed(lambda whole: whole.replace(b"{", b'{"a": ' + b"9" * 5000 + b", ", 1)),
}
NUMBERS: dict[str, Rule] = {
    "all true": changed_json(lambda whole: _every_number(whole, lambda _: True)),
    "all text": changed_json(lambda whole: _every_number(whole, str)),
    "all NaN": changed_json(lambda whole: _every_number(whole, lambda _: float("nan"))),
    "all 1e38": changed_json(lambda whole: _every_number(whole, lambda _: 1e38)),
    "all zero": changed_json(lambda whole: _every_number(whole, lambda _: 0)),
    "all in lists": changed_json(lambda whole: _every_number(whole, lambda number: [number])),
    "all objects": changed_json(lambda whole: _every_number(whole, lambda number: {"value": number})),
}
"""For files in which numbers are what counts."""


def _yaml(text: str) -> Rule:
    return lambda path: path.write_text(text)


def _aliases() -> str:
    """Seven lists of eight, each of the one before: two million values, in one line each."""
    lines = ["a: &a [x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]" for old, new in zip("abcdef", "bcdefg", strict=True)]
    return "\n".join(lines)


def _into_a_key(share: float) -> Rule:
    """Cut off within a key: what ends after a line is a whole preset with fewer keys."""

    def cut(whole: bytes) -> bytes:
        line = whole.index(b"\n", int(share * len(whole))) + 1
        return whole[: whole.index(b":", line) - 1]

    return changed(cut)


YAML: dict[str, Rule] = {
    "a third": _into_a_key(1 / 3),
    "two thirds": _into_a_key(2 / 3),
    "20,000 brackets": _yaml("seed: " + "[" * 20_000),
    "deep sections": _yaml("- " * 500 + "a"),
    "aliases": _yaml(_aliases()),
    "itself": _yaml("seed: &a [*a]\n"),
    "a key twice": _yaml("seed: 1\nseed: 2\n"),
    "a tag": _yaml("seed: !!set {a, b}\n"),
    "400 digits": _yaml(f"seed: {'9' * 400}\n"),
    "a date": _yaml("seed: 2026-99-99\n"),
    "latin-1": changed(lambda whole: b"# caf\xe9\n" + whole),
    "tabs": _yaml("seed:\n\t- 1\n"),
    "a list": _yaml("- seed\n"),
    "only a text": _yaml("seed\n"),
    "two documents": _yaml("seed: 1\n---\nseed: 2\n"),
    "an unknown key": _yaml("no_such_key: 1\n"),
    "another type": _yaml("seed: {a: 1}\n"),
}
