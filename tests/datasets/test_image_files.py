"""Damaged image files are recognised, although OpenCV decodes many of them, and only the full mean decides what is black."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from im2hands.datasets.audit import Reason, Unusable
from im2hands.datasets.image_files import inspect_image, read_image

WIDTH, HEIGHT = 86, 122


def textured(mean=120.0, spread=40.0, seed=0):
    noise = np.random.default_rng(seed).normal(mean, spread, (HEIGHT, WIDTH, 3))
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5), 0, 255).astype(np.uint8)


def jpeg(image):
    return cv2.imencode(".jpg", image)[1].tobytes()


def reason_of(path) -> Reason:
    with pytest.raises(Unusable) as caught:
        read_image(path)
    finding = inspect_image(path, 10, WIDTH, HEIGHT)
    assert finding == caught.value.finding
    return finding.reason


def test_whole_images_are_read_as_opencv_reads_them(tmp_path):
    for name, content in (("a.jpg", jpeg(textured())), ("a.png", cv2.imencode(".png", textured())[1].tobytes())):
        (tmp_path / name).write_bytes(content)
        assert np.array_equal(read_image(tmp_path / name), cv2.imread(str(tmp_path / name)))
        assert inspect_image(tmp_path / name, 10, WIDTH, HEIGHT) is None


def test_missing_and_empty_files(tmp_path):
    assert reason_of(tmp_path / "a.jpg") is Reason.IMAGE_MISSING
    (tmp_path / "a.jpg").write_bytes(b"")
    assert reason_of(tmp_path / "a.jpg") is Reason.IMAGE_UNREADABLE
    (tmp_path / "a.jpg").write_bytes(b"no image at all")
    assert reason_of(tmp_path / "a.jpg") is Reason.IMAGE_UNREADABLE
    assert reason_of(tmp_path) is Reason.IMAGE_UNREADABLE


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
@pytest.mark.parametrize("ending", [b"", b"\xff\xd9", b"\x00" * 500])
def test_a_truncated_jpeg_is_recognised_whatever_follows(tmp_path, share, ending):
    """imread gives an image for such files: grey or repeated below the cut."""
    content = jpeg(textured())
    path = tmp_path / "a.jpg"
    path.write_bytes(content[: int(share * len(content))] + ending)
    assert reason_of(path) is Reason.IMAGE_UNREADABLE


def test_a_truncated_png_is_recognised(tmp_path):
    content = cv2.imencode(".png", textured())[1].tobytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    assert reason_of(tmp_path / "a.png") is Reason.IMAGE_UNREADABLE


def test_trailing_zeros_after_the_end_marker_do_no_harm(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(textured()) + b"\x00" * 100)
    assert inspect_image(tmp_path / "a.jpg", 10, WIDTH, HEIGHT) is None


@given(mean=st.floats(0, 30), spread=st.floats(0, 60), seed=st.integers(0, 100))
def test_the_quick_test_for_black_decides_as_the_full_mean(tmp_path_factory, mean, spread, seed):
    path = tmp_path_factory.getbasetemp() / "black.jpg"
    path.write_bytes(jpeg(textured(mean, spread, seed)))
    finding = inspect_image(path, 10, WIDTH, HEIGHT)
    assert (finding is not None and finding.reason is Reason.BLACK_IMAGE) == (cv2.imread(str(path)).mean() < 10)


def test_a_mean_of_exactly_the_limit_is_kept(tmp_path):
    image = np.full((HEIGHT, WIDTH, 3), 10, np.uint8)
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    assert inspect_image(tmp_path / "a.png", 10, WIDTH, HEIGHT) is None
    image[0, 0, 0] = 9
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    finding = inspect_image(tmp_path / "a.png", 10, WIDTH, HEIGHT)
    assert finding.reason is Reason.BLACK_IMAGE and finding.value == image.mean()


def test_error_output_is_given_back(tmp_path, capfd):
    (tmp_path / "a.jpg").write_bytes(jpeg(textured())[:-500] + b"\xff\xd9")
    handles = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(3):
        inspect_image(tmp_path / "a.jpg", 10, WIDTH, HEIGHT)
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
    if handles is not None:
        assert len(os.listdir("/proc/self/fd")) == handles
