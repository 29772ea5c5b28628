"""The hand model's forward computation as the formulas read: one einsum per term, joint after joint; batched numpy."""

from __future__ import annotations

import numpy as np

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
TIPS = (745, 317, 444, 556, 673)
STANDARD_FROM_MANO = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)


def rodrigues(axis_angles: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of axis-angle vectors (..., 3)."""
    angle = np.linalg.norm(axis_angles, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(axis_angles / np.maximum(angle[..., 0], 1e-30), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    return np.eye(3, dtype=x.dtype) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def naive_hand(arrays: dict[str, np.ndarray], pose: np.ndarray, shape: np.ndarray, translation: np.ndarray):
    """Vertices (B, 778, 3) and keypoints (B, 21, 3; STANDARD) of poses (B, 48), from arrays under MANO's keys."""
    posed = naive_steps(arrays, pose, shape)
    homogeneous = np.concatenate([posed["rest"], np.ones_like(posed["rest"][..., :1])], -1)
    blended = np.einsum("vk,bkij->bvij", arrays["weights"], posed["skinning"])
    vertices = np.einsum("bvij,bvj->bvi", blended, homogeneous)[..., :3] + translation[:, None]
    keypoints = np.concatenate([posed["world"][..., :3, 3] + translation[:, None], vertices[:, TIPS]], 1)
    return vertices, keypoints[:, STANDARD_FROM_MANO]


def naive_steps(arrays: dict[str, np.ndarray], pose: np.ndarray, shape: np.ndarray) -> dict[str, np.ndarray]:
    """Rest vertices with pose correctives, rest joints (16), and the joints' transforms: to the world, and from rest."""
    kind = pose.dtype
    absolute = pose + np.concatenate([np.zeros(3, kind), arrays["hands_mean"]])
    rotations = rodrigues(absolute.reshape(-1, 16, 3))
    shaped = arrays["v_template"] + np.einsum("vck,bk->bvc", arrays["shapedirs"], shape)
    joints = np.einsum("jv,bvc->bjc", arrays["J_regressor"], shaped)
    feature = (rotations[:, 1:] - np.eye(3, dtype=kind)).reshape(-1, 135)
    rest = shaped + np.einsum("vcf,bf->bvc", arrays["posedirs"], feature)

    transforms = []
    for joint, parent in enumerate(PARENTS):
        local = np.zeros((len(pose), 4, 4), kind)
        local[:, :3, :3], local[:, 3, 3] = rotations[:, joint], 1
        local[:, :3, 3] = joints[:, joint] - (joints[:, parent] if joint else 0)
        transforms.append(transforms[parent] @ local if joint else local)
    world = np.stack(transforms, 1)
    to_rest = np.tile(np.eye(4, dtype=kind), (len(pose), 16, 1, 1))
    to_rest[..., :3, 3] = -joints
    return {"rest": rest, "joints": joints, "world": world, "skinning": world @ to_rest}
