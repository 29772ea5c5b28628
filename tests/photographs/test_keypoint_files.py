"""Keypoint files of every format, order and unit give the same hands; what is wrong with them is said in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trimesh

from im2hands.datasets.keypoints import write_keypoints
from im2hands.geometry.cameras import Camera
from im2hands.hands.joints import JointOrder, reorder
from im2hands.hands.sides import Side
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.tables import Provenance
from im2hands.photographs.keypoint_files import UNNAMED, read_keypoints
from im2hands.photographs.landmarks import palm_size
from im2hands.photographs.plausible_hands import bend_to_the_back, joint_order
from tests.photographs.hands import two_hands

HANDS = two_hands(3)
CAMERA = Camera(np.array([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]]), np.eye(3), np.zeros(3))
ORDERS = tuple(order.name.lower() for order in JointOrder)


def in_order(order: str, hands: np.ndarray = HANDS) -> np.ndarray:
    return reorder(hands, JointOrder.STANDARD, JointOrder[order.upper()])


def entry(hands: np.ndarray = HANDS) -> dict:
    return {side.value: hands[side.index].tolist() for side in Side}


def landmark_entry(hands: np.ndarray = HANDS) -> dict:
    made = [
        {
            "side": side.value,
            "pixels": CAMERA.project(hands[side.index]).tolist(),
            "relative": (7.0 * hands[side.index]).tolist(),
        }
        for side in Side
    ]
    return {"hands": made}


def written(path: Path, content: object) -> Path:
    if path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(content), path)
    else:
        path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("seed", range(20))
def test_order_and_side_are_seen_in_the_points(seed):
    hands = two_hands(100 + seed)
    assert all(joint_order(in_order(order, hands)) is JointOrder[order.upper()] for order in ORDERS)
    for side in Side:
        assert bend_to_the_back(hands[side.index][None], side)[0] < -0.3
        assert bend_to_the_back(hands[side.index][None], side.other)[0] > 0.3


@pytest.mark.parametrize("scale", [1, 1000])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("suffix", [".json", ".npy"])
def test_orders_and_units_are_recognised(tmp_path, suffix, order, scale):
    numbers = scale * in_order(order)
    found = read_keypoints(written(tmp_path / f"k{suffix}", numbers if suffix == ".npy" else entry(numbers)))
    assert (found.order, found.unit) == (order, "m" if scale == 1 else "mm")
    np.testing.assert_allclose(found.hands[UNNAMED], HANDS, atol=1e-12)


@pytest.mark.parametrize("stated", ["argument", "file"])
def test_what_is_stated_is_believed_where_bones_are_not_clear(tmp_path, stated):
    blurred = HANDS + np.random.default_rng(0).normal(0, 0.012, HANDS.shape)
    assert joint_order(blurred) is None
    content, arguments = entry(in_order("mano", blurred)), {}
    (content if stated == "file" else arguments)["order"] = "mano"
    found = read_keypoints(written(tmp_path / "k.json", content), **arguments)
    np.testing.assert_allclose(found.hands[UNNAMED], blurred, atol=1e-12)
    with pytest.raises(DataError, match="do not show the order of the joints; state one of"):
        read_keypoints(written(tmp_path / "k.npy", in_order("mano", blurred)))


def test_interhand_files_right_hand_first(tmp_path):
    both = 1000 * in_order("interhand")[::-1].reshape(42, 3)
    valid = np.ones((42, 1))
    one_hand = {"world_coord": both.tolist(), "joint_valid": np.r_[valid[:41], [[0.0]]].tolist()}
    content = {"0": {"7": {"world_coord": both.tolist(), "joint_valid": valid.tolist()}, "9": one_hand}}
    found = read_keypoints(written(tmp_path / "k.json", content))
    assert (found.format, found.pictures) == ("interhand", ["0_7", "0_9"])
    np.testing.assert_allclose(found.hands["0_7"], HANDS, atol=1e-12)
    assert np.isnan(found.hands["0_9"][Side.LEFT.index]).all()
    assert np.isfinite(found.hands["0_9"][Side.RIGHT.index]).all()
    stack = read_keypoints(written(tmp_path / "k.npy", np.stack([both, both])))
    assert stack.pictures == ["0", "1"]
    np.testing.assert_allclose(stack.hands["1"], HANDS, atol=1e-12)


@pytest.mark.parametrize("key", ["image", "frame_id"])
@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_lists_and_foreign_tables_name_their_pictures(tmp_path, suffix, key):
    names = ["a/b.jpg", "c.jpg"] if key == "image" else [3, 4]
    rows = [{key: name, **entry()} for name in names]
    rows[1]["left"] = None
    found = read_keypoints(written(tmp_path / f"k{suffix}", rows))
    assert found.pictures == [str(name) for name in names]
    assert np.isnan(found.hands[str(names[1])][Side.LEFT.index]).all()
    hands = found.keypoints(("other", str(names[0])), CAMERA)
    np.testing.assert_array_equal(hands, HANDS)
    with pytest.raises(DataError, match="has no entry x"):
        found.keypoints(("x.jpg", "x"), CAMERA)


def test_our_tables(tmp_path):
    write_keypoints(
        tmp_path / "k.parquet", ["3_7", "3_8"], np.stack([HANDS, HANDS]), [None, "lost"], Provenance({"source": "x"})
    )
    found = read_keypoints(tmp_path / "k.parquet")
    assert (found.format, found.pictures) == ("table", ["0", "1"])
    np.testing.assert_array_equal(found.hands["0"], HANDS)
    assert np.isnan(found.hands["1"]).all()


@pytest.mark.parametrize("order", ["standard", "biomech"])
def test_joint_files(tmp_path, order):
    for side in Side:
        points = trimesh.PointCloud(in_order(order)[side.index])
        points.export(tmp_path / f"0000017_{side.value}.ply")
    trimesh.PointCloud(in_order(order)[1]).export(tmp_path / "0000018_right.ply")
    found = read_keypoints(tmp_path)
    assert found.pictures == ["0000017", "0000018"]
    np.testing.assert_allclose(found.hands["0000017"], HANDS, atol=1e-6)
    assert np.isnan(found.hands["0000018"][Side.LEFT.index]).all()
    alone = read_keypoints(tmp_path / "0000017_left.ply")
    np.testing.assert_array_equal(alone.hands[UNNAMED], found.hands["0000017"])
    (tmp_path / "0000018_right.ply").write_bytes((tmp_path / "0000017_left.ply").read_bytes()[:-30])
    with pytest.raises(DamagedFileError, match="not a readable PLY"):
        read_keypoints(tmp_path)


def test_frames_of_the_file(tmp_path):
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    camera = Camera(CAMERA.intrinsics, turn, np.array([0.1, 0.2, 0.3]))
    found = read_keypoints(written(tmp_path / "k.json", entry()))
    np.testing.assert_array_equal(found.keypoints(("any",), camera), HANDS)
    np.testing.assert_allclose(camera.to_camera(found.keypoints(("any",), camera, "camera")), HANDS, atol=1e-12)


def test_landmarks_become_hands(tmp_path):
    palm = {"palm": palm_size(HANDS[1])}
    content = {"a.jpg": landmark_entry() | palm, "b.jpg": landmark_entry() | palm}
    content["b.jpg"]["hands"][0]["pixels"][20] = None
    del content["b.jpg"]["hands"][1]
    found = read_keypoints(written(tmp_path / "k.json", content))
    assert (found.format, found.pictures) == ("landmarks", ["a.jpg", "b.jpg"])
    hands = found.keypoints(("a.jpg",), CAMERA)
    np.testing.assert_allclose(hands[1], HANDS[1], atol=1e-6)
    only = found.keypoints(("b.jpg",), CAMERA)
    np.testing.assert_allclose(only[1], HANDS[1], atol=1e-6)
    assert np.isnan(only[0]).all()


def test_a_picture_that_cannot_be_used_stops_no_other(tmp_path):
    """No hand, a side twice, a joint that is not a number: refused by name when they are asked for."""
    twice = landmark_entry()
    twice["hands"][0]["side"] = twice["hands"][1]["side"]
    content = {"good.jpg": landmark_entry(), "none.jpg": {"hands": []}, "twice.jpg": twice}
    found = read_keypoints(written(tmp_path / "k.json", content))
    assert np.isfinite(found.keypoints(("good.jpg",), CAMERA)).all()
    half = {**entry(), "left": [*HANDS[0].tolist()[:20], [float("nan")] * 3]}
    metric = read_keypoints(written(tmp_path / "m.json", {"good": entry(), "half": half}))
    np.testing.assert_array_equal(metric.keypoints(("good",), CAMERA), HANDS)
    for file, name, sentence in (
        (found, "none.jpg", r"k\.json: picture none\.jpg: there is no hand"),
        (found, "twice.jpg", r"picture twice\.jpg: two hands are labelled"),
        (metric, "half", r"m\.json: picture half: 1 of 21 keypoints of the left hand are not finite"),
    ):
        with pytest.raises(DataError, match=sentence):
            file.keypoints((name,), CAMERA)


def test_sides_may_be_swapped(tmp_path):
    """A mirrored detector's labels, in landmarks and in metric keypoints."""
    landmarks = landmark_entry()
    for hand in landmarks["hands"]:
        hand["side"] = "left" if hand["side"] == "right" else "right"
    wrong = written(tmp_path / "landmarks.json", landmarks | {"palm": palm_size(HANDS[1])})
    with pytest.raises(DataError, match=r"--swap-sides, swap_sides=True"):
        read_keypoints(wrong)
    np.testing.assert_allclose(
        read_keypoints(wrong, swap_sides=True).keypoints(("any",), CAMERA)[1], HANDS[1], atol=1e-6
    )
    metric = written(tmp_path / "metric.json", {"left": entry()["right"], "right": entry()["left"]})
    np.testing.assert_array_equal(read_keypoints(metric, swap_sides=True).keypoints(("any",), CAMERA), HANDS)


def change(**changes: object) -> dict:
    return {**entry(), **changes}


def with_hands(*changes: dict) -> dict:
    made = landmark_entry()["hands"]
    return {"hands": [{**hand, **new} for hand, new in zip(made, changes, strict=False)]}


NAN = float("nan")
LEFT = HANDS[0].tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (change(left=LEFT[:20]), "left is 20 x 3, not 21 x 3"),
        (change(left=[*LEFT[:20], [0.0]]), "rows differ in length"),
        (change(left=[*LEFT[:20], [NAN, 0, 0]]), "1 of 21 keypoints of the left hand are not finite; fill them in"),
        (change(left=None, right=None), "contains no keypoints"),
        (change(left=entry()["right"], right=entry()["left"]), "left and right are swapped; swap the labels"),
        (change(unit="mm"), "hands measure .* in mm, and mm was stated"),
        (change(unit="cm"), "unit 'cm' must be one of m, mm"),
        (change(order="halo"), "order 'halo' must be one of standard"),
        (entry(100 * HANDS), "hands measure 0.03 to 0.5 in m and 30 to 500 in mm"),
        (change(left=(1000 * HANDS[0]).tolist()), "some hands are in metres, others in millimetres"),
        (entry(HANDS + 200), "hand: a hand is more than 100 m away"),
        ({"keypoints": 3}, "not a known keypoint file"),
        ({"a.jpg": entry(), "b.jpg": {"left": None}}, "not a known keypoint file"),
        ([entry()], "entry 0 must have image or frame_id"),
        ([{"image": "a", **entry()}] * 2, "picture a: occurs twice"),
        ([{"image": "a", **entry()}, {"image": "b", **landmark_entry()}], "different formats"),
        (HANDS[:, :20].tolist(), "is 2 x 20 x 3, not 2 x 21 x 3"),
        (LEFT, "is 21 x 3, not 2 x 21 x 3"),
        ({"world_coord": LEFT, "joint_valid": []}, "no InterHand2.6M annotation"),
        (with_hands({"side": "top"}), "hand 0 must have side"),
        (with_hands({"side": "right"}, {"side": "right"}), "two hands are labelled right; label one of them left"),
        (with_hands({"pixels": LEFT}), "pixels must be 21 points of 2 numbers, not 21 x 3"),
        (with_hands({"pixels": 3}), "pixels must be 21 points"),
        (with_hands({"relative": [[NAN] * 3] * 21}), "relative contains numbers that are not finite"),
        ({**landmark_entry(), "palm": 90}, "palm must be a number from 0.04 to 0.15 in metres, not 90"),
        ({**landmark_entry(), "axes": "world"}, "axes must be one of camera, ray, free, not 'world'"),
        (with_hands({"side": "left"}, {"side": "right"}), r"left and right are swapped \(or z points towards"),
        ({"hands": []}, "there is no hand; leave the picture out"),
    ],
)
def test_one_sentence_for_each_mistake(tmp_path, content, message):
    path = written(tmp_path / "k.json", content)
    with pytest.raises(DataError, match=message) as raised:
        read_keypoints(path)
    assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("k.json", b'{"left": [[0.1', "not valid JSON .* probably truncated"),
        ("k.npy", b"\x93NUMPY\x01\x00", "not a readable array of numbers"),
        ("k.parquet", b"PAR1 and no more", "not a readable Parquet file"),
        ("k_left.ply", b"no", "not a readable PLY file"),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedFileError, match=message):
        read_keypoints(tmp_path / name)


def test_missing_files_and_wrong_settings(tmp_path):
    with pytest.raises(DataError, match="keypoint file is missing"):
        read_keypoints(tmp_path / "none.json")
    with pytest.raises(DataError, match="name them <name>_left"):
        read_keypoints(tmp_path)
    path = written(tmp_path / "k.json", entry())
    with pytest.raises(DataError, match="format 'x' must be one of"):
        read_keypoints(path, format="x")
    with pytest.raises(DataError, match="its format is json, not ply"):
        read_keypoints(path, format="ply")
    with pytest.raises(DataError, match="and mm was stated"):
        read_keypoints(path, unit="mm")
    with pytest.raises(DataError, match="frame must be world or camera, not 'crop'"):
        read_keypoints(path).keypoints(("a",), CAMERA, "crop")


def test_landmarks_that_cannot_be_placed_are_named(tmp_path):
    content = landmark_entry()
    content["hands"][1]["pixels"] = [[5, 5]] * 21
    path = written(tmp_path / "k.json", {"a.jpg": content})
    with pytest.raises(DataError, match="left hand: all landmarks are in one pixel") as raised:
        read_keypoints(path).keypoints(("a.jpg",), CAMERA)
    assert str(raised.value).startswith(f"{path}: ")
