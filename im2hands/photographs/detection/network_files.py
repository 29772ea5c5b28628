"""The two network files of the detector: where they lie, what they must be, and how they are fetched.

They come out of the wheel of MediaPipe 0.10.21 (Apache-2.0), which pip fetches when the user asks for it; nothing of the wheel
is installed or executed. Both files and the wheel are known by their SHA-256, so other ones are never used.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from im2hands.io.atomic import require_writable, write_bytes
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.limits import MEGABYTE, read_content, readable_file

PALM_FILE, LANDMARK_FILE = "palm_detection_full.tflite", "hand_landmark_full.tflite"
LARGEST_NETWORK, LARGEST_WHEEL = 16 * MEGABYTE, 256 * MEGABYTE
FETCH = "run: im2hands detect --install"


@dataclass(frozen=True)
class Release:
    """A release of MediaPipe's wheel. wheel: SHA-256 of the wheel for `platform`.  files: path in the wheel -> SHA-256."""

    version: str = "0.10.21"
    wheel: str = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
    platform: tuple[str, ...] = (
        *("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11"),
        *("--implementation", "cp", "--abi", "cp311"),
    )
    files: Mapping[str, str] = field(
        default_factory=lambda: {
            f"mediapipe/modules/palm_detection/{PALM_FILE}": (
                "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54"
            ),
            f"mediapipe/modules/hand_landmark/{LANDMARK_FILE}": (
                "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3"
            ),
        }
    )

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file by its name."""
        return {path.rpartition("/")[2]: digest for path, digest in self.files.items()}


RELEASE = Release()
"""One wheel serves every machine, because only data are taken out of it: the wheels of other platforms hold the same files."""


def cache_folder() -> Path:
    """Where the files are kept for this user: the platform's folder for caches."""
    home = Path.home()
    if sys.platform == "win32":
        place = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        place = home / "Library" / "Caches"
    else:
        place = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return place / "im2hands" / "hand_networks"


def read_networks(folder: str | os.PathLike | None = None, release: Release = RELEASE) -> dict[str, bytes]:
    """The content of both files, by name. folder: where they lie; by default `cache_folder`.

    Raises DataError if one is missing, DamagedFileError if one has another content.
    """
    folder = cache_folder() if folder is None else Path(folder)
    found = {}
    for name, digest in release.hashes.items():
        path = folder / name
        content = read_content(path, "network of the hand detector", LARGEST_NETWORK, FETCH)
        if hashlib.sha256(content).hexdigest() != digest:
            raise DamagedFileError(f"{path}: is not the file of MediaPipe {release.version}; remove it, then {FETCH}")
        found[name] = content
    return found


def install(
    folder: str | os.PathLike | None = None, wheel: str | os.PathLike | None = None, release: Release = RELEASE
) -> list[Path]:
    """Puts both files into `folder` (by default `cache_folder`).

    wheel: a wheel of this release, of any platform, that is already here; by default pip fetches one.
    Raises DataError if pip cannot fetch it, DamagedFileError if its content is another.
    """
    folder = cache_folder() if folder is None else Path(folder)
    require_writable(folder)
    with tempfile.TemporaryDirectory() as temporary:
        contents = _from_wheel(_fetched(Path(temporary), release) if wheel is None else Path(wheel), release)
    for name, content in contents.items():
        write_bytes(folder / name, content)
    return [folder / name for name in contents]


def _fetched(folder: Path, release: Release) -> Path:
    """The wheel, fetched by the pip of this environment, which compares its hash."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"mediapipe=={release.version} --hash=sha256:{release.wheel}\n")
    words = ("download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(folder))
    command = [sys.executable, "-m", "pip", *words, *release.platform, "--requirement", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PIP_NO_INPUT": "1"})
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = next((line for line in said if line.startswith("ERROR")), said[-1] if said else "it wrote nothing")
        raise DataError(
            f"pip cannot fetch mediapipe {release.version} ({reason.strip()}); fetch any wheel of this version on a machine "
            "that can, and run: im2hands detect --install --wheel FILE"
        )
    return wheels[0]


def _from_wheel(path: Path, release: Release) -> dict[str, bytes]:
    """Both files of a wheel by their names, checked; nothing else is unpacked."""
    try:
        with zipfile.ZipFile(readable_file(path, "wheel", LARGEST_WHEEL)) as archive:
            return {
                inside.rpartition("/")[2]: _member(archive, inside, digest, path, release)
                for inside, digest in release.files.items()
            }
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DamagedFileError(f"{path}: is not a whole wheel ({error}); fetch it again.") from None


def _member(archive: zipfile.ZipFile, inside: str, digest: str, path: Path, release: Release) -> bytes:
    if inside not in archive.namelist():
        raise DamagedFileError(
            f"{path}: does not contain {inside}; give a wheel of mediapipe {release.version} (later ones have no networks)."
        )
    with archive.open(inside) as file:
        content = file.read(LARGEST_NETWORK + 1)  # whatever size the archive announces
    if hashlib.sha256(content).hexdigest() != digest:
        raise DamagedFileError(
            f"{path}: {inside} is not the file of mediapipe {release.version} (another SHA-256); it is not used."
        )
    return content
