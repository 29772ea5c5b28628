"""The interpreter that runs Snakemake: `python` in the rules' shell commands, and what its libraries compute."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def put_on_path() -> None:
    """Puts the folder of the running interpreter first on PATH, so that a virtual environment need not be activated."""
    folder = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    if path.split(os.pathsep)[0] != folder:
        os.environ["PATH"] = os.pathsep.join([folder, path])


def opencv_arithmetic() -> str:
    """`OpenCV 4` or `OpenCV 5`: their crops of the same image differ by up to six grey levels, so shards must not mix."""
    for distribution in (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ):
        with suppress(PackageNotFoundError):
            return f"OpenCV {version(distribution).split('.')[0]}"
    import cv2  # built or packaged by other means; slower to ask

    return f"OpenCV {cv2.__version__.split('.')[0]}"
