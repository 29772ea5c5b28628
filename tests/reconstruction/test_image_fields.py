"""Initial and refined occupancy through the stage: each hand in its own photograph, as the network says, for any workers."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from im2hands.config.sections import Evaluate
from im2hands.datasets.frame_items import FrameSet
from im2hands.datasets.hands import HandTable
from im2hands.datasets.queries import EvaluationQueries
from im2hands.datasets.query_sampling import palm_meshes, write_evaluation_shard
from im2hands.evaluation.records import read_records
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance
from im2hands.networks.frame_batches import frame_batch
from im2hands.networks.initial_occupancy import load_initial_occupancy
from im2hands.networks.refined_occupancy import load_refined_occupancy
from im2hands.reconstruction.anchors import NO_POINTS, AnchorSettings, AnchorWork
from im2hands.reconstruction.image_fields import ImageFields
from im2hands.reconstruction.inputs import COLUMNS, BoneInputs, bone_inputs, evaluated_frames
from im2hands.reconstruction.storage import read_surfaces
from tests.evaluation.test_stages import SETTINGS as SETTINGS_OF_HALO
from tests.evaluation.test_stages import run_evaluate, run_reconstruct
from tests.training.occupancy_frames import SAMPLING, write_initial, write_queries
from tests.training.two_hand_frames import TwoHandSplit, make_split
from tests.training.untrained import write_refined

ANCHORS = AnchorSettings("default", 64, 0.5)
METHODS = ["initial", "im2hands"]
THRESHOLDS = SETTINGS_OF_HALO.thresholds.model_copy(update={"im2hands": 0.5})
SETTINGS = SETTINGS_OF_HALO.model_copy(update={"shards": 1, "resolution": 64, "thresholds": THRESHOLDS})


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TwoHandSplit:
    return make_split(tmp_path_factory.mktemp("two_hands"), "test", poses=2)


@pytest.fixture(scope="module")
def queries(data) -> Path:
    meshes, _ = palm_meshes(data.hands, builtin_hand_models(), 0, 1)
    shard = data.folder / "queries_eval" / "0000-of-0001.arrow"
    counts = {"published": 300, "uniform_hand": 300, "surface": 300}
    write_evaluation_shard(shard, meshes, counts, SAMPLING, Provenance({"label_rule": "consistent"}))
    write_manifest(shard.parent / "manifest.json", [shard])
    return shard.parent / "manifest.json"


@pytest.fixture(scope="module")
def models(data) -> dict[str, Path]:
    """Untrained networks; the refined one gives nearly the initial field, moved by anchors and image."""
    initial = write_initial(data.folder / "initial", data.hands, write_queries(data))
    return {"initial": initial, "im2hands": write_refined(data.folder / "im2hands", initial, moved=0.3)}


@pytest.fixture(scope="module")
def frames(data) -> FrameSet:
    return FrameSet(data.frames, data.hands, data.images)


def inputs_of(data, queries, frames, per_pose=None, keypoints=None) -> BoneInputs:
    table, points = HandTable.read(data.hands, COLUMNS), EvaluationQueries.read(queries)
    return bone_inputs(table, points, evaluated_frames(frames, per_pose), keypoints, from_photographs=True)


def fields_of(data, models, method, seed=3) -> ImageFields:
    files = (str(path) for path in (models[method], data.frames, data.hands, data.images))
    return ImageFields(method, *files, seed, ANCHORS)


def made(data, queries, models, hand_model, method, folder, params=SETTINGS, shard=0, shards=1, **changes) -> Path:
    """Runs the stage and returns its mesh shard."""
    files = {"queries": str(queries), "hand_model": str(hand_model)}
    return run_reconstruct(data, models[method], folder, shard, shards, params, method=method, **files, **changes)


def expected_values(data, models, method, frames, place, side, points) -> np.ndarray:
    """The network asked directly about a frame of the set; refined occupancy with the anchors that its training stage draws."""
    load = load_initial_occupancy if method == "initial" else load_refined_occupancy
    network = load(models[method])[0]
    batch = frame_batch([frames.item(place)], [[NO_POINTS, NO_POINTS]])
    hand = batch.hands[side].with_points(torch.from_numpy(points)[None])
    with torch.no_grad():
        if method == "initial":
            encoded = network.encode(batch.images)
        else:
            paths = (str(path) for path in (data.frames, data.hands, data.images, models["initial"]))
            (row,) = AnchorWork(*paths, ANCHORS, 3)([place])
            anchors = {
                one: torch.from_numpy(np.array(row[one.value], np.float32).reshape(1, ANCHORS.points, 3))
                for one in Side
            }
            encoded = network.encode(batch.images, anchors, batch.camera)
        return network.occupancy(encoded, hand, batch.camera)[0].numpy()


@pytest.mark.parametrize("method", METHODS)
def test_every_hand_is_asked_about_in_its_own_photograph(data, queries, models, frames, method):
    """All views of both poses in one field, hands in any order; the values are the network's, and photographs matter."""
    inputs = inputs_of(data, queries, frames)
    assert [frame_ids for _, frame_ids in inputs.views] == [(0,), (1,), (2,), (3,)]
    hands = [hand for view in inputs.views for hand in inputs(view)]
    order = np.random.default_rng(0).permutation(len(hands))
    fields = pickle.loads(pickle.dumps(fields_of(data, models, method)))
    field = fields([hands[place] for place in order])
    noise = np.random.default_rng(1).normal(scale=0.03, size=(21, 3))
    points = [(hand.frame.to_palm(hand.keypoints) + noise).astype(np.float32) for hand in hands]
    asked = np.concatenate([points[place] for place in order])
    values = field(np.repeat(np.arange(len(hands)), 21), asked).reshape(-1, 21)
    seen = {}
    for row, place in enumerate(order):
        hand = hands[place]
        side, frame = hand.frame.side, frames.place_of(hand.frame_ids[0])
        expected = expected_values(data, models, method, frames, frame, side, points[place])
        np.testing.assert_allclose(values[row], expected, atol=1e-5)
        seen[hand.frame_ids[0], side] = values[row]
    for side in Side:
        assert np.abs(seen[0, side] - seen[1, side]).max() > 1e-4  # ten times the tolerance above


def test_refined_occupancy_needs_both_hands(data, queries, models, frames):
    """A hand whose other one has no bone frames: the initial network makes it, the refined one says nothing about it."""
    hands = inputs_of(data, queries, frames)
    pair, other = (hands(view) for view in hands.views[:2])
    points, items = np.zeros((3, 3), np.float32), np.array([0, 1, 2])
    initial = fields_of(data, models, "initial")([pair[0], *other])(items, points)
    assert np.isfinite(initial).all()
    refined = fields_of(data, models, "im2hands")([pair[0], *other])(items, points)
    assert np.isnan(refined).tolist() == [True, False, False]


def test_a_frame_that_is_not_usable_is_refused(data, queries, models, frames):
    inputs = inputs_of(data, queries, frames)
    evaluated = bone_inputs(
        HandTable.read(data.hands, COLUMNS), inputs.queries, {inputs.views[0][0]: (99,)}, from_photographs=True
    )
    with pytest.raises(DataError, match="frame 99"):
        fields_of(data, models, "initial")(evaluated(evaluated.views[0]))


@pytest.fixture(scope="module", params=METHODS)
def every_frame(request, data, queries, models, hand_model, tmp_path_factory) -> tuple[str, Path]:
    """Method and mesh shard of all frames."""
    return request.param, made(data, queries, models, hand_model, request.param, tmp_path_factory.mktemp(request.param))


def rows_of(paths) -> dict[tuple, tuple]:
    """(hand, frames) -> everything that is stored of it."""
    shards = [read_surfaces(path) for path in paths]
    hands = [shard[row] for shard in shards for row in range(len(shard))]
    return {
        (hand.hand_id, hand.frame_ids): (
            hand.failure,
            None if hand.mesh is None else (hand.mesh.vertices.tobytes(), hand.mesh.faces.tobytes()),
            hand.evaluations,
            hand.field_published(300).tolist(),
            hand.field_uniform_hand(300).tolist(),
        )
        for hand in hands
    }


def test_stage_makes_every_hand_of_every_frame(data, every_frame):
    rows = rows_of([every_frame[1]])
    names = {frame: data.pair_ids[frame] for frame in range(4)}
    assert set(rows) == {(f"{names[frame]}_{side.value}", (frame,)) for frame in range(4) for side in Side}
    assert all(failure is None for failure, *_ in rows.values())
    assert len({mesh for _, mesh, *_ in rows.values()}) == 8
    assert len(list((every_frame[1].parent.parent / "glb/0").glob("*_frame*.glb"))) == 4


def test_shards_and_fewer_frames_change_no_hand(data, queries, models, hand_model, every_frame, tmp_path):
    method, whole = every_frame
    shards = [
        made(data, queries, models, hand_model, method, tmp_path / "shards", shard=part, shards=2) for part in range(2)
    ]
    assert rows_of(shards) == rows_of([whole])
    first = SETTINGS.model_copy(update={"frames_per_pose": 1})
    rows = rows_of([made(data, queries, models, hand_model, method, tmp_path / "first", params=first)])
    assert {frames for _, frames in rows} == {(0,), (2,)}
    assert rows.items() <= rows_of([whole]).items()


@pytest.mark.slow
def test_workers_change_no_byte(data, queries, models, hand_model, tmp_path):
    """Refined occupancy; the initial one goes the same way with less to pickle."""
    paths = [
        made(data, queries, models, hand_model, "im2hands", tmp_path / str(count), threads=count) for count in (1, 2)
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_records_have_a_row_for_every_hand_and_frame(data, queries, hand_model, every_frame, tmp_path):
    method, meshes = every_frame
    measuring = Evaluate(surface_samples=200, penetration="grid", penetration_cell_mm=8)
    files = {"queries": str(queries), "hand_model": str(hand_model)}
    rows = read_records([run_evaluate(data, meshes, tmp_path, method=method, params=measuring, **files)])
    assert rows["frame_id"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    cameras = [data.frame_table.table["camera"][frame].as_py() for frame in rows["frame_id"]]
    assert rows["camera"].tolist() == cameras
    assert rows["visible_fraction"].between(0, 1).all()
    assert (rows.groupby("pair_id")["true_hand_distance_mm"].nunique() == 1).all()
    assert (rows.groupby(["pair_id", "side"])["chamfer_l1_mm"].nunique() == 2).all()
