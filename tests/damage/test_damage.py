"""A damaged input ends its command in one sentence that names the file: no traceback, no output, bounded time and memory."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.damage.rules import rules_of
from tests.damage.whole import ROOT, SUBJECTS, Subject, write_whole_files

PROGRESS = re.compile(r".+: \d+/[\d?]+ \S+ .*left")
pytestmark = pytest.mark.xdist_group("damage")
CASES = [
    pytest.param(subject, name, id=f"{subject.name}: {name}")
    for subject in SUBJECTS
    for name in rules_of(subject.name, subject.kind)
]


class Commands:
    """Runs the commands of subjects on copies of their files."""

    def __init__(self, whole: Path, folder: Path) -> None:
        self.whole, self.folder, self.count = whole, folder, 0
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.damage.server"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def copied(self, subject: Subject) -> Path:
        """A folder of its own with a copy of the subject's place; returns the file to damage."""
        self.count += 1
        place = self.folder / str(self.count) / (subject.place or subject.file)
        place.parent.mkdir(parents=True)
        (shutil.copytree if subject.place else shutil.copy)(self.whole / (subject.place or subject.file), place)
        return self.folder / str(self.count) / subject.file

    def run(self, subject: Subject, file: Path) -> dict:
        folder = self.folder / str(self.count)
        places = {
            "file": file,
            "place": folder / (subject.place or subject.file),
            "out": folder / "out",
            "whole": self.whole,
        }
        words = [word.format(**places) for word in subject.words]
        return self.ask(subject.module, words, folder)

    def ask(self, module: str, words: list[str], folder: Path) -> dict:
        print(
            json.dumps({"module": module, "words": words, "folder": str(folder)}), file=self._server.stdin, flush=True
        )
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait(10)


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole")
    write_whole_files(whole)
    made = Commands(whole, tmp_path_factory.mktemp("cases"))
    yield made
    made.close()


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


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
    """One line names what is wrong and where; a list of findings may stand around it where the command makes one."""
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
