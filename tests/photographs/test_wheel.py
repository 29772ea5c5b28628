"""The built wheel alone, without the repository: it holds every file of the package and reconstructs a photograph."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import pytest

from im2hands.datasets.frame_items import FrameSet
from tests.photographs.one_photograph import photographs, write_models

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(ROOT, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder))
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked by pip; its dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("site")
    run(ROOT, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder), str(wheel))
    return folder


def run(place: Path, *arguments: str, site: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if site is not None:
        environment["PYTHONPATH"] = str(site)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "im2hands").rglob("*") if path.is_file()}
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in files if "__pycache__" not in name} <= held
    assert not [name for name in held if not name.startswith(("im2hands/", "im2hands-"))]


def test_a_photograph_is_reconstructed_without_the_repository(site, tmp_path):
    assert Path(run(tmp_path, "-c", "import im2hands; print(im2hands.__file__)", site=site)).is_relative_to(site)
    data = photographs(tmp_path / "data")
    models = write_models(data)
    item = FrameSet(data.frames, data.hands, data.images).item(0)
    cv2.imwrite(str(tmp_path / "hands.png"), item.image[..., ::-1])
    hands = {side: item.keypoints[place].tolist() for place, side in enumerate(("left", "right"))}
    (tmp_path / "keypoints.json").write_text(json.dumps(hands))
    camera = {"K": item.camera.intrinsics, "R": item.camera.rotation, "t": item.camera.translation}
    (tmp_path / "camera.json").write_text(json.dumps({name: value.tolist() for name, value in camera.items()}))
    given = {"keypoints": "keypoints.json", "camera": "camera.json", "model": str(models), "resolution": "32"}
    options = [word for name, value in given.items() for word in (f"--{name}", value)]
    run(tmp_path, "-m", "im2hands.cli", "reconstruct", "hands.png", *options, "-o", "out", site=site)
    assert {"left.glb", "right.glb", "overlay.png", "result.json"} <= {
        path.name for path in (tmp_path / "out/hands").iterdir()
    }
