"""Meshes: questions about them, and files that are read as they were written or refused by name."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from im2hands.geometry.mesh import Mesh, is_watertight, open_edges
from im2hands.geometry.mesh_files import read_mesh, read_parts, write_mesh, write_scene
from im2hands.io.errors import DamagedFileError, DataError, Im2HandsWarning
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


def test_camera_axes_come_back_from_every_format(tmp_path):
    """A GLB has y up for viewers, the other formats have camera axes, and what is read is one frame."""
    mesh = Mesh(sealed_hand()[0] + np.array([0.1, 0.2, 0.7]), sealed_hand()[1])
    for suffix in ("obj", "ply", "glb"):
        path = tmp_path / f"hand.{suffix}"
        write_scene(path, {"left": mesh}, camera_axes=True)
        np.testing.assert_allclose(read_mesh(path).vertices, mesh.vertices, atol=1e-7)
        np.testing.assert_allclose(next(iter(read_parts(path).values())).vertices, mesh.vertices, atol=1e-7)
        shown = trimesh.load(path, force="mesh", process=False).vertices
        np.testing.assert_allclose(shown, mesh.vertices * ([1, -1, -1] if suffix == "glb" else 1), atol=1e-7)
    assert read_mesh(tmp_path / "hand.glb").volume == pytest.approx(mesh.volume, rel=1e-4)
    write_mesh(tmp_path / "as_given.glb", mesh)
    np.testing.assert_allclose(trimesh.load(tmp_path / "as_given.glb", force="mesh").bounds, bounds(mesh), atol=1e-6)


def bounds(mesh: Mesh) -> np.ndarray:
    return np.stack([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)])


def changed_glb(path: Path, change: dict) -> Path:
    """The file with other entries in its JSON part."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<I", raw, 12)
    text = json.dumps(json.loads(raw[20 : 20 + length]) | change).encode()
    text += b" " * (-len(text) % 4)
    rest = raw[20 + length :]
    head = struct.pack("<4sIIII", b"glTF", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A)
    path.write_bytes(head + text + rest)
    return path


@pytest.mark.parametrize(
    ("extension", "read"),
    [
        ("KHR_mesh_quantization", False),
        ("KHR_draco_mesh_compression", False),
        ("EXT_meshopt_compression", False),
        ("EXT_mesh_gpu_instancing", False),
        ("SOME_thing", False),
        ("KHR_materials_unlit", True),
        ("KHR_texture_transform", True),
    ],
)
def test_what_a_file_requires_is_done_or_refused_by_name(tmp_path, extension, read):
    """Quantized positions would be read as raw whole numbers: a hand of 65 km."""
    write_mesh(tmp_path / "hand.glb", Mesh(*sphere()))
    path = changed_glb(tmp_path / "hand.glb", {"extensionsUsed": [extension], "extensionsRequired": [extension]})
    if read:
        assert read_mesh(path).volume > 0
        return
    for reader in (read_mesh, read_parts):
        with pytest.raises(DataError, match=f"hand.glb: .*requires the extension {extension}, which is not read"):
            reader(path)


def test_a_moving_hand_is_read_at_rest_and_said(tmp_path):
    write_mesh(tmp_path / "hand.glb", Mesh(*sphere()))
    path = changed_glb(tmp_path / "hand.glb", {"animations": [{"channels": [], "samplers": []}]})
    with pytest.warns(Im2HandsWarning, match=r"hand.glb: animated; its rest pose is used\."):
        read_mesh(path)


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
