"""What dvc.lock signs is what ran: files that change without looking newer are named, and their stages are not signed."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.workflow.checkout import Checkout
from workflow.content import RACY_NS, ContentHashes
from workflow.notes import JobNotes, Unseen

pytestmark = pytest.mark.xdist_group("stand-ins")  # one worker makes the finished checkout for all

RECORD = (sys.executable, "-m", "workflow.record")
LONG_AGO = 1_000_000_000


def lock_of(checkout: Checkout, stage: str) -> dict:
    return yaml.safe_load((checkout.path / "dvc.lock").read_text())["stages"][stage]


def other_version(path: Path, folder: Path) -> Path:
    """The file with another content and an old time stamp, in a folder."""
    folder.mkdir(exist_ok=True)
    other = folder / path.name
    other.write_bytes(path.read_bytes() + b"\n")
    os.utime(other, (LONG_AGO, LONG_AGO))
    return other


def test_code_copied_with_its_old_time_stamp_is_not_signed(finished, tmp_path):
    """cp -p and rsync -a: named with the remedy, the other stages are signed, and the remedy works."""
    code = finished.path / "stages/fit_hands.py"
    shutil.copy2(other_version(code, tmp_path / "other"), code)
    before = lock_of(finished, "fit_hands")
    assert finished.plan() == {}, "Snakemake sees it; else this test shows nothing"
    done = finished.run(*RECORD, check=False)
    assert done.returncode == 1
    assert "Not recorded in DVC: fit_hands did not run with the present stages/fit_hands.py" in done.stdout
    assert "touch stages/fit_hands.py, then snakemake" in done.stdout
    signed = next(line for line in done.stdout.splitlines() if line.startswith("Recorded in dvc.lock: "))
    assert "train_halo" in signed
    assert "fit_hands" not in signed
    assert lock_of(finished, "fit_hands") == before
    finished.run("touch", "stages/fit_hands.py")
    assert finished.plan_and_causes()[1] == {"fit_hands"}


def test_unpacked_code_is_named_where_snakemake_has_nothing_to_do(finished, tmp_path):
    """unzip -o: many files, whose names go to a list; said by a plain run, not by recording alone."""
    names = [
        "evaluate",
        "evaluate_keypoints",
        "fit_hands",
        "generate_anchors",
        "index_frames",
        "make_report",
        "make_tables",
    ]
    codes = [finished.path / f"stages/{name}.py" for name in names]
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        for code in codes:
            archive.write(other_version(code, tmp_path / "other"), f"stages/{code.name}")
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        for entry in archive.infolist():
            archive.extract(entry, finished.path)
            os.utime(finished.path / entry.filename, (LONG_AGO, LONG_AGO))  # as unzip does
    output = finished.snakemake()
    assert "Nothing to be done" in output
    (line,) = [line for line in output.splitlines() if "did not run with the present" in line]
    assert "stages/evaluate.py" in line
    assert "and 2 more" in line
    assert "xargs touch < .snakemake/im2hands/unseen.txt" in line
    finished.run("bash", "-c", "xargs touch < .snakemake/im2hands/unseen.txt")
    assert finished.plan_and_causes()[1] == {"index_frames"}, "the first of them; the others follow it"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["copy", "hardlink", "symlink"])
def test_another_version_from_dvc_is_seen_or_named(finished, kind):
    """dvc checkout gives linked files the time stamps of the cache: what is made of them must not pass as made of them."""
    finished.dvc("config", "--local", "cache.type", kind)
    file, lock = finished.path / "data/hands/train.parquet", finished.path / "dvc.lock"
    first = lock.read_text()
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content + b"\n")
    os.utime(file, (LONG_AGO, LONG_AGO))
    finished.dvc("commit", "--force", "fit_hands")
    second = lock.read_text()
    for text in (first, second):
        lock.write_text(text)
        finished.dvc("checkout", "--force", "fit_hands")
    assert file.read_bytes() == content + b"\n"
    output = finished.snakemake("--dry-run")
    if "Nothing to be done" in output:
        assert "data/hands/train.parquet is not what the workflow made" in output
        assert "python -m workflow.adopt" in output
    else:
        assert kind != "hardlink"
    assert "train_halo" in output


@pytest.mark.slow
def test_an_edited_result_is_not_signed(finished):
    """Newer than all it was made of, it looks finished to Snakemake; so does what is made of a part of a folder."""
    (finished.path / "results/report.html").write_text("better numbers")
    output = finished.snakemake("--dry-run")
    assert "Nothing to be done" in output
    assert "make_report: results/report.html is not what the workflow made" in output
    shutil.rmtree(finished.path / ".snakemake/im2hands")
    done = finished.run(*RECORD, check=False)
    assert done.returncode == 1
    assert "there is no note of what make_report read" in done.stdout
    assert "snakemake --forcerun make_report" in done.stdout
    signed = next(line for line in done.stdout.splitlines() if line.startswith("Recorded in dvc.lock: "))
    assert "train_halo" in signed, "what dvc.lock has as it is needs no note"
    assert "make_report" not in signed


def test_another_opencv_cuts_crops_again(finished):
    """Shards of both would differ by up to six grey levels."""
    code = finished.path / "workflow/interpreter.py"
    code.write_text(code.read_text() + '\n\ndef opencv_arithmetic() -> str:\n    return "OpenCV 1"\n')
    assert finished.plan_and_causes()[1] == {"normalize_images"}


# ---- the parts


def test_a_hash_is_kept_until_the_file_changes(tmp_path, monkeypatch):
    hashes = ContentHashes(tmp_path / "store/hashes.json")
    file = tmp_path / "file"
    file.write_bytes(b"one")
    first = hashes.of(str(file))
    hashes.save()
    assert (tmp_path / "store/hashes.json").read_text() == "{}\n", "a file this young may still change unseen"
    monkeypatch.setattr("workflow.content.RACY_NS", -1)
    assert hashes.of(str(file)) == first
    hashes.save()
    again = ContentHashes(tmp_path / "store/hashes.json")
    monkeypatch.setattr("workflow.content.sha256_file", lambda path: pytest.fail("read again"))
    assert again.of(str(file)) == first
    monkeypatch.undo()
    stamps = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    assert again.of(str(file)) != first
    assert RACY_NS > 0


def test_folders_are_compared_by_names_and_contents(tmp_path):
    hashes = ContentHashes(tmp_path / "hashes.json")
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a").write_bytes(b"1")
    first = hashes.of(str(folder))
    (folder / ".snakemake_timestamp").touch()
    assert hashes.of(str(folder)) == first
    (folder / "deep/a").rename(folder / "a")
    assert hashes.of(str(folder)) != first
    assert hashes.of(str(tmp_path / "nothing")) is None


@pytest.mark.parametrize("store", ["", "[1, 2]", '{"a": 3}', "{", '{"a": [[1], "x"]}'])
def test_a_damaged_store_is_no_obstacle(tmp_path, store):
    (tmp_path / "hashes.json").write_text(store)
    (tmp_path / "a").write_bytes(b"1")
    fresh = ContentHashes(tmp_path / "none.json").of(str(tmp_path / "a"))
    assert ContentHashes(tmp_path / "hashes.json").of(str(tmp_path / "a")) == fresh


class NoParameters(list):
    def items(self):
        return []


class Job:
    """What `JobNotes` asks of a job of Snakemake."""

    input, output = ("given",), ("made",)
    params, rule = NoParameters(), SimpleNamespace(shellcmd="make")


@pytest.fixture
def job_and_notes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("workflow.content.RACY_NS", -1)
    job = Job()
    dag = SimpleNamespace(jobs=[job], jobid=lambda _: 7)
    workflow = SimpleNamespace(is_main_process=True, dryrun=False, touch=False, persistence=SimpleNamespace(dag=dag))
    return job, JobNotes(workflow, {"stage": ["made"]})


def hear(notes: JobNotes, **event: object) -> None:
    notes.emit(logging.makeLogRecord({"msg": "", **event}))


def started(notes: JobNotes) -> None:
    hear(notes, event="job_info", jobid=7)


def ended(notes: JobNotes) -> None:
    hear(notes, event="job_finished", job_id=7)


def ran(notes: JobNotes) -> None:
    """A job from its beginning to its end."""
    Path("given").write_text("1")
    started(notes)
    Path("made").write_text("1")
    ended(notes)


def test_a_job_is_vouched_for_until_its_input_changes(job_and_notes):
    _, notes = job_and_notes
    assert notes.unseen() == Unseen(unknown=["stage"])
    ran(notes)
    assert notes.unseen() == Unseen()
    Path("given").write_text("2")
    os.utime("given", (LONG_AGO, LONG_AGO))
    assert notes.unseen() == Unseen(inputs={"given": ["stage"]})


def test_an_input_that_changed_while_its_job_ran_is_named(job_and_notes):
    """Nobody knows which of both the job has read."""
    _, notes = job_and_notes
    Path("given").write_text("1")
    started(notes)
    Path("given").write_text("2")
    Path("made").write_text("1")
    ended(notes)
    assert notes.unseen() == Unseen(inputs={"given": ["stage"]})


def test_other_parameters_and_another_output_are_named(job_and_notes):
    job, notes = job_and_notes
    ran(notes)
    job.params = NoParameters(["other"])
    Path("made").write_text("edited")
    assert notes.unseen() == Unseen(outputs={"made": ["stage"]}, parameters=["stage"])


def test_a_kill_leaves_the_note_of_the_job_that_made_the_files(job_and_notes):
    """Killed before it wrote anything, a second job vouches for nothing; killed after its last file, it vouches for that."""
    _, notes = job_and_notes
    ran(notes)
    Path("given").write_text("2")
    time.sleep(0.02)  # the clock of the file system is coarse
    started(notes)
    assert notes.unseen() == Unseen(inputs={"given": ["stage"]})
    time.sleep(0.02)
    Path("made").write_text("2")
    assert notes.unseen() == Unseen()


def test_touching_counts_only_where_dvc_has_compared(job_and_notes, monkeypatch):
    _, notes = job_and_notes
    Path("given").write_text("1")
    Path("made").write_text("1")
    notes.workflow.touch = True
    started(notes)
    ended(notes)
    assert notes.unseen() == Unseen(unknown=["stage"])
    monkeypatch.setenv("IM2HANDS_ADOPTING", "1")
    started(notes)
    ended(notes)
    assert notes.unseen() == Unseen()


def test_what_cannot_be_noted_stops_no_job(job_and_notes, capsys):
    _, notes = job_and_notes
    Path(".snakemake").write_text("no folder")
    Path("given").write_text("1")
    started(notes)
    started(notes)
    assert capsys.readouterr().err.count("What the jobs read could not be noted") == 1


def test_nothing_unseen_is_nothing_said():
    assert Unseen().lines() == []
    assert Unseen().stages == set()
