"""What the interactive view is given is the mesh, to a hundredth of a millimetre, and not larger than promised."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import trimesh

from im2hands.datasets.hands import HandTable
from im2hands.datasets.images import CropSet
from im2hands.evaluation.records import read_records
from im2hands.geometry.mesh import Mesh
from im2hands.hands.model_files import builtin_hand_models
from im2hands.report.pairs import choose, load_pairs, rank_pairs
from im2hands.report.simplify import simplify, unfolded
from im2hands.report.viewer import UNKNOWN_DISTANCE, viewer_data


def decode(part, name, kind):
    return np.frombuffer(base64.b64decode(part[name]), kind)


def positions(part):
    return np.array(part["low"]) + decode(part, "positions", "<u2").reshape(-1, 3) / 65_535 * np.array(part["span"])


@pytest.fixture(scope="module")
def shown(results):
    paths = results.arguments
    chosen = choose(rank_pairs(read_records(paths["records"])), 3)
    pairs = load_pairs(
        [one.pair.pair_id for one in chosen],
        HandTable.read(paths["hands"], ["vertices"]),
        builtin_hand_models(),
        paths["meshes"],
        CropSet(paths["images"]),
    )
    return chosen, pairs


def view(chosen, pairs):
    return viewer_data(chosen, {("halo", "model"): pairs})


def test_meshes_survive_their_way_into_the_page(shown):
    chosen, pairs = shown
    data = view(chosen, pairs)
    assert data.simplified == 0
    pair = pairs[chosen[0].pair.pair_id]
    for side in (0, 1):
        truth, prediction = data.pairs[0]["parts"][side], data.pairs[0]["parts"][2 + side]
        hand = pair.hands[side]
        assert (truth["side"], prediction["role"]) == (hand.side.value, "prediction")
        faces = decode(prediction, "indices", "<u4" if prediction["wide"] else "<u2").reshape(-1, 3)
        assert (faces == hand.prediction.faces).all()
        camera = pair.crop.camera.to_camera(np.asarray(hand.prediction.vertices, float)) * 1e3 * [1, -1, -1]
        offset = camera - positions(prediction)
        assert np.abs(offset - offset.mean(0)).max() < 0.01  # the same shape, mm, in the photograph's axes
        distances = decode(prediction, "distances", "<u2") / 100
        assert np.abs(distances - hand.prediction_errors_mm).max() <= 0.0051


def test_the_view_looks_from_the_camera_at_the_middle_of_the_hands(shown):
    chosen, pairs = shown
    data = view(chosen, pairs)
    eye = np.array(data.pairs[0]["eye"])
    assert eye[2] == pytest.approx(900, abs=60)  # the camera is 0.9 m before the hands, along z
    together = np.concatenate([positions(part) for part in data.pairs[0]["parts"] if part["role"] == "truth"])
    assert (together.min(0) + together.max(0)) == pytest.approx(np.zeros(3), abs=0.05)


def test_a_missing_hand_leaves_the_truth_without_distance(shown):
    chosen, pairs = shown
    worst = view(chosen, pairs).pairs[-1]["parts"]
    lonely = [part for part in worst if part["role"] == "truth" and part["side"] == "left"]
    assert not [part for part in worst if part["role"] == "prediction" and part["side"] == "left"]
    assert (decode(lonely[0]["distances"], "halo/model", "<u2") == UNKNOWN_DISTANCE).all()


def test_stored_normals_are_those_of_the_surface(shown):
    chosen, pairs = shown
    part = view(chosen, pairs).pairs[0]["parts"][0]
    normals = decode(part, "normals", "i1").reshape(-1, 3) / 127
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1, abs=0.02)
    faces = decode(part, "indices", "<u2").reshape(-1, 3)
    surface = trimesh.Trimesh(positions(part), faces, process=False).vertex_normals
    assert (surface * normals).sum(1).mean() > 0.97


def test_normals_of_predictions_look_outward_in_the_axes_of_the_view(shown):
    chosen, pairs = shown
    part = next(part for part in view(chosen, pairs).pairs[0]["parts"] if part["role"] == "prediction")
    normals = decode(part, "normals", "i1").reshape(-1, 3) / 127
    surface = trimesh.Trimesh(positions(part), decode(part, "indices", "<u2").reshape(-1, 3), process=False)
    assert (surface.vertex_normals * normals).sum(1).mean() > 0.97


def test_folded_triangles_are_turned_round():
    sphere = trimesh.creation.icosphere(2)
    faces = np.asarray(sphere.faces).copy()
    faces[::7] = faces[::7, ::-1]
    mended = unfolded(Mesh(np.asarray(sphere.vertices), faces), np.asarray(sphere.vertices))
    assert np.sort(mended, 1).tolist() == np.sort(faces, 1).tolist()
    assert Mesh(np.asarray(sphere.vertices), mended).volume == pytest.approx(sphere.volume)


def test_simplified_meshes_keep_vertices_of_the_surface_and_its_size():
    sphere = trimesh.creation.icosphere(5)
    mesh = Mesh(np.asarray(sphere.vertices), np.asarray(sphere.faces))
    small, kept = simplify(mesh, 3000)
    assert 1000 < len(small.faces) <= 3000
    assert (small.vertices == mesh.vertices[kept]).all()
    assert small.faces.max() < len(small.vertices)
    assert small.volume == pytest.approx(mesh.volume, rel=0.03)


def test_small_meshes_stay_as_they_are():
    sphere = trimesh.creation.icosphere(2)
    mesh = Mesh(np.asarray(sphere.vertices), np.asarray(sphere.faces))
    same, kept = simplify(mesh, len(mesh.faces))
    assert same is mesh
    assert (kept == np.arange(len(mesh.vertices))).all()
