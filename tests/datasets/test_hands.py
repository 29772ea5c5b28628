"""One row per pose and side, in the world and in metres, whose joints project to their pixels and are close to their
annotation."""

from __future__ import annotations

import numpy as np
import pytest

from im2hands.datasets.audit import AUDIT
from im2hands.datasets.frames import FrameTable, index_frames
from im2hands.datasets.hands import HANDS, HandTable, fit_hands, write_hands
from im2hands.hands.bone_frames import world_to_palm
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.tables import Provenance, read_parquet
from tests.datasets.made_up_interhand import made_up_interhand

MODELS = builtin_hand_models()


def fit(dataset, **options):
    dataset.write_annotations()
    frames = FrameTable(index_frames(dataset.root, dataset.split, 1.0)[0])
    table, audit = fit_hands(dataset.root, dataset.split, frames, MODELS, options.pop("suspicious", 20.0), **options)
    return frames, HandTable(table.combine_chunks()), audit.table().to_pylist()


def test_a_row_per_pose_and_side_whatever_the_number_of_cameras(interhand):
    frames, hands, audit = fit(interhand)
    assert len(frames) == 6
    assert hands.hand_ids == [f"{pair}_{side}" for pair in ("0_5", "1_8", "0_11") for side in ("right", "left")]
    assert hands.pair_ids() == ["0_5", "1_8", "0_11"]
    assert hands.array("subject").tolist() == [1, 1, 2, 2, 1, 1]
    assert audit == []


def test_rows_hold_the_posed_model(interhand):
    _, hands, _ = fit(interhand)
    row = hands.rows["1_8_left"]
    entry = interhand.fits["1"]["8"]["left"]
    posed = MODELS[Side.LEFT].pose(*(np.array(entry[name])[None] for name in ("pose", "shape", "trans")))
    assert np.allclose(hands.array("vertices")[row], posed.vertices[0], atol=1e-7)
    assert np.allclose(hands.array("keypoints_model")[row], posed.keypoints[0], atol=1e-12)
    assert np.allclose(hands.array("keypoints_regressed")[row], posed.regressed[0], atol=1e-12)
    assert np.allclose(hands.array("pose")[row], entry["pose"])


def test_annotations_stand_beside_the_model(interhand):
    """The made-up annotation is the model plus 2 mm of noise per axis: 3.2 mm on average."""
    _, hands, _ = fit(interhand)
    distance = np.linalg.norm(hands.array("keypoints_annotation") - hands.array("keypoints_model"), axis=-1) * 1000
    assert distance.max() < 12 and 2 < distance.mean() < 4.5
    assert np.allclose(hands.array("joint_distance_mm"), distance.mean(axis=1))


def test_palm_frames_fit_their_keypoints(interhand):
    _, hands, _ = fit(interhand)
    keypoints, wrist = hands.array("keypoints_model"), hands.array("wrist")
    assert np.allclose(keypoints[:, 0], wrist)
    palm = world_to_palm(keypoints, wrist, hands.array("palm_rotation"), hands.sides)
    lengths = np.linalg.norm(keypoints[:, 9] - wrist, axis=-1)
    assert np.allclose(palm[:, 9], np.stack([-lengths / 0.4, 0 * lengths, 0 * lengths], -1), atol=1e-9)
    assert np.allclose(hands.array("bone_lengths")[:, 0], lengths)


def test_far_annotations_are_noted_and_kept(interhand):
    interhand.joints["1"]["8"]["world_coord"] = [
        [x + 40, y, z] for x, y, z in interhand.joints["1"]["8"]["world_coord"]
    ]
    _, hands, audit = fit(interhand)
    assert len(hands) == 6
    assert [(row["side"], row["reason"], row["kept"]) for row in audit] == [
        ("right", "joints_far_from_model", True),
        ("left", "joints_far_from_model", True),
    ]
    assert all(35 < row["value"] < 45 for row in audit)


def test_missing_annotations_are_noted_and_kept(interhand):
    interhand.joints["0"]["5"]["joint_valid"] = [[1]] * 21 + [[0]] * 21  # left not annotated
    del interhand.joints["1"]
    _, hands, audit = fit(interhand)
    noted = [(row["capture"], row["frame_idx"], row["side"], row["reason"]) for row in audit]
    assert noted == [(0, 5, "left", "annotation_missing")] + [
        (1, 8, s, "annotation_missing") for s in ("right", "left")
    ]
    assert np.isnan(hands.array("joint_distance_mm")).tolist() == [False, True, True, True, False, False]
    assert np.isnan(hands.array("keypoints_annotation")[2]).all()
    assert not hands.array("annotation_valid")[1].any()


def collapsed(keypoints, *arguments, **options):
    from im2hands.hands.bone_frames import canonical_frames

    keypoints = keypoints.copy()
    keypoints[0, 9] = keypoints[0, 0]  # the middle base on the wrist: no palm
    return canonical_frames(keypoints, *arguments, **options)


def test_hands_without_a_palm_frame_are_rejected_with_a_reason(interhand, monkeypatch):
    monkeypatch.setattr("im2hands.datasets.hands.canonical_frames", collapsed)
    _, hands, audit = fit(interhand)
    assert hands.hand_ids == [f"{pair}_{side}" for pair in ("1_8", "0_11") for side in ("right", "left")]
    assert [(row["reason"], row["kept"]) for row in audit] == [("degenerate_hand", False)] * 2
    assert all(row["detail"] for row in audit)
    assert hands.pair_ids() == ["1_8", "0_11"]
    _, published, _ = fit(interhand, degenerate_hands="published")
    assert len(published) == 6


def test_fits_that_are_gone_since_the_index_are_named(interhand):
    frames, _, _ = fit(interhand)
    interhand.fits["0"]["11"]["left"] = None
    interhand.write_annotations()
    with pytest.raises(
        DataError, match=r"no usable fits for capture 0, frame 11 \(1 poses in all\).*run index_frames again"
    ):
        fit_hands(interhand.root, "train", frames, MODELS, 20.0)


def test_reading_some_hands_reads_these_hands(tmp_path):
    """Across several row groups, in the file's order; unknown ids are left out."""
    dataset = made_up_interhand(tmp_path / "raw", poses=140)
    frames = FrameTable(index_frames(dataset.root, "train", 0.0)[0])
    table, audit = fit_hands(dataset.root, "train", frames, MODELS, 20.0)
    write_hands(tmp_path / "h.parquet", tmp_path / "a.parquet", table, audit, Provenance())
    whole = HandTable.read(tmp_path / "h.parquet")
    assert whole.table.schema.equals(HANDS.schema) and len(whole) == 280
    assert read_parquet(tmp_path / "a.parquet", AUDIT).num_rows == 0
    wanted = [whole.hand_ids[row] for row in (270, 3, 258)]
    some = HandTable.read(tmp_path / "h.parquet", ["vertices"], [*wanted, "9_9_left"])
    assert some.hand_ids == [whole.hand_ids[row] for row in (3, 258, 270)]
    assert np.array_equal(some.array("vertices"), whole.array("vertices")[[3, 258, 270]])
    assert len(HandTable.read(tmp_path / "h.parquet", ["vertices"], [])) == 0


def test_joints_that_are_not_annotated_do_not_count(interhand):
    """Files hold placeholders there, such as (1, 1, 1), or numbers that are not finite."""
    entry = interhand.joints["0"]["5"]
    entry["world_coord"][2], entry["world_coord"][3] = [1e4, 1e4, 1e4], [float("nan")] * 3
    entry["joint_valid"][2] = [0]
    _, hands, audit = fit(interhand)
    assert audit == [] and hands.array("joint_distance_mm")[0] < 5
    assert hands.array("annotation_valid")[0].sum() == 19
