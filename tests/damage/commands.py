"""Commands on copies of whole files, without a Python start for each (server.py)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.damage.whole import ROOT, Subject


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

    def words(self, subject: Subject, file: Path, out: Path | None = None) -> tuple[list[str], Path]:
        """The command for a file, and the folder to run it in."""
        folder = self.folder / str(self.count)
        places = {"file": file, "place": folder / (subject.place or subject.file), "whole": self.whole}
        return [word.format(**places, out=out or folder / "out") for word in subject.words], folder

    def run(self, subject: Subject, file: Path, out: Path | None = None) -> dict:
        words, folder = self.words(subject, file, out)
        return self.ask(subject.module, words, folder)

    def ask(self, module: str, words: list[str], folder: Path) -> dict:
        print(
            json.dumps({"module": module, "words": words, "folder": str(folder)}), file=self._server.stdin, flush=True
        )
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait(10)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
