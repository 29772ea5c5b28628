"""What others read in our files: VTK, bvhio, and where they are installed Khronos's validator, three and Blender."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from im2hands.films.bvh import write_bvh
from im2hands.films.command import blender_words
from im2hands.films.rig import RIG_PARENTS, rig_of
from im2hands.geometry.mesh_files import GLTF_FROM_CAMERA
from im2hands.hands.model import JOINTS
from im2hands.hands.sides import Side
from tests.films.gltf_film import GltfFilm
from tests.films.moving_hands import MODELS, clock_of, moving_pair, skinned
from tests.films.test_animated_files import write_film

PICTURES = 100
TOOLS = os.environ.get("GLTF_TOOLS", "")
"""A folder in which `npm install gltf-validator three` was called."""
BLENDER = os.environ.get("BPY_PYTHON", "")
needs_node = pytest.mark.skipif(
    not (TOOLS and shutil.which("node")),
    reason="set GLTF_TOOLS to a folder with the npm packages gltf-validator and three",
)


@pytest.fixture(scope="module", params=[Fraction(30), Fraction(30000, 1001)], ids=["30", "29.97"])
def film(request, tmp_path_factory) -> tuple[Path, dict, Fraction]:
    path = tmp_path_factory.mktemp("film") / "film.glb"
    pair = moving_pair(PICTURES)
    write_film(path, pair, clock_of(PICTURES, request.param))
    return path, pair, request.param


def expected(motion, picture: int) -> np.ndarray:
    return skinned(motion, picture) @ GLTF_FROM_CAMERA.T


def test_vtk_plays_both_hands(film):
    gltf, core = pytest.importorskip("vtkmodules.vtkIOGeometry"), pytest.importorskip("vtkmodules.util.numpy_support")
    path, pair, rate = film
    reader = gltf.vtkGLTFReader()
    reader.SetFileName(str(path))
    reader.ApplyDeformationsToGeometryOn()
    reader.UpdateInformation()
    assert reader.GetNumberOfAnimations() == 1
    assert reader.GetAnimationDuration(0) == pytest.approx((PICTURES - 1) / float(rate), rel=1e-6)
    reader.EnableAnimation(0)
    for picture in (0, 37, PICTURES - 1):
        time = picture / float(rate)
        reader.GetOutputInformation(0).Set(_update_time(), time)
        reader.Modified()
        reader.Update()
        leaves = list(_leaves(reader.GetOutput()))
        assert len(leaves) == len(Side)
        for leaf, side in zip(leaves, Side, strict=True):
            points = core.vtk_to_numpy(leaf.GetPoints().GetData())[:778]
            np.testing.assert_allclose(points, expected(pair[side], picture), atol=1e-5)


def _update_time():
    from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline

    return vtkStreamingDemandDrivenPipeline.UPDATE_TIME_STEP()


def _leaves(data):
    if data.IsA("vtkMultiBlockDataSet"):
        for block in range(data.GetNumberOfBlocks()):
            if data.GetBlock(block) is not None:
                yield from _leaves(data.GetBlock(block))
    else:
        yield data


@needs_node
def test_the_validator_finds_nothing_but_the_holder(film):
    script = (
        "const [folder, file] = process.argv.slice(1);"
        "require(folder + '/node_modules/gltf-validator').validateBytes(new Uint8Array(require('fs').readFileSync(file)))"
        ".then((report) => console.log(JSON.stringify(report.issues)))"
    )
    words = ["node", "-e", script, "--", TOOLS, str(film[0])]
    found = json.loads(subprocess.run(words, capture_output=True, check=True, text=True).stdout)
    assert {(one["code"], one["severity"]) for one in found["messages"]} == {("NODE_SKINNED_MESH_NON_ROOT", 1)}
    assert found["numErrors"] == 0


@needs_node
def test_three_plays_both_hands(film):
    path, pair, rate = film
    pictures = (0, 50, PICTURES - 1)
    words = ["node", str(Path(__file__).with_name("three_reader.mjs")), TOOLS, str(path)]
    words += [str(picture / float(rate)) for picture in pictures]
    read = json.loads(subprocess.run(words, capture_output=True, check=True, text=True).stdout)
    assert read["animations"] == 1
    for picture, meshes in zip(pictures[:-1], read["found"], strict=False):  # at its end a loop begins again
        for side in Side:
            points = np.array(meshes[f"{side.value.capitalize()}_mesh"])[:778]
            np.testing.assert_allclose(points, expected(pair[side], picture), atol=1e-5)


@pytest.mark.skipif(not BLENDER, reason="set BPY_PYTHON to a Python that has Blender's module bpy (5.0 or newer)")
def test_blender_has_every_picture_on_a_whole_frame(film, tmp_path):
    """With the frame rate and the bases that the command's last line tells; Blender's axes are z up."""
    path, pair, rate = film
    words = re.search(
        r"frame rate to (\d+)(?: with base ([\d.]+))? .*?(?:base to ([\d.]+))?, and", _blender_words(rate)
    )
    whole, before, after = (one or "1" for one in words.groups())
    pictures = (0, 50, PICTURES - 1)
    script, output = Path(__file__).with_name("blender_reader.py"), tmp_path / "read.json"
    command = [BLENDER, str(script), str(path), whole, before, after, str(output), *map(str, pictures)]
    subprocess.run(command, check=True, capture_output=True)
    read = json.loads(output.read_text())
    np.testing.assert_allclose(read["keys"], np.arange(PICTURES), atol=1e-2)
    for side in Side:
        for picture, places in zip(pictures, read["vertices"][f"{side.value.capitalize()}_mesh"], strict=True):
            x, y, z = expected(pair[side], picture).T
            np.testing.assert_allclose(np.array(places)[:778], np.stack([x, -z, y], axis=1), atol=1e-5)


def _blender_words(rate: Fraction) -> str:
    return blender_words(str(rate), True, np.arange(PICTURES) / float(rate))


def test_bvhio_has_every_joint_where_the_film_has_it(tmp_path):
    bvhio = pytest.importorskip("bvhio")
    pair, clock = moving_pair(12), clock_of(12)
    write_film(tmp_path / "film.glb", pair, clock)
    film = GltfFilm(tmp_path / "film.glb")
    for side in Side:
        rig = rig_of(MODELS[side], pair[side].shape)
        write_bvh(tmp_path / "hand.bvh", rig, pair[side], clock)
        root = bvhio.readAsHierarchy(str(tmp_path / "hand.bvh"))
        for picture in (0, 5, 11):
            root.loadPose(picture)
            read = {joint.Name: np.array(joint.PositionWorld) for joint, *_ in root.layout()}
            placed = film.globals(clock.times[picture])
            for joint, name in enumerate(rig.names()[:JOINTS]):
                true = placed[film.node(name)][:3, 3]
                np.testing.assert_allclose(
                    read[name], true, atol=1e-5, err_msg=f"{name}, child of {RIG_PARENTS[joint]}"
                )
