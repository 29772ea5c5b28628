"""What only looks like a keypoint format is refused in one sentence that says what it is instead."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_files import read_keypoints
from im2hands.photographs.keypoint_layouts.content import nobody
from im2hands.photographs.keypoint_layouts.layout import Axes
from im2hands.photographs.keypoint_layouts.table import LAYOUTS, MANO_TIPS, TIPS_FIRST, WRIST_THEN_TIPS
from im2hands.photographs.keypoint_layouts.writers import WRITERS
from tests.hostile import Hostile
from tests.photographs.hands import two_hands

HANDS = two_hands(3)
LEFT, RIGHT = Side.LEFT.index, Side.RIGHT.index


def entry(left: np.ndarray | None = HANDS[LEFT], right: np.ndarray | None = HANDS[RIGHT], **more: object) -> dict:
    numbers = {"left": left, "right": right}
    return {name: None if hand is None else np.asarray(hand).tolist() for name, hand in numbers.items()} | more


def written(folder: Path, name: str, both: np.ndarray) -> Path:
    """A file or folder of a format, by our writer."""
    writer = WRITERS[name]
    path = folder / f"hands{writer.ends[0] if writer.ends else ''}"
    if writer.folder:
        path.mkdir()
    writer.write(path, {"a": both})
    return path


def jsoned(content: object, name: str = "k.json"):
    return lambda folder: (folder / name, (folder / name).write_text(json.dumps(content)))[0]


def pickled(content: object, name: str = "anno_test.pickle"):
    return lambda folder: (folder / name, (folder / name).write_bytes(pickle.dumps(content)))[0]


def of_format(name: str, both: np.ndarray):
    return lambda folder: written(folder, name, both)


def right_only(hand: np.ndarray) -> np.ndarray:
    both = nobody()
    both[RIGHT] = hand
    return both


def freihand(hand: np.ndarray):
    return jsoned([hand.tolist()], "test_xyz.json")


def landmarks(scale: float = 1.0, **more: object) -> dict:
    hands = [
        {"side": side.value, "pixels": (scale * (HANDS[side.index, :, :2] * 1000 + 300)).tolist()} for side in SIDES
    ]
    return {"hands": hands, **more}


def coco(count: int, **more: object) -> dict:
    points = np.column_stack([np.random.default_rng(0).uniform(50, 400, (count, 2)), np.ones(count)])
    annotation = {"image_id": 1, "keypoints": points.ravel().tolist(), **more}
    return {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [annotation]}


def mediapipe(points: int = 21, sides: tuple[str, ...] = ("Right",), **more: object) -> dict:
    marks = [[{"x": 0.3 + 0.01 * k, "y": 0.4, "z": 0.0} for k in range(points)] for _ in sides]
    return {"handedness": [[{"category_name": side}] for side in sides], "hand_landmarks": marks, **more}


def rhd(points: np.ndarray) -> dict:
    return {0: {"xyz": points, "uv_vis": np.zeros((42, 3)), "K": np.eye(3)}}


def in_order(places: tuple[int, ...], hand: np.ndarray) -> np.ndarray:
    return hand[np.argsort(places)]


def wilor(**more: object) -> dict:
    hand = HANDS[RIGHT]
    preds = {"pred_keypoints_3d": (hand - hand[0]).tolist(), "pred_cam_t_full": hand[0].tolist(), **more}
    return {"is_right": 1, "wilor_preds": preds}


MIRRORED_LEFT = Side.LEFT.mirror_points(HANDS[LEFT] - HANDS[LEFT, 0]) + HANDS[LEFT, 0]
WEBXR_POINTS = [LAYOUTS["webxr"].as_written(hand) for hand in HANDS]
BODY_25 = np.random.default_rng(1).normal(0, 0.06, (25, 3))
UMETRACK_21 = [np.vstack([LAYOUTS["hot3d"].as_written(hand), hand[[0, 9]].mean(axis=0)]) for hand in HANDS]
WRISTS = [hand - hand[0] for hand in HANDS]
LOOK_ALIKES = {
    "left-handed axes": (
        jsoned(entry(*Axes.UNITY.turned(HANDS))),
        "bend backwards.*axes are left-handed, as Unity's: negate",
    ),
    "right-handed axes for Unity's": (
        jsoned(entry(*(LAYOUTS["quest"].as_written(Axes.UNITY.turned(hand)) for hand in HANDS))),
        "bend backwards.*right-handed already, and Meta Quest, OVR skeleton has Unity's",
    ),
    "OpenGL's axes": (
        freihand(Axes.OPENGL.turned(HANDS[RIGHT])),
        r"behind the camera: the axes seem to be OpenGL's .*FreiHAND has OpenCV's .*negate y and z",
    ),
    "OpenCV's axes for OpenGL's": (
        of_format("ho3d", Axes.OPENGL.turned(HANDS)),
        r"the axes seem to be OpenCV's already .*HO-3D, H2O-3D, HOI4D has OpenGL's",
    ),
    "millimetres for metres": (
        jsoned(entry(*(1000 * LAYOUTS["webxr"].as_written(hand) for hand in HANDS))),
        "may be in millimetres, and WebXR hand input has metres",
    ),
    "metres for millimetres": (
        lambda folder: jsoned({"hands": [one | {"arm": one["arm"]} for one in leap_hands(0.001)]}, "leap.json")(folder),
        "may be in metres, and Ultraleap, Leap Motion has millimetres",
    ),
    "centimetres": (
        jsoned(entry(*(100 * LAYOUTS["soma"].as_written(hand) for hand in HANDS), format="soma")),
        "in centimetres",
    ),
    "the order of MANO": (
        freihand(in_order(MANO_TIPS, HANDS[RIGHT])),
        r"another order than those of FreiHAND: they are MANO and finger tips",
    ),
    "the order of InterHand2.6M": (
        pickled(rhd(np.concatenate([in_order(TIPS_FIRST, hand) for hand in HANDS]))),
        r"Rendered Handpose Dataset: they are every finger from tip to base, the wrist last",
    ),
    "the order of RHD": (
        freihand(in_order(WRIST_THEN_TIPS, HANDS[RIGHT])),
        r"they are the wrist, then every finger from tip",
    ),
    "OpenXR without its palm for WebXR": (
        jsoned(entry(*(LAYOUTS["openxr"].as_written(hand)[:25] for hand in HANDS))),
        "25 points are no hand of WebXR",
    ),
    "a body for WebXR": (jsoned(entry(BODY_25, None)), "25 points are no hand of WebXR.*BODY_25, a body"),
    "hands exchanged": (
        pickled(rhd(np.concatenate([in_order(WRIST_THEN_TIPS, hand) for hand in HANDS[::-1]]))),
        "left and right are swapped; swap the labels",
    ),
    "a left hand in right-hand space": (
        jsoned(entry(MIRRORED_LEFT)),
        "the left hands bend backwards and the right ones do not: they are mirror images",
    ),
    "shares of the picture": (
        jsoned(landmarks(0.001)),
        "left hand: the coordinates are not pixels but shares of the picture",
    ),
    "pixels for shares": (
        jsoned(mediapipe() | {"hand_landmarks": [[{"x": 3.0 * k, "y": 9, "z": 0} for k in range(21)]]}),
        "MediaPipe's are from 0 to 1",
    ),
    "shares without the picture's size": (jsoned(mediapipe()), "shares of the picture; write its size"),
    "pixels and scores for space": (
        jsoned(entry(None, np.column_stack([np.random.default_rng(0).uniform(50, 400, (21, 2)), np.full(21, 0.9)]))),
        "right hand: x and y look like pixels, and z is like a score",
    ),
    "pixels and 0 for space": (
        jsoned(entry(None, np.column_stack([np.random.default_rng(0).uniform(50, 400, (21, 2)), np.zeros(21)]))),
        "x and y look like pixels, and z is 0 everywhere",
    ),
    "a body without hands": (jsoned(coco(17)), "17 keypoints are the body's joints of COCO; hands have 21, 42"),
    "a list of whole bodies": (
        jsoned(np.zeros((2, 133, 2)).tolist()),
        "133 points are a body's: write them as instances",
    ),
    "MediaPipe's body": (jsoned(mediapipe(33)), "are 33 points: the body's landmarks of MediaPipe Pose"),
    "world landmarks alone": (
        jsoned({"handedness": [["Right"]], "hand_world_landmarks": [WRISTS[RIGHT].tolist()]}),
        "world landmarks alone, whose origin is each hand's own",
    ),
    "MANO's joints without tips": (jsoned(HANDS[:, :16].tolist()), "16 points are the joints of MANO without the tips"),
    "angles of HOT3D": (
        jsoned(
            {"timestamp_ns": 1, "hand_poses": {"0": {"wrist_xform": {}, "joint_angles": [0.0] * 20}}}, "poses.jsonl"
        ),
        "joint angles of HOT3D, and no keypoints",
    ),
    "MANO's mesh": (jsoned(np.zeros((2, 778, 3)).tolist()), "778 points are the vertices of MANO's mesh"),
    "UmeTrack with the palm for ours": (
        jsoned(entry(*UMETRACK_21)),
        "points are those of HOT3D, UmeTrack .*whose last is the palm",
    ),
    "points of nothing": (
        jsoned({f"{k}": entry(None, np.random.default_rng(k).normal(0, 0.04, (21, 3))) for k in range(8)}),
        "21 points are no hand in any order",
    ),
    "the wrist alone": (
        pickled({"handJoints3D": HANDS[RIGHT, 0]}, "0000.pkl"),
        "handJoints3D is the wrist alone, as in HO-3D's evaluation split",
    ),
    "about the wrist": (
        freihand(WRISTS[RIGHT]),
        "the coordinates are about the wrist, and FreiHAND has them about the camera",
    ),
    "both about their wrists": (jsoned(entry(*WRISTS)), "both wrists are in the same place"),
    "degrees": (
        jsoned({"left": None, "right": {"pose": [90.0] * 48, "shape": [0.0] * 10, "trans": [0.0] * 3}}),
        "angle of 90: it is in degrees; write radians",
    ),
    "MANO's translation in millimetres": (
        jsoned({"left": None, "right": {"pose": [0.1] * 48, "shape": [0.0] * 10, "trans": [0.0, 0.0, 700.0]}}),
        "translation has a value of 700: it is in millimetres",
    ),
    "parameters without a hand model": (
        jsoned({"left": None, "right": {"pose": [0.1] * 48, "shape": [0.0] * 10, "trans": [0.0, 0.0, 0.7]}}),
        "has MANO's parameters; give the folder of MANO_RIGHT and MANO_LEFT",
    ),
    "a side twice": (
        jsoned(mediapipe(sides=("Left", "Left"))),
        "2 left hands; the two hands of a pair belong to one person",
    ),
    "two people": (jsoned([wilor(), wilor()]), "2 right hands; the two hands of a pair"),
    "a hand of no side": (jsoned(coco(21)), r"does not say whether its hands are left or right; say it \(--side left"),
    "a hand whose bend says nothing": (
        lambda folder: dexycb_flat(folder),
        r"does not say whether its hands are left or right; say it",
    ),
    "a program": (
        pickled(Hostile(Path("harmless")), "anno.pickle"),
        "the pickle asks for `posix.system`.*nothing was executed",
    ),
}


def leap_hands(scale: float) -> list[dict]:
    """Hands of an Ultraleap frame in another unit."""

    def vector(point: np.ndarray) -> list[float]:
        return (scale * point).tolist()

    made = []
    for side in SIDES:
        points = LAYOUTS["ultraleap"].as_written(HANDS[side.index])
        bones = [
            [{"prev_joint": vector(points[a]), "next_joint": vector(points[a + 1])} for a in range(base, base + 3)]
            for base in (1, 5, 9, 13, 17)
        ]
        digits = [
            {"bones": [{"prev_joint": vector(points[0]), "next_joint": vector(points[0])}, *own]} for own in bones
        ]
        made.append({"type": side.value, "arm": {"next_joint": vector(points[0])}, "digits": digits})
    return made


def dexycb_flat(folder: Path) -> Path:
    """A hand that lies in a plane, in a folder that does not say its side."""
    flat = HANDS[RIGHT].copy()
    centre = flat.mean(axis=0)
    _, _, axes = np.linalg.svd(flat[[0, 5, 9, 13, 17]] - flat[[0, 5, 9, 13, 17]].mean(axis=0))
    flat = flat - np.outer((flat - centre) @ axes[2], axes[2])
    path = written(folder, "dexycb", right_only(flat))
    (path / "meta.yml").unlink()
    return path


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_look_alikes_are_refused_in_words(tmp_path, name):
    write, sentence = LOOK_ALIKES[name]
    path = write(tmp_path)
    with pytest.raises(DataError, match=sentence) as raised:
        for picture in (found := read_keypoints(path)).landmarks.values():
            picture.in_pixels()
        raise AssertionError(found)
    assert "\n" not in str(raised.value)


def test_what_they_look_like_is_read(tmp_path):
    """The same hands in their own axes, units, orders and sides: no refusal without a cause."""
    for number, (name, both) in enumerate(
        [("freihand", right_only(HANDS[RIGHT])), ("ho3d", HANDS), ("rhd", HANDS), ("quest", HANDS), ("webxr", HANDS)]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = next(iter(read_keypoints(written(folder, name, both)).hands.values()))
        np.testing.assert_allclose(found, both, atol=1e-9)
    leap = jsoned({"hands": leap_hands(1.0)}, "leap.json")(tmp_path)
    np.testing.assert_allclose(read_keypoints(leap).hands[""], HANDS, atol=1e-9)
