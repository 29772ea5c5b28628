"""`im2hands convert-keypoints`: from any format to any that can hold the content, and what is lost by it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from im2hands.cli import app
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_conversion import Conversion, convert_keypoints
from im2hands.photographs.keypoint_files import read_keypoints
from im2hands.photographs.keypoint_layouts.writers import WRITERS
from tests.photographs.hands import two_hands

PICTURES = {f"{number}.jpg": two_hands(3 + number) for number in range(2)}

FIT = {"pose": [0.1] * 48, "shape": [0.0] * 10, "trans": [0.0, 0.0, 0.7]}


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "keypoints.json"
    entries = {name: {side.value: both[side.index].tolist() for side in SIDES} for name, both in PICTURES.items()}
    path.write_text(json.dumps(entries))
    return path


def convert(source: Path, target: Path, to: str, **settings: object) -> list[str]:
    return [line for line, _ in convert_keypoints(source, target, Conversion(to, **settings))]


def target_of(folder: Path, name: str) -> Path:
    ends = WRITERS[name].ends
    return folder / f"{name}{ends[0] if ends else ''}"


@pytest.mark.parametrize("name", WRITERS)
def test_there_and_back(tmp_path, source, name):
    """What a format holds of the hands comes back from it; the rest is said to be lost."""
    one_side = {"only": "right"} if name in ("dexycb", "dexycb-results") else {}
    seen = {"camera": "focal=900", "size": (640, 480)} if WRITERS[name].needs == "pixels" else {}
    target = target_of(tmp_path, name)
    said = convert(source, target, name, **one_side, **seen)
    assert said[0].startswith(f"{target}: ")
    back = tmp_path / "back.json"
    lost = " ".join(said[1:])
    if name in ("openpose", "wholebody", "coco"):
        assert "lost: everything but the pixels" in lost
        with pytest.raises(DataError, match="has pixels and no place in space, which json needs; give the --camera"):
            convert(target, back, "json")
        return
    if name == "dex-retargeting":
        assert "where the hands are, and how they are turned" in lost
        return
    side = {"side": "right"} if name == "dexycb-results" else {}
    convert(target, back, "json", **({"camera": "focal=900", "size": (640, 480)} if seen else {}), **side)
    kept = SIDES if name != "freihand" and not one_side else [Side.RIGHT]
    assert ("hands, which the format has no place for" in lost) == (name == "freihand")
    tolerance = {"hot3d": 1e-3, "mediapipe": 0.2}.get(name, 1e-5)
    for before, after in zip(PICTURES.values(), read_keypoints(back).hands.values(), strict=True):
        for side in kept:
            np.testing.assert_allclose(after[side.index], before[side.index], atol=tolerance)
    assert ("base of the thumb" in lost) == (name == "hot3d")
    assert ("distance of the hands" in lost) == (name == "mediapipe")
    assert ("they are estimated" in lost) == (name in ("webxr", "openxr", "quest", "soma"))


def test_the_command(tmp_path, source):
    """What was written, what is lost, and an exit code of 1 if a picture could not be used."""
    run = CliRunner().invoke
    entries = json.loads(source.read_text())
    entries["bad.jpg"] = {"left": None, "right": [[0.0] * 3] * 19}
    source.write_text(json.dumps(entries))
    done = run(app, ["convert-keypoints", str(source), str(tmp_path / "rhd.pickle"), "--to", "rhd"])
    assert done.exit_code == 1
    assert "4 hands of 2 pictures in the format rhd" in done.output
    assert "lost: the names of the pictures; they are called 00000, 00001, in this order" in done.output
    assert "picture bad.jpg: right is 19 x 3" in done.output
    words = ["convert-keypoints", str(tmp_path / "rhd.pickle"), str(tmp_path / "only.json"), "--to", "openxr"]
    done = run(app, [*words, "--only", "left"])
    assert done.exit_code == 0, done.output
    assert "2 hands of 2 pictures in the format openxr" in done.output
    np.save(tmp_path / "k.npy", np.array(json.loads((tmp_path / "only.json").read_text())["00000"]["left"]))
    words = ["convert-keypoints", str(tmp_path / "k.npy"), str(tmp_path / "left.json"), "--to", "json"]
    done = run(app, [*words, "--from", "openxr", "--side", "left"])
    assert done.exit_code == 0, done.output
    found = read_keypoints(tmp_path / "left.json").hands[""]
    np.testing.assert_allclose(found[Side.LEFT.index], PICTURES["0.jpg"][Side.LEFT.index], atol=1e-9)
    words = ["convert-keypoints", str(tmp_path / "left.json"), str(tmp_path / "openpose"), "--to", "openpose"]
    done = run(app, [*words, "--camera", "focal=900", "--size", "1920,1080"])
    assert done.exit_code == 0, done.output
    seen = read_keypoints(tmp_path / "openpose").landmarks["picture"].hands[Side.LEFT].pixels
    place = PICTURES["0.jpg"][Side.LEFT.index]
    np.testing.assert_allclose(seen, 900 * place[:, :2] / place[:, 2:] + (959.5, 539.5), atol=1e-6)
    (tmp_path / "fits.json").write_text(json.dumps({"0": {"7": {"left": None, "right": FIT}}}))
    words = ["convert-keypoints", str(tmp_path / "fits.json"), str(tmp_path / "joint_3d.json"), "--to", "interhand"]
    done = run(app, [*words, "--hand-model", "built-in"])
    assert done.exit_code == 0, done.output
    assert "1 hand of 1 picture in the format interhand" in done.output
    assert "note: read with the built-in hand" in done.output


def test_pixels_are_placed_before_the_camera_for_a_format_that_has_them_there(tmp_path, source):
    """Pixels and relative points become WiLoR's with the user's camera."""
    convert(source, tmp_path / "seen.json", "landmarks", camera="focal=900", size=(640, 480))
    with pytest.raises(DataError, match="has pixels and no place in space, which wilor needs"):
        convert(tmp_path / "seen.json", tmp_path / "wilor.json", "wilor")
    convert(tmp_path / "seen.json", tmp_path / "wilor.json", "wilor", camera="focal=900")
    for name, picture in read_keypoints(tmp_path / "wilor.json").landmarks.items():
        np.testing.assert_allclose(picture.stated, PICTURES[name], atol=1e-5)


def test_pictures_in_folders_stay_in_the_new_one(tmp_path, source):
    """A name like a path, even one that leads out of the folder, becomes a plain file name."""
    entries = json.loads(source.read_text())
    source.write_text(json.dumps({"../../a/0.jpg": entries["0.jpg"], "b/1.jpg": entries["1.jpg"]}))
    said = convert(source, tmp_path / "deep/er/ply", "ply")
    names = sorted(path.name for path in (tmp_path / "deep/er/ply").iterdir())
    assert names == [f"{name}_{side.value}.ply" for name in ("a_0.jpg", "b_1.jpg") for side in SIDES]
    assert "lost: the names of the pictures; they are called a_0.jpg, b_1.jpg, in this order" in said
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("target", "settings", "sentence"),
    [
        ("k.json", {"to": "mano"}, "keypoints alone do not give parameters; fit a hand model"),
        ("k.json", {"to": "nothing"}, "--to nothing: must be one of json, array"),
        ("k.txt", {"to": "webxr"}, "the name of a file of webxr ends in .json"),
        ("full", {"to": "h2o"}, "h2o is a folder of files, and this one is in use; give a new one"),
        ("k.json", {"to": "landmarks"}, "is about pixels, and .* has none; give the --camera that sees them"),
        (
            "k.json",
            {"to": "landmarks", "camera": "focal=900"},
            "give the size of the pictures too, as in --size 1920,1080",
        ),
        ("k.json", {"to": "landmarks", "camera": "auto"}, "--camera auto needs pictures"),
        ("k.json", {"to": "webxr", "format": "openpose"}, "its format is json, not openpose"),
        ("k.json", {"to": "webxr", "side": "left"}, "says the sides of its hands itself; leave --side out"),
        ("k.json", {"to": "webxr", "only": "both"}, "--only both: must be left or right"),
        ("dexycb", {"to": "dexycb"}, "cannot be written as dexycb: DexYCB has one hand per file; say which one"),
    ],
)
def test_what_cannot_be_converted(tmp_path, source, target, settings, sentence):
    """Refused in one sentence, and nothing is written."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(DataError, match=sentence):
        list(convert_keypoints(source, tmp_path / target, Conversion(**settings)))
    assert not (tmp_path / target).exists() or target == "full"
    assert (tmp_path / "full/notes.txt").read_text() == "mine"
