"""Meshes of other systems: names, units, frames, and that what is missing or broken is counted, never skipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import trimesh

from im2hands.datasets.frames import FRAMES, FrameTable
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.mesh_files import write_mesh
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.tables import Provenance
from im2hands.reconstruction.external import (
    NO_FILE,
    NO_HAND_SIZE,
    UNREADABLE,
    MeshFolder,
    external_surfaces,
)
from im2hands.reconstruction.inputs import NO_VIEW, BoneInputs
from im2hands.reconstruction.placement import PalmFrame
from im2hands.reconstruction.storage import read_surfaces, write_surfaces
from im2hands.reconstruction.surfaces import EMPTY, HandInput

TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
SHIFT = np.array([0.1, -0.2, 0.9])
CENTRE = np.array([0.3, 0.1, 1.0])
RADIUS = 0.05


@pytest.fixture(scope="module")
def frames() -> FrameTable:
    """Two frames of one pose, ids 0 and 1; every camera is turned and displaced."""
    rows = [
        {
            "frame_id": i,
            "file_name": f"Capture3/ROM/cam40000{i}/image7.jpg",
            "capture": 3,
            "frame_idx": 7,
            "camera": f"40000{i}",
            "K": np.eye(3).ravel(),
            "R": TURN.ravel(),
            "t": SHIFT,
        }
        for i in range(2)
    ]
    return FrameTable(pa.Table.from_pylist(rows, schema=FRAMES.schema))


def hand(side: Side, frame_ids: tuple[int, ...]) -> HandInput:
    return HandInput(
        pair_id="3_7",
        hand_id=f"3_7_{side.value}",
        frame=PalmFrame(side, CENTRE, np.eye(3)),
        bone_from_palm=np.tile(np.eye(4), (16, 1, 1)),
        bone_lengths=np.ones(16),
        keypoints=np.zeros((21, 3)),
        published_points=np.zeros((0, 3)),
        uniform_points=np.zeros((0, 3)),
        frame_ids=frame_ids,
    )


@pytest.fixture
def inputs() -> BoneInputs:
    """Both hands in both frames; evaluation points at the wrist (inside the ball of `ball`) and far from it."""
    points = SimpleNamespace(points=np.array([[0.0, 0, 0], [10.0, 0, 0]]))
    queries = SimpleNamespace(hand=lambda hand_id: SimpleNamespace(published=points, uniform_hand=points))
    hands = {("3_7", (i,)): tuple(hand(side, (i,)) for side in Side) for i in range(2)}
    return BoneInputs(hands, {f"3_7_{side.value}": hand(side, ()).frame for side in Side}, queries, "consistent")


def ball(radius: float = RADIUS) -> Mesh:
    made = trimesh.creation.icosphere(subdivisions=2, radius=radius)
    return Mesh(np.asarray(made.vertices) + CENTRE, np.asarray(made.faces))


def complete(folder: Path, mesh: Mesh, suffix: str = "ply") -> MeshFolder:
    for frame in range(2):
        for side in Side:
            write_mesh(folder / f"{frame}_{side.value}.{suffix}", mesh)
    return MeshFolder(str(folder))


def flat(surfaces) -> list:
    return [one for pair in surfaces for one in pair]


@pytest.mark.parametrize("suffix", ["obj", "ply"])
def test_meshes_in_world_metres_come_as_they_are(tmp_path, frames, inputs, suffix):
    made = flat(external_surfaces(complete(tmp_path, ball(), suffix), frames, inputs))
    assert [(one.frame_ids, one.side) for one in made] == [((i,), side) for i in range(2) for side in Side]
    for one in made:
        assert one.failure is None
        np.testing.assert_allclose(one.mesh.vertices, ball().vertices, atol=1e-6)
        np.testing.assert_array_equal(one.mesh.faces, ball().faces)
        np.testing.assert_array_equal(one.published_field, [True, False])
        np.testing.assert_array_equal(one.uniform_field, [True, False])


def test_millimetres_of_the_camera_become_world_metres(tmp_path, frames, inputs):
    in_camera = Mesh(1000 * (ball().vertices @ TURN.T + SHIFT), ball().faces)
    folder = replace(complete(tmp_path, in_camera), unit="mm", frame="camera")
    for one in flat(external_surfaces(folder, frames, inputs)):
        np.testing.assert_allclose(one.mesh.vertices, ball().vertices, atol=1e-6)


def test_files_may_be_named_like_the_image(tmp_path, frames, inputs):
    place = tmp_path / "Capture3/ROM/cam400001"
    place.mkdir(parents=True)
    write_mesh(place / "image7_left.obj", ball())
    made = flat(external_surfaces(MeshFolder(str(tmp_path)), frames, inputs))
    assert [(one.frame_ids, one.side) for one in made if one.mesh is not None] == [((1,), Side.LEFT)]


def test_two_files_of_a_hand_are_refused(tmp_path, frames, inputs):
    folder = complete(tmp_path, ball())
    write_mesh(tmp_path / "0_left.obj", ball())
    with pytest.raises(DataError, match="several meshes of the left hand in frame 0"):
        flat(external_surfaces(folder, frames, inputs))


def test_missing_broken_tiny_and_empty_meshes_are_counted_and_stored(tmp_path, frames, inputs):
    folder = complete(tmp_path, ball())
    (tmp_path / "0_right.ply").unlink()
    (tmp_path / "0_left.ply").write_bytes(b"ply\nnot one")
    write_mesh(tmp_path / "1_right.ply", ball(0.001))
    (tmp_path / "1_left.ply").unlink()
    (tmp_path / "1_left.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    inputs = replace(inputs, hands={**inputs.hands, ("4_7", ()): (hand(Side.LEFT, ()),)})
    surfaces = external_surfaces(folder, frames, inputs)
    write_surfaces(tmp_path / "a.arrow", tmp_path / "a.parquet", tmp_path / "glb", surfaces, Provenance({}, 0, {}))
    stored = read_surfaces(tmp_path / "a.arrow")
    failures = {(stored[i].frame_ids, stored[i].side): stored[i].failure for i in range(len(stored))}
    assert failures[(0,), Side.RIGHT] == NO_FILE
    assert failures[(0,), Side.LEFT] == UNREADABLE
    assert failures[(1,), Side.RIGHT] == NO_HAND_SIZE
    assert failures[(1,), Side.LEFT] == EMPTY
    assert failures[(), Side.LEFT] == NO_VIEW


@pytest.mark.parametrize(("written", "stated", "right"), [(1000, "m", "mm"), (1, "mm", "m")])
def test_the_wrong_unit_is_named(tmp_path, frames, inputs, written, stated, right):
    folder = replace(complete(tmp_path, Mesh(written * ball().vertices, ball().faces)), unit=stated)
    with pytest.raises(DataError, match=f"state the unit {right}"):
        flat(external_surfaces(folder, frames, inputs))


def test_a_folder_of_other_names_is_refused_at_once(tmp_path, frames, inputs):
    write_mesh(tmp_path / "hand.ply", ball())
    with pytest.raises(DataError, match="holds no mesh of the 4 evaluated hands"):
        external_surfaces(MeshFolder(str(tmp_path)), frames, inputs)
    with pytest.raises(DataError, match="folder of external meshes is missing"):
        external_surfaces(MeshFolder(str(tmp_path / "none")), frames, inputs)
