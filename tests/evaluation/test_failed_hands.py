"""Hands that fail on their way through the stages are counted with their reason, and nothing else changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from im2hands.datasets.hands import HandTable
from im2hands.datasets.keypoints import LARGEST_HAND, KeypointTable
from im2hands.evaluation.failure_table import KEYPOINTS_ALONE, failure_table, kind_of
from im2hands.evaluation.protocols import Reconstruction, evaluate_hand
from im2hands.evaluation.records import FAILURES, read_records
from im2hands.evaluation.shards import COLUMNS, _true_hand, pair_tasks
from im2hands.geometry.isosurface import BOX_CORNERS, BOX_FACES
from im2hands.geometry.mesh import Mesh, is_watertight
from im2hands.hands.bone_frames import PALM_UNIT
from im2hands.hands.joints import WRIST
from im2hands.hands.model import HandModel
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.networks.intaghand import HandPairPrediction
from im2hands.networks.model_folder import ModelCard, write_model
from im2hands.reconstruction import methods
from im2hands.reconstruction.failures import LARGEST_MESH, Reason, bone_frames, mesh_problem, reason_of
from im2hands.reconstruction.storage import read_surfaces
from stages import predict_keypoints
from tests.evaluation.test_stages import run_evaluate, run_reconstruct, run_tables
from tests.reconstruction.rest_prediction import prediction

RING_BASE, LITTLE_BASE = 13, 17
PARALLEL = "no palm frame: the metacarpals of ring and little finger are parallel: no palm plane"


@dataclass
class RestHands:
    """In place of IntagHand: two rest hands in every frame, but for what `changed` makes of the vertices of one of them.

    changed: (frame, side) -> what is added to the vertices (m), or what they are multiplied by if it is a number.
    """

    changed: Mapping[tuple[int, Side], np.ndarray | float] = field(default_factory=dict)
    seen: int = 0

    def __call__(self, images: torch.Tensor) -> HandPairPrediction:
        made = prediction(builtin_hand_models(), [4.0, 4.0], [[0.1, -0.1], [-0.1, 0.1]])
        frames = range(self.seen, self.seen + len(images))
        self.seen += len(images)
        for side, hand in made.hands.items():
            vertices = hand.vertices.repeat(len(images), 1, 1)
            for row, frame in enumerate(frames):
                change = self.changed.get((frame, side), 1.0)
                vertices[row] = vertices[row] * change if np.isscalar(change) else vertices[row] + torch.tensor(change)
            wanted = {
                "vertices": vertices,
                "scale": hand.scale.repeat(len(images)),
                "shift": hand.shift.repeat(len(images), 1),
            }
            made.hands[side] = type(hand)(**vars(hand) | wanted)
        return made


def moved_joint(model: HandModel, joint: int, by: np.ndarray) -> np.ndarray:
    """The smallest change of the vertices that moves one regressed joint by `by` (m) and no other."""
    units = torch.zeros(len(model.template), len(model.template), 3, dtype=model.dtype)
    units[range(len(units)), range(len(units)), 0] = 1
    regressor = model.regress(units)[..., 0].numpy().T
    wanted = np.zeros((len(regressor), 3))
    wanted[joint] = by
    return (np.linalg.pinv(regressor) @ wanted).astype(np.float32)


def with_parallel_metacarpals(model: HandModel) -> np.ndarray:
    """A change of the rest hand's vertices that lays the little finger's metacarpal along that of the ring finger."""
    joints = model.regress(model.template[None].to(model.dtype))[0].numpy()
    ring, little = joints[RING_BASE] - joints[WRIST], joints[LITTLE_BASE] - joints[WRIST]
    return moved_joint(model, LITTLE_BASE, 0.9 * ring - little)


@pytest.fixture
def through_the_stages(small_data, tmp_path, monkeypatch):
    """Runs predict_keypoints, reconstruct, evaluate, evaluate_keypoints and make_tables on a prediction."""

    def through(network: RestHands, name: str):
        folder = tmp_path / name
        card = ModelCard("intaghand", {}, {"kind": "trained"}, "none", "none")
        write_model(folder / "model", {"w": torch.zeros(1)}, card)
        for place in (predict_keypoints, methods):
            monkeypatch.setattr(place, "load_intaghand", lambda *_: (RestHands(network.changed), card))
        data = {part: str(getattr(small_data, part)) for part in ("frames", "hands", "images", "hand_model")}
        keypoints = str(folder / "keypoints.parquet")
        predict_keypoints.main(**data, model=str(folder / "model"), split="test", output=keypoints)
        source = {"method": "intaghand", "source": "intaghand"}
        meshes = run_reconstruct(small_data, folder / "model", folder, keypoints=keypoints, **source)
        records = run_evaluate(small_data, meshes, folder, **source)
        timings, models = [folder / "timings/0.parquet"], [f"intaghand={folder / 'model'}"]
        tables = run_tables(small_data, [records], timings, models, folder, "intaghand", keypoints)
        return KeypointTable.read(keypoints), read_surfaces(meshes), read_records([records]), tables

    return through


def test_a_predicted_hand_with_parallel_metacarpals_is_counted(through_the_stages):
    """The run of such a hand ends with tables: keypoints and their errors are there, one mesh of twelve is not."""
    bad = (2, Side.RIGHT)
    network = RestHands({bad: with_parallel_metacarpals(builtin_hand_models()[Side.RIGHT])})
    keypoints, surfaces, records, tables = through_the_stages(network, "parallel")
    assert keypoints.usable.all()
    hands = [surfaces[row] for row in range(len(surfaces))]
    failed = {(hand.frame_ids[0], hand.side): hand.failure for hand in hands if hand.failure}
    assert failed == {bad: PARALLEL}
    assert records["failure"].value_counts().to_dict() == {"missing": 1}
    (row,) = pd.read_csv(tables / "failures.csv").to_dict("records")
    assert row == {"method": "intaghand", "keypoints": "intaghand", "reason": PARALLEL, "failed": 1, "hands": 12}
    (mean,) = pd.read_csv(tables / "shape_predicted_keypoints.csv").to_dict("records")
    assert (mean["failures"], mean["failed_missing"], mean["hands"]) == (1, 1, 12)
    assert "1 / 12" in (tables / "shape_predicted_keypoints.md").read_text()
    _, undisturbed, others, _ = through_the_stages(RestHands(), "undisturbed")
    for hand, other in zip(hands, (undisturbed[row] for row in range(len(undisturbed))), strict=True):
        if (hand.frame_ids[0], hand.side) != bad:
            np.testing.assert_array_equal(hand.mesh.vertices, other.mesh.vertices)
    same = [column for column in records if "penetration" not in column]  # of the pair, both hands of which it needs
    place = records["failure"].isna()
    pd.testing.assert_frame_equal(records.loc[place, same], others.loc[place, same], check_dtype=False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (float("nan"), "the prediction is not finite"),
        (1e30, "no hands: a joint is more than … m from its wrist"),
        (0.0, "no palm frame: the base of the thumb finger lies on the wrist"),
        (0.02, "no palm frame: the palm is … m long"),
    ],
)
def test_all_predicted_hands_fail(through_the_stages, change, reason):
    """A table row without numbers: the run ends all the same, and every hand is counted."""
    network = RestHands({(frame, side): change for frame in range(6) for side in Side})
    _, surfaces, records, tables = through_the_stages(network, "all")
    assert all(surfaces[row].mesh is None for row in range(len(surfaces)))
    assert (records["failure"] == "missing").all()
    counted = pd.read_csv(tables / "failures.csv")
    of_method = counted[counted["method"] == "intaghand"]
    assert of_method["failed"].tolist() == [12]
    assert reason in of_method["reason"].item()
    without = counted[counted["method"] == KEYPOINTS_ALONE]
    assert without["failed"].sum() == (0 if reason.startswith("no palm") else 12)
    (mean,) = pd.read_csv(tables / "shape_predicted_keypoints.csv").to_dict("records")
    assert (mean["mesh_iou_percent"], mean["chamfer_l1_mm"]) == (0, 100)
    assert np.isnan(mean["published_iou_percent"])


def test_a_vertex_that_no_keypoint_knows_of_is_looked_at(through_the_stages):
    """Keypoints of a hand, but a mesh of many metres: no keypoint is regressed from that vertex."""
    model = builtin_hand_models()[Side.LEFT]
    units = torch.zeros(len(model.template), len(model.template), 3, dtype=model.dtype)
    units[range(len(units)), range(len(units)), 0] = 1
    unseen = int(np.flatnonzero((model.regress(units)[..., 0].numpy() == 0).all(axis=1))[0])
    change = np.zeros((len(model.template), 3), np.float32)
    change[unseen] = 1e20
    _, surfaces, _, _ = through_the_stages(RestHands({(0, Side.LEFT): change}), "vertex")
    failed = [hand.failure for hand in map(surfaces.__getitem__, range(len(surfaces))) if hand.failure]
    assert failed == [f"the mesh is no hand: it is more than {LARGEST_MESH:g} m long"]


@pytest.fixture(scope="module")
def rest() -> np.ndarray:
    model = builtin_hand_models()[Side.RIGHT]
    return model.regress(model.template[None].to(model.dtype))[0].numpy()


def test_keypoints_are_judged_hand_by_hand(rest):
    """NaN, infinite and huge coordinates, and hands without a palm plane, do not affect other hands."""
    broken = [rest * np.nan, rest + np.inf, rest * 1e30, rest * 1e300, rest + 1e30, rest * 0, rest * 1000, rest * 1e-3]
    one = rest.copy()
    one[3] = 1e200
    flat = rest.copy()
    flat[LITTLE_BASE] = flat[WRIST] + 0.9 * (flat[RING_BASE] - flat[WRIST])
    hands = [rest, *broken, one, flat, rest]
    frames, reasons = bone_frames(np.stack(hands), [Side.RIGHT] * len(hands))
    assert reasons[0] is None and reasons[-1] is None
    assert all(reason_of(reason) in (Reason.NO_KEYPOINTS, Reason.NO_PALM_FRAME) for reason in reasons[1:-1])
    whole, _ = bone_frames(np.stack([rest] * len(hands)), [Side.RIGHT] * len(hands))  # batches of one size round alike
    for place in (0, len(hands) - 1):
        torch.testing.assert_close(frames.bone_from_palm[place], whole.bone_from_palm[place], rtol=0, atol=0)
    _, known = bone_frames(np.stack([rest, rest * np.nan]), [Side.RIGHT] * 2, ["no file", None])
    assert known[0] == "no file"
    assert f"{LARGEST_HAND}" in reasons[3]


def test_every_reason_is_found_again_in_its_sentence():
    for reason in Reason:
        assert reason_of(reason.value) is reason
        assert reason_of(reason.because("1.5 m: too far")) is reason
    assert reason_of("the dog ate it") is Reason.OTHER
    assert reason_of(None) is None
    assert (
        kind_of("the predicted scale -1.5e-07 puts the hands nowhere") == "the predicted scale … puts the hands nowhere"
    )


def test_meshes_that_cannot_be_measured_have_a_reason():
    hand = builtin_hand_models()[Side.RIGHT]
    vertices = hand.template.double().numpy()
    assert mesh_problem(Mesh(vertices, hand.faces)) is None
    assert mesh_problem(Mesh()) is None
    for bad in (vertices * np.nan, vertices + np.inf, vertices * 1e30, vertices + 1e6):
        assert reason_of(mesh_problem(Mesh(bad, hand.faces))) is Reason.NO_HAND


def test_what_other_programs_store_is_judged_too(small_data):
    """A mesh shard may come from anywhere: its meshes are looked at again, and the box of a full field counts as failed."""
    table = HandTable.read(small_data.hands, COLUMNS)

    class One:
        path = "meshes"
        hand_ids = staticmethod(lambda: table.hand_ids[:1])
        rows_of_views = staticmethod(lambda: {(table.table["pair_id"][0].as_py(), (0,)): [0]})

    models = builtin_hand_models()
    ((_, (task,)),) = pair_tasks(One, table, models)
    true = _true_hand(task, small_data.evaluation, models[task.frame.side].sealed_faces)
    box = task.frame.mesh_to_world(Mesh(BOX_CORNERS * 1.1, BOX_FACES))
    assert is_watertight(box.faces)
    assert box.volume == pytest.approx((1.1 * PALM_UNIT) ** 3)
    for mesh, reason, failure, words in (
        (Mesh(true.sealed.vertices * np.nan, true.sealed.faces), None, "missing", Reason.NO_HAND),
        (Mesh(true.sealed.vertices * 1e30, true.sealed.faces), None, "missing", Reason.NO_HAND),
        (Mesh(true.sealed.vertices * 0, true.sealed.faces), None, "empty", Reason.NO_AREA),
        (Mesh(true.sealed.vertices, true.sealed.faces[:-1]), None, "open", Reason.OPEN),
        (Mesh(), None, "empty", Reason.EMPTY),
        (box, Reason.FULL.value, "full", Reason.FULL),
        (true.sealed, None, None, None),
    ):
        row = evaluate_hand(true, Reconstruction(mesh, reason), 500, 1)
        assert (row["failure"], reason_of(row["failure_detail"])) == (failure, words)
        assert ("mesh_iou" in row) == (failure is None)
        assert ("published_iou" in row) == (failure != "missing")
    assert evaluate_hand(true, Reconstruction(box, Reason.FULL.value), 500, 1)["published_iou"] > 0


def test_table_of_failures_counts_and_names():
    records = pd.DataFrame(
        {
            "method": ["halo"] * 4 + ["initial"],
            "source": ["model"] * 5,
            "failure": ["missing", "missing", "open", None, None],
            "failure_detail": [
                "no palm frame: the palm is 0.1 m long",
                "no palm frame: the palm is 2 m long",
                None,
                None,
                "x",
            ],
        }
    )
    keypoints = pd.DataFrame({"source": ["a", "a", "b"], "reason": ["not given", None, None]})
    found = failure_table(records, keypoints)
    assert found.values.tolist() == [
        ["halo", "model", "no palm frame: the palm is … m long", 2, 4],
        ["halo", "model", "open", 1, 4],
        [KEYPOINTS_ALONE, "a", "not given", 1, 2],
    ]
    assert failure_table(records[4:], keypoints[2:]).empty


def test_every_reason_is_documented():
    page = (Path(__file__).parents[2] / "docs/evaluation.md").read_text().partition("## Failed hands")[2]
    table = page.partition("\n\n## ")[0]
    assert [reason for reason in Reason if reason not in table] == []
    assert [failure for failure in FAILURES if f"| {failure} |" not in table] == []
