"""Results of detectors and sets in COCO's form, in the spellings that their tools have."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from im2hands.geometry.cameras import Camera
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_files import read_keypoints
from im2hands.photographs.keypoint_layouts.table import TIPS_FIRST, WRIST_THEN_TIPS
from im2hands.photographs.landmarks import palm_size
from tests.photographs.hands import two_hands

HANDS = two_hands(3)
CAMERA = Camera(np.array([[900.0, 0, 319.5], [0, 900, 239.5], [0, 0, 1]]), np.eye(3), np.zeros(3))
WIDTH, HEIGHT = 640, 480
PIXELS = {side: CAMERA.project(HANDS[side.index]) for side in SIDES}
SPELLINGS = {
    "python": ("handedness", "category_name", "hand_landmarks", "hand_world_landmarks"),
    "web": ("handedness", "categoryName", "landmarks", "worldLandmarks"),
    "older web": ("multiHandedness", "label", "multiHandLandmarks", None),
}


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def marks(points: np.ndarray) -> list[dict]:
    return [dict(zip("xyz", point.tolist(), strict=False)) for point in points]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("stated", [True, False])
def test_mediapipe_of_every_interface(tmp_path, spelling, stated):
    """Shares of the picture become pixels by the stated size or the picture's own."""
    sides, label, seen, world = SPELLINGS[spelling]
    result = {sides: [], seen: [], **({world: []} if world else {})}
    for side in SIDES:
        result[sides].append([{label: side.value.title(), "score": 0.9}])
        result[seen].append(marks(np.column_stack([(PIXELS[side] + 0.5) / (WIDTH, HEIGHT), np.zeros(21)])))
        if world:
            result[world].append(marks(HANDS[side.index] - HANDS[side.index].mean(axis=0)))
    size = {"size": [WIDTH, HEIGHT]} if stated else {}
    found = read_keypoints(written(tmp_path / "k.json", {"a.jpg": result | size}))
    assert found.format == "mediapipe"
    picture = found.landmarks["a.jpg"].in_pixels((WIDTH, HEIGHT))
    for side in SIDES:
        np.testing.assert_allclose(picture.hands[side].pixels, PIXELS[side], atol=1e-9)
        assert (picture.hands[side].relative is not None) == bool(world)
    if world:
        given = found.given(("a.jpg",), CAMERA, size=(WIDTH, HEIGHT)).keypoints
        assert np.linalg.norm(given - HANDS, axis=-1).max() < 0.2


def test_landmarks_of_a_picture_of_another_size_are_refused(tmp_path):
    """The remedy depends on whether it was turned."""
    hands = [
        {"side": side.value, "pixels": PIXELS[side].tolist(), "relative": HANDS[side.index].tolist()} for side in SIDES
    ]
    content = {"hands": hands, "size": [WIDTH, HEIGHT], "palm": palm_size(HANDS[0])}
    found = read_keypoints(written(tmp_path / "k.json", {"a.jpg": content}))
    np.testing.assert_allclose(found.given(("a.jpg",), CAMERA, size=(WIDTH, HEIGHT)).keypoints[1], HANDS[1], atol=1e-6)
    with pytest.raises(
        DataError, match=r"picture a.jpg: .* of 640 x 480 pixels, but this one has 480 x 640; it was looked"
    ):
        found.given(("a.jpg",), CAMERA, size=(HEIGHT, WIDTH))
    with pytest.raises(DataError, match="but this one has 320 x 240; it was resized or cut: run the detector"):
        found.given(("a.jpg",), CAMERA, size=(320, 240))
    for wrong in ([640], "640x480", [640.5, 480], [0, 480]):
        with pytest.raises(DataError, match="size must be the width and height"):
            read_keypoints(written(tmp_path / "w.json", content | {"size": wrong}))


def wilor_hand(side: Side, mirrored: bool, pixels: bool) -> dict:
    points = HANDS[side.index] - HANDS[side.index, 0]
    points = side.mirror_points(points) if mirrored else points
    preds = {"pred_keypoints_3d": points[None].astype(np.float32), "pred_cam_t_full": HANDS[side.index, 0][None]}
    preds |= {"scaled_focal_length": 900.0} | ({"pred_keypoints_2d": PIXELS[side][None]} if pixels else {})
    return {"is_right": float(side is Side.RIGHT), "hand_bbox": [0.0, 0.0, 9.0, 9.0], "wilor_preds": preds}


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("pixels", [True, False])
def test_wilor_with_and_without_pixels(tmp_path, mirrored, pixels):
    """A left hand in right-hand space is recognised by its bend; pixels are placed with the user's camera."""
    content = {"a.jpg": [wilor_hand(side, mirrored, pixels) for side in SIDES], "b.jpg": []}
    (tmp_path / "k.pkl").write_bytes(pickle.dumps(content))
    found = read_keypoints(tmp_path / "k.pkl")
    assert found.format == "wilor" and ("x was negated" in " ".join(found.notes)) == mirrored
    assert "picture b.jpg: there is no hand" in found.refused["b.jpg"]
    assert bool(found.landmarks) == pixels
    alone = found.in_space()
    assert not alone.landmarks
    np.testing.assert_allclose(alone.hands["a.jpg"], HANDS, atol=1e-6)


def coco(annotations: list[dict], names: tuple[str, ...] = ("a.jpg", "b.jpg")) -> dict:
    images = [{"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT} for number, name in enumerate(names)]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "hand"}]}


def flat(pixels: np.ndarray, missing: tuple[int, ...] = ()) -> list[float]:
    found = np.column_stack([pixels, np.full(len(pixels), 2.0)])
    found[list(missing)] = 0
    return found.ravel().tolist()


@pytest.mark.parametrize("order", [tuple(range(21)), WRIST_THEN_TIPS])
def test_sets_of_single_hands(tmp_path, order):
    """The order is the one in which bones look like a hand's; the side is the user's, or the annotation's."""
    written_as = np.argsort(order)
    many = [CAMERA.project(two_hands(3 + number)[Side.RIGHT.index]) for number in range(12)]
    rows = [{"image_id": number, "keypoints": flat(pixels[written_as])} for number, pixels in enumerate(many)]
    names = tuple(f"{number}.jpg" for number in range(12))
    path = written(tmp_path / "k.json", coco(rows, names))
    with pytest.raises(DataError, match="does not say whether its hands are left or right"):
        read_keypoints(path)
    found = read_keypoints(path, side="right")
    assert (found.format, found.pictures) == ("coco", list(names))
    assert found.landmarks["3.jpg"].size == (WIDTH, HEIGHT)
    for name, pixels in zip(names, many, strict=True):
        np.testing.assert_allclose(found.landmarks[name].hands[Side.RIGHT].pixels, pixels)


def test_annotations_that_say_the_side(tmp_path):
    """Two annotations of a picture, one with a joint that is not seen."""
    rows = [
        {"image_id": 0, "hand_type": side.value, "keypoints": flat(PIXELS[side], (3,) if side is Side.LEFT else ())}
        for side in SIDES
    ]
    found = read_keypoints(written(tmp_path / "k.json", coco(rows)))
    for side in SIDES:
        seen = np.isfinite(found.landmarks["a.jpg"].hands[side].pixels).all(axis=1)
        np.testing.assert_allclose(found.landmarks["a.jpg"].hands[side].pixels[seen], PIXELS[side][seen])
        assert seen.sum() == (20 if side is Side.LEFT else 21)


def test_both_hands_and_whole_bodies_of_coco(tmp_path):
    """MMPose's InterHand2.6M has the right hand first; a result file is a list of annotations."""
    both = np.concatenate([PIXELS[side][np.argsort(TIPS_FIRST)] for side in SIDES[::-1]])
    body = np.zeros((133, 2))
    body[91:112], body[112:] = PIXELS[Side.LEFT], PIXELS[Side.RIGHT]
    for content, name in (
        (coco([{"image_id": 0, "keypoints": flat(both)}]), "a.jpg"),
        ([{"image_id": 7, "keypoints": flat(body), "score": 0.9, "category_id": 1}], "7"),
    ):
        found = read_keypoints(written(tmp_path / "k.json", content))
        for side in SIDES:
            np.testing.assert_allclose(found.landmarks[name].hands[side].pixels, PIXELS[side])


def test_one_bad_picture_of_coco_stops_no_other(tmp_path):
    rows = [
        {"image_id": 0, "hand_type": "left", "keypoints": flat(PIXELS[Side.LEFT])},
        {"image_id": 1, "keypoints": [1, 2, 2]},
    ]
    found = read_keypoints(written(tmp_path / "k.json", coco(rows)))
    assert list(found.landmarks) == ["a.jpg"]
    assert "picture b.jpg: 1 keypoints are no hands that are known" in found.refused["b.jpg"]


def test_a_single_hand_of_mmpose(tmp_path):
    """RTMPose's hands: an instance of 21 keypoints, whose side the user says."""
    hand = {"keypoints": PIXELS[Side.LEFT].tolist(), "keypoint_scores": [0.9] * 20 + [0.1]}
    path = written(tmp_path / "k.json", [hand])
    with pytest.raises(DataError, match="does not say whether its hands are left or right"):
        read_keypoints(path)
    found = read_keypoints(path, side="left").landmarks[""].hands
    np.testing.assert_allclose(found[Side.LEFT].pixels[:20], PIXELS[Side.LEFT][:20])
    assert np.isnan(found[Side.LEFT].pixels[20]).all()
