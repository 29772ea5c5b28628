"""Keypoint files of other systems: every stated order, unit, frame and format gives the same hands."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from im2hands.datasets.external_keypoints import NOT_BOTH, NOT_GIVEN, external_keypoints
from im2hands.datasets.frames import FRAMES, FrameTable
from im2hands.datasets.keypoints import KeypointTable, write_keypoints
from im2hands.hands.joints import JointOrder
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.tables import Provenance

COUNT = 3
TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
SHIFT = np.array([0.1, -0.2, 0.9])


@pytest.fixture(scope="module")
def frames() -> FrameTable:
    rows = [
        {
            "frame_id": i,
            "file_name": f"Capture3/cam{i}/image7.jpg",
            "capture": 3,
            "frame_idx": 7,
            "K": np.eye(3).ravel(),
            "R": TURN.ravel(),
            "t": SHIFT,
        }
        for i in range(COUNT)
    ]
    return FrameTable(pa.Table.from_pylist(rows, schema=FRAMES.schema))


@pytest.fixture(scope="module")
def true() -> np.ndarray:
    """Left and right hand of every frame in STANDARD order, world, m."""
    return np.array([0.5, 0.1, 1.0]) + np.random.default_rng(4).uniform(-0.08, 0.08, (COUNT, 2, 21, 3))


def rows_of(keypoints: np.ndarray, key: str = "frame_id") -> list[dict]:
    names = [i if key == "frame_id" else f"Capture3/cam{i}/image7.jpg" for i in range(len(keypoints))]
    return [
        {key: name, "left": left.tolist(), "right": right.tolist()}
        for name, (left, right) in zip(names, keypoints, strict=True)
    ]


def written(path, rows) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows))
    return str(path)


@pytest.mark.parametrize("key", ["frame_id", "image"])
@pytest.mark.parametrize("suffix", ["json", "parquet"])
@pytest.mark.parametrize("order", ["standard", "interhand", "mano"])
def test_orders_formats_and_names(tmp_path, frames, true, order, suffix, key):
    places = list(JointOrder[order.upper()].value)
    path = written(tmp_path / f"k.{suffix}", rows_of(true[:, :, places], key)[::-1])
    keypoints, reasons = external_keypoints(path, frames, order)
    assert reasons == [None] * COUNT
    np.testing.assert_array_equal(keypoints, true)


def test_millimetres_of_the_camera_in_a_row_of_63(tmp_path, frames, true):
    in_camera = 1000 * (true @ TURN.T + SHIFT)
    path = written(tmp_path / "k.parquet", rows_of(in_camera.reshape(COUNT, 2, 63)))
    keypoints, _ = external_keypoints(path, frames, unit="mm", frame="camera")
    np.testing.assert_allclose(keypoints, true, atol=1e-12)


def test_what_is_missing_has_a_reason_and_the_source_can_be_written_and_read(tmp_path, frames, true):
    rows = rows_of(true)
    rows[1]["left"] = None
    keypoints, reasons = external_keypoints(written(tmp_path / "k.json", rows[:2]), frames)
    assert reasons == [None, NOT_BOTH, NOT_GIVEN]
    write_keypoints(tmp_path / "k.parquet", ["3_7"] * COUNT, keypoints, reasons, Provenance({"source": "external_x"}))
    stored = KeypointTable.read(tmp_path / "k.parquet")
    assert stored.source == "external_x"
    assert stored.reasons == reasons
    np.testing.assert_array_equal(stored.keypoints(), keypoints)


@pytest.mark.parametrize(("written_in_m", "unit"), [(1000, "m"), (1, "mm")])
def test_the_wrong_unit_is_refused(tmp_path, frames, true, written_in_m, unit):
    with pytest.raises(DataError, match=f"no frame has two hands in {unit}.*metres"):
        external_keypoints(written(tmp_path / "k.json", rows_of(written_in_m * true)), frames, unit=unit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[0].pop("right"), "row 0 must have frame_id or image"),
        (lambda rows: rows[1].update(left=[[0, 0, 0]]), "frame 1: left must be 21 x 3"),
        (lambda rows: rows.append(rows[0]), "row 3 names frame_id 0 again"),
        (lambda rows: [row.update(frame_id=row["frame_id"] + 50) for row in rows], "no row names"),
        (lambda rows: rows[2].update(frame_id=[1]), "must be a whole number or a path"),
    ],
)
def test_wrong_rows_are_refused_by_name(tmp_path, frames, true, change, message):
    rows = rows_of(true)
    change(rows)
    with pytest.raises(DataError, match=message):
        external_keypoints(written(tmp_path / "k.json", rows), frames)


def test_unreadable_files_and_settings_are_refused(tmp_path, frames, true):
    path = written(tmp_path / "k.json", rows_of(true))
    with pytest.raises(DataError, match="order 'xyz' must be one of"):
        external_keypoints(path, frames, "xyz")
    (tmp_path / "k.json").write_text("[{")
    with pytest.raises(DamagedFileError, match=r"k\.json: .* not valid JSON"):
        external_keypoints(path, frames)
    (tmp_path / "k.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match="a list of objects"):
        external_keypoints(path, frames)
    (tmp_path / "k.parquet").write_bytes(b"no")
    with pytest.raises(DamagedFileError, match="not a readable"):
        external_keypoints(tmp_path / "k.parquet", frames)
    with pytest.raises(DataError, match="is missing"):
        external_keypoints(tmp_path / "none.json", frames)
