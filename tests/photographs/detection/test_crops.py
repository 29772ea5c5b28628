"""Turned squares: their points, their drawings and the way back agree to a hundredth of a pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from im2hands.geometry.cameras import apply_affine
from im2hands.photographs.detection.crops import Sampler, Square, upright_square

SQUARES = st.builds(
    lambda x, y, side, turn: Square(np.array([x, y]), side, turn),
    st.floats(-50, 500),
    st.floats(-50, 500),
    st.floats(5, 900),
    st.floats(-7, 7),
)


@settings(max_examples=50)
@given(square=SQUARES, seed=st.integers(0, 99))
def test_there_and_back(square, seed):
    points = np.random.default_rng(seed).uniform(-0.5, 1.5, (2, 21, 2))
    pixels = square.to_picture(points)
    np.testing.assert_allclose(square.from_picture(pixels), points, atol=1e-9)
    # pixel centres of a drawing with 224 pixels lie at (k + 0.5) / 224 of the square
    np.testing.assert_allclose(apply_affine(square.affine(224), pixels), points * 224 - 0.5, atol=1e-6)


def test_a_turn_is_clockwise_and_turns_points_in_space_alike():
    square = Square(np.array([10.0, 20.0]), 4.0, np.pi / 2)
    np.testing.assert_allclose(square.to_picture(np.array([0.5, 0.0])), [12, 20], atol=1e-12)
    np.testing.assert_allclose(square.turned_back(np.array([0.0, -1.0, 0.5])), [1, 0, 0.5], atol=1e-12)


def ramp(rows: int, columns: int) -> np.ndarray:
    """A picture whose colours say where a pixel is, in 8ths of the picture's sides."""
    image = np.zeros((rows, columns, 3), np.uint8)
    image[..., 0] = np.round(np.linspace(0, 255, columns))[None]
    image[..., 1] = np.round(np.linspace(0, 255, rows))[:, None]
    return image


@pytest.mark.parametrize("side", [100.0, 300.0, 1500.0])
@pytest.mark.parametrize("turn", [0.0, 0.6, np.pi])
def test_drawings_show_what_is_there(side, turn):
    """Also where a large square is drawn from a reduced picture."""
    image = ramp(1600, 2001)
    square = Square(np.array([1000.3, 812.7]), side, turn)
    drawing = Sampler(image).draw(square, 96).astype(float)
    row, column = 20, 70
    pixel = square.to_picture((np.array([column, row]) + 0.5) / 96)
    wanted = pixel / [2000, 1599] * 255
    np.testing.assert_allclose(drawing[row, column, :2], wanted, atol=1.01)


def test_beyond_the_picture_it_is_black_or_continued():
    image = np.full((50, 50, 3), 200, np.uint8)
    square = Square(np.array([49.0, 25.0]), 40.0)
    assert Sampler(image).draw(square, 64)[32, -1].max() == 0
    assert Sampler(image).draw(square, 64, repeat_border=True)[32, -1].min() == 200


@settings(max_examples=30)
@given(seed=st.integers(0, 999))
def test_a_hand_stands_upright_in_the_middle_of_its_square(seed):
    points = np.random.default_rng(seed).uniform(0, 200, (21, 2))
    inside = upright_square(points, 2.0).from_picture(points)
    up = inside[9] - inside[0]
    assert abs(up[0]) < 1e-9 and up[1] < 0
    np.testing.assert_allclose((inside.min(axis=0) + inside.max(axis=0)) / 2, 0.5, atol=1e-9)
    np.testing.assert_allclose(np.ptp(inside, axis=0).max(), 0.5, atol=1e-9)
