"""A z-buffer in plain numpy: one triangle at a time, all pixels of its bounding box at once."""

import numpy as np


def rasterize(pixels, depth, faces, height, width, nearest=1e-3):
    """Depth (inf: nothing), triangle (-1: nothing) and perspective-correct barycentric weights of every pixel."""
    buffer = np.full((height, width), np.inf)
    triangle = np.full((height, width), -1, np.int32)
    barycentric = np.zeros((height, width, 3))
    for index, face in enumerate(faces):
        corners, z = pixels[face], depth[face]
        if (z < nearest).any():
            continue
        edges = corners[1:] - corners[0]
        double_area = edges[0, 0] * edges[1, 1] - edges[1, 0] * edges[0, 1]
        if double_area == 0:
            continue
        low = np.maximum(np.ceil(corners.min(0)), 0).astype(int)
        high = np.minimum(np.floor(corners.max(0)), [width - 1, height - 1]).astype(int)
        if (high < low).any():
            continue
        y, x = np.mgrid[low[1] : high[1] + 1, low[0] : high[0] + 1]
        dx, dy = x - corners[0, 0], y - corners[0, 1]
        b = (dx * edges[1, 1] - edges[1, 0] * dy) / double_area
        c = (edges[0, 0] * dy - dx * edges[0, 1]) / double_area
        weights = np.stack([1 - b - c, b, c], axis=-1)
        inverse = weights / z
        seen = 1 / inverse.sum(-1)
        box = (slice(low[1], high[1] + 1), slice(low[0], high[0] + 1))
        visible = (weights >= 0).all(-1) & (seen < buffer[box])
        buffer[box][visible] = seen[visible]
        triangle[box][visible] = index
        barycentric[box][visible] = (inverse * seen[..., None])[visible]
    return buffer, triangle, barycentric
