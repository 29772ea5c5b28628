"""The published selection, exactly; a reason for every other frame; the same table for any number of workers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from im2hands.datasets.audit import AUDIT, Reason
from im2hands.datasets.frames import FRAMES, FrameTable, hands_of, shard_range, write_index
from im2hands.io.errors import DataError
from im2hands.io.tables import Provenance, read_parquet
from tests.datasets.made_up_interhand import index, made_up_interhand


def reasons(audit) -> dict[int, str]:
    table = audit.table()
    return dict(zip(table["image_id"].to_pylist(), table["reason"].to_pylist(), strict=True))


def test_an_undamaged_dataset_is_kept_whole(interhand):
    table, audit = index(interhand)
    assert table["frame_id"].to_pylist() == list(range(6))
    assert table["image_id"].to_pylist() == [700, 701, 702, 703, 704, 705]
    assert audit.table().num_rows == 0


def test_ordinary_left_outs_have_reasons_and_numbers_stay_gapless(interhand):
    """None of these is damage, so none counts against max_unreadable_fraction."""
    interhand.rename_to_single_hand(0)
    interhand.annotations[1]["hand_type_valid"] = 0
    interhand.fits["1"]["8"]["left"] = None  # both cameras: 702, 703
    interhand.write_image(4, np.full((80, 64, 3), 9, np.uint8))
    table, audit = index(interhand)
    assert table["image_id"].to_pylist() == [705] and table["frame_id"].to_pylist() == [0]
    assert reasons(audit) == {
        700: "single_hand",
        701: "hand_type_invalid",
        702: "fit_null",
        703: "fit_null",
        704: "black_image",
    }


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda fits: fits.update({"2": fits.pop("0")}), Reason.FIT_CAPTURE_MISSING),
        (lambda fits: (fits["0"].pop("5"), fits["0"].pop("11"), fits["0"].update({"6": {}})), Reason.FIT_FRAME_MISSING),
        (lambda fits: [fits["0"][frame].pop("right") for frame in ("5", "11")], Reason.FIT_SIDE_MISSING),
        (lambda fits: [fits["0"][frame].pop("left") for frame in ("5", "11")], Reason.FIT_SIDE_MISSING),
        (lambda fits: [fits["0"][frame].update(right=None) for frame in ("5", "11")], Reason.FIT_NULL),
        (lambda fits: fits["0"].update({"5": None, "11": None}), Reason.FIT_SIDE_MISSING),
    ],
)
def test_fits_missing_at_any_level_are_ordinary(interhand, damage, reason):
    damage(interhand.fits)
    table, audit = index(interhand)
    assert table["image_id"].to_pylist() == [702, 703]
    assert reasons(audit) == dict.fromkeys((700, 701, 704, 705), reason)


def nan_fit(dataset):
    dataset.fits["1"]["8"]["right"]["pose"][7] = float("nan")


def millimetre_fit(dataset):
    dataset.fits["1"]["8"]["left"]["trans"] = [80.0, 1000.0, 900.0]


def nan_camera(dataset):
    dataset.camera["1"]["campos"]["400002"][1] = float("nan")


def truncated_image(dataset):
    path = dataset.image_file(2)
    path.write_bytes(path.read_bytes()[:600])


def missing_image(dataset):
    dataset.image_file(2).unlink()


DAMAGES = [
    (nan_fit, Reason.FIT_NOT_FINITE, {702, 703}, "MANO_NeuralAnnot file of v1.0 again"),
    (millimetre_fit, Reason.FIT_TRANSLATION_IMPLAUSIBLE, {702, 703}, "metres but look like millimetres"),
    (nan_camera, Reason.CAMERA_NOT_FINITE, {702}, "fetch the camera file again"),
    (truncated_image, Reason.IMAGE_UNREADABLE, {702}, "unpack the image archives again"),
    (missing_image, Reason.IMAGE_MISSING, {702}, "every image archive is unpacked"),
]


@pytest.mark.parametrize(("damage", "reason", "lost", "remedy"), DAMAGES)
def test_damage_is_set_aside_up_to_the_allowed_share(interhand, damage, reason, lost, remedy):
    damage(interhand)
    table, audit = index(interhand, max_unreadable_fraction=len(lost) / 6)
    assert set(table["image_id"].to_pylist()) == set(range(700, 706)) - lost
    assert reasons(audit) == dict.fromkeys(lost, reason)
    with pytest.raises(DataError, match=rf"{len(lost)} of 6 cannot be used \({len(lost)} {reason}\).*{remedy}"):
        index(interhand, max_unreadable_fraction=len(lost) / 6 - 0.01)


def test_the_share_counts_two_hand_frames_only(interhand):
    missing_image(interhand)
    interhand.rename_to_single_hand(0)
    with pytest.raises(DataError, match="1 of 5 cannot be used"):
        index(interhand, max_unreadable_fraction=0.19)


def test_a_split_without_two_hand_frames_is_refused_with_the_reasons(interhand):
    for position in range(6):
        interhand.rename_to_single_hand(position)
    with pytest.raises(DataError, match="no frame of the split train has two fitted hands; dropped: 6 single_hand"):
        index(interhand)


def test_any_number_of_workers_gives_the_same_table(tmp_path):
    dataset = made_up_interhand(tmp_path, poses=40)
    for position in (3, 50):
        dataset.write_image(position, np.zeros((80, 64, 3), np.uint8))
    dataset.image_file(70).unlink()
    results = [index(dataset, 0.1, threads=threads) for threads in (1, 3)]
    assert results[0][0].equals(results[1][0])
    assert results[0][1].table().equals(results[1][1].table())
    assert len(results[0][0]) == 77


def test_frames_come_back_from_the_file_with_metric_cameras(interhand, tmp_path):
    table, audit = index(interhand)
    write_index(tmp_path / "f.parquet", tmp_path / "a.parquet", table, audit, Provenance())
    frames = FrameTable.read(tmp_path / "f.parquet")
    assert frames.table.schema.equals(FRAMES.schema)
    assert read_parquet(tmp_path / "a.parquet", AUDIT).num_rows == 0
    frame = frames[3]
    assert (frame.frame_id, frame.pair_id, frame.camera_name, frame.subject) == (3, "1_8", "400262", 2)
    assert np.allclose(frame.camera.project(np.zeros(3)), [32, 40])
    assert frames.pairs() == [(0, 5), (1, 8), (0, 11)]
    assert hands_of(frames)[:3] == ["0_5_right", "0_5_left", "1_8_right"]


@pytest.mark.parametrize("count", [1, 2, 4, 6, 9])
def test_shards_are_consecutive_and_cover_everything(interhand, count):
    frames = FrameTable(index(interhand)[0])
    parts = [frames.shard(part, count) for part in range(count)]
    assert pa.concat_tables([part.table for part in parts]).equals(frames.table)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    with pytest.raises(DataError, match=f"no shard {count} of {count}"):
        shard_range(6, count, count)
