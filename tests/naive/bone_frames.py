"""Keypoints to bone matrices as the specification's formulas read, for one hand, numpy float64, bone after bone.

Published behaviour (acos clamp) for hands that are not degenerate.
"""

from __future__ import annotations

import numpy as np

CLAMP = 1 - 17 * 2.0**-24
BONES = (7, 12, 17, 8, 13, 18, 10, 15, 20, 9, 14, 19, 6, 11, 16)
LENGTH_PAIRS = (
    *((0, 9), (5, 6), (6, 7), (7, 8), (9, 10), (10, 11), (11, 12), (17, 18)),
    *((18, 19), (19, 20), (13, 14), (14, 15), (15, 16), (1, 2), (2, 3), (3, 4)),
)


def unit(v):
    return v / max(np.linalg.norm(v), 1e-8)


def rot(k, t):
    cross = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    return np.eye(3) + np.sin(t) * cross + (1 - np.cos(t)) * cross @ cross


def ang(a, b):
    a, b = unit(a), unit(b)
    return 2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b))


def sang(a, b, r):
    return -ang(a, b) if r @ np.cross(a, b) < 0 else ang(a, b)


def align(a, b):
    return rot(unit(np.cross(a, b)), ang(a, b))


def naive_bone_matrices(joints: np.ndarray, left: bool):
    """`inputs` (16, 4, 4), bone lengths (16, m) and root rotation (3, 3) of STANDARD-order keypoints (21, 3), m."""
    centred = (joints - joints[0]) * (np.array([-1, 1, 1]) if left else 1)
    b = np.zeros((21, 3))
    for f in range(5):
        for k in range(4):
            b[1 + 5 * k + f] = centred[1 + 4 * f + k]

    v, u = unit(b[3]), unit(b[2])
    first = align(v, np.array([0, -1, 0]))
    second = align(first @ np.cross(v, u), np.array([0, 0, 1]))
    swap = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    root = swap @ second @ first
    q = b @ root.T

    parent = [0 if k < 5 else k - 4 for k in range(20)]
    length = [max(np.linalg.norm(q[k + 1] - q[parent[k]]), 1e-9) for k in range(20)]
    d = [(q[k + 1] - q[parent[k]]) / length[k] for k in range(20)]

    plane = [np.eye(3)] * 5
    plane[0] = rot(d[1], sang(np.cross(d[1], d[0]), np.cross(d[2], d[1]), d[1]) - 0.8)
    plane[3] = rot(d[2], sang(np.cross(d[3], d[2]), np.cross(d[2], d[1]), d[2]) + 0.2)
    d3, d4 = plane[3] @ d[3], plane[3] @ d[4]
    plane[4] = rot(d3, sang(np.cross(d4, d3), np.cross(d3, d[2]), d3) + 0.2) @ plane[3]
    e = [plane[f] @ d[f] for f in range(5)]

    spread = [np.eye(3)] * 5
    m = unit(np.cross(e[2], e[1]))
    spread[1] = rot(m, 0.2 - sang(e[2], e[1], m))
    e1, e0 = spread[1] @ e[1], spread[1] @ e[0]
    m = unit(np.cross(e1, e0))
    spread[0] = rot(m, 0.4 - sang(e1, e0, m)) @ spread[1]
    m = unit(np.cross(e[3], e[2]))
    spread[3] = rot(m, sang(e[3], e[2], m) - 0.2)
    e3, e4 = spread[3] @ e[3], spread[3] @ e[4]
    m = unit(np.cross(e4, e3))
    spread[4] = rot(m, sang(e4, e3, m) - 0.2) @ spread[3]

    turn = [spread[f] @ plane[f] for f in range(5)]
    g = [turn[k % 5] @ d[k] for k in range(20)]
    normal = [unit(np.cross(g[f], g[f + 1])) for f in range(4)]
    normal = [normal[0], normal[1], (normal[1] + normal[2]) / 2, (normal[2] + normal[3]) / 2, normal[3]]

    motion = [np.eye(4) for _ in range(20)]
    for f in range(5):
        y_raw = np.cross(g[f], normal[f])
        frame = np.stack([unit(np.cross(y_raw, g[f])), unit(y_raw), g[f]])
        total, start = np.eye(3), np.zeros(3)
        for level in range(4):
            k = 5 * level + f
            if level:
                total = unbend(total @ frame @ g[k]) @ total
            bend = frame.T @ total @ frame if level else np.eye(3)
            motion[k][:3, :3] = bend @ turn[f]
            motion[k][:3, 3] = start - bend @ turn[f] @ q[parent[k]]
            start = start + length[k] * (bend @ g[k])

    matrices = np.stack([np.eye(4)] + [motion[joint - 1] for joint in BONES])
    small, large = np.diag([0.4, 0.4, 0.4, 1]), np.diag([2.5, 2.5, 2.5, 1])
    lengths = np.array([np.linalg.norm(joints[end] - joints[start]) for start, end in LENGTH_PAIRS])
    return large @ matrices @ small @ small, lengths, root


def unbend(w):
    """The rotation that takes a bone's local direction to (0, 0, 1), up to the clamp."""
    s = max(np.hypot(w[0], w[2]), 1e-9)
    c = 0 if abs(w[2]) < 1e-6 else w[2]
    theta = np.arccos(np.clip(c / s, -CLAMP, CLAMP)) * (-1 if w[0] + 1e-6 < 0 else 1)
    phi = np.arccos(np.clip((w[0] ** 2 + w[2] ** 2) / s, -CLAMP, CLAMP)) * (-1 if w[1] + 1e-6 > 0 else 1)
    return rot(np.array([0, 1, 0]), -theta) @ rot(np.array([np.cos(theta), 0, -np.sin(theta)]), -phi)
