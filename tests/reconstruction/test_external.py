"""Meshes of other systems: names, units, frames, and that what is missing or broken is counted, never skipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
import trimesh

from im2hands.datasets.frames import FRAMES, FrameTable
from im2hands.datasets.keypoints import KeypointTable, write_keypoints
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.mesh_files import write_mesh
from im2hands.hands.frames import PalmFrame
from im2hands.hands.joints import WRIST
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.tables import Provenance
from im2hands.reconstruction.external import (
    NO_FILE,
    NO_HAND_SIZE,
    UNREADABLE,
    MeshFolder,
    Placement,
    external_surfaces,
    has_triangles_of,
)
from im2hands.reconstruction.inputs import NO_VIEW, BoneInputs
from im2hands.reconstruction.storage import read_surfaces, write_surfaces
from im2hands.reconstruction.surfaces import EMPTY, HandInput

TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
SHIFT = np.array([0.1, -0.2, 0.9])
CENTRE = np.array([0.3, 0.1, 1.0])
AWAY = np.array([0, 0, 0.3])
RADIUS = 0.05
MODELS = builtin_hand_models()
AS_THEY_ARE = Placement("camera", MODELS)
BY_WRIST = Placement("wrist", MODELS)


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
    made = flat(external_surfaces(complete(tmp_path, ball(), suffix), frames, inputs, AS_THEY_ARE))
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
    for one in flat(external_surfaces(folder, frames, inputs, AS_THEY_ARE)):
        np.testing.assert_allclose(one.mesh.vertices, ball().vertices, atol=1e-6)


def test_files_may_be_named_like_the_image(tmp_path, frames, inputs):
    place = tmp_path / "Capture3/ROM/cam400001"
    place.mkdir(parents=True)
    write_mesh(place / "image7_left.obj", ball())
    made = flat(external_surfaces(MeshFolder(str(tmp_path)), frames, inputs, AS_THEY_ARE))
    assert [(one.frame_ids, one.side) for one in made if one.mesh is not None] == [((1,), Side.LEFT)]


@pytest.mark.parametrize("name", ["3_7_frame1", "3_7"])
def test_our_own_exports_are_understood(tmp_path, frames, inputs, name):
    write_mesh(tmp_path / f"{name}_left.ply", ball())
    made = flat(external_surfaces(MeshFolder(str(tmp_path)), frames, inputs, AS_THEY_ARE))
    views = [(1,)] if "frame" in name else [(0,), (1,)]
    assert [(one.frame_ids, one.side) for one in made if one.mesh is not None] == [(view, Side.LEFT) for view in views]


def test_a_part_need_not_hold_a_mesh_if_the_whole_does(tmp_path, frames, inputs):
    write_mesh(tmp_path / "0_left.ply", ball())
    parts = [flat(external_surfaces(MeshFolder(str(tmp_path)), frames, inputs, AS_THEY_ARE, i, 2)) for i in range(2)]
    assert [[one.failure for one in part] for part in parts] == [[NO_FILE, None], [NO_FILE, NO_FILE]]


@pytest.mark.parametrize("side", Side)
def test_open_hands_of_the_model_are_closed_and_moved_by_their_own_wrist(tmp_path, frames, inputs, side):
    """Also with triangles in another order and direction."""
    model, elsewhere = MODELS[side], np.array([0.02, -0.01, 0.4])
    open_hand = Mesh(model.template.numpy() + elsewhere, model.faces[::-1, ::-1].copy())
    write_mesh(tmp_path / f"1_{side.value}.ply", open_hand)
    made = flat(external_surfaces(MeshFolder(str(tmp_path)), frames, inputs, BY_WRIST))
    (found,) = (one for one in made if one.mesh is not None)
    np.testing.assert_array_equal(found.mesh.faces, model.sealed_faces)
    vertices = torch.from_numpy(found.mesh.vertices[None, :-1])
    np.testing.assert_allclose(model.regress(vertices)[0, WRIST].numpy(), CENTRE, atol=1e-6)
    np.testing.assert_allclose(np.ptp(found.mesh.vertices[:-1] - open_hand.vertices, axis=0), 0, atol=1e-6)


def test_keypoints_say_where_meshes_of_any_triangles_stand(tmp_path, frames, inputs):
    folder = complete(tmp_path, Mesh(ball().vertices + AWAY, ball().faces))
    keypoints = np.tile(CENTRE + AWAY, (2, 2, 21, 1))
    file = tmp_path / "k.parquet"
    write_keypoints(file, ["3_7"] * 2, keypoints, [None, "none found"], Provenance({"source": "external_x"}))
    placement = replace(BY_WRIST, keypoints=KeypointTable.read(file))
    made = flat(external_surfaces(folder, frames, inputs, placement))
    for one in made[:2]:
        np.testing.assert_allclose(one.mesh.vertices, ball().vertices, atol=1e-6)
    assert [one.failure for one in made[2:]] == ["no keypoints: none found"] * 2


def test_a_mesh_without_a_wrist_cannot_be_moved_by_it(tmp_path, frames, inputs):
    with pytest.raises(DataError, match=r"0_right.ply: must be moved by its wrist.*alignment to camera"):
        flat(external_surfaces(complete(tmp_path, ball()), frames, inputs, BY_WRIST))


def test_triangles_are_the_models_or_not():
    model = MODELS[Side.LEFT]
    assert has_triangles_of(model, Mesh(model.template.numpy(), model.faces))
    assert not has_triangles_of(model, Mesh(model.template.numpy(), model.faces[:-1]))
    assert not has_triangles_of(model, Mesh(model.seal(model.template.numpy()), model.sealed_faces))
    assert not has_triangles_of(model, Mesh(model.template.numpy(), (model.faces + 1) % 778))


def test_two_files_of_a_hand_are_refused(tmp_path, frames, inputs):
    folder = complete(tmp_path, ball())
    write_mesh(tmp_path / "0_left.obj", ball())
    with pytest.raises(DataError, match="several meshes of the left hand in frame 0"):
        flat(external_surfaces(folder, frames, inputs, AS_THEY_ARE))


def test_missing_broken_tiny_and_empty_meshes_are_counted_and_stored(tmp_path, frames, inputs):
    folder = complete(tmp_path, ball())
    (tmp_path / "0_right.ply").unlink()
    (tmp_path / "0_left.ply").write_bytes(b"ply\nnot one")
    write_mesh(tmp_path / "1_right.ply", ball(0.001))
    (tmp_path / "1_left.ply").unlink()
    (tmp_path / "1_left.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    inputs = replace(inputs, hands={**inputs.hands, ("4_7", ()): (hand(Side.LEFT, ()),)})
    surfaces = external_surfaces(folder, frames, inputs, AS_THEY_ARE)
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
        flat(external_surfaces(folder, frames, inputs, AS_THEY_ARE))


def test_a_folder_of_other_names_is_refused_at_once(tmp_path, frames, inputs):
    write_mesh(tmp_path / "hand.ply", ball())
    with pytest.raises(DataError, match="contains no mesh of the 4 evaluated hands"):
        external_surfaces(MeshFolder(str(tmp_path)), frames, inputs, AS_THEY_ARE)
    with pytest.raises(DataError, match="folder of external meshes is missing"):
        external_surfaces(MeshFolder(str(tmp_path / "none")), frames, inputs, AS_THEY_ARE)
