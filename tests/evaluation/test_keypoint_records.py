"""Errors of keypoint sources: hand-worked values, what is left out and said so, files, and means."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from im2hands.datasets.frames import FRAMES, FrameTable
from im2hands.datasets.hands import HANDS, SHAPES, HandTable
from im2hands.evaluation.keypoint_metrics import INTAGHAND, KNUCKLE_UNSCALED, joint_errors
from im2hands.evaluation.keypoint_records import (
    ERROR_COLUMNS,
    MRRPE_COLUMNS,
    PROTOCOLS,
    TRUTHS,
    aimed_truth,
    joint_means,
    keypoint_errors,
    read_keypoint_records,
    summarize_keypoints,
    true_keypoints,
    write_keypoint_records,
)
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.tables import Provenance

FRAMES_OF_TEST = 5
"""Poses 0 and 1 with two cameras each, then one whose left hand was set aside."""


@pytest.fixture
def frames() -> FrameTable:
    rows = [
        {"frame_id": i, "capture": 3, "frame_idx": i // 2, "camera": str(i % 2), "subject": 7}
        for i in range(FRAMES_OF_TEST)
    ]
    return FrameTable(pa.Table.from_pylist(rows, schema=FRAMES.schema))


@pytest.fixture
def hands() -> HandTable:
    random = np.random.default_rng(0)
    rows = []
    for name in ("3_0_right", "3_0_left", "3_1_left", "3_1_right", "3_2_right"):
        model = random.normal(0, 0.05, (21, 3))
        columns = {column: np.zeros(int(np.prod(shape))) for column, shape in SHAPES.items()}
        columns |= {"keypoints_model": model.ravel(), "annotation_valid": np.zeros(21, bool)}
        columns |= {"keypoints_regressed": (model + random.normal(0, 0.001, (21, 3))).ravel()}
        rows.append({"hand_id": name, "pair_id": name.rsplit("_", 1)[0], "side": name.split("_")[2], **columns})
    return HandTable(pa.Table.from_pylist(rows, schema=HANDS.schema))


def test_true_keypoints_are_those_of_the_frames_pose_left_first(frames, hands):
    fitted, truths = true_keypoints(frames, hands)
    assert fitted.tolist() == [True] * 4 + [False]
    expected = hands.array("keypoints_model")
    np.testing.assert_array_equal(truths["model"][1], expected[[1, 0]])
    np.testing.assert_array_equal(truths["model"][2], expected[[2, 3]])
    assert np.isnan(truths["regressed"][4]).all()


def test_one_joint_off_by_hand(frames, hands):
    """The left thumb tip of frame 2 is 4 mm off, the whole right hand 5 mm: by protocol and for MRRPE."""
    _, truths = true_keypoints(frames, hands)
    predicted = truths["model"].copy()
    predicted[2, 0, 4, 1] += 0.004
    predicted[2, 1, :, 0] += 0.005
    records = keypoint_errors("refined", frames, hands, predicted, [None] * 5).to_pandas()
    assert len(records) == 8  # the frame without a left hand has no truth
    rows = records[records["frame_id"] == 2].set_index("side")
    for protocol in PROTOCOLS:
        left = rows.loc["left", f"model_{protocol}_mm"]
        np.testing.assert_allclose(left, [0] * 4 + [4] + [0] * 16, atol=1e-9)
        np.testing.assert_allclose(rows.loc["right", f"model_{protocol}_mm"], np.zeros(21), atol=1e-9)
    for root in ("wrist", "knuckle"):
        assert rows[f"model_mrrpe_{root}_mm"].tolist() == pytest.approx([5, 5])
        others = records.loc[records["frame_id"] != 2, f"model_mrrpe_{root}_mm"]
        np.testing.assert_allclose(others, 0, atol=1e-9)
    assert set(records["truth"]) == {"model"}


def test_every_column_is_its_protocol_and_truth(frames, hands):
    _, truths = true_keypoints(frames, hands)
    predicted = np.nan_to_num(truths["model"]) + np.random.default_rng(1).normal(0, 0.01, (5, 2, 21, 3))
    records = keypoint_errors("intaghand", frames, hands, predicted, [None] * 5).to_pandas()
    assert set(records["truth"]) == {"regressed"}
    for truth in TRUTHS:
        for name, protocol in PROTOCOLS.items():
            ours = np.stack(records.loc[records["side"] == "right", f"{truth}_{name}_mm"].to_list())
            np.testing.assert_allclose(ours, joint_errors(predicted[:4, 1], truths[truth][:4, 1], protocol))


def test_what_cannot_be_measured_is_null_and_counted(frames, hands):
    """Frame 0 has no keypoints; the right hand of frame 1 has no bone to scale by; the others are true."""
    _, truths = true_keypoints(frames, hands)
    predicted = truths["regressed"].copy()
    predicted[1, 1] = 0.1
    reasons = ["no hand was found", None, None, None, "image was set aside"]
    records = keypoint_errors("external_x", frames, hands, predicted, reasons)
    by_row = {(row["frame_id"], row["side"]): row for row in records.to_pylist()}
    assert by_row[0, "left"]["reason"] == by_row[0, "right"]["reason"] == "no hand was found"
    assert all(by_row[0, "left"][column] is None for column in ERROR_COLUMNS + MRRPE_COLUMNS)
    assert by_row[1, "right"]["regressed_knuckle_scaled_mm"] is None
    assert by_row[1, "right"]["regressed_knuckle_unscaled_mm"] is not None
    summary = summarize_keypoints(records.to_pandas()).iloc[0]
    assert (summary["frames"], summary["hands"], summary["unusable"], summary["unscalable"]) == (4, 8, 2, 1)
    assert summary["regressed_knuckle_scaled_mm"] == 0
    true = truths["regressed"][1, 1]
    expected = 1000 * np.linalg.norm(true - true[9], axis=1).mean() / 6
    assert summary["regressed_knuckle_unscaled_mm"] == pytest.approx(expected)
    assert summary["regressed_mrrpe_wrist_mm"] == pytest.approx(1000 * np.linalg.norm(true[0] - 0.1) / 3)


def test_means_of_two_sources_from_files(frames, hands, tmp_path):
    """Sources keep the order of the files; means are those of the protocols' own functions."""
    _, truths = true_keypoints(frames, hands)
    paths, random = [], np.random.default_rng(2)
    noisy = {name: np.nan_to_num(truths["model"]) + random.normal(0, s, (5, 2, 21, 3)) for name, s in NOISE.items()}
    for name, predicted in noisy.items():
        paths.append(tmp_path / f"{name}.parquet")
        write_keypoint_records(paths[-1], keypoint_errors(name, frames, hands, predicted, [None] * 5), Provenance())
    records = read_keypoint_records(paths)
    summary = summarize_keypoints(records).set_index("source")
    assert list(summary.index) == list(NOISE)
    means = joint_means(records, "model", "knuckle_unscaled")
    assert list(means.columns) == list(NOISE) and means.index[16] == "ring4"
    for name, predicted in noisy.items():
        errors = [joint_errors(predicted[:4, k], truths["model"][:4, k], INTAGHAND) for k in range(2)]
        assert summary.loc[name, "model_knuckle_scaled_mm"] == pytest.approx(np.mean(errors))
        assert summary.loc[name, "model_knuckle_scaled_left_mm"] == pytest.approx(errors[0].mean())
        unscaled = [joint_errors(predicted[:4, k], truths["model"][:4, k], KNUCKLE_UNSCALED) for k in range(2)]
        np.testing.assert_allclose(means[name], np.mean(unscaled, axis=(0, 1)))
    with pytest.raises(DataError, match="b occurs twice for frame 0"):
        read_keypoint_records([paths[1], paths[1]])
    with pytest.raises(DataError, match="run the stage evaluate_keypoints"):
        read_keypoint_records([])


NOISE = {"perturbed_10mm": 0.01, "b": 0.003}


def test_truth_that_a_source_aims_at():
    sources = ("model", "refined", "perturbed_10mm", "perturbed_10mm_refined", "intaghand", "external_x")
    assert [aimed_truth(source) for source in sources] == ["model"] * 4 + ["regressed"] * 2


def test_bad_input(frames, hands, tmp_path):
    with pytest.raises(DataError, match="4 frames with keypoints do not match 5 frames"):
        keypoint_errors("a", frames, hands, np.zeros((4, 2, 21, 3)), [None] * 4)
    nobody = HandTable(hands.table.slice(0, 0))
    with pytest.raises(DataError, match="no frame of the frame table has two fitted hands"):
        keypoint_errors("a", frames, nobody, np.zeros((5, 2, 21, 3)), [None] * 5)
    with pytest.raises(DataError, match="file is missing"):
        read_keypoint_records([tmp_path / "nothing.parquet"])
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedFileError, match=r"damaged\.parquet: not a readable keypoint_errors table"):
        read_keypoint_records([tmp_path / "damaged.parquet"])
