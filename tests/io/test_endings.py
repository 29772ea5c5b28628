"""Processes that are ended while they write: what is half-written goes, at once or with the next run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from im2hands.io.atomic import atomic_folder, atomic_path, require_writable, write_text
from im2hands.io.errors import NotWritableError

WRITING = """
import sys, time
from im2hands.cli import app, main
from im2hands.io.atomic import atomic_folder, atomic_path

@app.command()
def hold():
    with atomic_folder("result") as folder, atomic_path("page.html") as page:
        (folder / "half").write_text("half")
        print("writing", flush=True)
        time.sleep(100)

sys.argv = ["im2hands", "hold"]
main()
"""


@pytest.fixture
def writing(tmp_path):
    """A command in the middle of writing a folder and a file."""
    process = subprocess.Popen([sys.executable, "-c", WRITING], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    assert len(list(tmp_path.iterdir())) == 2
    yield process
    process.kill()
    process.wait()


def test_sigterm_removes_what_is_half_written(writing, tmp_path):
    writing.send_signal(signal.SIGTERM)
    assert writing.wait(20) == 143
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_run_and_nothing_else(writing, tmp_path):
    alive = [path.name for path in tmp_path.iterdir()]
    others = [".result.another-machine-1.abc.part", ".page.x.part.html", ".hidden"]
    for name in others:
        (tmp_path / name).write_text("of someone else")
    require_writable(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*alive, *others])
    writing.kill()
    writing.wait()
    code = "from im2hands.io.atomic import write_text; write_text('new.txt', 'x')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["new.txt", *others])


def test_places_that_take_nothing_are_named(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path, reason in (
        ("file/a.json", "a file is in the place of a folder"),
        ("folder", "is a folder"),
        ("x" * 300, "file name too long"),
    ):
        with pytest.raises(NotWritableError, match=reason) as raised:
            write_text(tmp_path / path, "x")
        assert str(tmp_path / path) in str(raised.value)
    with (
        pytest.raises(NotWritableError, match="a file is in the place of a folder"),
        atomic_folder(tmp_path / "file/a"),
    ):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_an_input_that_may_not_be_read_is_not_taken_for_the_output(tmp_path):
    error = PermissionError(13, "Permission denied", "/elsewhere/input.json")
    with pytest.raises(PermissionError), atomic_path(tmp_path / "a.json"):
        raise error


@pytest.mark.parametrize("wait", [0.05, 0.6])
def test_ctrl_c_ends_a_stage_in_one_line(tmp_path, wait):
    """Also while it is importing: Snakemake shows the log of a stopped job above its own message."""
    code = (
        "import signal, stages, time; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "print('ready', flush=True); time.sleep(100)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout.readline() == "ready\n"
        time.sleep(wait)
        run.send_signal(signal.SIGINT)
        said = run.stderr.read()
        assert run.wait(20) != 0
    assert said == "interrupted; run the same command again to continue from complete files.\n"
