"""What is written is what is read; labels are packed; files are whole; viewers get closed, outward meshes."""

import numpy as np
import pytest
import trimesh

from im2hands.geometry.mesh import Mesh, is_watertight
from im2hands.hands.sides import Side
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.tables import Provenance, read_parquet
from im2hands.reconstruction.storage import MESHES, TIMINGS, read_surfaces, write_surfaces
from im2hands.reconstruction.surfaces import HandSurface


def surface(pair, side, **values):
    ball = trimesh.creation.icosphere(subdivisions=1, radius=0.05)
    centre = np.array([0.2 if side is Side.LEFT else 0, pair, 1])
    labels = np.random.default_rng(pair).random(13) < 0.5
    shared = {
        "mesh": Mesh(np.asarray(ball.vertices) + centre, np.asarray(ball.faces)),
        "evaluations": 100 + pair,
        "published_field": labels,
        "uniform_field": ~labels[:8],
        "extraction_s": 0.25,
    }
    shared["frame_ids"] = (7,) if pair else ()
    return HandSurface(f"3_{pair}", f"3_{pair}_{side.value}", side, **shared | values)


def pairs():
    return [
        [surface(0, Side.RIGHT), surface(0, Side.LEFT)],
        [
            surface(1, Side.RIGHT, mesh=Mesh(), failure="empty"),
            surface(1, Side.LEFT, mesh=None, failure="no palm plane", published_field=None, uniform_field=None),
        ],
    ]


def write(folder, content, formats=("glb",)):
    paths = folder / "0.arrow", folder / "0.parquet", folder / "scenes"
    line = write_surfaces(*paths, content, Provenance({"threshold": 0.5}), formats)
    return paths, line


def test_round_trip(tmp_path):
    (meshes, timings, _), line = write(tmp_path, pairs())
    stored = read_surfaces(meshes)
    assert len(stored) == 4
    assert stored.parameters == {"threshold": 0.5}
    assert stored.rows_of_views() == {("3_0", ()): [0, 1], ("3_1", (7,)): [2, 3]}
    for index, expected in enumerate(one for pair in pairs() for one in pair):
        found = stored[index]
        assert (found.pair_id, found.hand_id, found.side) == (expected.pair_id, expected.hand_id, expected.side)
        assert (found.failure, found.evaluations) == (expected.failure, expected.evaluations)
        if expected.mesh is None:
            assert found.mesh is None
            assert found.field_published(13) is None
            continue
        np.testing.assert_allclose(found.mesh.vertices, expected.mesh.vertices, atol=1e-7)
        np.testing.assert_array_equal(found.mesh.faces, expected.mesh.faces)
        np.testing.assert_array_equal(found.field_published(13), expected.published_field)
        np.testing.assert_array_equal(found.field_uniform_hand(8), expected.uniform_field)
    assert stored[2].mesh.is_empty
    assert read_parquet(timings, TIMINGS)["extraction_s"].to_pylist() == [0.25] * 4
    assert "4 hands, 2 without surface" in line


def test_labels_of_other_queries_are_refused(tmp_path):
    (meshes, _, _), _ = write(tmp_path, pairs())
    with pytest.raises(DamagedFileError, match=r"3_0_right.*run reconstruct again"):
        read_surfaces(meshes)[0].field_published(100)


def test_shard_does_not_depend_on_time(tmp_path):
    """Wall-clock times differ from run to run; they are in a separate file."""
    (first, _, _), _ = write(tmp_path / "a", pairs())
    slower = [[surface(0, side, extraction_s=9.0) for side in (Side.RIGHT, Side.LEFT)], pairs()[1]]
    (second, _, _), _ = write(tmp_path / "b", slower)
    assert first.read_bytes() == second.read_bytes()
    assert "extraction_s" not in MESHES.column_names()


def test_scenes_hold_named_coloured_closed_hands(tmp_path):
    (_, _, scenes), _ = write(tmp_path, pairs(), ("glb", "obj", "ply"))
    assert sorted(path.name for path in scenes.iterdir()) == [
        "3_0.glb", "3_0_left.obj", "3_0_left.ply", "3_0_right.obj", "3_0_right.ply"
    ]  # fmt: skip
    scene = trimesh.load(scenes / "3_0.glb")
    assert set(scene.geometry) == {"left_hand", "right_hand"}
    colours = set()
    for name, part in scene.geometry.items():
        assert part.is_watertight
        assert part.volume > 0
        colours.add(tuple(part.visual.vertex_colors[0][:3]))
        np.testing.assert_allclose(part.vertices[:, 0].mean(), 0.2 if name == "left_hand" else 0, atol=1e-6)
    assert len(colours) == 2
    assert is_watertight(np.asarray(trimesh.load(scenes / "3_0_left.obj").faces))


def test_no_formats_make_an_empty_folder(tmp_path):
    (_, _, scenes), _ = write(tmp_path, pairs(), ())
    assert list(scenes.iterdir()) == []


def test_a_failure_leaves_nothing_behind(tmp_path):
    """Killed in the middle: no shard, so that the next run makes the whole again."""

    def broken():
        yield pairs()[0]
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write(tmp_path, broken())
    assert list(tmp_path.iterdir()) == []


def test_missing_and_damaged_shards_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.arrow"):
        len(read_surfaces(tmp_path / "none.arrow"))
    (meshes, _, _), _ = write(tmp_path, pairs())
    meshes.write_bytes(meshes.read_bytes()[: meshes.stat().st_size // 2])
    with pytest.raises(DamagedFileError, match=r"0\.arrow"):
        len(read_surfaces(meshes))
