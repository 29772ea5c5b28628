"""Fits the hand model to a surface: pose, shape and translation by least squares, starting from keypoints.

First the 21 keypoints are met, then the planes of the closest points of the surface: Levenberg-Marquardt steps with exact
derivatives.
Everything is in the world, metres; a pose is the model's (axis-angles minus the mean pose).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from im2hands.geometry.mesh import Mesh
from im2hands.geometry.rotations import matrix_to_axis_angle
from im2hands.geometry.surface import sample_surface
from im2hands.hands.joints import INDEX_BASE, LITTLE_BASE, MIDDLE_BASE, WRIST
from im2hands.hands.model import SHAPES, HandModel, PosedHand
from im2hands.io.errors import DataError

KEYPOINT_STEPS, SURFACE_STEPS = 12, 8
SURFACE_POINTS = 20000
POSE_PRIOR, SHAPE_PRIOR = 2e-4, 2e-3
"""Metres per radian and per unit of shape: keep what the data leave open near the mean hand."""
KEYPOINT_WEIGHT, ALONG_WEIGHT = 0.1, 0.1
"""Of keypoints, and of distances along the surface, against distances across it."""


@dataclass(frozen=True, eq=False)
class FittedHand:
    """pose: 16 axis-angles, radians, fingers minus the mean pose.  shape, translation: parameters of the model (m).

    vertices: vertices of the open mesh.  residual_mm: mean distance of the model's vertices from the nearest of
    the points drawn on the surface.
    keypoint_residual_mm: mean distance of the model's keypoints from those given.
    """

    pose: Float[np.ndarray, "48"]
    shape: Float[np.ndarray, "10"]
    translation: Float[np.ndarray, "3"]
    vertices: Float[np.ndarray, "778 3"]
    residual_mm: float
    keypoint_residual_mm: float


def fit_hand_model(model: HandModel, mesh: Mesh, keypoints: Float[np.ndarray, "21 3"], seed: int = 0) -> FittedHand:
    """model: model of the hand's side.  mesh: the surface, world, m.  keypoints: STANDARD order, world, m.

    seed: seed for drawing points on the surface.  Raises DataError for an empty mesh.
    """
    if mesh.is_empty:
        raise DataError("the mesh is empty: the hand model cannot be fitted to it.")
    model = model.to(dtype=torch.float64)
    given = torch.from_numpy(np.asarray(keypoints, np.float64))
    sampled = sample_surface(mesh.vertices, mesh.faces, SURFACE_POINTS, np.random.default_rng(seed))
    tree, (cloud, normals) = cKDTree(sampled.points), (torch.from_numpy(x) for x in (sampled.points, sampled.normals))
    values = _start(model, given)

    def prior(x: Tensor) -> Tensor:
        return torch.cat([POSE_PRIOR * x[3:48], SHAPE_PRIOR * x[48:58]])

    def to_keypoints(x: Tensor) -> Tensor:
        return torch.cat([(_posed(model, x).keypoints[0] - given).flatten() / 21**0.5, prior(x)])

    values = _least_squares(to_keypoints, values, KEYPOINT_STEPS)
    for _ in range(SURFACE_STEPS):
        found = torch.from_numpy(tree.query(_posed(model, values).vertices[0].numpy())[1])
        nearest, across = cloud[found], normals[found]

        def to_surface(x: Tensor, nearest: Tensor = nearest, across: Tensor = across) -> Tensor:
            posed = _posed(model, x)
            apart = posed.vertices[0] - nearest
            joints = KEYPOINT_WEIGHT * (posed.keypoints[0] - given).flatten() / 21**0.5
            planes = torch.cat([(apart * across).sum(-1), ALONG_WEIGHT * apart.flatten()]) / len(apart) ** 0.5
            return torch.cat([planes, joints, prior(x)])

        values = _least_squares(to_surface, values, 1)
    posed = _posed(model, values)
    vertices = posed.vertices[0].numpy()
    return FittedHand(
        pose=values[:48].numpy(),
        shape=values[48:58].numpy(),
        translation=values[58:].numpy(),
        vertices=vertices,
        residual_mm=float(tree.query(vertices)[0].mean() * 1e3),
        keypoint_residual_mm=float((posed.keypoints[0] - given).norm(dim=-1).mean() * 1e3),
    )


def _posed(model: HandModel, x: Tensor) -> PosedHand:
    return model.pose(x[None, :48], x[None, 48:58], x[None, 58:])


def _start(model: HandModel, keypoints: Float[Tensor, "21 3"]) -> Float[Tensor, "61"]:
    """The mean hand with its palm turned and moved onto the given one."""
    values = torch.zeros(48 + SHAPES + 3, dtype=torch.float64)
    rest = _posed(model, values).keypoints[0]
    palm = [WRIST, INDEX_BASE, MIDDLE_BASE, LITTLE_BASE]
    a, b = rest[palm] - rest[palm].mean(0), keypoints[palm] - keypoints[palm].mean(0)
    u, _, vt = torch.linalg.svd(b.T @ a)
    flip = torch.diag(torch.tensor([1.0, 1.0, float(torch.sign(torch.det(u @ vt)))], dtype=torch.float64))
    values[:3] = matrix_to_axis_angle((u @ flip @ vt)[None])[0]
    values[58:] = keypoints[WRIST] - rest[WRIST]
    return values


def _least_squares(residual: Callable[[Tensor], Tensor], values: Tensor, steps: int) -> Tensor:
    """Levenberg-Marquardt; a step that does not lower the sum of squares is taken back with more damping."""
    damping = 1e-6
    error = residual(values)
    for _ in range(steps):
        jacobian = torch.func.jacfwd(residual)(values)
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ error
        for _ in range(6):
            step = torch.linalg.solve(normal + damping * torch.eye(len(values), dtype=values.dtype), gradient)
            tried = values - step
            found = residual(tried)
            if found.square().sum() < error.square().sum():
                values, error, damping = tried, found, damping / 4
                break
            damping *= 10
    return values
