"""Folders of the original preparation scripts give the tables and shards of our own stages."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from im2hands.datasets.frames import FrameTable
from im2hands.datasets.hands import HandTable
from im2hands.datasets.images import IMAGES
from im2hands.datasets.preprocessed import ImportSettings, import_preprocessed
from im2hands.datasets.queries import QUERIES, Quantisation
from im2hands.hands.sides import Side
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.manifest import Manifest
from im2hands.io.tables import Layout, ShardReader
from tests.datasets.preprocessed_folders import write_halo_folder, write_intaghand_folder, write_joints
from tests.hostile import Hostile
from tests.training.two_hand_frames import TwoHandSplit, make_split

SPLIT = "train"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TwoHandSplit:
    return make_split(tmp_path_factory.mktemp("data"), SPLIT, poses=2, maps=True)


@pytest.fixture
def folder(data, tmp_path) -> Path:
    return write_intaghand_folder(tmp_path / "intaghand", data)


@pytest.fixture
def settings(hand_model) -> ImportSettings:
    return ImportSettings("made-up hands", {"train": 2, "val": 0, "test": 1}, str(hand_model))


def imported(kind: str, folder: Path, to: Path, settings: ImportSettings) -> list[str]:
    return list(import_preprocessed(kind, folder, to, [SPLIT], settings))


def test_intaghand_folder_gives_our_tables(data, folder, settings, tmp_path):
    lines = imported("intaghand", folder, tmp_path / "to", settings)
    ours, theirs = FrameTable.read(data.frames), FrameTable.read(tmp_path / f"to/frames/{SPLIT}.parquet")
    same = [
        "frame_id",
        "image_id",
        "annotation_id",
        "file_name",
        "capture",
        "subject",
        "sequence",
        "camera",
        "frame_idx",
    ]
    assert theirs.table.select(same).to_pylist() == ours.table.select(same).to_pylist()
    hands, again = HandTable.read(data.hands), HandTable.read(tmp_path / f"to/hands/{SPLIT}.parquet")
    assert again.hand_ids == hands.hand_ids
    for name in ("pose", "shape", "translation", "vertices", "keypoints_model", "palm_rotation", "bone_from_palm"):
        np.testing.assert_allclose(again.array(name), hands.array(name), atol=2e-5, err_msg=name)
    assert any("4 hands" in line for line in lines)


def test_intaghand_folder_gives_our_crops(data, folder, settings, tmp_path):
    imported("intaghand", folder, tmp_path / "to", settings)
    manifest = Manifest.read(tmp_path / f"to/images/{SPLIT}/manifest.json")
    ours = ShardReader(data.images.parent / "0000-of-0001.arrow", IMAGES)
    rows = _rows(manifest, IMAGES)
    assert len(manifest.files) == 2
    assert len(rows) == len(ours)
    for number, row in enumerate(rows):
        expected = ours.row(number)
        assert row["frame_id"] == number
        assert bytes(row["jpeg"]) == bytes(expected["jpeg"])
        for name in ("crop_K", "R", "t"):
            np.testing.assert_allclose(row[name], expected[name], rtol=1e-6, atol=1e-6)
        assert _share_equal(row["mask_png"], expected["mask_png"]) > 0.99
        assert _share_equal(row["dense_png"], expected["dense_png"], within=24) > 0.95


def _rows(manifest: Manifest, layout: Layout) -> list[dict]:
    shards = manifest.open(layout)
    return [shards.row(row) for row in range(len(shards))]


def _share_equal(a: bytes, b: bytes, within: int = 0) -> float:
    first, second = (cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED).astype(int) for png in (a, b))
    return float((np.abs(first - second) <= within).mean())


def test_joint_files_become_a_keypoint_file(data, folder, settings, tmp_path):
    joints = np.arange(63.0).reshape(21, 3) / 100
    for side in Side:
        write_joints(folder, SPLIT, "pred_joints", 1, side, joints + side.index)
    lines = imported("intaghand", folder, tmp_path / "to", settings)
    assert any("joints of 1 frames" in line and "pred_joints" in line for line in lines)
    (row,) = pq.read_table(tmp_path / f"to/external/pred_joints_{SPLIT}.parquet").to_pylist()
    assert row["image"] == FrameTable.read(data.frames)[1].file_name
    for side in Side:
        np.testing.assert_allclose(np.reshape(row[side.value], (21, 3)), joints + side.index, atol=1e-6)


def test_halo_folder_gives_our_queries(data, settings, tmp_path):
    to = tmp_path / "to"
    shutil.copytree(data.hands.parent, to / "hands")
    lines = imported("halo", write_halo_folder(tmp_path / "halo", data), to, settings)
    assert "points of 4 hands in 2 shards" in lines[0]
    rows = _rows(Manifest.read(to / f"queries/{SPLIT}/manifest.json"), QUERIES)
    assert [row["hand_id"] for row in rows] == HandTable.read(data.hands).hand_ids
    for row in rows:
        source = np.load(tmp_path / f"halo/{SPLIT}/points/{row['hand_id']}.npz")
        stored = Quantisation().points(np.frombuffer(row["points"], np.uint16).reshape(-1, 3))
        near, cube = (slice(row[f"{name}_start"], row[f"{name}_stop"]) for name in ("near_surface", "uniform_cube"))
        given = source["points"].astype(np.float64)
        np.testing.assert_allclose(stored[cube], given[:64], atol=3e-5)
        np.testing.assert_allclose(stored[near], given[64:], atol=3e-5)
        inside, labels = np.unpackbits(source["occupancies"]), np.unpackbits(np.frombuffer(row["labels"], np.uint8))
        np.testing.assert_array_equal(labels[cube], inside[:64])
        np.testing.assert_array_equal(labels[near], inside[64:])
        assert row["label_rule"] == "published"


def test_a_hostile_pickle_is_refused_and_not_run(folder, settings, tmp_path):
    (folder / f"{SPLIT}/anno/0.pkl").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    with pytest.raises(DataError, match=r"0\.pkl"):
        imported("intaghand", folder, tmp_path / "to", settings)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "to").exists()


def test_damaged_files_are_counted_and_too_many_refused(folder, settings, tmp_path, hand_model):
    for name in ("anno/0.pkl", "img/1.jpg"):
        file = folder / SPLIT / name
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match="annotations"):
        imported("intaghand", folder, tmp_path / "to", settings)
    lenient = ImportSettings(settings.dataset, {SPLIT: 1}, str(hand_model), max_unreadable_fraction=0.6)
    lines = imported("intaghand", folder, tmp_path / "to", lenient)
    assert len(FrameTable.read(tmp_path / f"to/frames/{SPLIT}.parquet")) == 3
    assert any("1 quarantined" in line for line in lines)
    assert any("pickle_unreadable" in line for line in lines)


def _another_fit(folder: Path) -> None:
    path = folder / SPLIT / "anno/1.pkl"
    content = pickle.loads(path.read_bytes())
    content["mano_params"]["left"]["trans"] += 0.01
    path.write_bytes(pickle.dumps(content))


def _twenty_joints(folder: Path) -> None:
    write_joints(folder, SPLIT, "pred_joints", 0, Side.LEFT, np.zeros((20, 3)) + np.arange(20)[:, None])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: shutil.rmtree(folder / SPLIT), "folder that contains the splits"),
        (_another_fit, r"1\.pkl: its left fit differs"),
        (_twenty_joints, r"0000000_left\.ply: contains 20 points instead of 21"),
    ],
    ids=["no split", "two releases", "joints"],
)
def test_mistakes_of_an_intaghand_folder(folder, settings, tmp_path, damage, message):
    damage(folder)
    with pytest.raises(DataError, match=message):
        imported("intaghand", folder, tmp_path / "to", settings)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def _metres(path: Path) -> None:
    np.savez(path, points=np.full((16, 3), 3, np.float16), occupancies=np.zeros(2, np.uint8))


@pytest.mark.parametrize(
    ("place", "damage", "error", "message"),
    [
        ("points", _cut, DamagedFileError, r"\.npz"),
        ("points", _metres, DataError, "palm units"),
        ("meta", Path.unlink, DataError, "missing"),
        ("meta", lambda path: np.savez(path, root_xyz=np.zeros(3), root_rot_mat=np.eye(3)), DataError, "other fits"),
    ],
)
def test_mistakes_of_a_halo_folder(data, settings, tmp_path, place, damage, error, message):
    to, folder = tmp_path / "to", write_halo_folder(tmp_path / "halo", data)
    shutil.copytree(data.hands.parent, to / "hands")
    damage(folder / SPLIT / place / f"{HandTable.read(data.hands).hand_ids[0]}.npz")
    with pytest.raises(error, match=message):
        imported("halo", folder, to, settings)
    assert not (to / f"queries/{SPLIT}/manifest.json").exists()


def test_halo_points_need_the_hands(data, settings, tmp_path):
    with pytest.raises(DataError, match="import the IntagHand folder or run fit_hands"):
        imported("halo", write_halo_folder(tmp_path / "halo", data), tmp_path / "to", settings)
