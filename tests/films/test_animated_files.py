"""The animated GLB and the BVH files: every vertex is where the hand model has it, and every rule that readers need is kept."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from im2hands.films.animated_glb import write_animated_hands
from im2hands.films.bvh import write_bvh
from im2hands.films.motion import FilmClock, HandMotion, rate_of
from im2hands.films.rig import rig_of
from im2hands.geometry.mesh import Mesh
from im2hands.geometry.mesh_files import GLTF_FROM_CAMERA
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.report.colours import PREDICTION
from tests.films.gltf_film import GltfFilm
from tests.films.moving_hands import MODELS, clock_of, moving_pair, skinned

PICTURES = 60


def write_film(path: Path, pair: dict[Side, HandMotion], clock: FilmClock) -> None:
    hands = [(rig_of(MODELS[side], pair[side].shape), pair[side]) for side in Side if side in pair]
    write_animated_hands(path, hands, clock, "film.mp4", PREDICTION)


def mesh_of(side: Side) -> str:
    return f"{side.value.capitalize()}_mesh"


@pytest.fixture(scope="module")
def pair() -> dict[Side, HandMotion]:
    return moving_pair(PICTURES)


@pytest.fixture(scope="module")
def film(pair, tmp_path_factory) -> GltfFilm:
    path = tmp_path_factory.mktemp("film") / "film.glb"
    write_film(path, pair, clock_of(PICTURES))
    return GltfFilm(path)


def test_vertices_of_every_picture_are_the_hand_models(film, pair):
    """Within 0.01 mm; picture 0 is also how the nodes rest; surfaces look outwards."""
    for side in Side:
        for picture in (0, 17, PICTURES - 1):
            found = film.vertices(mesh_of(side), picture / 30)
            np.testing.assert_allclose(found[:778], skinned(pair[side], picture) @ GLTF_FROM_CAMERA.T, atol=1e-5)
            assert Mesh(found, film.faces(mesh_of(side))).volume > 1e-5
        np.testing.assert_allclose(film.vertices(mesh_of(side), None), film.vertices(mesh_of(side), 0.0), atol=1e-6)


def test_between_pictures_hands_go_the_short_way(film, pair):
    """Between two pictures no vertex leaves the neighbourhood of both: signs of quaternions do not change."""
    for side in Side:
        places = [skinned(pair[side], picture) @ GLTF_FROM_CAMERA.T for picture in (30, 31)]
        between = film.vertices(mesh_of(side), 30.5 / 30)[:778]
        step = np.linalg.norm(places[1] - places[0], axis=1)
        assert (np.linalg.norm(between - (places[0] + places[1]) / 2, axis=1) < 0.1 * step + 1e-4).all()


def test_the_rules_that_readers_need(film):
    """One scene, one animation, a holder per hand, names that are unique, 16 joints and five tips, one clock."""
    content = film.content
    assert len(content["scenes"]) == len(content["animations"]) == 1
    assert [content["nodes"][root]["name"] for root in content["scenes"][0]["nodes"]] == ["Right", "Left"]
    names = [node["name"] for node in content["nodes"]]
    assert len(set(names)) == len(names) and {"Left_index1", "Left_index_tip", "Right_wrist"} <= set(names)
    for skin in content["skins"]:
        assert len(skin["joints"]) == 21 and skin["joints"][0] == skin["skeleton"]
        assert "translation" not in content["nodes"][skin["skeleton"]]
    assert all(np.linalg.det(placed[:3, :3]) > 0.99 for placed in film.globals(0.3).values())
    samplers = content["animations"][0]["samplers"]
    assert {sampler["input"] for sampler in samplers} == {samplers[0]["input"]}
    times = content["accessors"][samplers[0]["input"]]
    assert times["count"] == PICTURES and times["min"] == [0] and times["max"][0] == pytest.approx((PICTURES - 1) / 30)
    assert all(
        accessor["componentType"] == 5126 or accessor["type"] in ("VEC4", "SCALAR") for accessor in content["accessors"]
    )
    assert "extensionsUsed" not in content and content["scenes"][0]["extras"] == {
        "pictures": PICTURES,
        "rate": "30",
        "source": "film.mp4",
        "frame": "camera axes (x right, y down, z away) turned by (x, -y, -z), metres",
    }
    for mesh in content["meshes"]:
        attributes = mesh["primitives"][0]["attributes"]
        weights, joints = film.array(attributes["WEIGHTS_0"]), film.array(attributes["JOINTS_0"])
        assert (
            np.abs(weights.sum(axis=1) - 1).max() < 1.5e-7 and (joints[weights == 0] == 0).all() and joints.max() < 16
        )


def test_bones_lie_along_y_and_tips_are_leaves(film):
    """Blender draws a bone along its joint's y axis."""
    nodes = film.content["nodes"]
    for side in ("Left", "Right"):
        for finger in ("thumb", "index", "middle", "ring", "little"):
            for name in ("2", "3", "_tip"):
                place = np.array(nodes[film.node(f"{side}_{finger}{name}")]["translation"])
                assert place[1] > 0.99 * np.linalg.norm(place), f"{side}_{finger}{name}"
            assert "children" not in nodes[film.node(f"{side}_{finger}_tip")]


def test_a_hand_that_is_away_vanishes_and_keeps_its_pose(pair, tmp_path):
    present = np.ones(PICTURES, bool)
    present[20:40] = False
    away = replace(pair[Side.LEFT], present=present, wrist=np.where(present[:, None], pair[Side.LEFT].wrist, np.nan))
    write_film(tmp_path / "film.glb", {**pair, Side.LEFT: away}, clock_of(PICTURES))
    film = GltfFilm(tmp_path / "film.glb")
    gone, before = (film.vertices(mesh_of(Side.LEFT), picture / 30) for picture in (25, 19))
    assert np.ptp(gone, axis=0).max() < 1e-6 and np.ptp(before, axis=0).max() > 0.05
    np.testing.assert_allclose(film.globals(25 / 30)[film.node("Left")], film.globals(19 / 30)[film.node("Left")])
    assert np.ptp(film.vertices(mesh_of(Side.RIGHT), 25 / 30), axis=0).max() > 0.05
    scaled = [one["sampler"] for one in film.content["animations"][0]["channels"] if one["target"]["path"] == "scale"]
    assert [film.content["animations"][0]["samplers"][one]["interpolation"] for one in scaled] == ["STEP"]
    with pytest.raises(DataError, match="left hand is in no picture"):
        write_film(tmp_path / "none.glb", {Side.LEFT: replace(away, present=~(present | True))}, clock_of(PICTURES))
    assert not (tmp_path / "none.glb").exists()


def bvh_joints(text: str, row: int) -> dict[str, np.ndarray]:
    """Places of joints and tips in a row of a BVH file, by the format's own rules."""
    motion = text.split("MOTION\n")[1].splitlines()
    numbers = iter(map(float, motion[2 + row].split()))
    found, stack, current = {}, [], None
    for line in text.split("MOTION")[0].splitlines():
        words = line.split()
        if words[0] in ("ROOT", "JOINT", "End"):
            current = words[1] if words[0] != "End" else f"{stack[-1][0]} tip"
        elif words[0] == "{":
            stack.append((current, None))
        elif words[0] == "OFFSET":
            above = stack[-2][1] if len(stack) > 1 else np.eye(4)
            local = np.eye(4)
            local[:3, 3] = list(map(float, words[1:]))
            stack[-1] = (current, above @ local)
            found[current] = stack[-1][1][:3, 3]
        elif words[0] == "CHANNELS":
            name, placed = stack[-1]
            local = np.eye(4)
            for channel in words[2:]:
                value = next(numbers)
                axis = "XYZ".index(channel[0])
                if channel.endswith("position"):
                    local[axis, 3] = value
                else:
                    local[:3, :3] = (
                        local[:3, :3] @ Rotation.from_euler(channel[0].lower(), value, degrees=True).as_matrix()
                    )
            stack[-1] = (name, placed @ local)
            found[name] = stack[-1][1][:3, 3]
        elif words[0] == "}":
            stack.pop()
    return found


@pytest.mark.parametrize("rate", [Fraction(30), Fraction(30000, 1001)])
def test_bvh_has_every_joint_where_the_film_has_it(film, pair, tmp_path, rate):
    for side in Side:
        rig = rig_of(MODELS[side], pair[side].shape)
        write_bvh(tmp_path / "hand.bvh", rig, pair[side], clock_of(PICTURES, rate))
        text = (tmp_path / "hand.bvh").read_text()
        assert f"Frames: {PICTURES}\n" in text and f"Frame Time: {1 / float(rate):.8f}\n" in text
        assert (
            text.count("End Site") == 5
            and text.count("ROOT") == 1
            and re.search(r"ROOT \w+\n\{\n  OFFSET 0\.0+ 0\.0+ 0\.0+\n", text)
        )
        for picture in (0, 31, PICTURES - 1):
            placed, joints = film.globals(picture / 30), bvh_joints(text, picture)
            assert len(joints) == 21
            for name, place in joints.items():
                node = f"{name[:-5]}_tip" if name.endswith(" tip") else name
                np.testing.assert_allclose(place, placed[film.node(node)][:3, 3], atol=1e-5, err_msg=name)


def test_an_irregular_film_is_resampled_for_bvh_and_exact_in_glb(pair, tmp_path):
    times = np.cumsum(np.r_[0, np.tile([1 / 60, 3 / 60], PICTURES)[: PICTURES - 1]])
    late = FilmClock(times * np.linspace(1, 1.2, PICTURES), Fraction(30))
    assert clock_of(PICTURES).is_regular and not late.is_regular
    write_film(tmp_path / "film.glb", pair, late)
    film = GltfFilm(tmp_path / "film.glb")
    side = Side.RIGHT
    np.testing.assert_allclose(
        film.vertices(mesh_of(side), late.times[41])[:778], skinned(pair[side], 41) @ GLTF_FROM_CAMERA.T, atol=1e-5
    )
    write_bvh(tmp_path / "hand.bvh", rig_of(MODELS[side], pair[side].shape), pair[side], late)
    text = (tmp_path / "hand.bvh").read_text()
    rows = int(re.search(r"Frames: (\d+)", text)[1])
    assert rows == int(late.times[-1] * 30) + 1 != PICTURES
    for row in (0, 20, rows - 1):
        placed = film.globals(row / 30)[film.node("Right_middle3")][:3, 3]
        np.testing.assert_allclose(bvh_joints(text, row)["Right_middle3"], placed, atol=1e-4)


def test_rates_are_fractions():
    assert rate_of(29.97) == rate_of(29.97003) == Fraction(30000, 1001)
    assert rate_of(23.976) == Fraction(24000, 1001) and rate_of(59.94) == Fraction(60000, 1001)
    assert rate_of(30) == 30 and rate_of(25.0) == 25 and rate_of(12.5) == Fraction(25, 2)
    with pytest.raises(DataError, match="is no rate of a film"):
        rate_of(0)
