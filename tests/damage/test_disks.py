"""A disk that is full or read-only ends every command that writes in one sentence, and what was there stays as it was."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.damage.commands import files_in
from tests.damage.whole import SUBJECTS, Subject

pytestmark = pytest.mark.xdist_group("damage")
WRITERS = (
    *("keypoints", "mesh-ply", "weights", "exported", "dataset-data", "external-json", "shard", "given-weights"),
    "prepared-annotations",
)
"""Subjects, one for every command that writes."""


class Disk:
    """A file system in memory of its own."""

    def __init__(self, place: Path) -> None:
        self.place, self.rest = place, place / "other files"

    def fill(self, room: int) -> None:
        """Leaves `room` bytes free, or a little less."""
        free = os.statvfs(self.place).f_bavail * os.statvfs(self.place).f_frsize
        with self.rest.open("wb") as file:
            file.write(bytes(free - room))

    def protect(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.place)], check=True)


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a disk cannot be mounted here: {made.stderr.strip()}")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def subject_of(name: str) -> Subject:
    return next(one for one in SUBJECTS if one.name == name)


def refused(answer: dict) -> str:
    """The one line that the command ends with."""
    assert answer["code"] == 1, answer
    assert "Traceback" not in answer["err"] and not answer["out"], answer
    said = [line for line in answer["err"].splitlines() if "error:" in line]
    assert len(said) == 1, answer["err"]
    return said[0]


@pytest.mark.parametrize("name", WRITERS)
def test_a_read_only_disk(commands, disk, name):
    subject = subject_of(name)
    disk.protect()
    line = refused(commands.run(subject, commands.copied(subject), disk.place))
    assert str(disk.place) in line and "read-only file system" in line
    assert files_in(disk.place) == set()


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(commands, disk, name):
    subject = subject_of(name)
    disk.fill(0)
    line = refused(commands.run(subject, commands.copied(subject), disk.place))
    assert str(disk.place) in line and "the disk is full; free some space" in line
    assert files_in(disk.place) == {disk.rest.name}


def test_parameters_on_a_full_or_read_only_disk_stay_as_they_were(commands, disk):
    preset = commands.copied(subject_of("preset"))
    preset.write_text("seed: 7\n")
    file = disk.place / "params.yaml"
    file.write_bytes((commands.whole / "checkout/params.yaml").read_bytes())
    before = file.read_bytes()
    for prevent in (lambda: disk.fill(0), disk.protect):
        prevent()
        words = ["configure", str(preset), "--params", str(file)]
        assert f"{file}: " in refused(commands.ask("im2hands", words, disk.place))
        assert file.read_bytes() == before and files_in(disk.place) == {"params.yaml", disk.rest.name}


def test_reconstruct_goes_on_when_there_is_room_again(commands, disk):
    """The meshes find room and the overlay does not: no folder stays, so the picture is not taken for finished."""
    subject = subject_of("keypoints")
    file = commands.copied(subject)
    disk.fill(120_000)
    line = refused(commands.run(subject, file, disk.place))
    assert "photograph" in line and "the disk is full" in line
    assert files_in(disk.place) == {disk.rest.name}
    disk.rest.unlink()
    again = commands.run(subject, file, disk.place)
    assert again["code"] == 0, again
    assert {f"photograph/{name}" for name in ("overlay.png", "side.png", "result.json", "hands.ply")} <= files_in(
        disk.place
    )
    assert "already done, skipped" in commands.run(subject, file, disk.place)["out"]
