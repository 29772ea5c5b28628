"""`im2hands view`: the page's data are the meshes, their distances and where they penetrate each other; bad input is
refused."""

from __future__ import annotations

import base64
import json
import shutil
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
import trimesh
from typer.testing import CliRunner

from im2hands.cli import app
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.mesh_files import read_parts, write_mesh, write_scene
from im2hands.hands.sides import Side
from im2hands.io.errors import DamagedFileError, DataError, Im2HandsWarning
from im2hands.photographs.results import COLOURS
from im2hands.report.colours import PREDICTION
from im2hands.report.view_files import read_panels, side_of
from im2hands.report.view_page import serve, view_data, view_page
from tests.films.moving_hands import clock_of, moving_pair
from tests.films.test_animated_files import write_film


def sphere(centre: float, radius: float = 0.05) -> Mesh:
    made = trimesh.creation.icosphere(3, radius)
    return Mesh(made.vertices + np.array([centre, 0.0, 0.0]), np.asarray(made.faces))


@pytest.fixture
def folders(tmp_path):
    """Two methods of three frames, and the truth: two spheres that move into each other."""
    for name, shift, radius in (("first", 0.0, 0.05), ("second", 0.004, 0.052), ("true", 0.0, 0.05)):
        (tmp_path / name).mkdir()
        for frame in range(3):
            for side, sign in ((Side.LEFT, 1), (Side.RIGHT, -1)):
                write_mesh(
                    tmp_path / name / f"f{frame}_{side.value}.ply",
                    sphere(sign * (0.06 - 0.01 * frame) + shift, radius if side is Side.LEFT else 0.05),
                )
    return tmp_path


def positions(part):
    stored = np.frombuffer(base64.b64decode(part["positions"]), "<u2").reshape(-1, 3)
    return np.array(part["low"]) + stored / 65_535 * np.array(part["span"])


def viewed(*words) -> str:
    """What `im2hands view` writes."""
    page = words[0].parent / "page.html"
    result = CliRunner().invoke(app, ["view", *map(str, words), "-o", str(page)])
    assert result.exit_code == 0, result.output
    return page.read_text()


def test_frames_sides_and_positions_reach_the_page(folders):
    panels, truth = [folders / "first", folders / "second"], folders / "true"
    assert viewed(*panels, "--truth", truth) == view_page(read_panels(panels, truth), 60)
    data = view_data(read_panels(panels), 60)
    assert [frame["label"] for frame in data["frames"]] == ["f0", "f1", "f2"]
    assert len(data["panels"]) == 2 and not data["truth"] and not data["errors"]
    for number, frame in enumerate(data["frames"]):
        left, right = (positions(part) for part in frame["panels"][0])
        assert left.mean(0) - right.mean(0) == pytest.approx([120 - 20 * number, 0, 0], abs=0.05)
        assert np.linalg.norm(left - left.mean(0), axis=1) == pytest.approx(50, abs=0.05)


def test_chosen_frames_are_evenly_spread(folders):
    data = view_data(read_panels([folders / "first"]), 2)
    assert [frame["label"] for frame in data["frames"]] == ["f0", "f2"]
    assert data["found"] == 3


def test_distances_and_penetration_equal_their_closed_forms(folders):
    data = view_data(read_panels([folders / "second"], folders / "true"), 60)
    assert data["truth"] and data["errors"] and data["penetration"]
    for number, frame in enumerate(data["frames"]):
        at = 60 - 10 * number
        for part, sign in zip(frame["panels"][0], (1, -1), strict=True):
            points = positions(part)
            distances = np.frombuffer(base64.b64decode(part["distances"]), "<u2") / 100
            naive = np.abs(np.linalg.norm(points - [sign * at, 0, 0], axis=1) - 50)
            assert distances == pytest.approx(naive, abs=0.5)  # 0.4 mm: the flat triangles of the true sphere
            inside = np.frombuffer(base64.b64decode(part["inside"]), np.uint8).astype(bool)
            depth = (50 if sign == 1 else 52) - np.linalg.norm(points - [-sign * at + 4, 0, 0], axis=1)
            assert inside[depth > 0.5].all() and not inside[depth < 0].any()
            assert inside.any() == (depth > 0.5).any()
    assert inside.any()


def test_parts_of_a_scene_keep_their_names_and_millimetres_are_seen(tmp_path):
    millimetres = [Mesh(1e3 * mesh.vertices, mesh.faces) for mesh in (sphere(0.06), sphere(-0.06))]
    write_scene(tmp_path / "a.glb", dict(zip(("left_hand", "right_hand"), millimetres, strict=True)))
    assert sorted(read_parts(tmp_path / "a.glb")) == ["left_hand", "right_hand"]
    assert "left_hand" in viewed(tmp_path / "a.glb")
    parts = read_panels([tmp_path / "a.glb"])[0].frames[0].parts()
    assert {part.side for part in parts} == set(Side)
    assert np.ptp(np.concatenate([part.mesh.vertices for part in parts])[:, 0]) == pytest.approx(0.22, abs=1e-3)
    assert side_of("thing") is None and side_of("left_of_right") is None


def test_a_picture_of_reconstruct_is_turned_to_its_camera(tmp_path):
    turn = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    (tmp_path / "out/photo").mkdir(parents=True)
    (tmp_path / "out/photo/result.json").write_text(json.dumps({"camera_of_crop": {"R": turn.tolist()}}))
    for side, at in (("left", 0.06), ("right", -0.06)):
        write_mesh(tmp_path / f"out/photo/{side}.ply", sphere(at))
    assert viewed(tmp_path / "out") == view_page(read_panels([tmp_path / "out"]), 60)
    (frame,) = view_data(read_panels([tmp_path / "out"]), 60)["frames"]
    middle = {part["name"]: positions(part).mean(0) for part in frame["panels"][0]}
    assert frame["label"] == "photo"
    assert middle["left"] - middle["right"] == pytest.approx([0, 120, 0], abs=0.05)


def test_results_of_the_workflow_meet_the_truth_of_their_checkout(results):
    """The mesh shards and hand table of the report's fixture."""
    folder = results.folder / "checkout"
    (folder / "data/hands").mkdir(parents=True)
    shutil.copy(results.arguments["hands"], folder / "data/hands/test.parquet")
    shutil.copytree(results.arguments["hand_model"], folder / "data/hand_model")
    shards = folder / "results/halo/model/meshes"
    shards.mkdir(parents=True)
    shutil.copy(results.arguments["meshes"][0], shards)
    assert viewed(folder / "results/halo/model") == view_page(read_panels([folder / "results/halo/model"]), 60)
    data = view_data(read_panels([folder / "results/halo/model"]), 2)
    assert len(data["frames"]) == 2 and data["found"] == 5
    assert data["truth"] and data["errors"] and data["limit"] <= 10
    assert "halo" in data["panels"][0]


def test_an_open_mesh_gives_no_penetration(tmp_path):
    write_mesh(tmp_path / "a.ply", sphere(0.0))
    write_mesh(tmp_path / "b.ply", Mesh(sphere(0.03).vertices, sphere(0.03).faces[:-1]))
    assert not view_data(read_panels([tmp_path / "a.ply", tmp_path / "b.ply"]), 1)["penetration"]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda path: None, DataError, "does not exist"),
        (lambda path: path.mkdir(), DataError, "contains no mesh"),
        (lambda path: path.write_text("ply\nformat ascii 1.0\nelement vertex 9"), DamagedFileError, "not a readable"),
    ],
)
def test_bad_input_is_refused_by_name(tmp_path, make, error, says):
    make(tmp_path / "x.ply")
    with pytest.raises(error, match=f"x.ply.*{says}"):
        view_page(read_panels([tmp_path / "x.ply"]), 60)


def test_numbers_of_frames_are_checked(folders, monkeypatch):
    with pytest.raises(DataError, match="at least 1"):
        view_data(read_panels([folders / "first"]), 0)
    monkeypatch.setattr("im2hands.report.view_page.BYTES_OF_MESHES", 50_000)
    with pytest.raises(DataError, match="--frames 3: too many for one page; give at most 2"):
        view_data(read_panels([folders / "first"]), 3)


def test_the_page_is_served_on_loopback():
    said, came = [], threading.Event()

    def say(line):
        said.append(line)
        came.set()

    threading.Thread(target=serve, args=("<p>here</p>", False, say), daemon=True).start()
    assert came.wait(10)
    address = said[0].split()[0]
    assert address.startswith("http://127.0.0.1:")
    assert urllib.request.urlopen(address).read() == b"<p>here</p>"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(address + "etc/passwd")
    port = address.rstrip("/").rpartition(":")[2]
    for host in (f"localhost:{port}", "127.0.0.1:8080", "[::1]:80", "LOCALHOST"):
        assert urllib.request.urlopen(urllib.request.Request(address, headers={"Host": host})).status == 200
    for host in (
        f"example.org:{port}",
        "127.0.0.1.example.org",
        "localhost.example.org:80",
        f"[::2]:{port}",
        "",
        ":80",
    ):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(address, headers={"Host": host}))


def test_a_film_is_shown_at_rest_and_overlay_has_the_same_colours(tmp_path):
    """In the axes that meshes of the same hands have in other formats."""
    pair = moving_pair(4)
    write_film(tmp_path / "film.glb", pair, clock_of(4))
    with pytest.warns(Im2HandsWarning, match="film.glb: animated; its rest pose is used"):
        parts = read_panels([tmp_path / "film.glb"])[0].frames[0].parts()
    assert {part.side for part in parts} == set(Side)
    for part in parts:
        wrist = pair[part.side].wrist[0]
        assert np.linalg.norm(part.mesh.vertices - wrist, axis=1).min() < 0.03
    assert COLOURS == PREDICTION
