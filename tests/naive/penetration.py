"""Distance to a surface by solving every point against every triangle; shared volume by asking every cell of the whole box."""

from __future__ import annotations

import numpy as np


def distance_to_surface(points, vertices, faces):
    """Minimum over all triangles of |p - q|, q found by clamping the barycentric least-squares solution to the triangle.

    The minimum over a triangle lies at the unconstrained solution if that is inside, else on one of the three edges.
    """
    best = np.full(len(points), np.inf)
    for triangle in vertices[faces]:
        for i in range(3):
            start, along = triangle[i], triangle[(i + 1) % 3] - triangle[i]
            share = np.clip((points - start) @ along / max(along @ along, 1e-300), 0, 1)
            best = np.minimum(best, np.linalg.norm(points - start - share[:, None] * along, axis=1))
        edges = np.stack([triangle[1] - triangle[0], triangle[2] - triangle[0]], axis=1)
        weights = np.linalg.lstsq(edges, (points - triangle[0]).T, rcond=None)[0]
        foot = triangle[0] + (edges @ weights).T
        inside = (weights >= 0).all(axis=0) & (weights.sum(axis=0) <= 1)
        best = np.where(inside, np.minimum(best, np.linalg.norm(points - foot, axis=1)), best)
    return best


def winding_numbers(points, vertices, faces):
    """Sum of the solid angles of all triangles, over 4 pi."""
    total = np.zeros(len(points))
    for triangle in vertices[faces]:
        a, b, c = (corner - points for corner in triangle)
        la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
        determinant = np.einsum("ij,ij->i", a, np.cross(b, c))
        divisor = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
        total += 2 * np.arctan2(determinant, divisor)
    return total / (4 * np.pi)


def shared_volume(first, second, cell):
    """Cells of a grid over the shared bounding box, centred on it, whose centre is inside both meshes."""
    low = np.maximum(first.vertices.min(0), second.vertices.min(0))
    high = np.minimum(first.vertices.max(0), second.vertices.max(0))
    if (high <= low).any():
        return 0.0
    counts = np.ceil((high - low) / cell).astype(int)
    count = 0
    for x in range(counts[0]):
        for y in range(counts[1]):
            z = np.arange(counts[2])
            index = np.stack([np.full_like(z, x), np.full_like(z, y), z], axis=1)
            centres = (low + high) / 2 + (index - (counts - 1) / 2) * cell
            both = [np.abs(winding_numbers(centres, m.vertices, m.faces)) > 0.5 for m in (first, second)]
            count += (both[0] & both[1]).sum()
    return count * cell**3
