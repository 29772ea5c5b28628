"""Pictures show meshes where the camera sees them, and work on any background."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from im2hands.report.colours import ERROR_STOPS, SCALE_LIMITS_MM, css, error_colours, scale_limit
from im2hands.report.pictures import (
    Painted,
    View,
    backdrop,
    data_uri,
    from_the_right,
    over,
    painted,
    render,
    silhouette,
    vertex_normals,
    webp,
)

VIEW = View(np.array([[100.0, 0, 31.5], [0, 100.0, 31.5], [0, 0, 1]]), 64)
FACES = np.array([[0, 2, 1], [0, 3, 2]])


def square(low, high, depth=1.0, colour=(1, 0, 0)):
    """A square before the camera; at depth 1 m a metre is 100 pixels."""
    corners = np.array([[low, low, depth], [high, low, depth], [high, high, depth], [low, high, depth]])
    return painted(corners, FACES, colour)


def test_a_square_covers_its_pixels_and_nothing_else():
    picture = render([square(-0.1, 0.1)], VIEW)
    alpha = picture[..., 3]
    assert alpha.sum() == pytest.approx(20 * 20, rel=0.06)
    assert alpha[32, 32] == 1 and alpha[5, 5] == 0
    rows, columns = np.nonzero(alpha)
    assert rows.mean() == pytest.approx(31.5) and columns.mean() == pytest.approx(31.5)
    assert picture[32, 32, 0] > 3 * picture[32, 32, 2]


def test_the_nearer_mesh_hides_the_other():
    near, far = square(-0.1, 0.1, depth=1.0, colour=(0, 1, 0)), square(-0.3, 0.3, depth=1.5, colour=(1, 0, 0))
    for order in ([near, far], [far, near]):
        picture = render(order, VIEW)
        assert picture[32, 32].argmax() in (1, 3) and picture[32, 32, 1] > picture[32, 32, 0]
        assert picture[16, 16, 0] > picture[16, 16, 1]


def test_an_enlarged_view_shows_the_same_larger():
    large = render([square(-0.1, 0.15)], VIEW.enlarged(4))
    assert large.shape == (256, 256, 4)
    small = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(small[..., 3] - render([square(-0.1, 0.15)], VIEW)[..., 3]).max() < 0.51
    assert large[..., 3].sum() / 16 == pytest.approx(25 * 25, rel=0.03)


def test_nothing_is_transparent():
    empty = Painted(np.zeros((0, 3)), np.zeros((0, 3), int), np.zeros((0, 3)))
    for meshes in ([], [empty]):
        assert not render(meshes, VIEW).any()
        assert not silhouette(meshes, VIEW, (0, 0, 1)).any()


def test_a_silhouette_is_the_border_only():
    line = silhouette([square(-0.1, 0.1)], VIEW, (0, 0, 1))
    assert line[32, 32, 3] == 0
    assert line[32, 21:24, 3].max() > 0.5
    assert line[..., 2] == pytest.approx(line[..., 3])


def test_over_is_the_front_where_it_is_opaque_and_the_back_where_it_is_not():
    front, back = render([square(-0.1, 0.1)], VIEW), backdrop(np.full((64, 64, 3), 200, np.uint8), 64)
    together = over(front, back)
    assert (together[32, 32] == front[32, 32]).all()
    assert (together[5, 5] == back[5, 5]).all()
    assert (together[..., 3] > 1 - 1e-12).all()
    half = over(front, back, 0.5)
    assert half[32, 32] == pytest.approx((front[32, 32] + back[32, 32]) / 2)


def test_seen_from_the_right_what_was_on_the_right_is_near_and_what_was_near_is_on_the_left():
    cloud = np.array([[0.1, 0, 1.0], [-0.1, 0, 1.0], [0, 0.05, 0.9], [0, 0, 1.1]])
    (turned,), view = from_the_right([cloud], 100)
    right, left, near, far = turned
    assert right[2] < left[2]
    assert near[0] < far[0]
    assert near[1] > far[1]
    pixels = turned @ view.intrinsics.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    assert pixels.min() >= 0 and pixels.max() <= 99


def test_normals_of_a_square_are_unit_and_equal():
    normals = vertex_normals(square(0, 1).vertices, FACES)
    assert np.abs(normals) == pytest.approx(np.tile([0, 0, 1.0], (4, 1)))


def test_webp_keeps_transparency_and_colour():
    picture = render([square(-0.2, 0.2, colour=(1, 0.5, 0))], VIEW)
    decoded = cv2.imdecode(np.frombuffer(webp(picture, 95), np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.shape == (64, 64, 4)
    assert decoded[..., 3] == pytest.approx(255 * picture[..., 3], abs=1)
    assert decoded[32, 32, :3] == pytest.approx(255 * picture[32, 32, 2::-1], abs=12)
    opaque = over(picture, backdrop(np.zeros((64, 64, 3), np.uint8), 64))
    assert cv2.imdecode(np.frombuffer(webp(opaque), np.uint8), cv2.IMREAD_UNCHANGED).shape == (64, 64, 3)


def test_data_uri_can_be_read_back():
    kind, content = data_uri(b"abc", "image/webp").split(",")
    assert kind == "data:image/webp;base64"
    assert base64.b64decode(content) == b"abc"


def test_error_colours_get_darker_all_the_way():
    lightness = error_colours(np.linspace(0, 10, 50), 10) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) < 0).all()
    beyond = error_colours(np.array([10, 11, np.inf]), 10)
    assert (beyond == ERROR_STOPS[-1][1]).all()


@pytest.mark.parametrize(("errors", "limit"), [([], 1), ([0.5] * 10, 1), ([4.9] * 10, 5), ([1e4] * 10, 100)])
def test_the_scale_ends_at_a_round_number(errors, limit):
    assert scale_limit(np.array(errors)) == limit
    assert limit in SCALE_LIMITS_MM


def test_css_colours():
    assert css((1, 0.5, 0)) == "#ff8000"


def test_what_is_behind_the_camera_is_left_out():
    """One triangle before it, one across it: the picture is that of the first alone."""
    view = View(np.array([[50.0, 0, 32], [0, 50, 32], [0, 0, 1]]), 64)
    corners = np.array([[-0.2, -0.2, 1], [0.2, -0.2, 1], [0, 0.2, 1], [0, 0, 0.5], [0.1, 0, 0.5], [0, 0.1, -0.3]])
    both = painted(corners, np.array([[0, 1, 2], [3, 4, 5]]), (1, 0, 0))
    first = painted(corners[:3], np.array([[0, 1, 2]]), (1, 0, 0))
    np.testing.assert_array_equal(render([both], view), render([first], view))
    np.testing.assert_array_equal(silhouette([both], view, (0, 0, 0)), silhouette([first], view, (0, 0, 0)))
    assert render([first], view).any()
    assert not render([painted(corners - [0, 0, 2], both.faces, (1, 0, 0))], view).any()
