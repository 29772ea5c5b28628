"""A damaged input ends its command in one sentence that names the file: no traceback, no output, bounded time and memory."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.damage.commands import files_in
from tests.damage.rules import rules_of
from tests.damage.whole import SUBJECTS, Subject

PROGRESS = re.compile(r".+: \d+/[\d?]+ \S+ .*left")
pytestmark = pytest.mark.xdist_group("damage")
CASES = [
    pytest.param(subject, name, id=f"{subject.name}: {name}")
    for subject in SUBJECTS
    for name in rules_of(subject.name, subject.kind)
]


@pytest.mark.parametrize("subject", [pytest.param(one, id=one.name) for one in SUBJECTS if one.whole_too])
def test_the_whole_file_is_taken(commands, subject):
    """So that what is refused below is refused for its damage. Of the readers of keypoints one reconstructs, for the time."""
    answer = commands.run(subject, commands.copied(subject))
    said = answer["out"] + answer["err"]
    if subject.name == "checked-params":  # the parameters are read; the data they name are not here
        assert "not ready" in said and "Traceback" not in said
    else:
        assert answer["code"] == 0, said


@pytest.mark.parametrize(("subject", "name"), CASES)
def test_one_sentence(commands, subject, name):
    file = commands.copied(subject)
    rules_of(subject.name, subject.kind)[name](file)
    folder = commands.folder / str(commands.count)
    before = files_in(folder)
    answer = commands.run(subject, file)
    assert_refused(answer, subject, file)
    assert files_in(folder) == before
    shutil.rmtree(folder)


def assert_refused(answer: dict, subject: Subject, file: Path) -> None:
    """One line names what is wrong and where; it may be part of a list of findings if the command makes one."""
    said = answer["out"] + answer["err"]
    assert answer["code"] == 1, said[-2000:]
    assert "Traceback" not in said, said[-2000:]
    lines = [line for line in said.splitlines() if line.strip() and not PROGRESS.fullmatch(line.strip())]
    place = str(file).removesuffix(subject.file) + (subject.place or subject.file)
    naming = [line for line in lines if any(str(name) in line for name in (file.name, file.parent, place))]
    assert naming, said
    if "report" not in subject.traits:
        assert len(lines) == 1, said
        assert re.match(r"(im2hands|[\w.]+\.py|stages\.\w+): error: ", lines[0]), said
        assert lines[0].rstrip()[-1] in ".?", said
    assert max(map(len, lines)) < 700, said
    assert answer["cpu"] < 8, "what is wrong is to be found before the work"


def png_of(columns: int, rows: int) -> bytes:
    """Announces that many pixels and holds one row."""
    parts = (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(64)))
    chunks = (struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in parts)
    return (
        b"\x89PNG\r\n\x1a\n"
        + b"".join(chunks)
        + struct.pack(">I", 0)
        + b"IEND"
        + struct.pack(">I", zlib.crc32(b"IEND"))
    )


def test_damaged_pictures_are_named_one_by_one(commands):
    """One command for all of them: each is one line, and the whole picture among them is reconstructed."""
    subject = next(one for one in SUBJECTS if one.name == "keypoints")
    commands.copied(subject)
    folder = commands.folder / str(commands.count)
    pictures = folder / "pictures"
    pictures.mkdir()
    shutil.copy(commands.whole / "photograph.png", pictures / "whole.png")
    damaged = {"huge.png": png_of(30_000, 30_000), "wide.png": png_of(200_000, 8), "page.jpg": b"<!DOCTYPE html>"}
    for suffix in ("png", "jpg", "bmp", "tif", "webp"):
        content = (commands.whole / f"photograph.{suffix}").read_bytes()
        damaged |= {f"empty.{suffix}": b"", f"half-{suffix}.{suffix}": content[: len(content) // 2]}
        damaged |= {f"zeros-{suffix}.{suffix}": bytes(2000), f"short-{suffix}.{suffix}": content[:12]}
    for name, content in damaged.items():
        (pictures / name).write_bytes(content)
    words = [
        word.format(file=folder / subject.file, whole=commands.whole, out=folder / "out") for word in subject.words
    ]
    words[1] = str(pictures)
    answer = commands.ask("im2hands", words, folder)
    assert answer["code"] == 1 and "Traceback" not in answer["err"], answer["err"][-2000:]
    said = [line for line in answer["err"].splitlines() if "error:" in line]
    for name in damaged:
        assert sum(f"/{name}" in line for line in said) == 1, (name, answer["err"])
    assert len(said) == len(damaged)
    assert {path.parent.name for path in (folder / "out").rglob("*.*")} == {"whole"}
    assert answer["cpu"] < 10


@pytest.mark.parametrize(("name", "rule"), [("preset", "20,000 brackets"), ("keypoints", "nested")])
def test_the_console_script_says_the_same(commands, name, rule):
    subject = next(one for one in SUBJECTS if one.name == name)
    file = commands.copied(subject)
    rules_of(subject.name, subject.kind)[rule](file)
    words, folder = commands.words(subject, file)
    script = Path(sys.executable).with_name("im2hands")
    done = subprocess.run([script, *words], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    answer = {"code": done.returncode, "out": done.stdout, "err": done.stderr, "cpu": 0}
    assert_refused(answer, subject, file)
