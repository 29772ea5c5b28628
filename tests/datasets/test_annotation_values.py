"""Values of annotation files in other clothes: read where their meaning is certain, else the frame is set aside by name."""

from __future__ import annotations

import numpy as np
import pytest

from im2hands.datasets import annotation_values as values
from im2hands.datasets.audit import Reason
from im2hands.datasets.frames import FrameTable, index_frames
from im2hands.datasets.hands import fit_hands
from im2hands.datasets.interhand26m import InterHand26M
from im2hands.hands.model_files import builtin_hand_models
from im2hands.io.errors import DamagedFileError, DataError
from tests.datasets.made_up_interhand import index


def reasons(audit):
    return {row["image_id"]: (row["reason"], row["detail"]) for row in audit.table().to_pylist()}


@pytest.mark.parametrize("value", ["0", [0], ["0"], [[0]], 0.0, False, "false", " 0 ", "0.0"])
def test_hand_type_valid_means_the_number_however_it_is_written(interhand, value):
    interhand.annotations[2]["hand_type_valid"] = value
    assert reasons(index(interhand)[1]) == {702: ("hand_type_invalid", "")}


@pytest.mark.parametrize("value", ["1", [1], [[1]], 1.0, True, "True"])
def test_valid_hand_types_stay_valid_however_they_are_written(interhand, value):
    interhand.annotations[2]["hand_type_valid"] = value
    table, audit = index(interhand)
    assert len(table) == 6
    assert not audit.counts


@pytest.mark.parametrize(
    ("place", "key", "value", "named"),
    [
        ("annotations", "hand_type_valid", "yes", "hand_type_valid: 'yes' is neither 0 nor 1"),
        ("annotations", "hand_type_valid", 2, "hand_type_valid: 2 is neither"),
        ("annotations", "hand_type_valid", None, "hand_type_valid: None is neither"),
        ("annotations", "hand_type_valid", [1, 0], r"hand_type_valid: \[1, 0\] is neither"),
        ("annotations", "hand_type_valid", float("nan"), "hand_type_valid: nan is neither"),
        ("annotations", "hand_type", "both", "hand_type: 'both' is none of right, left, interacting"),
        ("annotations", "hand_type", ["interacting"], "is none of right, left, interacting"),
        ("images", "frame_idx", "8a", "frame_idx: '8a' is no whole number"),
        ("images", "frame_idx", 8.5, "frame_idx: 8.5 is no whole number"),
        ("images", "frame_idx", True, "frame_idx: True is no whole number"),
        ("images", "capture", None, "capture: None is no whole number"),
        ("images", "width", 0, "width: 0 is no size"),
        ("images", "height", -80, "height: -80 is no size"),
        ("images", "camera", None, "camera: None is no name"),
        ("images", "seq_name", {}, "seq_name: {} is no name"),
        ("images", "file_name", 7, "file_name: 7 is no file name"),
        ("images", "file_name", "../val/Capture0/a.jpg", "leaves the folder of images"),
        ("images", "file_name", "/etc/a.jpg", "leaves the folder of images"),
        ("images", "file_name", "C:\\data\\a.jpg", "leaves the folder of images"),
    ],
)
def test_values_without_a_certain_meaning_set_their_frame_aside_by_name(interhand, place, key, value, named):
    getattr(interhand, place)[2][key] = value
    table, audit = index(interhand, max_unreadable_fraction=1 / 6)
    assert table["image_id"].to_pylist() == [700, 701, 703, 704, 705]
    assert audit.counts == {Reason.ENTRY_MALFORMED: 1}
    with pytest.raises(DataError, match=rf"1 of 6 cannot be used \(1 entry_malformed\).*{named}"):
        index(interhand, max_unreadable_fraction=0.1)


def test_faults_of_single_hand_frames_are_nobodys_concern(interhand):
    interhand.rename_to_single_hand(2, " Right")
    interhand.images[2]["width"] = "wide"
    assert reasons(index(interhand)[1]) == {702: ("single_hand", "right")}


@pytest.mark.parametrize("key", ["id", "image_id"])
def test_ids_that_are_no_numbers_are_refused_by_name(interhand, key):
    interhand.annotations[2][key] = "seven"
    interhand.write_annotations()
    with pytest.raises(DamagedFileError, match=r"entry 2 of images or annotations .*'seven' is no whole number"):
        list(InterHand26M.open(interhand.root).annotated_images("train"))


def test_numbers_as_text_and_other_spellings_give_the_same_table(interhand):
    """What pandas or a hand-written script makes of the file: nothing is lost and nothing changes."""
    expected = index(interhand)[0]
    for image, annotation in zip(interhand.images, interhand.annotations, strict=True):
        image.update({key: str(image[key]) for key in ("id", "width", "capture", "subject")})
        image.update(frame_idx=f"{image['frame_idx']:05d}", height=float(image["height"]), camera=int(image["camera"]))
        image["file_name"] = "\\".join(image["file_name"].split("/"))
        annotation.update(hand_type="Interacting ", image_id=[annotation["image_id"]], id=float(annotation["id"]))
    interhand.fits = {
        f"0{capture}": {f"{int(f):05d}": fit for f, fit in frames.items()} for capture, frames in interhand.fits.items()
    }
    interhand.camera = {f"0{capture}": cameras for capture, cameras in interhand.camera.items()}
    table, audit = index(interhand)
    assert table.equals(expected)
    assert not audit.counts


@pytest.mark.parametrize(
    "written",
    [[1] * 42, [[1]] * 42, ["1"] * 42, [True] * 42, [[1.0]] * 42, [[1] * 21, [1] * 21]],
    ids=["flat", "nested", "text", "booleans", "floats", "per hand"],
)
@pytest.mark.parametrize("first", [0, None])
def test_joint_valid_is_read_in_every_form(interhand, written, first):
    entry = interhand.joints["0"]["5"]
    entry["joint_valid"] = [*written] if first is None or len(written) == 2 else [type_as(written[0], 0), *written[1:]]
    frames = FrameTable(index(interhand)[0])
    table, audit = fit_hands(interhand.root, "train", frames, builtin_hand_models(), 20.0)
    valid = np.array(table["annotation_valid"].to_pylist())
    assert valid.sum() == 6 * 21 - (first == 0 and len(written) == 42)
    assert not audit.counts


def type_as(example, number):
    return [type(example[0])(number)] if isinstance(example, list) else type(example)(number)


@pytest.mark.parametrize("value", [10**400, "1e5", "0x10", "5.5", "", " ", [], [[]], {}, float("inf"), True, "٥"])
def test_what_is_no_whole_number(value):
    with pytest.raises(ValueError, match="no whole number"):
        values.whole_number(value)


@pytest.mark.parametrize("value", [5, 5.0, "5", " 5 ", "005", "+5", "5.0", [5], [["5"]]])
def test_what_is_a_whole_number(value):
    assert values.whole_number(value) == 5
    assert type(values.whole_number(value)) is int


@pytest.mark.parametrize(
    ("written", "path"),
    [("a\\b\\c.jpg", "a/b/c.jpg"), ("./a//b.jpg", "a/b.jpg"), ("a/b.jpg", "a/b.jpg"), ("a..b/c.jpg", "a..b/c.jpg")],
)
def test_paths_are_written_with_slashes(written, path):
    assert values.relative_path(written) == path


# -- units ----------------------------------------------------------------------------------------------------------------


def test_joints_in_metres_are_named_as_a_unit_error(interhand):
    for frames in interhand.joints.values():
        for entry in frames.values():
            entry["world_coord"] = (np.array(entry["world_coord"]) / 1000).tolist()
    frames = FrameTable(index(interhand)[0])
    with pytest.raises(
        DataError, match=r"joint_3d\.json: the joints of 6 of 6 hands .*millimetres but look like metres"
    ):
        fit_hands(interhand.root, "train", frames, builtin_hand_models(), 20.0)


def test_joints_of_one_pose_in_metres_are_noted_with_the_unit(interhand):
    entry = interhand.joints["1"]["8"]
    entry["world_coord"] = (np.array(entry["world_coord"]) / 1000).tolist()
    frames = FrameTable(index(interhand)[0])
    table, audit = fit_hands(interhand.root, "train", frames, builtin_hand_models(), 20.0)
    assert len(table) == 6
    assert audit.counts == {Reason.JOINTS_IN_METRES: 2}
    assert all(row["kept"] and "is the file in metres?" in row["detail"] for row in audit.table().to_pylist())


def test_camera_positions_in_metres_are_named_as_a_unit_error(interhand):
    for capture in interhand.camera.values():
        capture["campos"] = {name: [x / 1000 for x in place] for name, place in capture["campos"].items()}
    with pytest.raises(
        DataError, match=r"6 camera_position_implausible\).*must be in millimetres but look like metres"
    ):
        index(interhand)


def test_a_camera_at_the_origin_of_the_world_is_none(interhand):
    """A dataset in the coordinates of its camera, or of the first of two side by side."""
    for capture, frames in interhand.fits.items():
        for entry in frames.values():
            for fit in entry.values():
                fit["trans"][2] += 0.7
        for position in ([0.0, 0.0, 0.0], [12.0, 0.0, 0.0]):
            interhand.camera[capture]["campos"]["400002"] = position
            interhand.camera[capture]["camrot"]["400262"] = np.eye(3).tolist()
            interhand.camera[capture]["campos"]["400262"] = [0.0, 0.0, 0.0]
            assert not index(interhand)[1].counts


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda fit: fit.update(pose=[25.0] * 48), r"fit_pose_implausible\).*radians but look like degrees"),
        (lambda fit: fit.update(trans=[80.0, 900.0, 20.0]), r"fit_translation_implausible\).*look like millimetres"),
    ],
)
def test_fits_in_other_units_are_named(interhand, damage, message):
    for frames in interhand.fits.values():
        for entry in frames.values():
            damage(entry["left"])
    with pytest.raises(DataError, match=message):
        index(interhand)


def test_a_focal_length_in_widths_is_named(interhand):
    for capture in interhand.camera.values():
        capture["focal"] = {name: [1.4, 1.4] for name in capture["focal"]}
    with pytest.raises(DataError, match=r"6 camera_implausible\).*focal length in pixels"):
        index(interhand)


# -- files and folders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg"])
def test_pictures_with_another_ending_are_found(interhand, suffix):
    import cv2

    expected = index(interhand)[0]
    for position in (0, 4):
        path = interhand.image_file(position)
        kind = ".png" if suffix == ".png" else ".jpg"
        path.with_suffix(suffix).write_bytes(cv2.imencode(kind, cv2.imread(str(path)))[1].tobytes())
        path.unlink()
    table, audit = index(interhand)
    assert table.equals(expected)
    assert not audit.counts


def test_two_pictures_of_the_same_name_are_not_chosen_from(interhand):
    path = interhand.image_file(0)
    for suffix in (".png", ".jpeg"):
        path.with_suffix(suffix).write_bytes(path.read_bytes())
    path.unlink()
    assert index(interhand, max_unreadable_fraction=0.2)[1].counts == {Reason.IMAGE_MISSING: 1}


@pytest.mark.parametrize("kind", ["data", "camera", "MANO_NeuralAnnot", "joint_3d"])
def test_a_byte_order_mark_does_no_harm(interhand, kind):
    expected = index(interhand)[0]
    path = interhand.annotation_file(kind)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    table, _ = index_frames(interhand.root, "train", 0.0)
    assert table.equals(expected)
    assert len(list(InterHand26M.open(interhand.root).joints("train"))) == 3


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"\x1f\x8b\x08\0\0\0\0", "it is really a compressed archive: unpack it"),
        (b"PK\x03\x04\0\0", "it is really a compressed archive: unpack it"),
        ("{}".encode("utf-16"), "UTF-16 text: save it as UTF-8"),
        (b"\n<!DOCTYPE html><html>", "it is really a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"", "it is empty"),
    ],
)
def test_another_file_under_the_name_is_named(interhand, content, cause):
    interhand.annotation_file("data").write_bytes(content)
    with pytest.raises(DamagedFileError, match=f"train_data.json: the data file is not valid JSON.*{cause}"):
        index_frames(interhand.root, "train", 0.0)


def test_splits_of_another_name_are_named(interhand):
    folder = interhand.annotation_file("data").parent
    folder.rename(folder.with_name("training"))
    with pytest.raises(
        DataError, match=r"annotations contains the folders training, but the splits must be called train"
    ):
        index_frames(interhand.root, "train", 0.0)


def test_annotations_beside_their_split_are_named(interhand):
    path = interhand.annotation_file("data")
    path.rename(path.parent.parent / path.name)
    with pytest.raises(DataError, match=r"one level too high, .*move it into train/"):
        list(InterHand26M.open(interhand.root).annotated_images("train"))


def test_image_folders_of_another_name_or_depth_are_named(interhand):
    folder = interhand.root / "images" / "train"
    folder.rename(folder.with_name("Training"))
    with pytest.raises(DataError, match=r"images of the split are missing; .*contains the folders Training"):
        index_frames(interhand.root, "train", 0.0)
    folder.mkdir()
    folder.with_name("Training").rename(folder / "train")
    with pytest.raises(DataError, match=r"the images are one level too deep; move its Capture folders"):
        index_frames(interhand.root, "train", 0.0)


def test_a_root_of_other_folders_lists_them(interhand):
    (interhand.root / "annotations").rename(interhand.root / "Annotations")
    with pytest.raises(DataError, match=r"annotations/ is neither here .*contains the folders Annotations, images"):
        InterHand26M.open(interhand.root)


def test_a_camera_file_of_another_kind_is_refused(interhand):
    interhand.camera = [interhand.camera]
    with pytest.raises(DataError, match=r"camera\.json: .*\blist\b"):
        index(interhand)


@pytest.mark.parametrize(
    ("remove", "detail"),
    [
        (lambda camera: camera.pop("1"), "the camera file has no capture 1"),
        (lambda camera: camera["1"].pop("focal"), "has no focal of camera 400002 in capture 1"),
        (lambda camera: camera["1"]["camrot"].pop("400002"), "has no camrot of camera 400002 in capture 1"),
    ],
)
def test_what_a_camera_file_lacks_is_named(interhand, remove, detail):
    remove(interhand.camera)
    assert any(detail in text for _, text in reasons(index(interhand, max_unreadable_fraction=0.5)[1]).values())


@pytest.mark.parametrize("key", ["campos", "camrot", "focal", "princpt"])
def test_cameras_with_nan_are_set_aside_one_by_one(interhand, key):
    values = interhand.camera["1"][key]["400002"]
    (values[0] if key == "camrot" else values)[0] = float("nan")
    assert reasons(index(interhand, max_unreadable_fraction=0.2)[1]) == {702: ("camera_not_finite", "")}
