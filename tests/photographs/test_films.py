"""`im2hands reconstruct` on films, end to end: what is written, what goes on after an interruption, what is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from im2hands.films.command import blender_words
from im2hands.films.film_file import found_cuts
from im2hands.hands.sides import SIDES, Side
from im2hands.photographs.film_table import FilmTable
from im2hands.photographs.keypoint_files import read_keypoints
from tests.films.gltf_film import GltfFilm
from tests.photographs.own_photograph import Scene, result

FRAMES, RATE = 5, 12.5
FILES = {"film.glb", "left.bvh", "right.bvh", "keypoints.parquet"}


def film(scene: Scene, name: str = "film.avi", size: int = 256) -> Path:
    path = scene.folder / name
    if not path.exists():
        video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (size, size))
        for _ in range(FRAMES):
            video.write(scene.pixels)
        video.release()
    return path


def detected(scene: Scene, noise: float = 1.0) -> dict:
    """Of each frame: labels exchanged in frame 1, a second person in frame 2, no right hand in frame 3."""
    random, frames = np.random.default_rng(0), {}
    for number in range(FRAMES):
        hands = [
            dict(one, pixels=(np.array(one["pixels"]) + random.normal(0, noise, (21, 2))).tolist())
            for one in scene.landmarks()
        ]
        if number == 1:
            for one in hands:
                one["side"] = {"left": "right", "right": "left"}[one["side"]]
        if number == 2:
            hands.append(dict(hands[0], pixels=(np.array(hands[0]["pixels"]) + 400).tolist()))
        frames[str(number)] = {"hands": [one for one in hands if number != 3 or one["side"] == "left"]}
    return frames


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_film_gives_meshes_an_animation_and_a_table(run, scene, tmp_path):
    """And the next run skips what is there, makes what is missing, and makes all anew when the keypoints change."""
    keypoints = scene.written("film.json", detected(scene))
    options = {"keypoints": keypoints, "method": "initial"}
    code, text = run(film(scene), **options)
    out = tmp_path / "out"
    folders = {f"film-{number:06d}" for number in range(FRAMES)}
    assert code == 0, text
    assert names(out) == FILES | folders
    said = "left hand in 5, right hand in 5, bridged 1, sides put right in 1, detections of others left out: 1"
    assert f"film.avi: 5 pictures, {said}" in text
    assert "12.5 pictures per second (25/2)" in text and "frames 0 to 4" in text
    assert text.index("in Blender set") > text.index("film-000004: ")
    table = FilmTable.read(out / "keypoints.parquet")
    assert table.seen.tolist() == [[True, number != 3] for number in range(FRAMES)]
    np.testing.assert_allclose(table.times, np.arange(FRAMES) / RATE)
    made = result(out / "film-000001")
    assert np.allclose(made["keypoints"]["left"], table.keypoints[1, Side.LEFT.index])
    assert made["keypoint_source"].endswith("film.json, followed through film.avi")
    assert made["uncertainty"]["left"]["distance_90_m"][0] < made["uncertainty"]["left"]["distance_m"]
    truth = np.array([scene.hands[side.value] for side in SIDES])
    about = [hands - hands[..., :1, :] for hands in (table.keypoints, truth)]
    assert np.linalg.norm(about[0] - about[1], axis=-1).mean() < 0.02
    extras = GltfFilm(out / "film.glb").content["scenes"][0]["extras"]
    assert (extras["pictures"], extras["rate"], extras["source"]) == (5, "25/2", "film.avi")
    again = read_keypoints(out / "keypoints.parquet")
    assert again.format == "film" and np.allclose(again.hands["film-000002"], table.keypoints[2])

    before = (out / "film.glb").stat().st_mtime_ns
    shutil.rmtree(out / "film-000003")
    code, text = run(film(scene), **options)
    assert code == 0 and names(out) == FILES | folders
    assert text.count("already done, skipped") == FRAMES and (out / "film.glb").stat().st_mtime_ns == before
    scene.written("film.json", detected(scene, 2.0))
    code, text = run(film(scene), **options)
    assert code == 0 and "already done" not in text
    changed = FilmTable.read(out / "keypoints.parquet").keypoints
    assert np.allclose(result(out / "film-000001")["keypoints"]["left"], changed[1, Side.LEFT.index])
    assert not np.allclose(changed, table.keypoints)


def test_only_the_animation_of_a_folder_of_pictures(run, scene, tmp_path):
    """Metric keypoints, kept as they are; no networks are needed."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    hands = {}
    for number in range(4):
        cv2.imwrite(str(folder / f"{number:02d}.png"), scene.pixels)
        moved = {
            side: (np.array(points) + np.array([0.002 * number, 0, 0])).tolist() for side, points in scene.hands.items()
        }
        hands[f"{number:02d}.png"] = moved
    keypoints = scene.written("metric.json", hands)
    code, text = run(folder, keypoints=keypoints, animation_only=True, fps=29.97, model=tmp_path / "none")
    assert code == 0, text
    assert names(tmp_path / "out") == FILES
    assert "29.97 pictures per second (30000/1001)" in text and "frames 0 to 3" in text
    table = FilmTable.read(tmp_path / "out/keypoints.parquet")
    np.testing.assert_allclose(table.keypoints[3, 0], hands["03.png"]["left"], atol=1e-9)
    moved = GltfFilm(tmp_path / "out/film.glb").globals(3 * 1001 / 30000)
    wrist = moved[GltfFilm(tmp_path / "out/film.glb").node("Left")][:3, 3]
    np.testing.assert_allclose(wrist * [1, -1, -1], hands["03.png"]["left"][0], atol=0.01)
    code, text = run(folder, keypoints=keypoints, animation_only=True, fps=29.97, model=tmp_path / "none")
    assert code == 0 and "already done, skipped" in text


def test_two_films_and_a_picture_at_once(run, scene, tmp_path):
    """The files of each film carry its name."""
    films = [film(scene, name) for name in ("one.avi", "two.avi")]
    keypoints = scene.written("film.json", detected(scene) | {"photograph": {"hands": scene.landmarks()}})
    code, text = run(scene.image, *films, keypoints=keypoints, method="initial", animation_only=True)
    assert code == 0, text
    expected = {f"{name}-{file}" for name in ("one", "two") for file in FILES}
    assert names(tmp_path / "out") == expected | {"photograph"}
    assert text.count("in Blender set the frame rate") == 2 and "focal length is assumed" not in text
    code, text = run(films[0], keypoints=keypoints, animation_only=True, camera="auto", output=tmp_path / "auto")
    assert code == 0 and "the focal length is assumed: the distance of the hands is not known" in text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"animation_only": True, "image": True}, "--animation-only is for films"),
        ({"animation_only": True, "independent": True}, "--animation-only is for films"),
        ({"fps": 30, "image": True, "animation_only": False}, "--fps is for films"),
        ({"refine_keypoints": True, "animation_only": False}, "--refine-keypoints looks at single pictures"),
        ({"noise_mm": 5, "landmarks": True}, "--noise-mm is for 3-D keypoints"),
        ({"fps": 0}, "is no rate of a film"),
        ({"none": True}, "film.avi: no picture of the film shows a hand"),
    ],
)
def test_what_no_film_can_be(run, scene, tmp_path, options, sentence):
    options = {"animation_only": True, "method": "initial", **options}
    if not options["animation_only"]:
        del options["animation_only"]
    path = scene.image if options.pop("image", False) else film(scene)
    if options.pop("landmarks", False):
        options["keypoints"] = scene.written("some.json", detected(scene))
    if options.pop("none", False):
        options["keypoints"] = scene.written("others.json", {"other.png": scene.hands})
    code, text = run(path, **options)
    assert code == 1 and sentence in text and text.count("im2hands: error:") == 1
    assert not (tmp_path / "out/film.glb").exists()


def test_blender_is_told_rate_and_last_frame():
    times = np.arange(100) / 30
    assert (
        blender_words("30", True, times) == "in Blender set the frame rate to 30 before importing, and frames 0 to 99"
    )
    assert "(30000/1001); in Blender set the frame rate to 30 with base" in blender_words("30000/1001", True, times)
    assert "frames 0 to 60" in blender_words("30", False, np.array([0.0, 0.5, 2.0]))


def test_cuts_are_found_and_pans_are_not():
    random = np.random.default_rng(0)
    scenes = random.integers(0, 255, (2, 18, 64), np.uint8)
    smooth = [cv2.normalize(cv2.blur(one, (9, 9)), None, 0, 255, cv2.NORM_MINMAX) for one in scenes]
    pan = np.stack([np.roll(smooth[number // 20], number, axis=1)[:, :32] for number in range(40)])
    assert np.flatnonzero(found_cuts(pan)).tolist() == [20]
    assert not found_cuts(pan[:20]).any() and not found_cuts(pan[:1]).any()
