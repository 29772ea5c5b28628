"""Files of body pose detectors: our own writer of each layout, read back; what only looks alike is refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from im2hands.geometry.cameras import Camera
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.files import Photograph
from im2hands.photographs.keypoint_files import read_keypoints
from im2hands.photographs.pixel_files import FIRST_OF_HANDS
from tests.photographs.hands import two_hands

RANDOM = np.random.default_rng(0)
PIXELS = {side: RANDOM.uniform(50, 400, (21, 2)).round(3) for side in SIDES}


def openpose_person(hands: dict[Side, np.ndarray], missing: tuple[int, ...] = ()) -> dict:
    """As OpenPose writes it: flat x, y, confidence; zeros for a joint or a hand that it does not see."""
    person = {"person_id": [-1], "pose_keypoints_2d": [0.0] * 75, "hand_left_keypoints_3d": []}
    for side in SIDES:
        places = np.zeros((21, 3))
        if side in hands:
            places[:, :2], places[:, 2] = hands[side], 0.8
            places[list(missing)] = 0
        person[f"hand_{side.value}_keypoints_2d"] = places.ravel().tolist()
    return person


def body(hands: dict[Side, np.ndarray], joints: int = 133) -> dict:
    """As MMPose's inferencer writes an instance."""
    places, scores = np.full((joints, 2), 7.5), np.full(joints, 0.05)
    for side, first in zip(SIDES, FIRST_OF_HANDS[joints], strict=True):
        if side in hands:
            places[first : first + 21], scores[first : first + 21] = hands[side], 0.9
    return {"keypoints": places.tolist(), "keypoint_scores": scores.tolist(), "bbox": [[0, 0, 9, 9]], "bbox_score": 0.9}


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def pixels_of(found, name: str) -> dict[Side, np.ndarray]:
    return {side: one.pixels for side, one in found.landmarks[name].hands.items()}


def assert_same(found: dict[Side, np.ndarray], expected: dict[Side, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for side, pixels in expected.items():
        np.testing.assert_allclose(found[side], pixels, atol=1e-9)


def test_openpose_folder(tmp_path):
    """A file per picture; missing joints become NaN, missing hands and pictures without people are left out."""
    write(tmp_path / "a_keypoints.json", {"version": 1.3, "people": [openpose_person(PIXELS, (3, 7))]})
    write(tmp_path / "b_keypoints.json", {"version": 1.3, "people": [openpose_person({Side.LEFT: PIXELS[Side.LEFT]})]})
    write(tmp_path / "c_keypoints.json", {"version": 1.3, "people": [openpose_person({})]})
    found = read_keypoints(tmp_path)
    assert (found.format, found.pictures) == ("openpose", ["a", "b"])
    sparse = {side: pixels.copy() for side, pixels in PIXELS.items()}
    for pixels in sparse.values():
        pixels[[3, 7]] = np.nan
    assert_same(pixels_of(found, "a"), sparse)
    assert_same(pixels_of(found, "b"), {Side.LEFT: PIXELS[Side.LEFT]})


def test_one_file_of_openpose(tmp_path):
    """By its name the picture's, whatever else may end in `_keypoints.json`; by another name any picture's."""
    content = {"people": [openpose_person(PIXELS)]}
    assert read_keypoints(write(tmp_path / "a_keypoints.json", content)).pictures == ["a"]
    assert read_keypoints(write(tmp_path / "hands.json", content)).pictures == [""]
    hands = {side.value: None if side is Side.LEFT else two_hands(3)[side.index].tolist() for side in SIDES}
    assert read_keypoints(write(tmp_path / "my_keypoints.json", hands), order="standard").format == "json"
    write(tmp_path / "b_keypoints.json", content)
    with pytest.raises(DataError, match=r"my_keypoints\.json: has no list `people`"):
        read_keypoints(tmp_path)


def test_a_bystander_without_hands_does_not_count(tmp_path):
    people = [openpose_person({}), openpose_person(PIXELS), openpose_person(PIXELS, tuple(range(18)))]
    found = read_keypoints(write(tmp_path / "a_keypoints.json", {"people": people}))
    assert_same(pixels_of(found, "a"), PIXELS)


@pytest.mark.parametrize("joints", FIRST_OF_HANDS)
def test_whole_bodies(tmp_path, joints):
    """A picture's list of instances, and a video's list of frames."""
    picture = read_keypoints(write(tmp_path / "a.json", [body({}, joints), body(PIXELS, joints)]))
    assert (picture.format, picture.pictures) == ("wholebody", [""])
    assert_same(pixels_of(picture, ""), PIXELS)
    frames = [{"frame_id": number, "instances": [body(PIXELS, joints)]} for number in range(3)]
    video = read_keypoints(write(tmp_path / "video.json", frames))
    assert video.pictures == ["0", "1", "2"]
    frame = Photograph("clip-000002", Path("clip.mp4"), lambda: None, 2)
    assert frame.names == ("clip.mp4", "clip", "clip-000002", "2", "clip_000000000002")
    camera = Camera(np.array([[900.0, 0, 200], [0, 900, 200], [0, 0, 1]]), np.eye(3), np.zeros(3))
    assert np.isfinite(video.keypoints(frame.names, camera)).all()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"people": [openpose_person(PIXELS)] * 2}, r"a_keypoints\.json: hands of 2 people; .*leave one of them"),
        ({"people": [openpose_person({Side.LEFT: PIXELS[Side.LEFT] / 500})]}, "run OpenPose with --keypoint_scale 0"),
        ({"people": [{"hand_left_keypoints_2d": [1.0] * 60}]}, "has 60 numbers, not 21 x"),
        ({"people": [{"hand_left_keypoints_2d": [None] * 63}]}, "hand_left_keypoints_2d must be"),
        ({"people": [openpose_person({})]}, "no hand with at least 6 joints; run OpenPose with --hand"),
    ],
)
def test_what_openpose_did_not_write_so(tmp_path, content, sentence):
    with pytest.raises(DataError, match=sentence):
        read_keypoints(write(tmp_path / "a_keypoints.json", content))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([body(PIXELS), body(PIXELS)], "hands of 2 people"),
        ([body({})], "nobody has a hand with at least 6 joints"),
        ([{"keypoints": [[1, 2]] * 17, "keypoint_scores": [0.9] * 17}], "17 keypoints and 17 scores; .*133, 134, 136"),
        ([{"keypoints": [[1, 2, 3]] * 133, "keypoint_scores": [0.9] * 133}], "keypoints must be finite numbers, n x 2"),
        ({"instances": [{"keypoints": []}]}, "an instance must have keypoints and keypoint_scores"),
    ],
)
def test_what_is_no_whole_body(tmp_path, content, sentence):
    with pytest.raises(DataError, match=sentence):
        read_keypoints(write(tmp_path / "bodies.json", content))
