"""How many cores jobs ask for: with and without a GPU, on this machine and on a cluster."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from im2hands.config.params import read_params
from tests.workflow.checkout import ROOT
from workflow import threads

PARAMS = read_params(ROOT / "params.yaml")


class FakeWorkflow:
    """What the functions read of Snakemake's workflow object."""

    def __init__(self, cores, gpu=1, nodes=None):
        self.cores = cores
        self.global_resources = {"_nodes": SimpleNamespace(value=nodes)}
        if gpu is not None:
            self.global_resources["gpu"] = SimpleNamespace(value=gpu)

    def register_resource(self, name, value):
        self.global_resources[name] = SimpleNamespace(value=value)


@pytest.fixture(params=[False, True], ids=["no GPU", "GPU"])
def gpu(request, monkeypatch):
    monkeypatch.setattr(threads, "has_gpu", lambda: request.param)
    return request.param


@pytest.mark.parametrize("nodes", [None, 20])
@pytest.mark.parametrize(("limit", "lifted"), [(0, 0), (1, 4), (8, 8), (None, None)])
def test_the_limit_counts_where_there_is_a_gpu(gpu, nodes, limit, lifted):
    workflow = FakeWorkflow(4, limit, nodes)
    threads.lift_gpu_limit(workflow)
    found = workflow.global_resources.get("gpu")
    expected = limit if gpu or nodes else lifted
    assert (None if found is None else found.value) == expected


@pytest.mark.parametrize(("cores", "jobs", "expected"), [(2, 6, 1), (16, 6, 2), (16, 1, 16), (200, 2, 64), (4, 0, 4)])
def test_jobs_share_the_cores_of_a_machine_without_gpu(gpu, cores, jobs, expected):
    share = threads.share_of_cores(FakeWorkflow(cores), jobs)
    assert share == (threads.MOST if gpu else expected)
    assert threads.share_of_cores(FakeWorkflow(cores, nodes=5), jobs) == threads.MOST


def test_small_steps_take_one_thread_and_image_encoders_leave_cores_to_others(monkeypatch):
    monkeypatch.setattr(threads, "has_gpu", lambda: False)
    asked = {name: threads.training_threads(FakeWorkflow(8), section) for name, section in PARAMS.training}
    assert asked == {
        "halo": 1,
        "keypoint_prior": 1,
        "intaghand": 4,
        "initial_occupancy": 1,
        "keypoint_refinement": 1,
        "refined_occupancy": 1,
    }
    large = PARAMS.training.refined_occupancy.model_copy(update={"points_per_hand": 4096})
    assert threads.training_threads(FakeWorkflow(8), large) == 8
    large = large.model_copy(update={"image_encoder": "trained"})
    assert threads.training_threads(FakeWorkflow(8), large) == 4
