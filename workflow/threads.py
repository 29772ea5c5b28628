"""How many cores jobs request, so that on a machine without a GPU several jobs run in parallel and no core is idle.

A training step of a small network is quickest on one thread, and two threads of one job do less than two jobs of one thread.
With a GPU, or on a cluster, a job requests many threads, which prepare data for the GPU.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from im2hands.training.step_threads import step_threads, trains_image_encoder

MOST = 64


def has_gpu() -> bool:
    """Whether the machine has a GPU that CUDA may use, without loading PyTorch."""
    return shutil.which("nvidia-smi") is not None or any(Path("/proc/driver/nvidia/gpus").glob("*"))


def lift_gpu_limit(workflow: Any) -> None:
    """Without a GPU in this machine, lets as many GPU jobs run at once as there are cores: they run on the CPU.

    workflow: Snakemake's object of that name. Leaves a limit of 0, machines with a GPU and clusters alone.
    """
    limit = workflow.global_resources.get("gpu")
    if on_this_machine(workflow) and not has_gpu() and limit is not None and limit.value:
        workflow.register_resource("gpu", max(limit.value, workflow.cores))


def on_this_machine(workflow: Any) -> bool:
    """Whether jobs run here, not on a cluster's nodes."""
    return workflow.global_resources["_nodes"].value is None


def share_of_cores(workflow: Any, jobs: int) -> int:
    """Threads for each of some jobs that can run at the same time."""
    if has_gpu() or not on_this_machine(workflow):
        return MOST
    return max(1, min(MOST, workflow.cores // max(1, jobs)))


def training_threads(workflow: Any, section: Any) -> int:
    """Threads of a training: what its steps are worth; one that trains an image encoder leaves half of the cores to others.

    section: section of the parameters.
    """
    return share_of_cores(workflow, 2) if trains_image_encoder(section) else step_threads(section, MOST)
