"""Meshes: questions about them, and files that are read as they were written or refused by name."""

import numpy as np
import pytest

from im2hands.geometry.mesh import Mesh, is_watertight, open_edges
from im2hands.geometry.mesh_files import read_mesh, write_mesh, write_scene
from im2hands.io.errors import DamagedFileError, DataError
from tests.geometry.meshes import box, joined, sealed_hand, sphere


def test_closed_and_open_meshes_are_told_apart():
    _, faces = sealed_hand()
    assert is_watertight(faces)
    assert is_watertight(faces[:, ::-1])
    assert is_watertight(joined(sphere(), box())[1])
    assert not is_watertight(faces[1:])
    assert len(open_edges(faces[1:])) == 3
    flipped = faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert not is_watertight(flipped)
    assert not is_watertight(faces[:0])


def test_volume_is_signed():
    vertices, faces = box((0, 0, 0), (1, 2, 3))
    assert Mesh(vertices, faces).volume == pytest.approx(6)
    assert Mesh(vertices + 5, faces[:, ::-1]).volume == pytest.approx(-6)
    assert Mesh().is_empty
    assert Mesh().volume == 0


@pytest.mark.parametrize(("suffix", "tolerance"), [("obj", 1e-8), ("ply", 1e-7), ("glb", 1e-7)])
def test_what_is_written_is_read(tmp_path, suffix, tolerance):
    mesh = Mesh(*sealed_hand())
    write_mesh(tmp_path / f"hand.{suffix}", mesh)
    read = read_mesh(tmp_path / f"hand.{suffix}")
    np.testing.assert_array_equal(read.faces, mesh.faces)
    np.testing.assert_allclose(read.vertices, mesh.vertices, atol=tolerance)
    assert [path.name for path in tmp_path.iterdir()] == [f"hand.{suffix}"]


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb"])
def test_two_hands_in_one_file(tmp_path, suffix):
    path = tmp_path / f"pair.{suffix}"
    meshes = {"left_hand": Mesh(*sphere(1, (3, 0, 0))), "right_hand": Mesh(*box()), "none": Mesh()}
    write_scene(path, meshes, {"left_hand": (200, 10, 20)})
    read = read_mesh(path)
    assert len(read.faces) == sum(len(mesh.faces) for mesh in meshes.values())
    assert read.volume == pytest.approx(sum(mesh.volume for mesh in meshes.values()), rel=1e-5)
    if suffix == "glb":
        content = path.read_bytes()
        assert b"left_hand" in content
        assert b"right_hand" in content


@pytest.mark.parametrize("suffix", ["ply", "glb"])
def test_truncated_files_are_refused_by_name(tmp_path, suffix):
    path = tmp_path / f"hand.{suffix}"
    write_mesh(path, Mesh(*sphere()))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DamagedFileError, match=f"hand.{suffix}"):
        read_mesh(path)


def test_obj_with_faces_of_missing_vertices_is_refused(tmp_path):
    path = tmp_path / "hand.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n")
    with pytest.raises(DamagedFileError, match=r"hand\.obj"):
        read_mesh(path)


def test_missing_files_other_formats_and_empty_scenes_are_refused(tmp_path):
    with pytest.raises(DataError, match="is missing"):
        read_mesh(tmp_path / "none.obj")
    with pytest.raises(DataError, match="not a readable mesh format"):
        read_mesh(tmp_path / "mesh.stl")
    with pytest.raises(DataError, match="not a writable mesh format"):
        write_mesh(tmp_path / "mesh.off", Mesh(*box()))
    with pytest.raises(DataError, match="nothing to write"):
        write_mesh(tmp_path / "mesh.obj", Mesh())
    assert list(tmp_path.iterdir()) == []
