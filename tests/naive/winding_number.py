"""The exact winding number: the sum of the solid angles of all triangles, in float64, without any index."""

import numpy as np


def solid_angle_winding(vertices, faces, points, chunk=2000):
    """Winding number of each point as a float; a whole number (up to rounding) for a closed mesh off its surface.

    Van Oosterom and Strackee 1983: tan(angle / 2) = a·(b×c) / (|a||b||c| + (a·b)|c| + (b·c)|a| + (c·a)|b|).
    """
    result = np.empty(len(points))
    corners = np.asarray(vertices, np.float64)[faces]
    for start in range(0, len(points), chunk):
        a, b, c = (corners[None, :, k] - points[start : start + chunk, None] for k in range(3))
        la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
        dot = lambda u, v: np.einsum("...i,...i->...", u, v)  # noqa: E731
        above = dot(a, np.cross(b, c))
        below = la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb
        result[start : start + chunk] = 2 * np.arctan2(above, below).sum(axis=1) / (4 * np.pi)
    return result
