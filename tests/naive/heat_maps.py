"""Heat maps by their formulas: the two-dimensional Gaussian on the whole grid, and decoding pixel by pixel."""

from __future__ import annotations

import math

import cv2
import numpy as np


def naive_heat_maps(joints, size=64, sigma=2.0):
    y, x = np.mgrid[:size, :size]
    maps = np.zeros((len(joints), size, size), np.float32)
    for index, (xj, yj) in enumerate(joints):
        if 0 <= xj < size and 0 <= yj < size:
            maps[index] = np.exp(-((x - xj) ** 2 + (y - yj) ** 2) / (2 * sigma**2))
    return maps


def naive_decode(heat_map, kernel=5):
    """One map: arg max, smoothing that keeps the height, logarithm, one Newton step."""
    rows, columns = heat_map.shape
    y, x = np.unravel_index(heat_map.argmax(), heat_map.shape)
    if not (1 < x < columns - 2 and 1 < y < rows - 2):
        return float(x), float(y)
    smooth = heat_map.astype(np.float64)
    if kernel > 1:
        weights = np.poly1d([0.5, 0.5]) ** (kernel - 1)  # binomial: 1 4 6 4 1 over 16
        smooth = cv2.sepFilter2D(smooth, -1, weights.coeffs, weights.coeffs, borderType=cv2.BORDER_CONSTANT)
        smooth *= heat_map.max() / smooth.max()
    f = [[math.log(max(smooth[y + dy, x + dx], 1e-10)) for dx in range(-2, 3)] for dy in range(-2, 3)]
    gradient = np.array([f[2][3] - f[2][1], f[3][2] - f[1][2]]) / 2
    xy = (f[3][3] - f[1][3] - f[3][1] + f[1][1]) / 4
    hessian = np.array([[f[2][4] - 2 * f[2][2] + f[2][0], 0], [0, f[4][2] - 2 * f[2][2] + f[0][2]]]) / 4
    hessian += [[0, xy], [xy, 0]]
    if np.linalg.det(hessian) == 0:
        return float(x), float(y)
    return tuple(np.array([x, y]) - np.linalg.solve(hessian, gradient))
