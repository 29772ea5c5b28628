"""Keypoint files: what is written is read, other frames and other units are refused, hands are placed by the alignment."""

from __future__ import annotations

import numpy as np
import pytest

from im2hands.datasets.keypoints import KeypointTable, aligned, write_keypoints
from im2hands.io.errors import DataError
from im2hands.io.tables import Provenance

PAIRS = ["0_1", "0_1", "0_2"]


@pytest.fixture
def keypoints():
    return np.random.default_rng(3).normal((0.1, 0.2, 1.0), 0.04, (3, 2, 21, 3))


def written(path, keypoints, reasons=(None, None, None)):
    write_keypoints(path, PAIRS, keypoints, list(reasons), Provenance({"source": "intaghand"}))
    return path


def test_there_and_back(tmp_path, keypoints):
    table = KeypointTable.read(written(tmp_path / "k.parquet", keypoints, (None, "no image", None)))
    assert table.source == "intaghand"
    assert table.usable.tolist() == [True, False, True]
    assert table.reasons == [None, "no image", None]
    np.testing.assert_array_equal(table.keypoints()[[0, 2]], keypoints[[0, 2]])
    assert np.isnan(table.keypoints()[1]).all()


@pytest.mark.parametrize(
    ("spoil", "sentence"), [(lambda k: k * 1000, "millimetres"), (lambda k: np.where(k > k[0], np.nan, k), "numbers")]
)
def test_other_units_and_no_numbers_are_refused(tmp_path, keypoints, spoil, sentence):
    with pytest.raises(DataError, match=sentence):
        KeypointTable.read(written(tmp_path / "k.parquet", spoil(keypoints)))


def test_other_frames_are_refused(tmp_path, keypoints):
    table = KeypointTable.read(written(tmp_path / "k.parquet", keypoints))
    table.require_frames(PAIRS, "frames.parquet")
    with pytest.raises(DataError, match=r"frames\.parquet"):
        table.require_frames(PAIRS[::-1], "frames.parquet")


def test_alignment_moves_wrists_and_nothing_else(keypoints):
    wrists = np.random.default_rng(4).normal(size=(3, 2, 3))
    moved = aligned(keypoints, wrists, "wrist")
    np.testing.assert_allclose(moved[:, :, 0], wrists, atol=1e-15)
    np.testing.assert_allclose(np.diff(moved, axis=2), np.diff(keypoints, axis=2), atol=1e-15)
    assert aligned(keypoints, wrists, "camera") is keypoints
    with pytest.raises(DataError, match="alignment"):
        aligned(keypoints, wrists, "palm")
