"""`im2hands reconstruct` without pictures: meshes from a keypoint file by HALO, entry by entry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from im2hands.datasets.occupancy_items import LabelledHands
from im2hands.geometry.mesh_files import read_mesh
from im2hands.photographs import keypoint_meshes
from im2hands.photographs.keypoint_meshes import folder_name
from tests.photographs.conftest import ended
from tests.photographs.own_photograph import Scene, result
from tests.training.occupancy_frames import write_queries
from tests.training.untrained import write_halo


@pytest.fixture(scope="module")
def models(scene: Scene, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_halo(folder / "halo", LabelledHands(write_queries(scene.data), scene.data.hands))
    return folder


@pytest.fixture
def make(models, tmp_path, monkeypatch, capsys):
    """Runs the command without pictures; returns exit code and what it wrote."""
    monkeypatch.setattr(keypoint_meshes, "PICTURE", 128)

    def run(keypoints: Path | str, *more: str, output: Path = tmp_path / "out") -> tuple[int, str]:
        words = ["--keypoints", str(keypoints), "--model", str(models), "--resolution", "32", "-o", str(output)]
        return ended([*words, *more], monkeypatch, capsys)

    return run


def test_meshes_lie_about_the_keypoints(make, scene: Scene, tmp_path):
    """Both hands in the frame of the keypoints; with the bones inside, and the same again when nothing is left to do."""
    code, text = make(scene.keypoints)
    assert code == 0, text
    folder = tmp_path / "out/keypoints"
    expected = {"left.glb", "right.glb", "hands.glb", "side.png", "result.json"}
    assert {path.name for path in folder.iterdir()} == expected
    content = result(folder)
    assert (content["image"], content["method"]) == (None, "halo")
    for side in ("left", "right"):
        assert content["keypoints"][side] == scene.hands[side]
        vertices, middle = read_mesh(folder / f"{side}.glb").vertices, np.mean(scene.hands[side], axis=0)
        assert np.linalg.norm((vertices.min(axis=0) + vertices.max(axis=0)) / 2 - middle) < 0.03
        upright = trimesh.load(folder / f"{side}.glb", force="mesh", process=False).vertices
        np.testing.assert_allclose(upright, vertices * [1, -1, -1], atol=1e-7)
    assert content["mesh_frames"]["glb"].startswith("glTF's, y up")
    before = (folder / "result.json").stat().st_mtime_ns
    code, text = make(scene.keypoints)
    assert code == 0 and "already done, skipped" in text
    assert (folder / "result.json").stat().st_mtime_ns == before


def test_one_bad_entry_does_not_stop_the_others(make, scene: Scene, tmp_path):
    """A hand without a palm, alone in its entry; an entry with one hand; one with a joint that is not a number."""
    flat = np.linspace([0, 0, 0.5], [0.15, 0, 0.5], 21).tolist()
    content = {"good.png": scene.hands, "flat.png": {"left": flat, "right": None}, "one": {**scene.hands, "left": None}}
    content["half"] = {**scene.hands, "left": [*scene.hands["left"][:20], [float("nan")] * 3]}
    code, text = make(scene.written("four.json", content))
    assert code == 1
    assert "entry flat.png: " in text
    assert "picture half: 1 of 21 keypoints of the left hand are not finite" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good", "one"}
    assert result(tmp_path / "out/one")["failures"]["left"] == "no keypoints"


def test_what_needs_pictures_says_so(make, scene: Scene, tmp_path):
    pixels = scene.written("pixels_of_a_picture.json", {"hands": scene.landmarks()})
    for keypoints, more, sentence in (
        (pixels, (), "pixels need the camera of their picture; give the pictures too"),
        (scene.keypoints, ("--method", "initial"), "--method initial needs pictures"),
        ("intaghand", (), "intaghand: no such keypoint file; without pictures, keypoints come from a file"),
        (scene.keypoints, ("--formats", "stl"), "--formats stl: not a mesh format"),
        (scene.keypoints, ("--model", str(tmp_path)), "halo/card.json"),
    ):
        code, text = make(keypoints, *more)
        assert code == 1 and sentence in text, text
    assert not (tmp_path / "out").exists()


def test_names_of_folders():
    assert folder_name("", "some/keypoints.json") == "keypoints"
    assert folder_name("a/photo.01.jpg", "x") == "photo.01"
    assert folder_name("0_12.5", "x") == "0_12.5"
