"""`im2hands reconstruct`, end to end through the command: every kind of picture gives a result or one clear sentence."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from im2hands.geometry.mesh_files import read_mesh
from im2hands.hands.joints import JointOrder
from im2hands.photographs.files import read_photograph
from im2hands.photographs.landmarks import palm_size
from tests.photographs.own_photograph import Scene, result


def test_a_picture_gives_meshes_pictures_and_a_json_file(run, scene, tmp_path):
    code, text = run(formats="glb,obj,ply")
    folder = tmp_path / "out/photograph"
    assert code == 0, text
    expected = {f"{name}.{suffix}" for name in ("left", "right", "hands") for suffix in ("glb", "obj", "ply")}
    assert {path.name for path in folder.iterdir()} == expected | {"overlay.png", "side.png", "result.json"}
    found = result(folder)
    assert np.allclose(found["keypoints"]["left"], scene.hands["left"])
    assert found["penetration"]["depth_mm"] >= 0
    assert 0 <= found["confidence"]["right"] <= 1
    assert {"crop", "encode", "surfaces", "keypoints", "files"} == set(found["seconds"])
    wrist = np.array(scene.hands["left"][0])
    assert np.linalg.norm(read_mesh(folder / "left.glb").vertices - wrist, axis=1).min() < 0.1
    assert cv2.imread(str(folder / "overlay.png")).std() > 5
    same = [read_mesh(folder / f"left.{suffix}").vertices for suffix in ("glb", "obj", "ply")]
    assert np.allclose(same[0], same[1], atol=1e-6) and np.allclose(same[1], same[2], atol=1e-6)
    assert found["mesh_frames"]["obj"] == "as units says" and "(x, -y, -z)" in found["mesh_frames"]["glb"]


def test_landmarks_and_another_order_in_millimetres_give_the_same_keypoints(run, scene, tmp_path):
    hands = {side: np.array(points) for side, points in scene.hands.items()}
    mano = {side: (1e3 * points[list(JointOrder.MANO.value)]).tolist() for side, points in hands.items()}
    landmarks = {"photograph.png": {"hands": scene.landmarks(), "palm": palm_size(hands["left"])}}
    for name, content in (("mano", mano), ("landmarks", landmarks)):
        output = tmp_path / name
        code, text = run(output=output, keypoints=scene.written(f"{name}_keypoints.json", content), method="initial")
        assert code == 0, text
        assert np.allclose(result(output / "photograph")["keypoints"]["left"], hands["left"], atol=1e-5)


def test_finished_pictures_are_skipped_and_bad_ones_do_not_stop_the_others(run, scene, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(scene.image.read_bytes())
    (folder / "b.jpg").write_bytes(b"\xff\xd8 cut off")
    (folder / "c.png").write_bytes(scene.image.read_bytes())
    code, text = run(folder)
    assert code == 1
    assert "b.jpg: the image cannot be used: truncated" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "c"}
    before = (tmp_path / "out/a/result.json").stat().st_mtime_ns
    code, text = run(folder)
    assert text.count("already done") == 2
    assert (tmp_path / "out/a/result.json").stat().st_mtime_ns == before


def test_a_video_gives_a_folder_per_frame(run, scene, tmp_path):
    path = tmp_path / "film.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (256, 256))
    for _ in range(2):
        video.write(scene.pixels)
    video.release()
    code, text = run(path, independent=True)
    assert code == 0, text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["film-000000", "film-000001"]


@pytest.mark.parametrize("kind", ["grey", "sixteen bits", "transparent", "huge", "cut hands", "one hand"])
def test_unusual_pictures_give_a_result(run, scene, tmp_path, kind):
    pixels, options = scene.pixels, {}
    if kind == "grey":
        pixels = pixels.mean(2).astype(np.uint8)
    if kind == "sixteen bits":
        pixels = pixels.astype(np.uint16) * 257
    if kind == "transparent":
        pixels = np.dstack([pixels, np.full((256, 256), 9, np.uint8)])
    if kind == "huge":
        pixels = np.pad(pixels, ((0, 6000), (0, 9000), (0, 0)))
    if kind == "cut hands":
        pixels = pixels[:, :140]
    if kind == "one hand":
        options["keypoints"] = scene.written("one.json", scene.hands | {"left": None})
    code, text = run(scene.picture("unusual.png", np.ascontiguousarray(pixels)), **options)
    assert code == 0, text
    found = result(tmp_path / "out/unusual")
    assert found["method"] == ("initial" if kind == "one hand" else "im2hands")
    assert (tmp_path / "out/unusual/left.glb").exists() == (kind != "one hand")


def test_sixteen_bits_are_the_same_picture_and_exif_turns_it(scene):
    plain = read_photograph(scene.image)
    deep = scene.picture("deep.png", scene.pixels.astype(np.uint16) * 257)
    assert np.array_equal(plain, scene.pixels[..., ::-1])
    assert np.array_equal(read_photograph(deep), plain)
    jpeg = cv2.imencode(".jpg", scene.pixels[:100])[1].tobytes()
    turned = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    marked = jpeg[:2] + b"\xff\xe1" + (len(turned) + 2).to_bytes(2, "big") + turned + jpeg[2:]
    path = scene.folder / "turned.jpg"
    path.write_bytes(marked)
    upright = scene.folder / "upright.jpg"
    upright.write_bytes(jpeg)
    assert np.array_equal(read_photograph(path), np.rot90(read_photograph(upright), -1))


def shifted(scene: Scene, shift: list[float]) -> dict:
    return scene.camera_content | {"t": (np.array(scene.camera_content["t"]) + shift).tolist()}


BAD = {
    "no such picture": (lambda s: {"image": "nowhere.png"}, "nowhere.png: no such image, folder or video"),
    "another kind of file": (lambda s: {"image": s.keypoints}, "neither an image"),
    "empty folder": (lambda s: {"image": _folder(s)}, "the folder contains no pictures"),
    "empty file": (lambda s: {"image": _file(s, "empty.png", b"")}, "the file is empty"),
    "text as picture": (lambda s: {"image": _file(s, "text.png", b"hello")}, "does not decode"),
    "truncated jpeg": (
        lambda s: {"image": _file(s, "cut.jpg", cv2.imencode(".jpg", s.pixels)[1].tobytes()[:3000])},
        "truncated: the JPEG end marker is missing",
    ),
    "truncated png": (lambda s: {"image": _file(s, "cut.png", s.image.read_bytes()[:9000])}, "cannot be used"),
    "floating point": (
        lambda s: {"image": s.picture("float.tiff", s.pixels.astype(np.float32))},
        "has float32 values; save it with 8 or 16 bits",
    ),
    "no film": (lambda s: {"image": _file(s, "film.mp4", b"nothing")}, "OpenCV cannot read any frame of this video"),
    "keypoints missing": (lambda s: {"keypoints": "none.json"}, "none.json: the keypoint file is missing"),
    "keypoints no JSON": (lambda s: {"keypoints": s.written("bad.json", "{")}, "is not valid JSON"),
    "keypoints of others": (lambda s: {"keypoints": s.written("other.json", {"x.png": s.hands})}, "has no entry"),
    "keypoints not numbers": (
        lambda s: {"keypoints": s.written("words.json", s.hands | {"right": [["a"] * 3] * 21})},
        "is not an array of numbers",
    ),
    "all joints in one place": (
        lambda s: {"keypoints": s.written("point.json", dict.fromkeys(s.hands, [[0.0, 0, 1]] * 21))},
        "hand measures 0",
    ),
    "keypoint table without frames": (
        lambda s: {"keypoints": s.data.keypoints("noisy")},
        "give the split's frame table as --camera",
    ),
    "picture of another split": (
        lambda s: {"keypoints": s.data.keypoints("noisy"), "camera": s.data.frames},
        "0 rows belong to",
    ),
    "focal length no number": (lambda s: {"camera": "focal=long"}, "must be a positive number of pixels"),
    "negative focal length": (lambda s: {"camera": "focal=-3"}, "must be a positive number of pixels"),
    "camera missing": (lambda s: {"camera": "none.json"}, "none.json: the camera file is missing"),
    "camera without focal length": (lambda s: {"camera": s.written("c1.json", {"R": [[1]]})}, "neither K nor focal"),
    "K of another shape": (lambda s: {"camera": s.written("c2.json", {"K": [1, 2]})}, "K must be 3 x 3 finite numbers"),
    "no rotation": (
        lambda s: {"camera": s.written("c3.json", s.camera_content | {"R": [[2, 0, 0], [0, 1, 0], [0, 0, 1]]})},
        "R is not a rotation matrix",
    ),
    "hands behind the camera": (
        lambda s: {"camera": s.written("c4.json", shifted(s, [0, 0, -9]))},
        "lie behind the camera",
    ),
    "hands beside the picture": (
        lambda s: {"camera": s.written("c5.json", shifted(s, [9, 0, 0]))},
        "no keypoint is in the picture",
    ),
    "no networks": (lambda s: {"model": s.folder / "nothing"}, "the model card is missing"),
    "unknown method": (lambda s: {"method": "magic"}, "unknown method 'magic'"),
    "grid that is no doubling": (lambda s: {"resolution": 100}, "cannot be reached by doublings"),
    "unknown format": (lambda s: {"formats": "stl"}, "not a mesh format; use obj, ply, glb"),
    "order without a file": (
        lambda s: {"keypoints": "intaghand", "order": "mano"},
        "--order describes a keypoint file",
    ),
    "no palm": (lambda s: {"palm": 85}, "a palm size is only for landmarks"),
    "box upside down": (lambda s: {"box": "10,10,5,20"}, "give left,top,right,bottom in pixels"),
    "output is a file": (lambda s: {"output": s.image}, "is a file; give a folder"),
}


def _folder(scene: Scene) -> Path:
    (scene.folder / "empty").mkdir(exist_ok=True)
    return scene.folder / "empty"


def _file(scene: Scene, name: str, content: bytes) -> Path:
    (scene.folder / name).write_bytes(content)
    return scene.folder / name


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_clear_sentence(run, scene, tmp_path, case):
    """More about keypoint files: test_keypoint_files.py; about missing networks: test_own_keypoints.py."""
    make, message = BAD[case]
    options = make(scene)
    code, text = run(options.pop("image", scene.image), **options)
    assert code == 1
    assert message in text
    assert text.count("im2hands: error:") == 1
    assert "Traceback" not in text
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*/result.json"))
