"""Inside tests in plain loops over triangles: the signed crossing count and the published parity rule."""

import numpy as np


def crossing_winding(vertices, faces, points):
    """Signed crossings of the ray from each point upwards (+z), with half-open edges evaluated from lower to higher index.

    0 outside the mesh's box, which says something only of open meshes.
    """
    winding = np.zeros(len(points), int)
    for a, b, c in faces:
        turns = np.zeros(len(points), int)
        for first, second in ((a, b), (b, c), (c, a)):
            turns += _edge(vertices, first, second, points)
        normal = np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
        offset = points - vertices[a]
        height = normal[0] * offset[:, 0] + normal[1] * offset[:, 1] + normal[2] * offset[:, 2]
        lowest, highest = vertices[[a, b, c], 2].min(), vertices[[a, b, c], 2].max()
        above = (points[:, 2] < lowest) | ((points[:, 2] < highest) & (turns * height < 0))
        winding += np.where(above, turns, 0)
    return np.where(((points >= vertices.min(axis=0)) & (points <= vertices.max(axis=0))).all(axis=1), winding, 0)


def _edge(vertices, first, second, points):
    direction = 1 if first < second else -1
    (ax, ay, _), (bx, by, _) = vertices[min(first, second)], vertices[max(first, second)]
    x, y = points[:, 0], points[:, 1]
    below = ay <= y
    across, along = (bx - ax) * (y - ay), (x - ax) * (by - ay)
    crossed = (below != (by <= y)) & np.where(below, across > along, across < along)
    return np.where(crossed, np.where(below, direction, -direction), 0)


def published_parity(vertices, faces, points):
    """HALO preparation: strict containment in the projection, both counts odd, in a box stretched to 512."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    vertices, points = ((values - low) / (high - low) * 511 + 0.5 for values in (vertices, points))
    hits = np.zeros((2, len(points)), int)
    for a, b, c in vertices[faces]:
        u, v, w = a - c, b - c, points - c
        area = u[0] * v[1] - u[1] * v[0]
        if area == 0:
            continue
        first = (w[:, 0] * v[1] - w[:, 1] * v[0]) * np.sign(area)
        second = (u[0] * w[:, 1] - u[1] * w[:, 0]) * np.sign(area)
        size = abs(area)
        strict = (first > 0) & (first < size) & (second > 0) & (second < size) & (first + second < size)
        surface = c[2] + (first * u[2] + second * v[2]) / size
        hits[0] += strict & (surface >= points[:, 2])
        hits[1] += strict & (surface < points[:, 2])
    return (hits % 2 == 1).all(axis=0) & ((points >= 0) & (points <= 512)).all(axis=1)
