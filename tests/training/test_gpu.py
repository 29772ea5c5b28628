"""Jobs share GPUs by locks that the kernel frees."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from im2hands.io.errors import ConfigError
from im2hands.training import gpu

HOLD = """
import sys, time
from im2hands.training.gpu import claim_index
print(claim_index({count}, sys.argv[1]), flush=True)
time.sleep(60)
"""


def test_jobs_get_different_devices_and_a_killed_one_frees_its_own(tmp_path):
    jobs = []
    try:
        for expected in ("0", "1"):
            command = [sys.executable, "-c", HOLD.format(count=2), str(tmp_path)]
            jobs.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            assert jobs[-1].stdout.readline().strip() == expected
        with pytest.raises(ConfigError, match="all 2 GPUs are in use"):
            gpu.claim_index(2, tmp_path)
        jobs[0].kill()
        jobs[0].wait()
        assert gpu.claim_index(2, tmp_path) == 0
    finally:
        for job in jobs:
            job.kill()
            job.wait()
            job.stdout.close()
        while gpu._held:
            gpu._held.pop().close()


def test_no_gpu_granted_means_the_cpu(tmp_path):
    assert gpu.claim_device(0, tmp_path) == torch.device("cpu")
    assert not list(tmp_path.iterdir())


def test_granted_gpu_that_is_not_there_is_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu.claim_device(1, tmp_path) == torch.device("cpu")
    assert "computing on the CPU" in capsys.readouterr().err


def test_a_clusters_choice_is_obeyed(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert gpu.claim_device(1, tmp_path) == torch.device("cuda", 0)
    assert not list(tmp_path.iterdir())
