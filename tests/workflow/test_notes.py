"""What dvc.lock signs is what ran: files that change without looking newer are named, and their stages are not signed."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.workflow.checkout import Checkout
from workflow.content import RACY_NS, ContentHashes
from workflow.notes import Unseen

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
    assert "Not recorded in DVC: fit_hands did not run with stages/fit_hands.py as it is now" in done.stdout
    assert "touch stages/fit_hands.py, then snakemake" in done.stdout
    signed = next(line for line in done.stdout.splitlines() if line.startswith("Recorded in dvc.lock: "))
    assert "train_halo" in signed
    assert "fit_hands" not in signed
    assert lock_of(finished, "fit_hands") == before
    finished.run("touch", "stages/fit_hands.py")
    assert finished.plan_and_causes()[1] == {"fit_hands"}


def test_unpacked_code_is_named_where_snakemake_has_nothing_to_do(finished, tmp_path):
    """unzip -o: many files, whose names go to a list; said by a plain run, not by recording alone."""
    codes = [file for file in sorted((finished.path / "stages").glob("[a-z]*.py"))][:8]
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        for code in codes:
            archive.write(other_version(code, tmp_path / "other"), f"stages/{code.name}")
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        for entry in archive.infolist():
            archive.extract(entry, finished.path)
            os.utime(finished.path / entry.filename, (LONG_AGO, LONG_AGO))  # as unzip does
    output = finished.snakemake()
    assert "Nothing to be done" in output
    (line,) = [line for line in output.splitlines() if " as it is now" in line]
    assert "stages/evaluate.py" in line
    assert "and 3 more" in line
    assert "xargs touch < .snakemake/im2hands/unseen.txt" in line
    finished.run("bash", "-c", "xargs touch < .snakemake/im2hands/unseen.txt")
    assert finished.plan_and_causes()[1] >= {"evaluate", "fit_hands", "generate_anchors"}


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
        assert "train_halo" in output
    else:
        assert kind == "copy"


@pytest.mark.slow
def test_an_edited_result_is_not_signed(finished):
    """Newer than all it was made of, it looks finished to Snakemake; so does what is made of a part of a folder."""
    (finished.path / "results/report.html").write_text("better numbers")
    done = finished.run(*RECORD, check=False)
    assert done.returncode == 1
    assert "make_report: results/report.html is not what the workflow made" in done.stdout
    shutil.rmtree(finished.path / ".snakemake/im2hands")
    done = finished.run(*RECORD, check=False)
    assert done.returncode == 1
    assert "there is no note of what make_report read: snakemake --forcerun make_report" in done.stdout
    assert "train_halo" in done.stdout, "what dvc.lock has as it is needs no note"


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


def test_nothing_unseen_is_nothing_said():
    assert Unseen().lines() == []
    assert Unseen().stages == set()
