"""Another system's files through the stages: given back what our own made, they are measured the same."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from im2hands.config.sections import External
from im2hands.datasets.keypoints import KeypointTable
from im2hands.evaluation.records import read_records
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.mesh_files import read_mesh, write_mesh
from im2hands.hands.joints import JointOrder
from im2hands.hands.sides import SIDES, Side
from im2hands.io.stage import stage_main
from im2hands.reconstruction.external import NO_FILE
from im2hands.reconstruction.storage import read_surfaces
from stages import import_keypoints, import_meshes
from tests.evaluation.test_stages import SETTINGS, model, run_evaluate, run_reconstruct, run_tables, true_fields  # noqa: F401
from workflow.parameters import arguments

OURS = SETTINGS.model_copy(update={"formats": ["ply"], "resolution": 64})
AWAY = np.array([2.0, 0, 0])
FIELDS = ["published_field_iou", "field_iou", "evaluations"]
"""What a folder of meshes does not hold: its field is the inside of its meshes."""


def external(**changes) -> dict:
    plain = {"meshes": "somewhere", "keypoints": None, "unit": "m", "frame": "world", "order": "standard"}
    return plain | {"given_keypoints": True, "alignment": "camera"} | changes


def run_import(data, folder, output, wrists=None, **settings) -> Path:
    """The stage as the rule calls it."""
    config = {
        "external": {"x": external(**settings)},
        "dataset": {"hand_model": str(data.hand_model)},
        "reconstruct": {"frames_per_pose": None, "formats": ["glb"]},
    }
    files = {name: getattr(data, name) for name in ("frames", "hands", "images", "queries")}
    files |= {"folder": folder, "meshes": output / "meshes.arrow", "scenes": output / "glb"}
    files |= {"keypoints": wrists} if wrists else {}
    words = [word for name, value in files.items() for word in (f"--{name}", str(value))]
    words += ["--method", "external_x", "--source", "model", "--shard", "0", "--shards", "1"]
    stage_main(import_meshes.main, [*words, *shlex.split(arguments(config, "import_meshes", external="x"))])
    return output / "meshes.arrow"


@pytest.fixture(scope="module")
def exported(small_data, model, tmp_path_factory):  # noqa: F811
    """Meshes that our own method made, as PLY files, and their records."""
    folder = tmp_path_factory.mktemp("ours")
    with pytest.MonkeyPatch.context() as patch:
        true_fields.__wrapped__(patch, small_data)
        meshes = run_reconstruct(small_data, model, folder, params=OURS)
    return folder / "glb/0", run_evaluate(small_data, meshes, folder)


def test_our_own_meshes_given_back_are_measured_the_same(small_data, exported, tmp_path):
    folder, ours = exported
    meshes = run_import(small_data, folder, tmp_path)
    theirs = run_evaluate(small_data, meshes, tmp_path, method="external_x")
    one, other = (read_records([path]).drop(columns=["method", *FIELDS]) for path in (ours, theirs))
    assert len(one) == 12
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    records = read_records([theirs])
    assert (records["published_field_iou"] == records["published_iou"]).mean() > 0.9
    assert (records["field_iou"] == records["mesh_iou"]).all()


def test_millimetres_of_the_camera_named_like_the_image_come_out_the_same(small_data, exported, tmp_path):
    """Up to rounding; a missing file is a counted failure."""
    folder, ours = exported
    for frame in small_data.frame_table:
        for side in Side:
            mesh = read_mesh(folder / f"{frame.pair_id}_{side.value}.ply")
            in_camera = Mesh(1000 * frame.camera.to_camera(mesh.vertices), mesh.faces)
            write_mesh(tmp_path / f"in/image{frame.frame_id}_{side.value}.obj", in_camera)
    (tmp_path / "in/image3_right.obj").unlink()
    meshes = run_import(small_data, tmp_path / "in", tmp_path, unit="mm", frame="camera")
    theirs = read_records([run_evaluate(small_data, meshes, tmp_path, method="external_x")])
    missing = (theirs["frame_id"] == 3) & (theirs["side"] == "right")
    assert theirs.loc[missing, ["failure", "failure_detail"]].to_numpy().tolist() == [["missing", NO_FILE]]
    assert theirs["failure"].notna().sum() == 1
    ours = read_records([ours])
    for column in ("mesh_iou", "chamfer_l1_mm", "normal_consistency"):
        np.testing.assert_allclose(theirs.loc[~missing, column], ours.loc[~missing, column], rtol=0.02)


def keypoint_file(data, path, order="standard", scale=1.0) -> np.ndarray:
    """The true keypoints of every frame as another system would write them; returns them in our order."""
    table, places = data.hand_table, list(JointOrder[order.upper()].value)
    true, rows = table.array("keypoints_model"), []
    for frame in data.frame_table:
        hands = {side.value: true[table.rows[f"{frame.pair_id}_{side.value}"]] for side in Side}
        rows.append(
            {"image": frame.file_name, **{name: (scale * hand[places]).tolist() for name, hand in hands.items()}}
        )
    path.write_text(json.dumps(rows))
    return np.array(
        [[true[table.rows[f"{frame.pair_id}_{side.value}"]] for side in SIDES] for frame in data.frame_table]
    )


def run_import_keypoints(data, path, output, **settings) -> Path:
    params = json.dumps(external(keypoints=str(path), **settings))
    words = ["--frames", str(data.frames), "--keypoints", str(path), "--output", str(output), "--params", params]
    stage_main(import_keypoints.main, words)
    return output


def test_keypoints_given_back_reconstruct_the_same_hands(small_data, exported, model, true_fields, tmp_path):  # noqa: F811
    true = keypoint_file(small_data, tmp_path / "k.json", "interhand", 1000)
    made = run_import_keypoints(
        small_data, tmp_path / "k.json", tmp_path / "external_x/test.parquet", order="interhand", unit="mm"
    )
    table = KeypointTable.read(made)
    assert table.source == "external_x"
    np.testing.assert_allclose(table.keypoints(), true, atol=1e-12)
    meshes = read_surfaces(
        run_reconstruct(small_data, model, tmp_path, params=OURS, source="external_x", keypoints=str(made))
    )
    for row in range(len(meshes)):
        hand = meshes[row]
        ours = read_mesh(exported[0] / f"{hand.pair_id}_{hand.side.value}.ply")
        np.testing.assert_array_equal(hand.mesh.faces, ours.faces)
        np.testing.assert_allclose(hand.mesh.vertices, ours.vertices, atol=1e-6)


def test_meshes_are_moved_by_the_wrist_of_their_keypoints(small_data, exported, tmp_path):
    """A system whose world is 2 m off: its keypoints show this, and its meshes are moved to the true wrists."""
    (tmp_path / "in").mkdir()
    for file in exported[0].glob("*.ply"):
        mesh = read_mesh(file)
        write_mesh(tmp_path / "in" / file.name, Mesh(mesh.vertices + AWAY, mesh.faces))
    keypoint_file(small_data, tmp_path / "k.json")
    rows = json.loads((tmp_path / "k.json").read_text())
    for row in rows:
        row |= {side.value: (np.array(row[side.value]) + AWAY).tolist() for side in Side}
    (tmp_path / "k.json").write_text(json.dumps(rows))
    made = run_import_keypoints(small_data, tmp_path / "k.json", tmp_path / "external_x/test.parquet")
    moved = {"keypoints": str(tmp_path / "k.json"), "given_keypoints": False, "alignment": "wrist"}
    hands = read_surfaces(run_import(small_data, tmp_path / "in", tmp_path, made, **moved))
    for row in range(len(hands)):
        ours = read_mesh(exported[0] / f"{hands[row].pair_id}_{hands[row].side.value}.ply")
        np.testing.assert_allclose(hands[row].mesh.vertices, ours.vertices, atol=1e-6)


def test_tables_have_a_row_and_the_cost_table_has_none(small_data, exported, model, tmp_path):  # noqa: F811
    meshes = run_import(small_data, exported[0], tmp_path)
    theirs = run_evaluate(small_data, meshes, tmp_path, method="external_x")
    timings = [exported[0].parents[1] / "timings/0.parquet"]
    run_tables(small_data, [exported[1], theirs], timings, [f"halo={model}"], tmp_path)
    shape = pd.read_parquet(tmp_path / "tables/shape_given_keypoints.parquet").set_index("method")
    assert shape.loc["external_x", "mesh_iou_percent"] == shape.loc["halo", "mesh_iou_percent"]
    assert pd.read_parquet(tmp_path / "tables/cost.parquet")["method"].tolist() == ["halo"]
    methods = {
        one["method"]: one for one in json.loads((tmp_path / "tables/protocol_card.json").read_text())["methods"]
    }
    assert methods["external_x"]["alignment"] == "camera"
    assert "weights_sha256" not in methods["external_x"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unit": "mm"}, r"\.ply: the mesh is 0\.\d+ long, which is plausible for a hand in m .*state the unit m"),
        (
            {"alignment": "wrist", "given_keypoints": False},
            r"\.ply: must be moved by its wrist.*set its alignment to camera",
        ),
    ],
)
def test_mistakes_with_meshes_are_one_sentence(small_data, exported, tmp_path, settings, message):
    with pytest.raises(SystemExit, match=message):
        run_import(small_data, exported[0], tmp_path, **settings)


def test_vertices_that_are_no_numbers_are_a_counted_failure(small_data, exported, tmp_path):
    for file in exported[0].glob("*.ply"):
        write_mesh(tmp_path / "in" / f"{file.stem}.obj", read_mesh(file))
    broken = tmp_path / "in/5_1_left.obj"
    broken.write_text("v nan 0 0\n" + broken.read_text())
    hands = read_surfaces(run_import(small_data, tmp_path / "in", tmp_path))
    failures = {(hands[row].pair_id, hands[row].side): hands[row].failure for row in range(len(hands))}
    assert {key for key, failure in failures.items() if failure} == {("5_1", Side.LEFT)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows[0].update(left=rows[0]["left"][:20]),
            r"k\.json: frame image0\.jpg: left must be 21 x 3 numbers",
        ),
        (
            lambda rows: [row.update(image="other.jpg") for row in rows[:1]] and rows.__delitem__(slice(1, None)),
            "no row names",
        ),
    ],
)
def test_mistakes_with_keypoints_are_one_sentence(small_data, tmp_path, change, message):
    path = tmp_path / "k.json"
    keypoint_file(small_data, path)
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))
    with pytest.raises(SystemExit, match=message):
        run_import_keypoints(small_data, path, tmp_path / "test.parquet")


def test_wrong_unit_of_keypoints_is_one_sentence(small_data, tmp_path):
    keypoint_file(small_data, tmp_path / "k.json", scale=1000)
    with pytest.raises(SystemExit, match=r"k\.json: no frame has two hands in m; .*millimetres"):
        run_import_keypoints(small_data, tmp_path / "k.json", tmp_path / "test.parquet")


def test_sections_are_those_of_params_yaml():
    assert set(external()) == set(External.model_fields)
