"""Images of another size than the annotations say: used with scaled intrinsics where that is right, set aside where not."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from im2hands.datasets.audit import Reason, Unusable
from im2hands.datasets.frames import FrameTable, write_index
from im2hands.datasets.hands import HandTable, fit_hands
from im2hands.datasets.image_files import image_size, inspect_image, is_resized, resizing
from im2hands.datasets.images import CropSet, write_crop_shard
from im2hands.geometry.cameras import apply_affine
from im2hands.hands.model_files import builtin_hand_models
from im2hands.hands.sides import Side
from im2hands.io.errors import DataError
from im2hands.io.manifest import write_manifest
from im2hands.io.tables import Provenance
from tests.datasets.made_up_interhand import FOCAL, HEIGHT, WIDTH, index
from workflow.record import audit_line

MODELS = builtin_hand_models()
FINE = 16
"""Images are made this many times larger, so that a mark on a joint is a small part of a hand."""
MARKED = (0, 20)
"""Wrist and tip of the little finger of each hand."""


def resize(dataset, position, width, height):
    image = cv2.imread(str(dataset.image_file(position)))
    dataset.write_image(position, cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


def save_turned(dataset, position, orientation, image=None):
    """The image with an EXIF orientation."""
    path = dataset.image_file(position)
    picture = Image.open(path) if image is None else image
    exif = picture.getexif()
    exif[0x0112] = orientation
    content = io.BytesIO()
    picture.save(content, "JPEG", exif=exif)
    path.write_bytes(content.getvalue())


def rows_of(audit):
    return audit.table().to_pylist()


# -- the kinds ------------------------------------------------------------------------------------------------------------


def test_a_resized_image_is_kept_with_scaled_intrinsics_and_counted(interhand):
    resize(interhand, 3, WIDTH // 2, HEIGHT // 2)
    table, audit = index(interhand)
    assert len(table) == 6
    whole, half = (FrameTable(table)[place] for place in (1, 3))
    assert (whole.width, whole.height, half.width, half.height) == (WIDTH, HEIGHT, WIDTH // 2, HEIGHT // 2)
    assert np.allclose(half.camera.intrinsics, [[FOCAL / 2, 0, 15.75], [0, FOCAL / 2, 19.75], [0, 0, 1]])
    assert np.allclose(whole.camera.intrinsics, [[FOCAL, 0, 32], [0, FOCAL, 40], [0, 0, 1]])
    (row,) = rows_of(audit)
    assert (row["image_id"], row["kept"], row["reason"], row["value"]) == (703, True, "image_scaled", 0.5)
    assert "announced 64 x 80, found 32 x 40" in row["detail"]


@pytest.mark.parametrize("factor", [0.31, 0.5, 1.7])
def test_any_factor_with_rounding_to_whole_pixels_is_a_resizing(interhand, factor):
    size = round(factor * WIDTH), round(factor * HEIGHT)
    resize(interhand, 0, *size)
    table, audit = index(interhand)
    assert audit.counts == {Reason.IMAGE_SCALED: 1}
    assert (table["width"][0].as_py(), table["height"][0].as_py()) == size


def exchanged(dataset):
    resize(dataset, 2, HEIGHT, WIDTH)


def other_ratio(dataset):
    resize(dataset, 2, WIDTH // 2, HEIGHT // 4)


def cropped(dataset):
    image = cv2.imread(str(dataset.image_file(2)))
    dataset.write_image(2, image[: WIDTH // 2])


def turned(dataset):
    save_turned(dataset, 2, 6)


def upside_down(dataset):
    """The size says nothing here: only the tag does."""
    save_turned(dataset, 2, 3)


@pytest.mark.parametrize(
    ("damage", "reason", "remedy"),
    [
        (exchanged, "image_sides_exchanged", "swapped width and height"),
        (other_ratio, "image_size_differs", "must keep their aspect ratio"),
        (cropped, "image_size_differs", "must keep their aspect ratio"),
        (turned, "image_turned", "without an EXIF orientation"),
        (upside_down, "image_turned", "without an EXIF orientation"),
    ],
)
def test_images_that_do_not_fit_their_camera_are_dropped_under_the_allowed_share(interhand, damage, reason, remedy):
    damage(interhand)
    table, audit = index(interhand, max_unreadable_fraction=1 / 6)
    assert table["image_id"].to_pylist() == [700, 701, 703, 704, 705]
    (row,) = rows_of(audit)
    assert (row["image_id"], row["kept"], row["reason"]) == (702, False, reason)
    with pytest.raises(
        DataError, match=rf"1 of 6 cannot be used \(1 {reason}\).*{remedy}.*The first: Capture1/"
    ) as told:
        index(interhand, max_unreadable_fraction=0.1)
    assert "image8.jpg" in str(told.value)


def test_half_of_a_set_in_another_ratio_stops_the_run_with_the_cause(interhand):
    for position in (0, 2, 4):
        resize(interhand, position, 40, 30)
    with pytest.raises(DataError, match=r"3 of 6 cannot be used \(3 image_size_differs\).*found 40 x 30"):
        index(interhand, max_unreadable_fraction=0.02)


def test_any_number_of_workers_gives_the_same_sizes(interhand):
    for position in (0, 1, 5):
        resize(interhand, position, WIDTH * 2, HEIGHT * 2)
    resize(interhand, 3, HEIGHT, WIDTH)
    results = [index(interhand, 0.5, threads=threads) for threads in (1, 3)]
    assert results[0][0].equals(results[1][0])
    assert results[0][1].table().equals(results[1][1].table())


def test_the_numbers_stand_on_the_closing_line_of_the_run(interhand, tmp_path):
    resize(interhand, 0, WIDTH // 2, HEIGHT // 2)
    resize(interhand, 4, WIDTH // 2, HEIGHT // 2)
    resize(interhand, 3, HEIGHT, WIDTH)
    table, audit = index(interhand, max_unreadable_fraction=0.2)
    write_index(tmp_path / "train.parquet", tmp_path / "audit_train.parquet", table, audit, Provenance())
    expected = "kept: train 5; left out: 1 image_sides_exchanged; kept with a note: 2 image_scaled (see "
    assert expected in audit_line(tmp_path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_sizes_come_from_the_header_of_every_format(tmp_path, suffix):
    image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    (tmp_path / f"a{suffix}").write_bytes(cv2.imencode(suffix, image)[1].tobytes())
    assert image_size(tmp_path / f"a{suffix}") == (WIDTH, HEIGHT)
    assert inspect_image(tmp_path / f"a{suffix}", 10, WIDTH, HEIGHT) is None
    with pytest.raises(Unusable):
        image_size(tmp_path / "b.jpg")


def test_an_upright_tag_and_damaged_exif_data_do_no_harm(interhand):
    save_turned(interhand, 0, 1)
    content = interhand.image_file(1).read_bytes()
    broken = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    segment = b"\xff\xe1" + (len(broken) + 2).to_bytes(2, "big") + broken
    interhand.image_file(1).write_bytes(content[:2] + segment + content[2:])
    table, audit = index(interhand)
    assert len(table) == 6
    assert not audit.counts


@pytest.mark.parametrize(
    ("size", "original", "resized"),
    [
        ((400, 300), (334, 512), False),
        ((167, 256), (334, 512), True),
        ((130, 200), (334, 512), True),  # 130.5
        ((131, 200), (334, 512), True),
        ((134, 200), (334, 512), False),
        ((512, 334), (334, 512), False),
        ((256, 256), (512, 512), True),
    ],
)
def test_what_counts_as_resized(size, original, resized):
    assert is_resized(size, original) is resized


def test_outer_borders_of_a_resized_image_coincide():
    change = resizing((167, 256), (334, 512))
    corners = np.array([[-0.5, -0.5], [333.5, 511.5], [333.5, -0.5]])
    assert np.allclose(apply_affine(change, corners), [[-0.5, -0.5], [166.5, 255.5], [166.5, -0.5]])


# -- the hands stay where they are ----------------------------------------------------------------------------------------


@pytest.fixture
def marked(interhand):
    """The dataset with images sixteen times as large, in which a white disc lies on wrist and little finger of each hand."""
    for entry in interhand.images:
        entry.update(width=FINE * WIDTH, height=FINE * HEIGHT)
    for capture in interhand.camera.values():
        for values in (capture["focal"], capture["princpt"]):
            values.update({name: [FINE * number for number in pair] for name, pair in values.items()})
    for position in range(6):
        resize(interhand, position, FINE * WIDTH, FINE * HEIGHT)
    frames = FrameTable(index(interhand)[0])
    hands = HandTable(fit_hands(interhand.root, "train", frames, MODELS, 20.0)[0].combine_chunks())
    for frame in frames:
        image = np.full((FINE * HEIGHT, FINE * WIDTH, 3), 60, np.uint8)
        for joint in frame.camera.project(joints(hands, frame)).reshape(-1, 2):
            cv2.circle(
                image, tuple(np.rint(joint * 16).astype(int).tolist()), 16 * 24, (255, 255, 255), -1, cv2.LINE_AA, 4
            )
        interhand.write_image(frame.frame_id, image)
    return interhand


def joints(hands, frame):
    keypoints = hands.array("keypoints_model")
    return np.stack([keypoints[hands.rows[f"{frame.pair_id}_{side.value}"]][list(MARKED)] for side in Side])


def offsets(dataset, folder):
    """How far the centre of a mark lies from its joint, in pixels of each crop; (frame, joint, 2)."""
    frames = FrameTable(index(dataset)[0])
    hands = HandTable(fit_hands(dataset.root, "train", frames, MODELS, 20.0)[0].combine_chunks())
    path = folder / "0000-of-0001.arrow"
    counts = write_crop_shard(path, dataset.root, "train", frames, hands, Provenance(), 0.0)
    assert not counts
    write_manifest(folder / "manifest.json", [path])
    found = []
    for frame, crop in zip(frames, CropSet(folder / "manifest.json"), strict=True):
        for joint in crop.camera.project(joints(hands, frame)).reshape(-1, 2):
            v, u = np.mgrid[:256, :256]
            near = np.hypot(u - joint[0], v - joint[1]) < 14
            weight = np.where(near, np.clip(crop.image[..., 1].astype(float) - 90, 0, None), 0)
            found.append([(weight * u).sum() / weight.sum() - joint[0], (weight * v).sum() / weight.sum() - joint[1]])
    return np.array(found)


def test_joints_stand_on_their_pixels_in_resized_images(marked, tmp_path):
    """Half of the images are resized; the marks of both halves lie on the projected joints, to a part of a pixel."""
    before = offsets(marked, tmp_path / "before")
    for position in (0, 3, 4):
        resize(marked, position, FINE * WIDTH // 4, FINE * HEIGHT // 4)
    after = offsets(marked, tmp_path / "after")
    assert np.median(np.abs(before)) < 0.1  # marks that touch draw each other's centre away
    assert np.abs(after - before).max() < 0.5


def test_images_that_changed_after_the_index_are_set_aside(interhand, tmp_path):
    frames = FrameTable(index(interhand)[0])
    hands = HandTable(fit_hands(interhand.root, "train", frames, MODELS, 20.0)[0].combine_chunks())
    resize(interhand, 4, WIDTH // 2, HEIGHT // 2)
    counts = write_crop_shard(tmp_path / "a.arrow", interhand.root, "train", frames, hands, Provenance(), 0.2)
    assert counts == {Reason.IMAGE_SIZE_DIFFERS: 1}
    with pytest.raises(DataError, match="1 of 6 cannot be used"):
        write_crop_shard(tmp_path / "b.arrow", interhand.root, "train", frames, hands, Provenance(), 0.1)
