"""Crops are the naive sequence's, their camera sees the hands where the crop shows them, bad frames are set aside."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest

from im2hands.datasets.audit import Reason
from im2hands.datasets.frames import FrameTable, index_frames
from im2hands.datasets.hands import HandTable, fit_hands
from im2hands.datasets.images import CropSet, CropSettings, crop_image, hands_crop, write_crop_shard
from im2hands.datasets.surface_maps import SurfaceMaps, rest_coordinates
from im2hands.geometry.cameras import apply_affine
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import SIDES, Side
from im2hands.io.errors import DamagedFileError, DataError
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance
from tests.naive.crop import exact_bilinear, naive_crop

MODELS = builtin_hand_models()


@pytest.fixture
def prepared(interhand):
    """(dataset, frames, hands) of six undamaged frames."""
    frames = FrameTable(index_frames(interhand.root, "train", 0.0)[0])
    return interhand, frames, HandTable(fit_hands(interhand.root, "train", frames, MODELS, 20.0)[0].combine_chunks())


def write(folder, prepared, shards=2, max_unreadable_fraction=0.0, **options):
    dataset, frames, hands = prepared
    paths, counts = [], []
    for shard in range(shards):
        paths.append(folder / f"{shard:04d}-of-{shards:04d}.arrow")
        part = frames.shard(shard, shards)
        counts.append(
            write_crop_shard(
                paths[-1], dataset.root, "train", part, hands, Provenance(), max_unreadable_fraction, **options
            )
        )
    write_manifest(folder / "manifest.json", paths)
    return CropSet(folder / "manifest.json"), counts


def both(hands, frame, column):
    return np.stack([hands.array(column)[hands.rows[f"{frame.pair_id}_{side.value}"]] for side in SIDES])


def test_crops_are_those_of_the_naive_sequence(prepared, tmp_path):
    dataset, frames, hands = prepared
    crops, counts = write(tmp_path, prepared)
    assert len(crops) == 6 and not any(counts)
    for frame, crop in zip(frames, crops, strict=True):
        camera, vertices = frame.camera, both(hands, frame, "vertices").astype(np.float64)
        jpeg, affine, intrinsics = naive_crop(
            dataset.image_file(frame.frame_id), vertices, camera.rotation, camera.translation, camera.intrinsics
        )
        expected = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(crop.image.astype(int) - expected).max() <= 2
        assert np.allclose(crop.affine, affine, atol=1e-9)
        assert np.allclose(crop.camera.intrinsics, intrinsics, atol=1e-9)
        assert np.array_equal(crops.image(frame.frame_id), crop.image)


def test_the_crop_is_exact_bilinear_interpolation(prepared):
    """OpenCV 5 to rounding, OpenCV 4 within the steps of its 1/32 pixel grid."""
    dataset, frames, hands = prepared
    affine, _ = hands_crop(frames[0].camera, both(hands, frames[0], "vertices").astype(np.float64))
    image = cv2.imread(str(dataset.image_file(0)))
    allowed = 1 if int(cv2.__version__.split(".")[0]) >= 5 else 4
    assert np.abs(crop_image(image, affine, 256).astype(int) - exact_bilinear(image, affine)).max() <= allowed


def test_joints_stand_on_their_pixels(prepared, tmp_path):
    """The convention that everything rests on: world joints through the crop's camera are the image's pixels, cropped."""
    _, frames, hands = prepared
    crops, _ = write(tmp_path, prepared)
    for frame, crop in zip(frames, crops, strict=True):
        joints = both(hands, frame, "keypoints_model")
        original = frame.camera.project(joints)
        assert np.allclose(crop.camera.project(joints), apply_affine(crop.affine, original), atol=1e-9)
        spread = np.ptp(crop.camera.project(both(hands, frame, "vertices").reshape(-1, 3)), axis=0)
        assert np.isclose(spread.max(), 0.8 * 256)


def test_masks_and_dense_maps_show_the_hands_where_they_are(prepared, tmp_path):
    """A vertex that the camera sees lies on its own hand's mask and has its rest-pose coordinates as colour."""
    _, frames, hands = prepared
    crops, _ = write(tmp_path, prepared, maps=SurfaceMaps.of_models(MODELS, masks=True, dense_maps=True))
    crop, frame = crops[0], frames[0]
    assert crop.masks.shape == (2, 256, 256) and not (crop.masks[0] & crop.masks[1]).any()
    pixels = crop.camera.project(both(hands, frame, "vertices").astype(np.float64))
    nearest = np.rint(pixels).astype(int)
    colors = rest_coordinates(MODELS[Side.RIGHT])
    for place in range(2):
        on_mask = crop.masks[place, nearest[place, :, 1], nearest[place, :, 0]]
        assert on_mask.mean() > 0.8  # the rest is hidden by the other hand or on the outline
        low, high = pixels[place].min(0), pixels[place].max(0)
        v, u = np.nonzero(crop.masks[place])
        margins = np.array([u.min() - low[0], v.min() - low[1], high[0] - u.max(), high[1] - v.max()])
        assert (margins >= 0).all() and (margins < 8).all()  # a mask never leaves the box of its vertices
        depth = crop.camera.to_camera(both(hands, frame, "vertices")[place])[:, 2]
        nearest_vertex = depth.argmin()  # nothing can hide it
        x, y = nearest[place, nearest_vertex]
        assert np.abs(crop.dense[y, x] - colors[nearest_vertex]).max() < 0.1
    assert not crop.dense[~crop.masks.any(axis=0)].any()


def test_maps_are_null_where_not_asked_for(prepared, tmp_path):
    crops, _ = write(tmp_path / "a", prepared)
    assert crops[0].masks is None and crops[0].dense is None
    crops, _ = write(tmp_path / "b", prepared, maps=SurfaceMaps.of_models(MODELS, masks=True, dense_maps=False))
    assert crops[0].masks is not None and crops[0].dense is None
    assert SurfaceMaps.of_models(MODELS, False, False) is None


def test_any_number_of_workers_writes_the_same_file(prepared, tmp_path):
    for threads in (1, 3):
        write(tmp_path / str(threads), prepared, shards=1, threads=threads)
    one, three = ((tmp_path / name / "0000-of-0001.arrow").read_bytes() for name in ("1", "3"))
    assert one == three


def test_unusable_frames_keep_their_row(prepared, tmp_path):
    dataset, frames, hands = prepared
    dataset.image_file(1).unlink()
    path = dataset.image_file(4)
    path.write_bytes(path.read_bytes()[:600])
    keep = [row for name, row in hands.rows.items() if name != "1_8_left"]
    hands = HandTable(hands.table.take(keep).combine_chunks())
    crops, counts = write(tmp_path, (dataset, frames, hands), max_unreadable_fraction=0.7)
    assert sum(counts, start=counts[0] - counts[0]) == {
        Reason.IMAGE_MISSING: 1,
        Reason.IMAGE_UNREADABLE: 1,
        Reason.HAND_MISSING: 2,
    }
    assert crops.usable().tolist() == [True, False, False, False, False, True]
    assert crops[1].quarantined and crops[1].image is None and crops[1].reason.startswith("image_missing")
    assert crops[5].image.shape == (256, 256, 3)
    with pytest.raises(DataError, match=r"frame 4 has no image .*truncated"):
        crops.image(4)


def test_too_many_unusable_frames_are_an_error_and_leave_no_file(prepared, tmp_path):
    prepared[0].image_file(1).unlink()
    with pytest.raises(DataError, match=r"0000-of-0001\.arrow: frames of this shard: 1 of 6 cannot be used"):
        write(tmp_path, prepared, shards=1, max_unreadable_fraction=0.1)
    assert not list(tmp_path.glob("*.arrow"))


def test_hands_behind_the_camera_are_set_aside_with_the_likely_cause(prepared, tmp_path):
    dataset, frames, hands = prepared
    index = hands.table.schema.get_field_index("vertices")
    metres = hands.table["vertices"].combine_chunks()
    millimetres = metres.from_arrays(metres.flatten().to_numpy() * -1000, 778 * 3)
    moved = HandTable(hands.table.set_column(index, hands.table.schema.field(index), millimetres))
    crops, _ = write(tmp_path, (dataset, frames, moved), max_unreadable_fraction=1.0)
    assert crops[0].reason.startswith("hands_not_projectable") and "millimetres" in crops[0].reason


def test_crops_travel_to_workers_and_displaced_shards_are_refused(prepared, tmp_path):
    crops, _ = write(tmp_path, prepared)
    again = pickle.loads(pickle.dumps(crops))
    assert np.array_equal(again[3].image, crops[3].image)
    with pytest.raises(IndexError):
        crops[6]
    write_manifest(tmp_path / "manifest.json", [tmp_path / f"000{shard}-of-0002.arrow" for shard in (1, 0)])
    with pytest.raises(DamagedFileError, match="row 0 contains frame 3"):
        CropSet(tmp_path / "manifest.json")[0]


def test_settings_change_size_and_share(prepared, tmp_path):
    crops, _ = write(tmp_path, prepared, settings=CropSettings(size=128, hand_share=0.5))
    vertices = both(prepared[2], prepared[1][0], "vertices").reshape(-1, 3)
    assert crops[0].image.shape == (128, 128, 3)
    assert np.isclose(np.ptp(crops[0].camera.project(vertices), axis=0).max(), 64)
