"""Augmentation moves image, maps and labels together; the numbers themselves are compared in tests/parity."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from im2hands.datasets.two_hand_item import (
    IMAGE_MEAN,
    IMAGE_STD,
    Augmentation,
    AugmentationRanges,
    TwoHandSample,
    image_tensor,
    two_hand_item,
)
from im2hands.geometry.cameras import Camera, apply_affine

SIZE = 256
CAMERA = Camera(np.array([[600.0, 0, 128], [0, 600.0, 128], [0, 0, 1]]), np.eye(3), np.array([0, 0, 0.8]))


def sample(seed=0):
    """Two clouds of points for hands, 0.1 m apart; a bright blob in the image where the left wrist is."""
    generator = np.random.default_rng(seed)
    offsets = np.array([[-0.05, 0, 0], [0.05, 0, 0.02]])[:, None]
    vertices, joints = generator.normal(0, 0.02, (2, 778, 3)) + offsets, generator.normal(0, 0.02, (2, 21, 3)) + offsets
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    mask, dense = image.copy(), image.copy()
    wrist = np.rint(CAMERA.project(joints[0, 0])).astype(int)
    joints[0, 0, :2] = (wrist - 128) / 600 * (0.8 + joints[0, 0, 2])  # put it on a pixel centre
    cv2.circle(image, tuple(int(c) for c in wrist), 6, (255, 255, 255), -1)
    mask[:, :100, 2] = 255
    mask[:, 150:, 1] = 255
    dense[..., 0] = np.arange(SIZE, dtype=np.uint8)
    return TwoHandSample.of_hands(image, mask, dense, CAMERA, vertices, joints)


def blob(image):
    weight, grid = image[..., 0].astype(float), np.arange(SIZE)
    return np.array([(weight.sum(0) * grid).sum(), (weight.sum(1) * grid).sum()]) / weight.sum()


@given(
    angle=st.floats(-90, 90),
    scale=st.floats(0.9, 1.1),
    shift=st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
    flip=st.booleans(),
)
def test_image_and_labels_move_together(angle, scale, shift, flip):
    item = two_hand_item(sample(), Augmentation(angle, scale, shift, flip))
    wrist = item.joints_2d[1 if flip else 0, 0]  # a flip makes the left hand the right one
    assert np.abs(blob(item.raw_image) - wrist).max() < 0.1


def test_published_flip_leaves_the_label_one_pixel_beside_the_image():
    item = two_hand_item(sample(), Augmentation(flip=True), heat_maps="published")
    assert np.allclose(item.joints_2d[1, 0] - blob(item.raw_image), [1, 0], atol=0.1)


def test_angles_are_degrees_about_the_middle():
    affine = Augmentation(angle=90, shift=(3, -4)).affine(SIZE)
    assert np.allclose(apply_affine(affine, np.array([[128, 128], [138, 128]])), [[131, 124], [131, 134]])


def test_turning_turns_space_about_the_optical_axis_and_scaling_does_nothing_to_it():
    plain = two_hand_item(sample())
    turned = two_hand_item(sample(), Augmentation(angle=90, scale=1.1, shift=(5, 5)))
    expected = np.stack([-plain.vertices[..., 1], plain.vertices[..., 0], plain.vertices[..., 2]], axis=-1)
    assert np.allclose(turned.vertices, expected, atol=1e-6)
    assert np.allclose(turned.root_offset[[1, 0, 2]] * (1, -1, 1), plain.root_offset, atol=1e-6)


@pytest.mark.parametrize("flip", [False, True])
def test_units_and_origins_of_the_labels(flip):
    """Each hand about its middle base, mean palm 0.095; the offset puts both back into one space."""
    original = sample()
    item = two_hand_item(original, Augmentation(flip=flip))
    assert np.allclose(item.joints[:, 9], 0)
    assert np.isclose(np.linalg.norm(item.joints[:, 0], axis=-1).mean(), 0.095)
    palm = np.linalg.norm(original.joints[:, 9] - original.joints[:, 0], axis=-1).mean()
    gap = np.linalg.norm(item.vertices[1] + item.root_offset - item.vertices[0], axis=-1) * palm / 0.095
    assert np.allclose(gap, np.linalg.norm(original.vertices[1] - original.vertices[0], axis=-1), atol=1e-6)


def test_mask_is_right_before_left_and_follows_a_flip():
    plain, flipped = two_hand_item(sample()), two_hand_item(sample(), Augmentation(flip=True))
    assert plain.mask[0, :, 40:].all() and not plain.mask[0, :, :36].any()  # right: columns from 150 on
    assert plain.mask[1, :, :24].all() and not plain.mask[1, :, 26:].any()  # left: columns before 100
    assert np.array_equal(flipped.mask, plain.mask[::-1, :, ::-1])
    assert np.array_equal(flipped.dense, plain.dense[..., ::-1])
    assert set(np.unique(plain.mask)) == {0.0, 1.0}


def test_shapes_and_types():
    item = two_hand_item(sample())
    shapes = {name: value.shape for name, value in vars(item).items() if name != "raw_image"}
    assert shapes == {
        "image": (3, 256, 256),
        "mask": (2, 64, 64),
        "dense": (3, 64, 64),
        "heat_maps": (42, 64, 64),
        "vertices_2d": (2, 778, 2),
        "joints_2d": (2, 21, 2),
        "vertices": (2, 778, 3),
        "joints": (2, 21, 3),
        "root_offset": (3,),
    }
    assert all(value.dtype == np.float32 for name, value in vars(item).items() if name != "raw_image")


def test_colour_changes_are_clipped_and_truncated():
    original = sample()
    grey = TwoHandSample(**(vars(original) | {"image": np.full((SIZE, SIZE, 3), 100, np.uint8)}))
    item = two_hand_item(grey, Augmentation(gains=(1.259, 3.0, 1.0), offset=-1.5))
    assert item.raw_image[0, 0].tolist() == [124, 255, 98]
    rgb = item.raw_image[0, 0, ::-1] / 255
    assert np.allclose(item.image[:, 0, 0], (rgb - IMAGE_MEAN) / IMAGE_STD, atol=1e-6)


def test_noise_depends_on_its_seed_only():
    images = [
        two_hand_item(sample(), Augmentation(offset=100, noise=10, noise_seed=seed)).raw_image for seed in (1, 1, 2)
    ]
    assert np.array_equal(images[0], images[1]) and not np.array_equal(images[0], images[2])
    assert 8 < images[0][:50, :50].std() < 12


def test_draws_depend_on_the_generator_and_stay_in_their_ranges():
    draws = [Augmentation.draw(np.random.default_rng([5, frame])) for frame in range(300)]
    assert draws[7] == Augmentation.draw(np.random.default_rng([5, 7])) != draws[8]
    angles, scales = np.array([draw.angle for draw in draws]), np.array([draw.scale for draw in draws])
    assert np.abs(angles).max() <= 90 and np.ptp(angles) > 150
    assert np.abs(scales - 1).max() <= 0.1 and np.ptp(scales) > 0.15
    assert 0.35 < np.mean([draw.flip for draw in draws]) < 0.65
    assert all(draw.shift == (0, 0) and abs(draw.offset) <= 12.75 and draw.noise == 0 for draw in draws)
    gains = np.array([draw.gains for draw in draws])
    assert gains.shape == (300, 3) and np.abs(gains - 1).max() <= 0.3 and np.abs(np.corrcoef(gains.T)[0, 1]) < 0.2
    moved = Augmentation.draw(np.random.default_rng(0), AugmentationRanges(shift=9, flip_probability=1))
    assert moved.flip and moved.shift[0] != moved.shift[1]


def test_image_tensor_is_rgb_channels_first():
    rgb = np.zeros((4, 5, 3), np.uint8)
    rgb[..., 0] = 255
    tensor = image_tensor(rgb)
    assert tensor.shape == (3, 4, 5) and tensor.dtype == np.float32
    assert np.allclose(tensor[:, 0, 0], [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225], atol=1e-6)


@given(st.floats(0.02, 0.4), st.floats(-0.4, 0.4))
def test_in_the_crops_axes_a_camera_that_looks_elsewhere_sees_the_same_hands(about_x, about_y):
    """The crop hardly changes when the camera is turned; hands in the crop's axes are the same, in the camera's not."""
    generator = np.random.default_rng(0)
    vertices, joints = generator.normal(0, 0.02, (2, 778, 3)), generator.normal(0, 0.02, (2, 21, 3))
    turn = Rotation.from_rotvec([about_x, about_y, 0]).as_matrix()
    ahead = Camera(np.array([[600.0, 0, 127.5], [0, 600.0, 127.5], [0, 0, 1]]), np.eye(3), CAMERA.translation)
    aside = Camera(ahead.intrinsics, turn, turn @ CAMERA.translation)
    aside = aside.cropped(np.column_stack([np.eye(2), 127.5 - aside.project(np.zeros(3))]))
    blank = np.zeros((SIZE, SIZE, 3), np.uint8)
    for axes, same in (("consistent", True), ("published", False)):
        items = [
            two_hand_item(TwoHandSample.of_hands(blank, blank, blank, camera, vertices, joints, axes))
            for camera in (ahead, aside)
        ]
        assert np.allclose(items[0].joints, items[1].joints, atol=1e-6) == same
        assert np.allclose(items[0].vertices, items[1].vertices, atol=1e-6) == same
