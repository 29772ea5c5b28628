"""The normalised image by its formulas, step by step (IntagHand pre-processing): one frame, plain numpy and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np


def naive_box(vertices, rotation, translation, intrinsics, size=256, share=0.8):
    """Scale and offset of the crop: project every vertex, take the box, put it into a square."""
    camera = vertices.reshape(-1, 3) @ rotation.T + translation
    homogeneous = camera @ intrinsics.T
    pixels = homogeneous[:, :2] / homogeneous[:, 2:]
    low, high = pixels.min(0), pixels.max(0)
    middle, half = (low + high) / 2, max(high - low) / 2 / share
    scale = size / 2 / half
    return scale, scale * (half - middle)


def naive_crop(path, vertices, rotation, translation, intrinsics, size=256, share=0.8):
    """(JPEG bytes, affine, K): read the file, cut, encode."""
    scale, offset = naive_box(vertices, rotation, translation, intrinsics, size, share)
    affine = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
    crop = cv2.warpAffine(cv2.imread(str(path)), affine, (size, size))
    k = intrinsics.copy()
    k[0, 0] *= scale
    k[1, 1] *= scale
    k[0, 2] = scale * k[0, 2] + offset[0]
    k[1, 2] = scale * k[1, 2] + offset[1]
    return cv2.imencode(".jpg", crop)[1].tobytes(), affine, k


def exact_bilinear(image, affine, size=256):
    """The crop in float64: value at the inverse of every crop pixel, zero outside, rounded."""
    rows, columns = image.shape[:2]
    padded = np.zeros((rows + 2, columns + 2, 3))
    padded[1:-1, 1:-1] = image
    inverse = np.linalg.inv(np.vstack([affine, [0, 0, 1]]))
    v, u = np.mgrid[:size, :size]
    x, y, _ = inverse @ np.stack([u.ravel(), v.ravel(), np.ones(u.size)])
    inside = (x > -1) & (x < columns) & (y > -1) & (y < rows)
    x, y = np.where(inside, x, -1) + 1, np.where(inside, y, -1) + 1
    i, j = np.minimum(y.astype(int), rows), np.minimum(x.astype(int), columns)
    a, b = (x - j)[:, None], (y - i)[:, None]
    value = (
        padded[i, j] * (1 - a) * (1 - b)
        + padded[i, j + 1] * a * (1 - b)
        + padded[i + 1, j] * (1 - a) * b
        + padded[i + 1, j + 1] * a * b
    )
    return np.rint(value).reshape(size, size, 3).astype(np.uint8)
