"""The reader finds the files wherever the archives put them, refuses what it cannot read, and converts units once."""

from __future__ import annotations

import numpy as np
import pytest

from im2hands.datasets.audit import Reason, Unusable
from im2hands.datasets.interhand26m import InterHand26M, annotated_joints, dataset_name, hand_fit
from im2hands.hands.sides import Side
from im2hands.io.atomic import write_json
from im2hands.io.errors import DamagedFileError, DataError

FIT = {"pose": [0.1] * 48, "shape": [0.0] * 10, "trans": [0.1, 0.2, 0.9]}


def reason_of(function, *arguments) -> Reason:
    with pytest.raises(Unusable) as caught:
        function(*arguments)
    return caught.value.finding.reason


def test_images_and_annotations_come_in_pairs(interhand):
    entries = list(InterHand26M.open(interhand.root).annotated_images("train"))
    assert [entry.image_id for entry in entries] == [700, 701, 702, 703, 704, 705]
    assert [entry.annotation_id for entry in entries] == [9000, 9001, 9002, 9003, 9004, 9005]
    assert entries[2].capture == 1 and entries[2].camera == "400002" and entries[2].frame_idx == 8


@pytest.mark.parametrize("moved", [("images",), ("images", "annotations")])
def test_the_top_folder_of_the_archives_may_be_there(interhand, moved):
    top = interhand.root / "InterHand2.6M_5fps_batch1"
    top.mkdir()
    for name in moved:
        (interhand.root / name).rename(top / name)
    dataset = InterHand26M.open(interhand.root)
    assert dataset.image_file("train", interhand.images[0]["file_name"]).is_file()
    assert dataset.annotation_file("train", "data").is_file()


def test_two_top_folders_are_ambiguous(interhand):
    for rate in (5, 30):
        (interhand.root / f"InterHand2.6M_{rate}fps_batch1" / "images").mkdir(parents=True)
    (interhand.root / "images").rename(interhand.root / "elsewhere")
    with pytest.raises(DataError, match=r"several folders contain images/.*5fps.*set dataset\.root"):
        InterHand26M.open(interhand.root)


@pytest.mark.parametrize("folder", ["all", "human_annot", "machine_annot"])
def test_the_layout_of_v0_is_refused(interhand, folder):
    (interhand.root / "annotations" / folder).mkdir()
    with pytest.raises(DataError, match=r"v0\.0, which is not supported; download the annotations of v1\.0"):
        InterHand26M.open(interhand.root)


def test_missing_folders_and_files_are_named(interhand, tmp_path):
    with pytest.raises(DataError, match=r"nowhere: the dataset folder is missing; correct dataset\.root"):
        InterHand26M.open(tmp_path / "nowhere")
    with pytest.raises(DataError, match="images/ is neither here nor in"):
        InterHand26M.open(tmp_path)
    interhand.annotation_file("MANO_NeuralAnnot").rename(interhand.annotation_file("MANO"))
    with pytest.raises(DataError, match=r"MANO_NeuralAnnot\.json: the annotation file is missing; .*obsolete"):
        InterHand26M.open(interhand.root).annotation_file("train", "MANO_NeuralAnnot")


def test_pairs_that_position_and_id_give_differently_are_refused(interhand):
    interhand.annotations[1:3] = reversed(interhand.annotations[1:3])
    interhand.write_annotations()
    with pytest.raises(DataError, match=r"not parallel \(images\[1\] has id 701, annotations\[1\] has 702\)"):
        list(InterHand26M.open(interhand.root).annotated_images("train"))


@pytest.mark.parametrize(("longer", "message"), [("images", "more images"), ("annotations", "more annotations")])
def test_lists_of_different_length_are_refused(interhand, longer, message):
    entries = getattr(interhand, longer)
    entries.append(entries[-1])
    interhand.write_annotations()
    with pytest.raises(DataError, match=message):
        list(InterHand26M.open(interhand.root).annotated_images("train"))


def test_an_id_that_occurs_twice_is_refused(interhand):
    interhand.images[3]["id"] = interhand.annotations[3]["image_id"] = 700
    interhand.write_annotations()
    with pytest.raises(DataError, match="occurs twice"):
        list(InterHand26M.open(interhand.root).annotated_images("train"))


def test_entries_of_another_release_are_refused(interhand):
    del interhand.images[2]["frame_idx"]
    interhand.write_annotations()
    with pytest.raises(DamagedFileError, match=r"entry 2 .* not as in v1\.0 .*frame_idx"):
        list(InterHand26M.open(interhand.root).annotated_images("train"))


def test_a_data_file_without_its_lists_is_refused(interhand):
    interhand.annotation_file("data").write_text('{"pictures": []}')
    with pytest.raises(DamagedFileError, match="the list `images` is missing"):
        list(InterHand26M.open(interhand.root).annotated_images("train"))


@pytest.mark.parametrize("kind", ["data", "camera", "MANO_NeuralAnnot", "joint_3d"])
def test_a_truncated_annotation_file_is_named(interhand, kind):
    path = interhand.annotation_file(kind)
    path.write_bytes(path.read_bytes()[:-40])
    dataset = InterHand26M.open(interhand.root)
    readers = {
        "data": dataset.annotated_images,
        "camera": lambda split: [dataset.cameras(split)],
        "MANO_NeuralAnnot": dataset.fits,
        "joint_3d": dataset.joints,
    }
    with pytest.raises(DamagedFileError, match=f"train_{kind}.json.*truncated.*again"):
        list(readers[kind]("train"))


def test_cameras_are_metric_and_see_the_origin(interhand):
    camera = InterHand26M.open(interhand.root).cameras("train").get(0, "400262")
    assert np.allclose(camera.translation, [0, 0, 0.7])
    assert np.allclose(camera.project(np.zeros(3)), [32, 40])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda camera: camera["focal"].pop("400002"), Reason.CAMERA_MISSING),
        (lambda camera: camera.pop("campos"), Reason.CAMERA_MISSING),
        (lambda camera: camera["campos"]["400002"].__setitem__(0, float("nan")), Reason.CAMERA_NOT_FINITE),
        (lambda camera: camera["princpt"].__setitem__("400002", [1.0, 2.0, 3.0]), Reason.CAMERA_IMPLAUSIBLE),
        (lambda camera: camera["camrot"]["400002"][0].__setitem__(0, 1.1), Reason.CAMERA_IMPLAUSIBLE),
        (lambda camera: camera["camrot"]["400002"][2].__setitem__(2, -1.0), Reason.CAMERA_IMPLAUSIBLE),
        (lambda camera: camera["focal"].__setitem__("400002", [0.0, 90.0]), Reason.CAMERA_IMPLAUSIBLE),
    ],
)
def test_unusable_cameras_have_a_reason(interhand, damage, reason):
    damage(interhand.camera["0"])
    interhand.write_annotations()
    cameras = InterHand26M.open(interhand.root).cameras("train")
    for _ in range(2):  # the finding is kept
        assert reason_of(cameras.get, 0, "400002") is reason
    assert cameras.get(1, "400002").translation[2] == pytest.approx(0.7)
    assert reason_of(cameras.get, 7, "400002") is Reason.CAMERA_MISSING


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({}, Reason.FIT_SIDE_MISSING),
        (None, Reason.FIT_SIDE_MISSING),
        ({"left": None}, Reason.FIT_NULL),
        ({"left": {"pose": [0.0] * 48}}, Reason.FIT_MALFORMED),
        ({"left": {**FIT, "pose": [0.0] * 45}}, Reason.FIT_MALFORMED),
        ({"left": {**FIT, "shape": ["a"] * 10}}, Reason.FIT_MALFORMED),
        ({"left": {**FIT, "pose": [float("nan")] * 48}}, Reason.FIT_NOT_FINITE),
        ({"left": {**FIT, "trans": [100.0, 200.0, 900.0]}}, Reason.FIT_TRANSLATION_IMPLAUSIBLE),
    ],
)
def test_unusable_fits_have_a_reason(entry, reason):
    assert reason_of(hand_fit, entry, Side.LEFT) is reason


def test_fits_keep_their_numbers():
    fit = hand_fit({"right": {**FIT, "trans": [[0.1, 0.2, 0.9]]}}, Side.RIGHT)
    assert fit.pose.shape == (48,) and fit.translation.tolist() == [0.1, 0.2, 0.9]


def test_annotated_joints_are_metric_and_in_standard_order(interhand):
    """Right hand first, tip to base, wrist last, millimetres; also as the bare list of old files."""
    coordinates = np.arange(126.0).reshape(42, 3)
    valid = np.ones((42, 1))
    valid[20] = 0
    entry = {"world_coord": coordinates.tolist(), "joint_valid": valid.tolist()}
    right, right_valid = annotated_joints(entry)[Side.RIGHT]
    left, _ = annotated_joints(entry)[Side.LEFT]
    assert np.allclose(right[[0, 1, 4, 20]] * 1000, coordinates[[20, 3, 0, 16]])
    assert np.allclose(left[0] * 1000, coordinates[41])
    assert right_valid.tolist() == [False] + [True] * 20
    assert annotated_joints(coordinates.tolist())[Side.RIGHT][1].all()
    assert reason_of(annotated_joints, {"world_coord": [[1, 2, 3]]}) is Reason.ANNOTATION_MISSING


def test_dataset_name(tmp_path):
    assert dataset_name(tmp_path) == "InterHand2.6M"
    write_json(tmp_path / "dataset.json", {"name": "made up"})
    assert dataset_name(tmp_path) == "made up"
    write_json(tmp_path / "dataset.json", ["made up"])
    with pytest.raises(DamagedFileError, match="its `name` is not text"):
        dataset_name(tmp_path)
