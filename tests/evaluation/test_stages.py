"""From hand table to result tables through the stages themselves; the occupancy field is that of the true hands."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
import trimesh

from im2hands.config.sections import Evaluate, MakeTables, Reconstruct
from im2hands.datasets.hands import HandTable
from im2hands.evaluation.records import RECORDS, read_records
from im2hands.geometry.mesh import is_watertight
from im2hands.io.errors import CheckpointError, ConfigError, DataError
from im2hands.io.tables import read_parquet
from im2hands.networks.halo import HaloNetwork
from im2hands.networks.model_folder import ModelCard, write_model
from im2hands.reconstruction import methods
from im2hands.reconstruction.inputs import HaloFields, bone_inputs
from im2hands.reconstruction.storage import read_surfaces
from stages import evaluate, evaluate_keypoints, make_tables, reconstruct
from tests.evaluation.small_data import DATASET, TrueFields
from workflow.paths import TABLES

SETTINGS = Reconstruct(
    shards=2,
    frames_per_pose=None,
    alignment="wrist",
    grid="default",
    resolution=128,
    thresholds={"halo": 0.5, "initial": 0.5, "im2hands": 0.45},
    anchor_resolution=64,
    separate_hands=False,
    formats=["glb"],
)
MEASURING = Evaluate(surface_samples=2000, penetration="grid", penetration_cell_mm=4)


def untrained():
    """A network whose field is above the threshold at about 1 of 200 points of the box."""
    torch.manual_seed(0)
    network = HaloNetwork(width=4, length_hidden=4, translation_code=2).eval().requires_grad_(False)
    points = torch.rand(1, 4000, 3) - 0.5
    logits = network.logits(points, torch.eye(4).expand(1, 16, 4, 4), torch.full((1, 16), 0.03))
    network.decoders.layers[-1].bias -= logits.quantile(0.995)
    return network


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    network = untrained()
    card = ModelCard("halo", network.architecture, {"kind": "trained"}, DATASET, "CC0-1.0")
    write_model(folder, network.state_dict(), card)
    return folder


@pytest.fixture
def true_fields(monkeypatch, small_data):
    monkeypatch.setattr(methods, "HaloFields", lambda *_: TrueFields(str(small_data.hands)))


def files_of(data):
    """What the stages read of a split, as far as it has it."""
    names = ("frames", "hands", "images", "queries", "hand_model")
    return {name: str(getattr(data, name)) for name in names if hasattr(data, name)}


def run_reconstruct(data, model, folder, shard=0, shards=1, params=SETTINGS, **changes):
    arguments = {
        "method": "halo",
        "source": "model",
        "model": str(model),
        "seed": 3,
        "shard": shard,
        "shards": shards,
        "meshes": str(folder / f"meshes/{shard}.arrow"),
        "timings": str(folder / f"timings/{shard}.parquet"),
        "scenes": str(folder / f"glb/{shard}"),
        "angle_clamp": "consistent",
        "query_frame": "consistent",
        "params": params,
    }
    reconstruct.main(**arguments | files_of(data) | changes)
    return folder / f"meshes/{shard}.arrow"


def run_evaluate(data, meshes, folder, shard=0, **changes):
    output = folder / f"metrics/{shard}.parquet"
    arguments = {
        "method": "halo",
        "source": "model",
        "meshes": str(meshes),
        "output": str(output),
        "seed": 3,
        "params": MEASURING,
    }
    evaluate.main(**arguments | files_of(data) | changes)
    return output


def run_tables(data, records, timings, models, folder, source="model", keypoints=None):
    """Keypoint errors of a source and all tables; returns their folder."""
    errors = str(folder / "keypoint_errors.parquet")
    evaluate_keypoints.main(source, str(data.hands), str(data.frames), errors, keypoints)
    lists = [[str(path) for path in records], [errors], [], [str(path) for path in timings], models]
    make_tables.main(*lists, str(folder / "tables"), 1, MakeTables(decimals=2))
    return folder / "tables"


def test_whole_chain(small_data, model, true_fields, tmp_path):
    """Two shards of three pairs: closed outward meshes of both hands, good numbers, tables, a card that says what it is."""
    meshes = [run_reconstruct(small_data, model, tmp_path, shard, 2) for shard in range(2)]
    hands = [read_surfaces(path)[row] for path in meshes for row in range(len(read_surfaces(path)))]
    assert [hand.hand_id for hand in hands] == small_data.hand_table.hand_ids
    for hand in hands:
        assert is_watertight(hand.mesh.faces)
        assert hand.mesh.volume * 1e6 == pytest.approx(304, rel=0.03)
    records = [run_evaluate(small_data, path, tmp_path, shard) for shard, path in enumerate(meshes)]
    rows = read_records(records)
    assert rows["failure"].isna().all()
    assert (rows["field_iou"] == 1).all()
    assert (rows["mesh_iou"] > 0.85).all()
    assert rows["frame_id"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert set(rows["camera"]) == {"cam0", "cam1"}
    assert rows["visible_fraction"].between(0.15, 1).all()
    np.testing.assert_allclose(rows["true_hand_distance_mm"], -rows["true_penetration_depth_mm"])
    assert (rows["chamfer_l1_mm"] < 1.3 * rows["floor_chamfer_l1_mm"]).all()
    assert (rows["true_penetration_depth_mm"] > 1).all()
    np.testing.assert_allclose(rows["penetration_depth_mm"], rows["true_penetration_depth_mm"], atol=2.5)
    timings = [tmp_path / f"timings/{shard}.parquet" for shard in range(2)]
    run_tables(small_data, records, timings, [f"halo={model}"], tmp_path)
    cost = pd.read_parquet(tmp_path / "tables/cost.parquet").iloc[0]
    assert (cost["method"], cost["hand pairs"], cost["device"]) == ("halo", 3, "CPU")
    assert cost["parameters"] == sum(weight.numel() for weight in untrained().state_dict().values())
    assert cost["field evaluations per hand"] == rows["evaluations"].mean()
    assert cost["seconds per pair"] > cost["of which evaluation points"] > 0
    table = pd.read_parquet(tmp_path / "tables/shape_given_keypoints.parquet")
    assert (table["hands"].tolist(), table["frames"].tolist(), table["poses"].tolist()) == ([12], [6], [3])
    card = json.loads((tmp_path / "tables/protocol_card.json").read_text())
    assert card["dataset"] == DATASET
    assert (card["frames"], card["poses"], card["evaluated_hands"]) == (6, 3, 6)
    assert card["methods"][0]["weights_sha256"]
    assert card["methods"][0]["resolution"] == 128
    assert "4000 query points per hand instead of 100000" in " ".join(card["published"]["departures"])
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        "metrics.json",
        "protocol_card.json",
        "protocol_card.md",
        *(f"{name}.{kind}" for name in TABLES for kind in ("csv", "md", "parquet", "tex")),
    }


def test_hands_stand_in_the_world(small_data, model, true_fields, tmp_path):
    """Mesh files for viewers: both hands of a pair on the vertices of the true hands, metres."""
    run_reconstruct(small_data, model, tmp_path)
    scene = trimesh.load(tmp_path / "glb/0/5_1.glb")
    table = small_data.hand_table
    for side in ("left", "right"):
        true = table.array("vertices")[table.rows[f"5_1_{side}"]]
        found = scene.geometry[f"{side}_hand"]
        np.testing.assert_allclose(found.bounds, [true.min(0), true.max(0)], atol=0.003)
        assert found.volume > 0


def test_results_do_not_depend_on_workers_or_shards(small_data, model, true_fields, tmp_path):
    """Byte for byte: 1 or 3 workers; and the same numbers in one shard as in two."""
    one = run_reconstruct(small_data, model, tmp_path / "one")
    three = run_reconstruct(small_data, model, tmp_path / "three", threads=3)
    assert one.read_bytes() == three.read_bytes()
    for scene in (tmp_path / "one/glb/0").iterdir():
        assert scene.read_bytes() == (tmp_path / "three/glb/0" / scene.name).read_bytes()
    alone = run_evaluate(small_data, one, tmp_path / "one")
    shared = run_evaluate(small_data, three, tmp_path / "three", threads=3)
    assert alone.read_bytes() == shared.read_bytes()
    halves = [run_reconstruct(small_data, model, tmp_path / "two", shard, 2) for shard in range(2)]
    parts = [run_evaluate(small_data, path, tmp_path / "two", shard) for shard, path in enumerate(halves)]
    pd.testing.assert_frame_equal(read_records(parts), read_records([alone]))


def test_network_of_a_model_folder(small_data, model):
    """The field of the stage is the stored network at the hand's own bone frames; it survives pickling for the workers."""
    inputs = bone_inputs(small_data.hand_table, small_data.evaluation)
    hands = inputs(("5_0", ())) + inputs(("5_2", ()))
    fields = pickle.loads(pickle.dumps(HaloFields(str(model))))
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 3)).astype(np.float32)
    values = fields(hands)(np.full(40, 2), points)
    network = untrained()
    bones, lengths = (
        torch.tensor(x, dtype=torch.float32)[None] for x in (hands[2].bone_from_palm, hands[2].bone_lengths)
    )
    expected = network.occupancy(torch.from_numpy(points)[None], bones, lengths)[0].numpy()
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_untrained_network_goes_through_as_it_is(small_data, model, tmp_path):
    """No method may be assumed to give hands: whatever the network says ends in a record per hand, for any workers."""
    params = SETTINGS.model_copy(update={"resolution": 64})
    meshes = run_reconstruct(small_data, model, tmp_path / "1", params=params)
    again = run_reconstruct(small_data, model, tmp_path / "2", params=params, threads=2)
    assert meshes.read_bytes() == again.read_bytes()
    rows = read_parquet(run_evaluate(small_data, meshes, tmp_path), RECORDS)
    assert len(rows) == 12
    for failure, iou in zip(rows["failure"].to_pylist(), rows["mesh_iou"].to_pylist(), strict=True):
        assert (failure is None) == (iou is not None)
    assert all(iou < 0.5 for iou in rows["mesh_iou"].to_pylist() if iou is not None)


def test_bone_frames_of_the_inputs_are_those_of_the_hand_table(small_data):
    inputs = bone_inputs(small_data.hand_table, small_data.evaluation)
    table = small_data.hand_table
    for view in inputs.views:
        for hand in inputs(view):
            row = table.rows[hand.hand_id]
            np.testing.assert_allclose(hand.bone_from_palm, table.array("bone_from_palm")[row], atol=1e-12)
            np.testing.assert_allclose(hand.frame.rotation, table.array("palm_rotation")[row], atol=1e-12)
            assert len(hand.published_points) == 4000
    shards = [inputs.shard(index, 2).views for index in range(2)]
    assert [view for shard in shards for view in shard] == inputs.views


def test_mistakes_are_told_in_one_sentence(small_data, model, true_fields, tmp_path):
    with pytest.raises(DataError, match="keypoints"):
        run_reconstruct(small_data, model, tmp_path, source="wrong", keypoints=str(tmp_path / "no_keypoints.parquet"))
    with pytest.raises((ConfigError, DataError), match="wrong"):
        run_reconstruct(small_data, model, tmp_path, method="wrong")
    with pytest.raises((DataError, CheckpointError), match=r"card\.json"):
        run_reconstruct(small_data, tmp_path / "nowhere", tmp_path)
    meshes = run_reconstruct(small_data, model, tmp_path)
    pairs = HandTable.read(small_data.hands, hand_ids=["5_0_left", "5_0_right"])
    assert len(pairs) == 2
    with pytest.raises(DataError, match="missing"):
        run_evaluate(small_data, tmp_path / "none.arrow", tmp_path)
    with pytest.raises(DataError, match="frames"):
        run_evaluate(small_data, meshes, tmp_path, frames=str(tmp_path / "none.parquet"))
