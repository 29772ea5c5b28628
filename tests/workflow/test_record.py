"""A finished run is recorded in DVC; only what Snakemake proved fresh is, and nothing of it can fail the science."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from workflow.record import audit_line, closing_lines, noted_hands_line, remove_stale_shards

pytestmark = pytest.mark.xdist_group("stand-ins")  # one worker makes the finished checkout for all


def recorded(output: str) -> list[str]:
    lines = [line for line in output.splitlines() if line.startswith("Recorded in dvc.lock: ")]
    return lines[0].removeprefix("Recorded in dvc.lock: ").rstrip(".").split(", ") if lines else []


def test_run_is_recorded_and_leaves_nothing_to_do(finished_once):
    checkout, output = finished_once
    assert len(recorded(output)) == 23
    assert output.count("inherit their licences") == 1
    (report,) = re.findall(r"^Report: (\S+)$", output, re.MULTILINE)
    assert Path(report).is_absolute() and Path(report).parts[-4:] == ("finished", "checkout", "results", "report.html")
    assert Path(report).read_bytes() == (checkout.path / "results/report.html").read_bytes()
    assert "Data and pipelines are up to date" in checkout.dvc("status")
    assert checkout.plan() == {}


def test_run_leaves_tracked_files_alone(finished_once):
    checkout = finished_once[0]
    status = checkout.run("git", "status", "--porcelain").stdout.splitlines()
    assert status == ["?? dvc.lock"]


def test_recording_leaves_time_stamps_alone(finished):
    """What is too large for Snakemake to compare by content must not look newer than what was made from it."""
    (finished.path / "results/report.html").unlink()
    before = time_stamps(finished.path)
    assert recorded(finished.snakemake())
    after = time_stamps(finished.path)
    assert {path for path, stamp in after.items() if before.get(path) != stamp} == {"results/report.html"}
    assert finished.plan("--max-checksum-file-size", "0") == {}


def time_stamps(folder: Path) -> dict[str, int]:
    files = (file for part in ("data", "models", "results") for file in (folder / part).rglob("*"))
    return {file.relative_to(folder).as_posix(): file.stat().st_mtime_ns for file in files if file.is_file()}


def test_dvc_repro_after_a_run_does_nothing(finished):
    lock = (finished.path / "dvc.lock").read_text()
    output = finished.dvc("repro")
    assert "Running stage" not in output
    assert (finished.path / "dvc.lock").read_text() == lock


@pytest.mark.slow
def test_naming_the_file_signs_what_naming_every_stage_does(finished):
    lock = finished.path / "dvc.lock"
    whole = yaml.safe_load(lock.read_text())
    lock.unlink()
    finished.dvc("commit", "--force", *whole["stages"])
    assert yaml.safe_load(lock.read_text()) == whole


@pytest.mark.slow
def test_licence_is_said_once(finished):
    (finished.path / "results/report.html").unlink()
    output = finished.snakemake()
    assert recorded(output)
    assert "inherit their licences" not in output


@pytest.mark.slow
def test_partial_target_records_only_what_it_proved(finished):
    """Half of the splits of a stage do not prove the stage."""
    shutil.rmtree(finished.path / "data/hands")
    assert recorded(finished.snakemake("--", "data/hands/train.parquet")) == ["write_hand_model"]
    output = finished.snakemake("--", "all_fit_hands")
    assert recorded(output) == ["write_hand_model", "synthesize_dataset", "index_frames", "fit_hands"]


@pytest.mark.slow
def test_command_line_parameters_are_not_recorded(finished):
    lock = (finished.path / "dvc.lock").read_text()
    output = finished.snakemake("--config", "seed=3", "--", "all_train_halo")
    assert "not in params.yaml" in output
    assert (finished.path / "dvc.lock").read_text() == lock


@pytest.mark.slow
def test_run_that_checked_less_is_not_recorded(finished):
    (finished.path / "results/report.html").unlink()
    output = finished.snakemake("--rerun-triggers", "mtime")
    assert "did not check everything" in output
    assert not recorded(output)


@pytest.mark.slow
def test_touch_is_not_recorded(finished):
    (finished.path / "dvc.lock").unlink()
    finished.snakemake("--touch", "--forceall", "--cores", "1")
    assert not (finished.path / "dvc.lock").exists()


@pytest.mark.slow
def test_dvc_yaml_out_of_step_is_not_recorded(finished):
    (finished.path / "dvc.yaml").write_text((finished.path / "dvc.yaml").read_text() + "\n")
    (finished.path / "results/report.html").unlink()
    output = finished.snakemake()
    assert "python -m workflow.dvc_stages" in output
    assert not recorded(output)


@pytest.mark.slow
@pytest.mark.parametrize("missing", [".git", ".dvc"])
def test_science_needs_neither_git_nor_dvc(finished, missing):
    shutil.rmtree(finished.path / missing)
    (finished.path / "results/report.html").unlink()
    output = finished.snakemake()
    assert "Not recorded in DVC: " in output
    assert (finished.path / "results/report.html").exists()
    if missing == ".git":
        assert "is not a git repository" in output, "DVC's own reason"
        assert "dvc config core.no_scm true; python -m workflow.record" in output


@pytest.mark.slow
def test_folders_that_are_links_are_recorded_after_the_remedy(finished, tmp_path):
    """data, models and results on another disk: DVC's reason and what to do; git sees no difference."""
    (tmp_path / "disk").mkdir()
    for name in ("data", "models", "results"):
        (finished.path / name).rename(tmp_path / "disk" / name)
        (finished.path / name).symlink_to(tmp_path / "disk" / name)
    assert finished.run("git", "status", "--porcelain").stdout.splitlines() == ["?? dvc.lock"]
    command = (sys.executable, "-m", "workflow.record")
    done = finished.run(*command, check=False)
    assert done.returncode == 1
    assert "is outside of git repository" in done.stdout
    remedy = "dvc config core.no_scm true; python -m workflow.record"
    assert remedy in done.stdout
    finished.dvc("config", "core.no_scm", "true")
    assert len(recorded(finished.run(*command).stdout)) == 23
    assert finished.plan() == {}
    assert "up to date" in finished.dvc("status")


def test_closing_line_names_the_report_not_its_place_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "cached").write_text("a report")
    (tmp_path / "results/report.html").symlink_to(tmp_path / "cached")
    assert closing_lines() == [f"Report: {tmp_path / 'results/report.html'}"]


@pytest.mark.slow
def test_recording_can_be_shut_off(finished):
    (finished.path / "results/report.html").unlink()
    assert "IM2HANDS_RECORD=0 is set" in finished.snakemake(IM2HANDS_RECORD="0")


@pytest.mark.slow
def test_record_by_hand(finished):
    """After a run without recording; refused while Snakemake runs or has something to do."""
    lock = finished.path / "dvc.lock"
    lock.unlink()
    command = (sys.executable, "-m", "workflow.record")
    locks = finished.path / ".snakemake/locks"
    locks.mkdir(parents=True, exist_ok=True)
    (locks / "0.input.lock").touch()
    assert "snakemake --unlock" in finished.run(*command, check=False).stdout
    (locks / "0.input.lock").unlink()
    assert len(recorded(finished.run(*command).stdout)) == 23
    assert "up to date" in finished.dvc("status")
    (finished.path / "results/report.html").unlink()
    done = finished.run(*command, check=False)
    assert done.returncode == 1
    assert "something to do" in done.stdout


@pytest.mark.slow
def test_fewer_shards_leave_no_old_ones(finished):
    """Folders without a gather rule would otherwise keep, and DVC record, shards of the earlier number."""
    finished.change("reconstruct.shards", 2)
    finished.change("sample_queries.shards.train", 1)
    finished.snakemake()
    names = {path.name for path in (finished.path / "results/halo/model").rglob("*-of-*")}
    assert names == {f"000{i}-of-0002{suffix}" for i in range(2) for suffix in ("", ".arrow", ".parquet")}
    assert [path.name for path in (finished.path / "data/queries/train").glob("*.arrow")] == ["0000-of-0001.arrow"]
    assert "up to date" in finished.dvc("status")


def test_only_shards_of_known_folders_are_removed(tmp_path):
    for name in ("0000-of-0001.arrow", "0000-of-0002.arrow", "notes.txt", "other/0000-of-0002.arrow"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    removed = remove_stale_shards([str(tmp_path / "0000-of-0001.arrow")])
    assert [path.name for path in removed] == ["0000-of-0002.arrow"]
    assert (tmp_path / "notes.txt").exists()
    assert (tmp_path / "other/0000-of-0002.arrow").exists()


def test_audit_is_summed_up_in_one_line(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert audit_line(tmp_path) is None
    pq.write_table(pa.table({"frame_id": [0, 1, 2]}), tmp_path / "train.parquet")
    audit = {"kept": [False, False, True, False], "reason": ["black", "null", "far", "black"]}
    pq.write_table(pa.table(audit), tmp_path / "audit_train.parquet")
    assert audit_line(tmp_path).startswith(
        "Two-hand frames kept: train 3; left out: 2 black, 1 null; kept with a note: 1 far (see "
    )
    pq.write_table(pa.table({name: values[:2] for name, values in audit.items()}), tmp_path / "audit_train.parquet")
    assert audit_line(tmp_path).startswith("Two-hand frames kept: train 3; left out: 1 black, 1 null (see ")


def test_noted_hands_are_summed_up_only_where_there_are_some(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert noted_hands_line(tmp_path) is None
    for split, reasons in (("train", []), ("test", ["joints_in_metres", "joints_in_metres", "degenerate_hand"])):
        table = pa.table({"reason": pa.array(reasons, pa.string())})
        pq.write_table(table, tmp_path / f"audit_{split}.parquet")
    assert noted_hands_line(tmp_path).startswith("Hands with a note: 2 joints_in_metres, 1 degenerate_hand (see ")
    pq.write_table(pa.table({"reason": pa.array([], pa.string())}), tmp_path / "audit_test.parquet")
    assert noted_hands_line(tmp_path) is None


def test_failed_job_points_to_its_log(finished):
    (finished.path / "stages/make_report.py").write_text("import sys\nsys.exit('the cause in one sentence')\n")
    done = finished.run(sys.executable, "-m", "snakemake", check=False)
    assert done.returncode != 0
    assert "the cause in one sentence" in done.stdout
    assert "logs/" in done.stdout.split("Stopped:")[1]


def test_git_is_present():
    """The tests above would pass for the wrong reason without it."""
    assert subprocess.run(["git", "--version"], check=False).returncode == 0
