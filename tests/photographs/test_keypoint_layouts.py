"""Every keypoint format, written by our own writer of its layout and read back; tables, arrays and MANO's parameters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from im2hands.geometry.cameras import Camera
from im2hands.hands.joints import JointOrder
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DataError
from im2hands.photographs.keypoint_files import read_keypoints
from im2hands.photographs.keypoint_formats import FORMATS
from im2hands.photographs.keypoint_layouts.content import nobody
from im2hands.photographs.keypoint_layouts.headset_files import WEBXR_NAMES
from im2hands.photographs.keypoint_layouts.layout import STANDARD_JOINTS, Missing
from im2hands.photographs.keypoint_layouts.table import LAYOUTS, MANO_TIPS
from im2hands.photographs.keypoint_layouts.writers import READ_ONLY, WRITERS
from im2hands.photographs.landmark_files import PictureLandmarks
from im2hands.photographs.landmarks import Landmarks
from tests.photographs.hands import two_hands

CAMERA = Camera(np.array([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]]), np.eye(3), np.zeros(3))
SIZE = (640, 480)
TENTH_OF_A_HUNDREDTH = 1e-5
"""Metres: 0.01 mm."""
ONE_SIDE = ("freihand", "dexycb", "dexycb-results")
NUMBERS = {
    "freihand": "{:08d}",
    "dexycb": "color_{:06d}",
    "h2o": "{:06d}",
    "rhd": "{:05d}",
    "arctic": "s01_hands_0_{:05d}",
}
"""How files that number their pictures call them."""


def pictures(name: str) -> dict[str, np.ndarray]:
    """Two pictures with hands as a format can hold them; in the second, the left hand is missing where it may be."""
    found = {f"7_{number}": two_hands(3 + number) for number in range(2)}
    if name in ONE_SIDE:
        for both in found.values():
            both[Side.LEFT.index] = np.nan
    elif LAYOUTS.get(name, LAYOUTS["json"]).missing is not Missing.NOTHING:
        found["7_1"][Side.LEFT.index] = np.nan
    return found


def landmarks(name: str) -> dict[str, PictureLandmarks]:
    """The same hands as a detector sees them; in the first, a joint of the right hand is not seen where that may be."""
    made = {}
    for number, (picture, both) in enumerate(pictures(name).items()):
        hands = {
            side: Landmarks(CAMERA.project(both[side.index]), both[side.index])
            for side in SIDES
            if np.isfinite(both[side.index]).all()
        }
        if number == 0 and name not in ("mediapipe", "wilor", "mhr70"):
            hands[Side.RIGHT].pixels[7] = np.nan
        made[picture] = PictureLandmarks(hands, None, "camera", SIZE, stated=both)
    return made


def written(folder: Path, name: str, content: dict) -> Path:
    writer = WRITERS[name]
    path = folder / f"hands{writer.ends[0] if writer.ends else ''}"
    if writer.folder:
        path.mkdir()
    writer.write(path, content)
    return path


@pytest.mark.parametrize("name", [name for name, writer in WRITERS.items() if writer.needs == "space"])
def test_hands_in_space_come_back(tmp_path, name):
    """To 0.01 mm, with the pictures' names where the layout has names; without the base of the thumb if it lacks it."""
    given = pictures(name)
    found = read_keypoints(written(tmp_path, name, given))
    assert found.format == {"openpose-3d": "openpose"}.get(name, name)
    assert not found.landmarks and not found.refused
    layout = LAYOUTS[found.format]
    kept = [joint for joint in range(STANDARD_JOINTS) if joint not in layout.lacks]
    expected = [NUMBERS[name].format(number) for number in range(2)] if name in NUMBERS else list(given)
    if name in ("array", "dexycb-results"):
        expected = ["0", "1"]
    if name == "ho3d":
        expected = ["0000", "0001"]
    if name == "assemblyhands":
        expected = [f"sequence_{number:06d}" for number in range(2)]
    if name == "hand-tracking-sdk":
        expected = ["0", "1"]
    assert found.pictures == expected
    for before, after in zip(given.values(), found.hands.values(), strict=True):
        if layout.origin == "own":
            before, after = distances(before), distances(after)
            np.testing.assert_allclose(after, before, atol=TENTH_OF_A_HUNDREDTH)
        else:
            np.testing.assert_allclose(after[:, kept], before[:, kept], atol=TENTH_OF_A_HUNDREDTH)
            np.testing.assert_allclose(after, before, atol=2e-3)


def distances(both: np.ndarray) -> np.ndarray:
    """Between all joints of each hand, which neither place nor turn change."""
    return np.linalg.norm(both[:, :, None] - both[:, None], axis=-1)


@pytest.mark.parametrize("name", [name for name, layout in LAYOUTS.items() if layout.unit_unsure])
def test_a_unit_that_is_from_memory_is_seen_from_the_hands(tmp_path, name):
    """A file with numbers a thousand times larger (or smaller, where we write millimetres) gives the same hands."""
    given = pictures(name)
    scale = 0.001 if LAYOUTS[name].unit == "mm" else 1000
    found = read_keypoints(written(tmp_path, name, {picture: scale * both for picture, both in given.items()}))
    np.testing.assert_allclose(np.stack(list(found.hands.values())), np.stack(list(given.values())), atol=1e-5)


@pytest.mark.parametrize("name", [name for name, writer in WRITERS.items() if writer.needs != "space"])
def test_what_detectors_see_comes_back(tmp_path, name):
    """Pixels to a thousandth, joints that are not seen, relative points and the detector's own place where they are kept."""
    given = landmarks(name)
    found = read_keypoints(written(tmp_path, name, given))
    assert (found.format, found.pictures) == (name, list(given))
    for picture, before in given.items():
        after = found.landmarks[picture].in_pixels(SIZE)
        assert set(after.hands) == set(before.hands)
        for side, one in before.hands.items():
            np.testing.assert_allclose(after.hands[side].pixels, one.pixels, atol=1e-3)
            relative = after.hands[side].relative
            if relative is not None:
                np.testing.assert_allclose(np.ptp(relative - one.relative, axis=0), 0, atol=TENTH_OF_A_HUNDREDTH)
        if after.stated is not None:
            np.testing.assert_allclose(after.stated, before.stated, atol=TENTH_OF_A_HUNDREDTH)
        if name in ("landmarks", "mediapipe", "coco"):
            assert found.landmarks[picture].size == SIZE


def test_every_format_is_in_the_table_and_has_a_writer():
    """A format without a layout, or one that nothing writes, would not be tested above."""
    assert set(LAYOUTS) <= set(FORMATS)
    assert set(FORMATS) - set(LAYOUTS) <= set(READ_ONLY)
    assert set(FORMATS) == set(WRITERS) - {"openpose-3d"} | set(READ_ONLY)


@pytest.mark.parametrize("name", LAYOUTS)
def test_maps_are_maps(name):
    """Every STANDARD joint has its own point, and points that are no joints are said to be so."""
    layout = LAYOUTS[name]
    places = [place for place in layout.joints if place is not None]
    assert len(set(places)) == len(places) == STANDARD_JOINTS - len(layout.lacks)
    assert max(places) + layout.second < layout.points
    assert not set(layout.extra) & set(places)


def test_our_orders_are_those_of_the_table():
    """`mano` is HO-3D's order; `biomech` is no layout's."""
    assert JointOrder.STANDARD.table_from(JointOrder.MANO) == MANO_TIPS
    assert JointOrder.STANDARD.table_from(JointOrder.INTERHAND) == LAYOUTS["interhand"].joints
    biomech = JointOrder.STANDARD.table_from(JointOrder.BIOMECH)
    assert biomech not in [layout.joints for layout in LAYOUTS.values()]


@pytest.mark.parametrize("name", ["webxr", "openxr", "quest", "soma", "hot3d", "dex-retargeting", "freihand"])
@pytest.mark.parametrize("one_hand", [False, True])
def test_bare_arrays_of_a_stated_format(tmp_path, name, one_hand):
    given = np.stack([two_hands(3), two_hands(4)])
    layout = LAYOUTS[name]
    if name == "freihand" and not one_hand:
        pytest.skip("it has right hands alone")
    points = layout.as_written(given[:, 1] if one_hand else given)
    np.save(tmp_path / "k.npy", points)
    found = read_keypoints(tmp_path / "k.npy", format=name, side="right" if one_hand else None)
    expected = given.copy()
    expected[:, 0] = np.nan if one_hand else expected[:, 0]
    np.testing.assert_allclose(np.stack(list(found.hands.values())), expected, atol=2e-3 if layout.lacks else 1e-9)


def test_webxr_by_the_names_of_its_joints(tmp_path):
    """As a page keeps what its session says: positions under names."""
    hands = {
        side.value: {
            name: {"position": dict(zip("xyzw", [*point.tolist(), 1.0], strict=True)), "radius": 0.01}
            for name, point in zip(WEBXR_NAMES, LAYOUTS["webxr"].as_written(two_hands(3)[side.index]), strict=True)
        }
        for side in SIDES
    }
    (tmp_path / "k.json").write_text(json.dumps({"12": hands | {"left": None}}))
    found = read_keypoints(tmp_path / "k.json")
    assert found.format == "webxr"
    np.testing.assert_allclose(found.hands["12"][Side.RIGHT.index], two_hands(3)[Side.RIGHT.index], atol=1e-12)


def test_one_hand_that_does_not_say_its_side_is_known_by_its_bend(tmp_path):
    """DexYCB without the description of its sequence."""
    for side in SIDES:
        both = nobody()
        both[side.index] = two_hands(4)[side.index]
        folder = written(tmp_path, "dexycb", {"a": both}).rename(tmp_path / side.value)
        (folder / "meta.yml").unlink()
        found = read_keypoints(folder)
        np.testing.assert_allclose(found.hands["color_000000"], both, atol=1e-6)


def test_a_side_that_the_file_contradicts_is_refused(tmp_path):
    """FreiHAND's hands are right ones, whatever the user says."""
    path = written(tmp_path, "freihand", pictures("freihand"))
    assert read_keypoints(path, side="right").pictures == ["00000000", "00000001"]
    with pytest.raises(DataError, match="says the sides of its hands itself"):
        read_keypoints(path, side="left")


def test_json_in_other_containers(tmp_path):
    """The same object in a pickle, an NPZ and a line of JSON."""
    hands = {side.value: two_hands(3)[side.index] for side in SIDES}
    np.savez(tmp_path / "k.npz", **hands)
    line = json.dumps({"image": "a.jpg"} | {name: hand.tolist() for name, hand in hands.items()})
    (tmp_path / "k.jsonl").write_text(f"{line}\n{line.replace('a.jpg', 'b.jpg')}\n")
    np.save(tmp_path / "k.npy", np.array(hands, dtype=object))
    for file, name in (("k.npz", ""), ("k.jsonl", "b.jpg"), ("k.npy", "")):
        found = read_keypoints(tmp_path / file)
        assert found.format == "json"
        np.testing.assert_allclose(found.hands[name], two_hands(3), atol=1e-12)
