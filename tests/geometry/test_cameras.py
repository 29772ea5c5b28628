"""Cameras and crops: points land where the formulas of the dataset put them, and a crop changes pixels and K alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from im2hands.geometry.cameras import (
    Camera,
    apply_affine,
    camera_translation,
    crop_axes,
    crop_intrinsics,
    square_crop,
)
from im2hands.io.errors import DataError

COORDINATES = st.floats(-2000, 2000, allow_nan=False)


def some_camera(seed: int = 0) -> Camera:
    generator = np.random.default_rng(seed)
    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    intrinsics = np.array([[1300.0, 0, 170], [0, 1310.0, 255], [0, 0, 1]])
    return Camera(intrinsics, rotation, camera_translation(rotation, -rotation[2]))


def test_projection_equals_the_datasets_formula():
    """X_cam = R (X - C), u = fx X / Z + cx: with the camera centre, not the translation."""
    camera = some_camera()
    centre = -camera.rotation[2]
    world = np.random.default_rng(1).normal(0, 0.1, (5, 7, 3))
    x, y, z = np.moveaxis((world - centre) @ camera.rotation.T, -1, 0)
    expected = np.stack([1300 * x / z + 170, 1310 * y / z + 255], axis=-1)
    assert np.allclose(camera.project(world), expected, atol=1e-9)
    assert np.allclose(camera.to_world(camera.to_camera(world)), world, atol=1e-12)


def test_points_behind_the_camera_are_refused_with_the_likely_cause():
    camera = some_camera()
    behind = -camera.rotation[2] - 0.1 * camera.rotation[2]
    with pytest.raises(DataError, match=r"1 of 2 points lie behind the camera; .*millimetres"):
        camera.project(np.stack([behind, np.zeros(3)]))
    with pytest.raises(DataError, match="behind"):
        camera.project(np.full((1, 3), np.nan))


@given(
    pixels=arrays(np.float64, st.tuples(st.integers(2, 20), st.just(2)), elements=COORDINATES),
    size=st.sampled_from([64, 256, 257]),
    share=st.floats(0.1, 1),
)
def test_crop_centres_the_box_and_fills_its_share(pixels, size, share):
    extent = np.ptp(pixels, axis=0).max()
    if extent < 1e-3:
        return
    cropped = apply_affine(square_crop(pixels, size, share), pixels)
    low, high = cropped.min(axis=0), cropped.max(axis=0)
    assert np.allclose((low + high) / 2, size / 2, atol=1e-6 * size * max(1, 2000 / extent))
    assert np.isclose((high - low).max(), share * size, rtol=1e-6)


@given(seed=st.integers(0, 1000))
def test_cropped_camera_sees_what_the_crop_shows(seed):
    """Projecting with the crop's K is projecting with the image's K and cropping."""
    camera = some_camera(seed)
    world = np.random.default_rng(seed).normal(0, 0.1, (50, 3))
    affine = square_crop(camera.project(world))
    cropped = camera.cropped(affine)
    assert np.allclose(cropped.project(world), apply_affine(affine, camera.project(world)), atol=1e-9)
    assert np.array_equal(cropped.rotation, camera.rotation)


def test_crop_intrinsics_are_the_published_update():
    """fx, fy times s; cx, cy through the affine."""
    intrinsics = some_camera().intrinsics
    affine = square_crop(np.array([[10.0, 20], [110, 80]]))
    s = 128 / (50 / 0.8)
    expected = [[1300 * s, 0, s * 170 + affine[0, 2]], [0, 1310 * s, s * 255 + affine[1, 2]], [0, 0, 1]]
    assert np.allclose(crop_intrinsics(intrinsics, affine), expected)


@pytest.mark.parametrize("pixels", [np.full((3, 2), 5.0), np.array([[1.0, np.inf], [0, 0]])])
def test_a_box_without_extent_is_refused(pixels):
    with pytest.raises(DataError, match="projected hands"):
        square_crop(pixels)


@given(st.floats(-3000, 3000), st.floats(-3000, 3000), st.floats(300, 4000))
def test_crop_axes_look_at_the_middle_of_the_crop_by_the_least_turn(x, y, focal):
    intrinsics = np.array([[focal, 0, x], [0, 1.01 * focal, y], [0, 0, 1]])
    ray = np.array([(127.5 - x) / focal, (127.5 - y) / (1.01 * focal), 1.0])
    turn = crop_axes(intrinsics)
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-12) and np.linalg.det(turn) > 0
    assert np.allclose(turn @ ray, [0, 0, np.linalg.norm(ray)], atol=1e-9)
    angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))
    assert angle == pytest.approx(np.arctan(np.hypot(*ray[:2])), abs=1e-6)


def test_axes_of_a_crop_in_the_middle_are_the_cameras():
    assert np.array_equal(crop_axes(np.array([[1000.0, 0, 127.5], [0, 1000.0, 127.5], [0, 0, 1]])), np.eye(3))
