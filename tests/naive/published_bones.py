"""Keypoints to bone matrices with every intermediate of a published file, one hand after another, rounded as the reference ran.

Positions in float64; frames, angles, rotations in float32 arithmetic. For hands that are not degenerate.
"""

from __future__ import annotations

import numpy as np

from tests.naive.bone_frames import BONES, CLAMP, LENGTH_PAIRS, align, rot, sang, unit

F = np.float32
STANDARD_TO_MANO = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]
START = [0] * 5 + list(range(1, 16))


def padded(linear, shift=(0, 0, 0)):
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = linear, shift
    return result


def angles_of(w):
    """Swing and lift of a local direction, in float32 from end to end."""
    x, y, z = w
    s = max(np.sqrt(x * x + z * z), F(1e-9))
    c = F(0) if abs(z) < F(1e-6) else z
    theta = np.arccos(np.clip(c / s, F(-CLAMP), F(CLAMP)))
    phi = np.arccos(np.clip((x * x + z * z) / s, F(-CLAMP), F(CLAMP)))
    return np.array([-theta if x + F(1e-6) < 0 else theta, -phi if y + F(1e-6) > 0 else phi], F)


def straightened(theta, phi):
    swing = rot(np.array([0, 1, 0]), -float(theta))
    return (swing @ rot(np.array([np.cos(float(theta)), 0, -np.sin(float(theta))]), -float(phi))).astype(F)


def naive_published_hand(joints: np.ndarray, left: bool) -> dict[str, np.ndarray]:
    """The fields of a file `halo_keypoints` for one hand: STANDARD keypoints (21, 3), m."""
    halo = (joints - joints[0]) * (np.array([-1, 1, 1]) if left else 1)
    b = np.zeros((21, 3), F)
    for f in range(5):
        for k in range(4):
            b[1 + 5 * k + f] = halo[1 + 4 * f + k]
    b64 = b.astype(float)
    v, u = unit(b64[3]), unit(b64[2])
    first = align(v, np.array([0, -1, 0]))
    turn = align(first @ np.cross(v, u), np.array([0, 0, 1])) @ first
    canonical = b64 @ turn.T
    root = turn[[1, 2, 0]]
    q = b64 @ root.T

    length = np.maximum(np.linalg.norm(q[1:] - q[START], axis=1), 1e-9)
    d = (q[1:] - q[START]) / length[:, None]
    plane = palm_planes(d)
    e = np.einsum("kij,kj->ki", plane[np.arange(20) % 5].astype(float), d)
    spread = spreads(e)
    g = np.einsum("kij,kj->ki", spread[np.arange(20) % 5].astype(float), e)

    frames, w, bends, rotations, adjoints, unbend = bones_straightened(g)
    unposed = np.einsum("kij,kj->ki", unbend, g.astype(F))
    starts, motions = np.zeros((20, 3)), []
    for k in range(20):
        if k >= 5:
            starts[k] = starts[k - 5] + length[k - 5] * unposed[k - 5]
        linear = unbend[k].astype(float) @ (spread[k % 5].astype(float) @ plane[k % 5].astype(float))
        motions.append(padded(linear, starts[k] - linear @ q[START[k]]))
    matrices = np.stack([np.eye(4), *motions])
    bones = np.stack([np.eye(4)] + [matrices[joint] for joint in BONES])
    pairs = np.array([(joints[end] - joints[start]) for start, end in LENGTH_PAIRS])
    return {
        "joints_halo": halo[STANDARD_TO_MANO],
        "joints_biomech": b,
        "canonical_transform": padded(turn),
        "joints_canonical": canonical,
        "joints_nasa_axes": q,
        "bones": d,
        "bone_len20": length,
        "kp_to_bone": np.stack([padded(np.eye(3) / L, -q[START[k]] / L) for k, L in enumerate(length)]),
        "plane_mat": plane[np.arange(20) % 5],
        "bones_plane": e,
        "angle_mat": spread[np.arange(20) % 5],
        "bones_angle": g,
        "local_cs": frames,
        "local_coords": w,
        "rot_angles": bends,
        "rot_mat": rotations,
        "adj_transpose": adjoints,
        "local_coords_unposed": unposed,
        "bone_to_kp": np.stack([padded(np.eye(3) * L, starts[k]) for k, L in enumerate(length)]),
        "trans_biomech": matrices,
        "trans_halo16": bones,
        "inputs": np.diag([2.5, 2.5, 2.5, 1]) @ bones @ np.diag([0.16, 0.16, 0.16, 1]),
        "bone_lengths": np.linalg.norm(pairs, axis=1).astype(F),
        "root_rot_mat": padded(root).astype(F),
        "unit_axis_warnings": np.int64(0),
    }


def palm_planes(d):
    plane = [np.eye(3)] * 5
    plane[0] = rot(d[1], sang(np.cross(d[1], d[0]), np.cross(d[2], d[1]), d[1]) - 0.8)
    plane[3] = rot(d[2], sang(np.cross(d[3], d[2]), np.cross(d[2], d[1]), d[2]) + 0.2)
    d3, d4 = plane[3] @ d[3], plane[3] @ d[4]
    plane[4] = rot(d3, sang(np.cross(d4, d3), np.cross(d3, d[2]), d3) + 0.2) @ plane[3]
    return np.stack(plane).astype(F)


def spreads(e):
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
    return np.stack(spread).astype(F)


def bones_straightened(g):
    """Frames, local directions, bends, their rotations, transposed frames times parents' rotations, U; 20 bones each."""
    normal = [unit(np.cross(g[f], g[f + 1])) for f in range(4)]
    normal = [normal[0], normal[1], (normal[1] + normal[2]) / 2, (normal[2] + normal[3]) / 2, normal[3]]
    frames, rotations, adjoints = (np.tile(np.eye(3, dtype=F), (20, 1, 1)) for _ in range(3))
    w, bends, unbend = g.astype(F), np.zeros((20, 2), F), np.tile(np.eye(3, dtype=F), (20, 1, 1))
    for f in range(5):
        bends[f] = angles_of(w[f])
        y = np.cross(g[f], normal[f])
        frame = np.stack([unit(np.cross(y, g[f])), unit(y), g[f]]).astype(F)
        parents = np.eye(3, dtype=F)
        for k in range(5 + f, 20, 5):
            frames[k] = frame
            w[k] = frame @ g[k].astype(F)
            bends[k] = angles_of(w[k])
            rotations[k] = straightened(*bends[k])
            adjoints[k] = frame.T @ parents
            unbend[k] = adjoints[k] @ rotations[k] @ frame
            parents, frame = rotations[k] @ parents, rotations[k] @ frame
    return frames, w, bends, rotations, adjoints, unbend
