"""The pages docs/adding-*.md as steps that can be taken: files to write, lines to add, commands to run.

A step is a paragraph that ends like one of these, and the fenced block below it:

    New file `path`:
    In `path`, above `start of a line`:      (or below, or in place of)
    ... run it:                              (the block is ```sh)

The line must be the only one of the file that starts so, blanks aside. A block that is none of these is an error, so that no
code of a page goes untried.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^(?P<said>[^\n]*)\n\n```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
NEW = re.compile(r"New file `(?P<path>[^`]+)`:")
EDIT = re.compile(r"In `(?P<path>[^`]+)`, (?P<place>above|below|in place of) (?P<ticks>`+)(?P<start>.+?)(?P=ticks):")


@dataclass(frozen=True)
class NewFile:
    path: str
    text: str

    def take(self, root: Path) -> None:
        file = root / self.path
        assert not file.exists(), f"{self.path} is there already"
        file.write_text(self.text)


@dataclass(frozen=True)
class Edit:
    """place: where the text goes: above, below or in place of the only line that begins with `start`."""

    path: str
    place: str
    start: str
    text: str

    def take(self, root: Path) -> None:
        file = root / self.path
        lines = file.read_text().splitlines(keepends=True)
        found = [number for number, line in enumerate(lines) if line.strip().startswith(self.start)]
        assert len(found) == 1, f"{self.path}: {len(found)} lines begin with {self.start}"
        begin, end = found[0] + (self.place == "below"), found[0] + (self.place != "above")
        lines[begin:end] = [self.text]
        file.write_text("".join(lines))


@dataclass(frozen=True)
class Command:
    words: list[str]


def steps(page: Path) -> Iterator[NewFile | Edit | Command]:
    """The steps of a page in its order."""
    content = page.read_text()
    blocks = list(BLOCK.finditer(content))
    assert len(blocks) == content.count("\n```") / 2, f"{page.name}: a block is not below a paragraph of its own"
    for block in blocks:
        said, text = block["said"], block["text"]
        if new := NEW.fullmatch(said):
            yield NewFile(new["path"], text)
        elif edit := EDIT.fullmatch(said):
            yield Edit(edit["path"], edit["place"], edit["start"], text)
        else:
            assert block["language"] == "sh", f"{page.name}: nothing says where this goes: {text[:80]}"
            for line in text.splitlines():
                yield Command(shlex.split(line, comments=True))
