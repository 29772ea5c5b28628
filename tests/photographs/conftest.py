"""The command `im2hands reconstruct` with tiny networks."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest

from im2hands.cli import main
from im2hands.photographs import results
from im2hands.photographs.reconstructor import Reconstructor
from tests.photographs.own_photograph import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    return Scene(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def networks_are_read_once():
    """The same networks serve all runs of a test file; what is missing is still looked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "PICTURE", 192)
        patch.setattr(Reconstructor, "from_pretrained", cache(Reconstructor.from_pretrained))
        yield


def ended(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code of `im2hands reconstruct` with these words, and what it wrote."""
    monkeypatch.setattr(sys, "argv", ["im2hands", "reconstruct", *words])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    written = capsys.readouterr()
    text = written.out + written.err + (code if isinstance(code, str) else "")
    return (1 if isinstance(code, str) else int(code or 0)), text


@pytest.fixture
def run(scene, networks_are_read_once, tmp_path, monkeypatch, capsys):
    """Runs the command; returns exit code and what it wrote."""

    def run(*images: Path | str, output: Path = tmp_path / "out", **options: object) -> tuple[int, str]:
        given = {"keypoints": scene.keypoints, "camera": scene.camera, "model": scene.models, "resolution": 32}
        words = [str(image) for image in images or (scene.image,)]
        flags = [name for name, value in options.items() if value is True]
        for name, value in (given | options).items():
            if value is not True:
                words += [f"--{name.replace('_', '-')}", str(value)]
        words += [f"--{name.replace('_', '-')}" for name in flags]
        return ended([*words, "-o", str(output)], monkeypatch, capsys)

    return run
