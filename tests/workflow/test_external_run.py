"""Meshes and keypoints of another system through the whole graph: our own results, handed in as files, get our own numbers."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from im2hands.datasets.keypoints import KeypointTable
from im2hands.geometry.mesh_files import write_mesh
from im2hands.hands.sides import Side
from im2hands.reconstruction.storage import read_surfaces
from tests.workflow.checkout import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("mini")]


def hand_in(checkout: Checkout) -> None:
    """HALO's meshes of the true keypoints and the perturbed keypoints as files of a system called `mine`."""
    results, given = checkout.path / "results/halo/model/meshes", checkout.path / "given"
    given.mkdir()
    for file in sorted(results.glob("*.arrow")):
        for hand in read_surfaces(file):
            for frame_id in hand.frame_ids if hand.mesh is not None else ():
                write_mesh(given / f"{frame_id}_{hand.side.value}.ply", hand.mesh)
    table = KeypointTable.read(checkout.path / "data/keypoints/perturbed_10mm/test.parquet")
    entries = [
        {"frame_id": frame_id} | {side.value: hands[side.index].tolist() for side in Side}
        for frame_id, hands, usable in zip(
            table.table["frame_id"].to_pylist(), table.keypoints(), table.usable, strict=True
        )
        if usable
    ]
    (checkout.path / "given.json").write_text(json.dumps(entries))
    mine = {"unit": "m", "frame": "world", "order": "standard", "given_keypoints": True, "alignment": "camera"}
    checkout.change("external", {"mine": {"meshes": "given", "keypoints": "given.json"} | mine})
    checkout.change("results.halo", ["model", "perturbed_10mm", "perturbed_10mm_refined", "external_mine"])
    checkout.run("python", "-m", "workflow.dvc_stages")


def test_our_own_results_handed_in_get_our_own_numbers(undisturbed, tmp_path):
    checkout = undisturbed[0].copy(tmp_path / "checkout")
    hand_in(checkout)
    assert not {"train_halo", "train_intaghand", "train_initial_occupancy"} & set(checkout.plan())
    checkout.snakemake()
    assert checkout.plan() == {}
    tables = checkout.path / "results/tables"
    shape = pd.read_parquet(tables / "shape_given_keypoints.parquet")
    print(shape.to_string())
    predicted = pd.read_parquet(tables / "shape_predicted_keypoints.parquet")
    print(predicted.to_string())
    print(pd.read_parquet(tables / "keypoint_refinement.parquet").to_string())
    assert "external_mine" in (checkout.path / "results/report.html").read_text()
