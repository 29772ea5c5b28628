"""Noise of perturbed keypoints: its size, that it belongs to the frame and hand alone, and what is left out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from im2hands.config.sections import PerturbKeypoints
from im2hands.datasets.frames import FRAMES, FrameTable
from im2hands.datasets.hands import HANDS, SHAPES, HandTable
from im2hands.datasets.keypoints import KeypointTable, write_keypoints
from im2hands.datasets.perturbed_keypoints import perturbed_keypoints
from im2hands.io.errors import DataError
from im2hands.io.tables import Provenance, write_parquet
from stages import perturb_keypoints

POSES, CAMERAS = 40, 2


@pytest.fixture(scope="module")
def frames() -> FrameTable:
    rows = [
        {"frame_id": i, "capture": 3, "frame_idx": i // CAMERAS, "camera": f"40000{i % CAMERAS}"}
        for i in range(POSES * CAMERAS)
    ]
    return FrameTable(pa.Table.from_pylist(rows, schema=FRAMES.schema))


@pytest.fixture(scope="module")
def hands() -> HandTable:
    """Both hands of all poses except the left one of the last; joint k of every hand is at (k, 0, 1) cm."""
    joints = 0.01 * np.stack([np.arange(21), np.zeros(21), np.ones(21)], axis=1)
    others = {name: np.zeros(int(np.prod(shape))) for name, shape in SHAPES.items()}
    columns = others | {"keypoints_model": joints.ravel(), "annotation_valid": np.zeros(21, bool)}
    names = [f"3_{pose}_{side}" for pose in range(POSES) for side in ("right", "left")][:-1]
    return HandTable(pa.Table.from_pylist([{"hand_id": name, **columns} for name in names], schema=HANDS.schema))


def test_noise_is_isotropic_with_the_stated_deviation(frames, hands):
    keypoints, reasons = perturbed_keypoints(frames, hands, 10, seed=1)
    assert keypoints.shape == (80, 2, 21, 3)
    noise = 1000 * (keypoints[:78] - hands.array("keypoints_model")[0])
    count = noise.size
    assert abs(noise.mean()) < 4 * 10 / np.sqrt(count)
    assert noise.std() == pytest.approx(10, abs=4 * 10 / np.sqrt(2 * count))
    covariance = np.cov(noise.reshape(-1, 3).T)
    np.testing.assert_allclose(covariance, 100 * np.eye(3), atol=4 * 100 * np.sqrt(2 / (count / 3)))
    assert reasons[:78] == [None] * 78


def test_noise_belongs_to_seed_frame_camera_and_side(frames, hands):
    """Any part of the frames gives the same keypoints; another camera, side or seed gives others."""
    whole, _ = perturbed_keypoints(frames, hands, 10, seed=1)
    part, _ = perturbed_keypoints(FrameTable(frames.table.slice(5, 3)), hands, 10, seed=1)
    np.testing.assert_array_equal(part, whole[5:8])
    reversed_hands = HandTable(hands.table.take(list(range(len(hands)))[::-1]))
    np.testing.assert_array_equal(perturbed_keypoints(frames, reversed_hands, 10, seed=1)[0], whole)
    drawn = np.round(whole[:78].reshape(-1, 63), 12)
    assert len(np.unique(drawn, axis=0)) == len(drawn)
    assert (perturbed_keypoints(frames, hands, 10, seed=2)[0][:78] != whole[:78]).all()
    half = perturbed_keypoints(frames, hands, 5, seed=1)[0] - hands.array("keypoints_model")[0]
    np.testing.assert_allclose(2 * half[:78], whole[:78] - hands.array("keypoints_model")[0], atol=1e-12)


def test_a_frame_with_a_missing_hand_has_a_reason(frames, hands):
    keypoints, reasons = perturbed_keypoints(frames, hands, 10, seed=1)
    assert reasons[78:] == ["3_39_left was set aside"] * 2
    assert np.isnan(keypoints[78:]).all() and np.isfinite(keypoints[:78]).all()


def test_bad_input(frames, hands):
    for sigma in (0.0, -1.0, float("nan")):
        with pytest.raises(DataError, match="positive number of millimetres"):
            perturbed_keypoints(frames, hands, sigma, seed=1)
    with pytest.raises(DataError, match="no frame of the frame table has two fitted hands"):
        perturbed_keypoints(frames, HandTable(hands.table.slice(0, 0)), 10, seed=1)


def test_stage_writes_the_keypoints_and_says_what_they_are(frames, hands, tmp_path):
    paths = {"frames": tmp_path / "frames.parquet", "hands": tmp_path / "hands.parquet"}
    write_parquet(paths["frames"], frames.table, FRAMES, Provenance())
    write_parquet(paths["hands"], hands.table, HANDS, Provenance())
    output = tmp_path / "perturbed_10mm" / "test.parquet"
    perturb_keypoints.main(
        *map(str, paths.values()), "test", seed=1, output=str(output), params=PerturbKeypoints(sigma_mm=10)
    )
    written = KeypointTable.read(output)
    assert written.source == "perturbed_10mm"
    assert (written.parameters["origin"], written.parameters["sigma_mm"]) == ("model", 10)
    expected, reasons = perturbed_keypoints(frames, hands, 10, seed=1)
    np.testing.assert_array_equal(written.keypoints(), expected)
    assert written.reasons == reasons


def test_noise_beyond_a_hand_is_counted(frames, hands, tmp_path):
    """A file with such keypoints could not be read again, which would stop what comes after."""
    keypoints, reasons = perturbed_keypoints(frames, hands, 1000.0, 7)
    assert all(reason is not None for reason in reasons)
    assert any(reason.startswith("disturbed beyond a hand") for reason in reasons)
    path = tmp_path / "keypoints.parquet"
    write_keypoints(path, ["pair"] * len(frames), keypoints, reasons, Provenance({"source": "made up"}))
    assert not KeypointTable.read(path).usable.any()
