"""A pull parser for JSON files of any size: memory is bounded by the largest value requested, not by the file.

Values are decoded by the standard library's C scanner out of a moving window, so a file of several gigabytes
costs no more per entry than a small one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from im2hands.io.documents import RefusedValue, decoder
from im2hands.io.errors import DamagedFileError
from im2hands.io.limits import readable_file
from im2hands.io.mistaken_files import mistaken_for

BLOCK = 1 << 22
LARGEST_VALUE = 1 << 28
"""Characters; a value that is not complete within so many is taken for a syntax error."""
NUMBER_CONTINUES = "0123456789.eE+-"


class JsonStream:
    """Walks through a JSON file from front to back. Use as a context manager.

    `members()` of an object yields keys, `items()` of an array yields decoded items; after each key the caller takes
    the value by `value()`, `members()` or `items()`.
    Raises DataError for a missing file, DamagedFileError where the text is not JSON or ends too early.
    """

    def __init__(self, path: str | os.PathLike, purpose: str, block: int = BLOCK) -> None:
        self.path, self._purpose, self._block = Path(path), purpose, block
        self._decoder = decoder()
        self._text, self._at, self._ended = "", 0, False

    def __enter__(self) -> JsonStream:
        remedy = "check dataset.root and that everything is unpacked"
        self._file = readable_file(self.path, self._purpose, remedy=remedy).open(encoding="utf-8-sig")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def members(self) -> Iterator[str]:
        """Keys of the object that comes next."""
        for _ in self._elements("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise self._damaged("a key is not text")
            self._take(":")
            yield key

    def items(self) -> Iterator[Any]:
        """Decoded items of the array that comes next."""
        for _ in self._elements("[", "]"):
            yield self.value()

    def value(self) -> Any:
        """The next value, decoded as a whole."""
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                problem = str(error)
            except RefusedValue as error:
                raise self._damaged(f"it holds {error}") from None
            except RecursionError:
                raise self._damaged("values are nested too deeply") from None
            else:
                # a number at the window's end may go on behind it: 0 of 0.5, or 1 of 1e5
                if self._ended or self._text[end : end + 1] not in NUMBER_CONTINUES:
                    self._at = end
                    return value
                problem = "a number is malformed"
            if self._ended or len(self._text) - self._at > LARGEST_VALUE:
                raise self._damaged(problem)
            self._read()

    def skip(self) -> None:
        """Passes over the next value; arrays are passed item by item, so that their size does not matter."""
        if self._peek() == "[":
            for _ in self.items():
                pass
        else:
            self.value()

    def _elements(self, opening: str, closing: str) -> Iterator[None]:
        self._take(opening)
        if self._peek() == closing:
            self._at += 1
            return
        while True:
            yield
            following = self._peek()
            self._at += 1
            if following == closing:
                return
            if following != ",":
                raise self._damaged(f"expected ',' or '{closing}', found {following!r}")

    def _take(self, character: str) -> None:
        found = self._peek()
        if found != character:
            raise self._damaged(f"expected '{character}', found {found!r}")
        self._at += 1

    def _peek(self) -> str:
        """The next character that is not white space."""
        while True:
            while self._at < len(self._text):
                character = self._text[self._at]
                if character not in " \t\r\n":
                    return character
                self._at += 1
            if self._ended:
                raise self._damaged("it is truncated")
            self._read()

    def _read(self) -> None:
        remainder = self._text[self._at :]
        try:
            more = self._file.read(max(self._block, len(remainder)))
        except UnicodeDecodeError as error:
            raise self._damaged(str(error)) from None
        self._text, self._at, self._ended = remainder + more, 0, not more

    def _damaged(self, what: str) -> DamagedFileError:
        cause = mistaken_for(self.path) or "it is probably truncated: fetch or unpack it again"
        return DamagedFileError(f"{self.path}: the {self._purpose} is not valid JSON ({what}); {cause}.")
