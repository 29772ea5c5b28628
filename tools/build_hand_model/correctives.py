"""Pose directions: what linear skinning lacks against dual-quaternion skinning, fitted linearly. Millimetres.

Dual-quaternion skinning: Kavan et al., Geometric skinning with approximate dual quaternion blending (TOG 2008).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from im2hands.hands.joints import MANO_PARENTS
from im2hands.hands.model import HandModel

RIDGE = 2.0


def pose_directions(model: HandModel, rotations: np.ndarray) -> tuple[np.ndarray, float, float]:
    """(V, 3, 135) directions fitted to poses, and the RMS difference (mm) before and after, on the last sixth held out.

    model: without pose directions, mm.  rotations: (poses, 16, 3, 3) with the identity at the wrist.
    """
    vertices, weights = model.template.numpy(), model.skinning_weights.numpy()
    features = (rotations[:, 1:] - np.eye(3)).reshape(len(rotations), -1)
    missing = []
    for pose in rotations:
        posed = model.pose_by_rotations(torch.from_numpy(pose[None]), torch.zeros(1, 10))
        transforms = posed.skinning_transforms[0].numpy()
        blended = np.tensordot(weights, transforms, 1)
        wanted = dual_quaternion_skinning(vertices, weights, transforms)
        at_rest = np.linalg.solve(blended[:, :3, :3], (wanted - blended[:, :3, 3])[..., None])[..., 0]
        missing.append((at_rest - vertices).ravel())
    missing = np.array(missing)
    fitted = len(rotations) * 5 // 6
    seen, answers = features[:fitted], missing[:fitted]
    solution = np.linalg.solve(seen.T @ seen + RIDGE * np.eye(seen.shape[1]), seen.T @ answers)
    residual = missing[fitted:] - features[fitted:] @ solution

    def rms(values: np.ndarray) -> float:
        return float(np.sqrt((values**2).mean() * 3))

    return solution.T.reshape(*vertices.shape, -1), rms(missing[fitted:]), rms(residual)


def dual_quaternion_skinning(vertices: np.ndarray, weights: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) moved by rigid transforms (16, 4, 4) blended as dual quaternions."""
    real = Rotation.from_matrix(transforms[:, :3, :3]).as_quat()
    for joint, parent in enumerate(MANO_PARENTS):
        if joint and real[joint] @ real[parent] < 0:
            real[joint] *= -1
    shift = np.concatenate([transforms[:, :3, 3], np.zeros((len(real), 1))], 1)
    dual = 0.5 * _product(shift, real)
    blended_real, blended_dual = weights @ real, weights @ dual
    length = np.linalg.norm(blended_real, axis=1, keepdims=True)
    blended_real, blended_dual = blended_real / length, blended_dual / length
    conjugate = blended_real * np.array([-1.0, -1.0, -1.0, 1.0])
    return Rotation.from_quat(blended_real).apply(vertices) + 2 * _product(blended_dual, conjugate)[:, :3]


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product of quaternions (..., 4) with the real part last."""
    vector = a[..., 3:] * b[..., :3] + b[..., 3:] * a[..., :3] + np.cross(a[..., :3], b[..., :3])
    real = a[..., 3:] * b[..., 3:] - (a[..., :3] * b[..., :3]).sum(-1, keepdims=True)
    return np.concatenate([vector, real], -1)
