"""`im2hands detect` and `reconstruct --keypoints detect` with painted hands and networks that find them by their colours."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from im2hands.cli import main
from im2hands.hands.sides import Side
from im2hands.photographs.detection import command, detector, landmark_entries, network_files
from im2hands.photographs.detection.hands import to_joints
from im2hands.photographs.film_table import FilmTable
from im2hands.photographs.keypoint_files import read_keypoints
from tests.photographs.detection.stand_in import PaintedNetworks, painted, placed
from tests.photographs.detection.test_network_files import release_of, wheel

BOTH = {Side.RIGHT: ((120.0, 220.0), (150.0, 150.0)), Side.LEFT: ((260.0, 120.0), (230.0, 190.0))}
"""The right hand points up, the left one down; they nearly touch."""


@pytest.fixture
def networks(monkeypatch) -> PaintedNetworks:
    """In the place of Google's files."""
    painted_ones = PaintedNetworks()
    for module in (command, landmark_entries):
        monkeypatch.setattr(module, "LiteRtNetworks", lambda folder: painted_ones)
    command._detector.cache_clear()
    yield painted_ones
    command._detector.cache_clear()


def picture(path: Path, hands: dict) -> Path:
    assert cv2.imwrite(str(path), painted(hands)[..., ::-1])
    return path


@pytest.fixture
def detect(networks, monkeypatch, capsys):
    """Runs the command; returns exit code and what it wrote."""

    def outcome(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["im2hands", "detect", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        written = capsys.readouterr()
        text = written.out + written.err + (code if isinstance(code, str) else "")
        return (1 if isinstance(code, str) else int(code or 0)), text

    return outcome


def test_both_hands_are_where_they_were_painted(detect, tmp_path):
    picture(tmp_path / "pair.png", BOTH)
    code, text = detect(tmp_path / "pair.png", "-o", tmp_path / "landmarks.json", "--overlays", tmp_path / "seen")
    assert code == 0, text
    assert "pair.png: left 0.9" in text
    entry = json.loads((tmp_path / "landmarks.json").read_text())["pair.png"]
    assert entry["size"] == [400, 300] and entry["axes"] == "ray"
    for hand in entry["hands"]:
        points, relative = placed(Side(hand["side"]), *BOTH[Side(hand["side"])])
        assert np.linalg.norm(hand["pixels"] - to_joints(points), axis=1).max() < 3
        np.testing.assert_allclose(hand["world"], to_joints(relative), atol=0.006)
        assert hand["score"] > 0.9 and hand["side_score"] > 0.9
    drawn = cv2.imread(str(tmp_path / "seen/pair.png.png"))
    assert drawn.shape == (300, 400, 3) and (drawn[..., ::-1] != painted(BOTH)).any()
    read = read_keypoints(tmp_path / "landmarks.json")
    assert set(read.landmarks["pair.png"].hands) == set(Side) and read.landmarks["pair.png"].pixels_alone


def test_bad_pictures_are_named_and_the_others_written(detect, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture(folder / "a.png", BOTH)
    (folder / "b.jpg").write_bytes(b"\xff\xd8 cut off")
    cv2.imwrite(str(folder / "c.png"), painted({Side.RIGHT: BOTH[Side.RIGHT]})[..., ::-1].mean(axis=2).astype(np.uint8))
    picture(folder / "d.webp", BOTH)
    cv2.imwrite(str(folder / "e.tif"), painted(BOTH)[..., ::-1].astype(np.uint16) * 257)
    code, text = detect(tmp_path / "missing.png", folder, "-o", tmp_path / "landmarks.json")
    assert code == 1
    assert "missing.png: no such image" in text
    assert "b.jpg: the image cannot be used: truncated" in text
    assert "c.png: no hand was found" in text
    found = json.loads((tmp_path / "landmarks.json").read_text())
    assert {name: len(entry["hands"]) for name, entry in found.items()} == {
        "a.png": 2,
        "c.png": 0,
        "d.webp": 2,
        "e.tif": 2,
    }
    read = read_keypoints(tmp_path / "landmarks.json")
    assert set(read.landmarks) == {"a.png", "d.webp", "e.tif"}
    assert "there is no hand" in read.refused["c.png"]


def test_equal_names_are_refused_and_frames_of_a_film_have_names(detect, tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        picture(tmp_path / folder / "a.png", BOTH)
    film = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (400, 300))
    for _ in range(2):
        film.write(painted(BOTH)[..., ::-1])
    film.release()
    code, text = detect(tmp_path / "one", tmp_path / "other", tmp_path / "film.avi", "-o", tmp_path / "landmarks.json")
    assert code == 1 and "other/a.png" in text and "has the same name" in text
    assert list(json.loads((tmp_path / "landmarks.json").read_text())) == ["a.png", "film-000000", "film-000001"]


def test_an_interrupted_run_is_kept_and_resumed(detect, networks, tmp_path, monkeypatch):
    paths = [picture(tmp_path / f"{name}.png", BOTH) for name in "abc"]
    looked = PaintedNetworks.hands

    def interrupted(self, squares):
        if len(list(tmp_path.glob("stop"))):
            raise KeyboardInterrupt
        return looked(self, squares)

    monkeypatch.setattr(PaintedNetworks, "hands", interrupted)
    said = command.said
    monkeypatch.setattr(command, "said", lambda pair: (tmp_path / "stop").touch() or said(pair))
    assert detect(*paths, "-o", tmp_path / "landmarks.json")[0] == 130
    assert list(json.loads((tmp_path / "landmarks.json").read_text())) == ["a.png"]
    (tmp_path / "stop").unlink()
    monkeypatch.setattr(command, "said", said)
    code, text = detect(*paths, "-o", tmp_path / "landmarks.json", "--resume")
    assert code == 0 and text.count("already in the file, skipped") == 1
    assert sorted(json.loads((tmp_path / "landmarks.json").read_text())) == ["a.png", "b.png", "c.png"]


def test_what_lies_in_the_way_is_said_before_work(detect, networks, tmp_path):
    picture(tmp_path / "a.png", BOTH)
    (tmp_path / "other.json").write_text('{"a": [1]}')
    for words, sentence in (
        ((), "give pictures and -o FILE, or --install"),
        ((tmp_path / "a.png",), "give pictures and -o FILE, or --install"),
        ((tmp_path / "a.png", "-o", tmp_path), "is a folder"),
        ((tmp_path / "a.png", "-o", tmp_path / "l.json", "--at-once", "0"), "--at-once 0"),
        ((tmp_path / "a.png", "-o", tmp_path / "other.json", "--resume"), "is not a landmark file of `detect`"),
    ):
        code, text = detect(*words)
        assert code == 1 and sentence in text
    assert networks.looked["palms"] == 0


def test_installed_files_are_ready(detect, tmp_path, monkeypatch):
    """By pip, which here finds a wheel of this test, and from a wheel that is already there."""
    path = wheel(tmp_path / "wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.setattr(network_files, "install", partial(network_files.install, release=release_of(path)))
    for number, words in enumerate((["--install"], ["--install", "--wheel", path])):
        folder = tmp_path / str(number)
        code, text = detect(*words, "--detector", folder)
        assert code == 0 and text.count(": ready") == len(list(folder.iterdir())) == 2
    code, text = detect("--install", "--wheel", path, "--detector", tmp_path / "2", picture(tmp_path / "a.png", BOTH))
    assert code == 1 and "give the landmark file to write: -o FILE" in text


def test_without_the_files_the_command_says_what_to_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ai_edge_litert")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command._detector.cache_clear()
    monkeypatch.setattr(sys, "argv", ["im2hands", "detect", str(picture(tmp_path / "a.png", BOTH)), "-o", "l.json"])
    with pytest.raises(SystemExit, match="run: im2hands detect --install"):
        main()


def test_a_small_hand_far_away_is_seen_closer(networks):
    """A hand of which the whole picture, at 192 pixels, keeps nothing."""
    places = (1500.0, 500.0), (1510.0, 390.0)
    found = detector.HandDetector(networks)(painted({Side.RIGHT: places}, (2000, 3000)))
    assert list(found.hands) == [Side.RIGHT]
    off = found.hands[Side.RIGHT].points - to_joints(placed(Side.RIGHT, *places)[0])
    assert np.linalg.norm(off, axis=1).max() < 10


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (3000, 2), (64, 64)])
def test_pictures_of_odd_shapes_have_no_hands(networks, shape):
    image = np.random.default_rng(0).integers(100, 150, (*shape, 3), dtype=np.uint8)
    assert detector.HandDetector(networks)(image).notes == ("no hand was found",)


def test_a_sure_pair_needs_one_look(networks):
    apart = {Side.RIGHT: ((80.0, 220.0), (90.0, 160.0)), Side.LEFT: ((320.0, 220.0), (310.0, 160.0))}
    pair = detector.HandDetector(networks)(painted(apart))
    assert set(pair.hands) == set(Side) and networks.looked["palms"] == 8


def test_reconstruct_finds_the_hands_itself(run, scene, networks, tmp_path):
    path = picture(scene.folder / "pair.png", BOTH)
    code, text = run(path, keypoints="detect", camera="focal=500", method="initial")
    assert code == 0, text
    content = json.loads((tmp_path / "out/pair/result.json").read_text())
    assert content["keypoint_source"] == "detect"
    for side in Side:
        points = to_joints(placed(side, *BOTH[side])[0])
        seen = np.array(content["keypoints"][side.value])
        pixels = seen[:, :2] / seen[:, 2:] * 500 + [199.5, 149.5]
        assert np.linalg.norm(pixels - points, axis=1).mean() < 6


def test_reconstruct_passes_the_notes_on_and_refuses_what_has_no_hand(run, scene, networks, tmp_path):
    one = picture(scene.folder / "one.png", {Side.RIGHT: BOTH[Side.RIGHT]})
    none = picture(scene.folder / "none.png", {})
    code, text = run(one, none, keypoints="detect", camera="focal=500", method="initial")
    assert code == 1
    assert "only the right hand was found" in text
    assert "none.png: no hand was found; give a keypoint file" in text
    assert "only the right hand was found" in json.loads((tmp_path / "out/one/result.json").read_text())["warnings"]
    code, text = run(one, keypoints="detect", unit="mm")
    assert code == 1 and "leave it out with --keypoints detect" in text


def test_a_film_is_looked_at_once_and_followed(run, scene, networks, tmp_path):
    """Both hands of four frames, the second one without them: found, bridged, and in the animation."""
    frames = scene.folder / "frames"
    frames.mkdir()
    for number in range(4):
        picture(frames / f"{number:02d}.png", {} if number == 1 else BOTH)
    words = {"keypoints": "detect", "camera": "focal=500", "fps": "25"}
    code, text = run(frames, "--animation-only", **words)
    assert code == 0, text
    assert (tmp_path / "out/film.glb").is_file()
    table = FilmTable.read(tmp_path / "out/keypoints.parquet")
    assert table.present.all() and not table.seen[1].any() and table.seen[[0, 2, 3]].all()
    assert len(json.loads((tmp_path / "out/landmarks.json").read_text())) == 4
    looked = networks.looked["palms"]
    code, text = run(frames, "--animation-only", **words)
    assert code == 0 and "already done" in text
    assert networks.looked["palms"] == looked
