"""Ctrl-C and kill -9 of the workflow: the last words are ours, or the remedy."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workflow.checkout import Checkout, make_checkout

ONE_STAGE = ("--cores", "1", "--until", "synthesize_dataset")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("externals")]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    return make_checkout(tmp_path_factory.mktemp("interrupted") / "checkout", fake_stages=False)


def heed_ctrl_c() -> None:
    """A shell's background jobs, such as these tests may be, are started so that they ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def stopped(checkout: Checkout, how: signal.Signals) -> str:
    """What a run says that gets a signal, as its whole process group, while a stage is at work."""
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    command = [sys.executable, "-m", "snakemake", *ONE_STAGE]
    logs = checkout.path / "logs"
    shutil.rmtree(logs, ignore_errors=True)  # those of a run before would say that the stage is at work already
    text = checkout.path / "said.txt"
    with text.open("w") as output:
        run = subprocess.Popen(
            command,
            cwd=checkout.path,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=heed_ctrl_c,  # no threads here
        )
    for _ in range(600):
        if any(file.stat().st_size for file in logs.rglob("synthesize_dataset*")) or run.poll() is not None:
            break
        time.sleep(0.2)
    assert run.poll() is None, text.read_text()[-3000:]
    os.killpg(run.pid, how)
    run.wait(120)
    return text.read_text()


def test_ctrl_c_leaves_the_message_and_no_traceback(checkout):
    said = stopped(checkout, signal.SIGINT)
    assert "Traceback" not in said and "KeyboardInterrupt" not in said, said[-3000:]
    assert "interrupted; run the same command again to continue" in said
    assert "Stopped: " in said


def test_the_remedy_is_the_last_word_after_a_kill(checkout):
    stopped(checkout, signal.SIGKILL)
    refused = checkout.run(sys.executable, "-m", "snakemake", *ONE_STAGE, check=False)
    assert refused.returncode == 1
    assert "--unlock" in refused.stdout.strip().splitlines()[-1]
    assert "Traceback" not in refused.stdout
    checkout.snakemake("--unlock")
