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

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("borrowed")]

FIELD = ("published_field_iou_percent", "field_iou_percent")
"""What needs a field, which meshes alone do not have: that of the mesh is taken."""


def hand_in(checkout: Checkout) -> None:
    """HALO's meshes of the true keypoints and the perturbed keypoints as files of a system called `mine`."""
    results, given = checkout.path / "results/halo/model/meshes", checkout.path / "given"
    given.mkdir()
    for file in sorted(results.glob("*.arrow")):
        surfaces = read_surfaces(file)
        for hand in (surfaces[index] for index in range(len(surfaces))):
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
    given = pd.read_parquet(tables / "shape_given_keypoints.parquet").set_index("method")
    measured = [name for name in given.columns if name not in FIELD]
    pd.testing.assert_series_equal(given.loc["external_mine", measured], given.loc["halo", measured], check_names=False)
    predicted = pd.read_parquet(tables / "shape_predicted_keypoints.parquet").set_index(["method", "source"])
    mine, ours = (predicted.loc[("halo", source)] for source in ("external_mine", "perturbed_10mm"))
    pd.testing.assert_series_equal(mine, ours, check_names=False)
    keypoints = pd.read_parquet(tables / "keypoint_refinement.parquet")
    assert {"external_mine", "external_mine_refined"} <= set(keypoints["keypoints"])
    assert "external_mine" in (checkout.path / "results/report.html").read_text()
