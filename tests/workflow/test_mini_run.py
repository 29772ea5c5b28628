"""The whole graph with the real stages on the smallest parameters: once, again, from DVC, and killed at random moments."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.workflow.checkout import Checkout
from tests.workflow.conftest import FINISHED, configured

KILLS = 10

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("mini")]


def outputs(checkout: Checkout) -> dict[str, str]:
    """Path -> content hash of everything that DVC tracks, but for wall-clock times and what prints them."""
    stages = yaml.safe_load((checkout.path / "dvc.lock").read_text())["stages"]
    hashes = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    timed = ("timings", "tables/cost", "report.html")
    return {path: value for path, value in hashes.items() if not any(part in path for part in timed)}


def test_run_leaves_nothing_to_do_for_either_tool(undisturbed):
    checkout, _ = undisturbed
    assert checkout.plan() == {}
    assert checkout.plan("--max-checksum-file-size", "0") == {}
    assert "up to date" in checkout.dvc("status")
    assert "Running stage" not in checkout.dvc("repro")
    changed = checkout.run("git", "status", "--porcelain", "--untracked-files=no").stdout.split()
    assert changed == ["M", "params.yaml"]


def test_results_are_there(undisturbed):
    results = undisturbed[0].path / "results"
    table = pd.read_parquet(results / "tables/shape_given_keypoints.parquet")
    assert set(table["method"]) == {"halo", "initial", "im2hands"}
    assert (results / "tables/keypoint_refinement.md").is_file()
    assert (results / "report.html").stat().st_size > 10_000
    assert list((results / "halo/model/glb").rglob("*.glb"))


@pytest.fixture(scope="module")
def pushed(undisturbed, tmp_path_factory) -> tuple[Checkout, Path]:
    """The finished run with its results committed to git and pushed to a folder, and that folder."""
    folder = tmp_path_factory.mktemp("pushed")
    first = undisturbed[0].copy(folder / "first")
    first.commit_results()
    first.dvc("remote", "add", "--local", "--default", "store", str(folder / "store"))
    first.dvc("push")
    return first, folder / "store"


@pytest.mark.parametrize("kind", ["copy", "hardlink", "symlink"])
def test_second_checkout_gets_everything_from_dvc(pushed, tmp_path, kind):
    """push, clone, pull, adopt: nothing left to do, nothing lost, however DVC's cache is linked; the metrics of both agree."""
    first, store = pushed
    clone = Checkout(tmp_path / "clone")
    first.run("git", "clone", "--quiet", str(first.path), str(clone.path))
    clone.dvc("remote", "add", "--local", "--default", "store", str(store))
    clone.dvc("config", "--local", "cache.type", kind)
    clone.dvc("pull")
    adopted = clone.run(sys.executable, "-m", "workflow.adopt").stdout
    assert "Adopted: " in adopted
    assert clone.plan() == {}
    assert "up to date" in clone.dvc("status")
    assert clone.dvc("metrics", "show") == first.dvc("metrics", "show")


def test_linked_results_are_as_finished_as_copies(undisturbed, tmp_path):
    """dvc commit makes empty files again, last: stamps of folders must not look newer than what was made of the folders."""
    linked = undisturbed[0].copy(tmp_path / "linked")
    linked.dvc("config", "--local", "cache.type", "hardlink")
    stages = ["normalize_images", "train_halo", "reconstruct", "make_report"]
    recording = f"from workflow.record import Unseen, record; record({stages}, Unseen)"
    linked.run(sys.executable, "-c", recording)
    assert (linked.path / "results/report.html").stat().st_nlink > 1
    assert (linked.path / "models/halo/model.safetensors").stat().st_nlink > 1
    assert linked.plan() == {}
    assert linked.plan("--max-checksum-file-size", "0") == {}
    assert "up to date" in linked.dvc("status")


def test_killed_runs_reach_the_result_of_an_undisturbed_one(undisturbed, tmp_path):
    """SIGKILL of the whole process group, the same command again, until it is done: same bytes, wall-clock times apart."""
    reference, jobs = undisturbed
    seed = int(os.environ.get("IM2HANDS_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed of the kills: {seed} (IM2HANDS_TEST_SEED repeats it)")
    moments = random.Random(seed)
    checkout = configured(tmp_path / "checkout")
    for finished in sorted(moments.sample(range(jobs - 3), KILLS)):  # the last three take longer than the delay
        kill_when(checkout, finished, delay_s=moments.uniform(0, 4))
        checkout.snakemake("--unlock")
    checkout.snakemake()
    assert checkout.plan() == {}
    table = "results/tables/shape_given_keypoints.csv"
    assert (checkout.path / table).read_text() == (reference.path / table).read_text()
    assert outputs(checkout) == outputs(reference)


def kill_when(checkout: Checkout, finished: int, delay_s: float) -> None:
    """Starts the workflow and kills it a while after this many jobs, of this and all earlier starts, have finished."""
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    log = checkout.path / "killed.log"
    with open(log, "ab") as output:
        command = [sys.executable, "-m", "snakemake"]
        process = subprocess.Popen(
            command, cwd=checkout.path, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        while log.read_text(errors="replace").count(FINISHED) < finished and process.poll() is None:
            time.sleep(0.2)
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        left = wait_until_gone(checkout.path)
        assert not left, f"processes outlived their group: {left}"
    else:
        pytest.fail(f"the run ended before its kill at {finished} finished jobs:\n{log.read_text()[-3000:]}")


def wait_until_gone(folder: Path, patience_s: float = 10.0) -> list[str]:
    """Command lines of processes that still work in `folder` after a while."""
    if not Path("/proc/self/cwd").exists():
        return []
    end = time.monotonic() + patience_s
    while True:
        left = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "cwd").resolve() == folder.resolve():
                    left.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.1)


def test_damaged_checkpoint_does_not_stop_a_training(undisturbed, tmp_path):
    """A checkpoint truncated by a crash does not stop the run: the training starts again and ends the same."""
    checkout = undisturbed[0].copy(tmp_path / "copy")
    shutil.rmtree(checkout.path / "models/halo")
    folder = checkout.path / "checkpoints/halo"
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.write_bytes(b"cut short")
    checkout.snakemake("--", "all_train_halo")
    before = (undisturbed[0].path / "models/halo/model.safetensors").read_bytes()
    assert (checkout.path / "models/halo/model.safetensors").read_bytes() == before
