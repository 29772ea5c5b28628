"""The hand model: a mesh and keypoints from pose, shape and translation, by linear blend skinning (MANO's schema).

Everything is metric: metres, radians, the frame of the translation ("world"). A pose is 16 axis-angle vectors: the root
rotation, then the 15 finger joints in MANO order **minus the mean pose**, as InterHand2.6M annotates them; the mean is added
here. The root turns about the shaped wrist, so with zero translation the wrist stays at `rest_joints(shape)[:, 0]`, not at
the origin.

Two kinds of keypoints come out, both in STANDARD order: `keypoints` (the kinematic joints and five tip vertices) and
`regressed` (the joint regressor applied to the posed vertices). They differ on posed hands; see docs/conventions.md.

Source: Romero et al., Embodied Hands (SIGGRAPH Asia 2017); the arrays are those of the MANO files.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from im2hands.geometry.rotations import axis_angle_to_matrix
from im2hands.hands.joints import MANO_PARENTS, TIP_VERTICES, JointOrder, reorder
from im2hands.hands.sides import Side
from im2hands.hands.wrist import close_wrist, find_wrist_ring
from im2hands.io.errors import DataError

VERTICES, FACES, JOINTS, SHAPES = 778, 1538, 16, 10
FINGER_ANGLES = 45
LEVELS = ((1, 4, 7, 10, 13), (2, 5, 8, 11, 14), (3, 6, 9, 12, 15))
"""Joints whose parents are the wrist, the finger bases, the second finger joints."""

Points = TypeVar("Points", np.ndarray, Tensor)


@dataclass(frozen=True)
class PosedHand:
    """A batch of posed hands, metres, in the frame of the translation.

    vertices: the open mesh.  keypoints: kinematic joints and tips, STANDARD order.  regressed: the same joints by the joint
    regressor on the posed vertices.  joint_transforms: from each joint's own frame (turned with the joint, origin in it) to
    the world, MANO order.  skinning_transforms: from the rest pose to the world, per joint.  rest_vertices: shaped and
    pose-corrected, before skinning.  rest_joints: shaped, MANO order.
    """

    vertices: Float[Tensor, "batch 778 3"]
    keypoints: Float[Tensor, "batch 21 3"]
    regressed: Float[Tensor, "batch 21 3"]
    joint_transforms: Float[Tensor, "batch 16 4 4"]
    skinning_transforms: Float[Tensor, "batch 16 4 4"]
    rest_vertices: Float[Tensor, "batch 778 3"]
    rest_joints: Float[Tensor, "batch 16 3"]


@dataclass(frozen=True, eq=False)
class HandModel:
    """One hand of one side. Build it with `im2hands.hands.model_files`; `pose` is the forward computation.

    template: mean hand (m).  shape_directions, pose_directions: added per unit of shape and of (R - I).  joint_regressor:
    joints from shaped rest vertices.  skinning_weights: rows sum to 1.  faces: open mesh, outward.  mean_pose: finger
    axis-angles (rad).  pose_components: rows are principal axes of finger poses.  source: file it came from.
    shape_directions_corrected: whether the left hand's sign error was corrected (see
    `model_files.correct_left_shape_directions`).  faces_reversed: whether the file's triangles pointed inwards and were
    turned round.
    """

    side: Side
    template: Float[Tensor, "778 3"]
    shape_directions: Float[Tensor, "778 3 10"]
    pose_directions: Float[Tensor, "778 3 135"]
    joint_regressor: Float[Tensor, "16 778"]
    skinning_weights: Float[Tensor, "778 16"]
    faces: Int[np.ndarray, "1538 3"]
    mean_pose: Float[Tensor, "45"]
    pose_components: Float[Tensor, "45 45"]
    source: str = "built-in"
    shape_directions_corrected: bool = False
    faces_reversed: bool = False
    wrist_ring: Int[np.ndarray, "16"] = field(init=False)
    """Vertices around the open wrist, found from the triangles, in the order of MANO's list."""
    sealed_faces: Int[np.ndarray, "1554 3"] = field(init=False)
    """Triangles of the closed mesh that `seal` makes vertices for; outward."""

    def __post_init__(self) -> None:
        faces = np.ascontiguousarray(self.faces, dtype=np.int64)
        ring = find_wrist_ring(faces, self.source)
        for name, value in (
            ("faces", faces),
            ("wrist_ring", ring),
            ("sealed_faces", close_wrist(faces, ring, VERTICES)),
        ):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @property
    def dtype(self) -> torch.dtype:
        return self.template.dtype

    @property
    def device(self) -> torch.device:
        return self.template.device

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> HandModel:
        """The same model with its arrays on another device or in another precision."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **{name: value.to(device=device, dtype=dtype) for name, value in tensors.items()})

    def mirrored(self) -> HandModel:
        """The hand of the other side: the mirror image of this one in every array (mirror plane x = 0)."""
        mirror = Side.LEFT  # the mirror itself, whichever side it starts from
        per_feature = mirror.mirror_rotations(self.pose_directions.unflatten(-1, (15, 3, 3))).flatten(-3)
        return replace(
            self,
            side=self.side.other,
            template=mirror.mirror_points(self.template),
            shape_directions=mirror.mirror_points(self.shape_directions.mT).mT,
            pose_directions=mirror.mirror_points(per_feature.mT).mT,
            faces=mirror.mirror_faces(self.faces),
            mean_pose=mirror.mirror_axis_angles(self.mean_pose.unflatten(-1, (15, 3))).flatten(-2),
            pose_components=mirror.mirror_axis_angles(self.pose_components.unflatten(-1, (15, 3))).flatten(-2),
        )

    def rest_joints(self, shape: Float[Tensor, "batch 10"]) -> Float[Tensor, "batch 16 3"]:
        """Joints of the shaped hand in its rest pose, MANO order, metres; entry 0 is the wrist the root turns about."""
        return self.joint_regressor @ self.shaped_template(self._tensor(shape, "shape", SHAPES))

    def shaped_template(self, shape: Float[Tensor, "batch 10"]) -> Float[Tensor, "batch 778 3"]:
        """Vertices of the shaped hand in its rest pose, without pose correction, metres."""
        shape = self._tensor(shape, "shape", SHAPES)
        return self.template + (shape @ self.shape_directions.reshape(-1, SHAPES).mT).unflatten(-1, (VERTICES, 3))

    def pose(
        self,
        axis_angles: Float[Tensor, "batch 48"],
        shape: Float[Tensor, "batch 10"],
        translation: Float[Tensor, "batch 3"] | None = None,
    ) -> PosedHand:
        """The posed hands.

        axis_angles: root rotation, then finger rotations minus the mean pose, MANO order, radians.  translation: metres; zero
        if not given.  Raises DataError if a shape does not fit.
        """
        axis_angles = self._tensor(axis_angles, "axis_angles", 3 + FINGER_ANGLES)
        absolute = torch.cat([axis_angles[:, :3], axis_angles[:, 3:] + self.mean_pose], -1)
        return self.pose_by_rotations(axis_angle_to_matrix(absolute.unflatten(-1, (JOINTS, 3))), shape, translation)

    def pose_by_components(
        self,
        root: Float[Tensor, "batch 3"],
        coefficients: Float[Tensor, "batch n"],
        shape: Float[Tensor, "batch 10"],
        translation: Float[Tensor, "batch 3"] | None = None,
    ) -> PosedHand:
        """The posed hands, fingers given by their first n <= 45 principal components (MANO's `use_pca`)."""
        root, coefficients = self._tensor(root, "root", 3), self._tensor(coefficients, "coefficients", None)
        if coefficients.shape[-1] > FINGER_ANGLES:
            raise DataError(f"got {coefficients.shape[-1]} pose coefficients, but the hand model has 45 components.")
        fingers = coefficients @ self.pose_components[: coefficients.shape[-1]]
        return self.pose(torch.cat([root, fingers], -1), shape, translation)

    def components_of(self, finger_angles: Float[Tensor, "batch 45"]) -> Float[Tensor, "batch 45"]:
        """Principal components of finger axis-angles that are given minus the mean pose."""
        finger_angles = self._tensor(finger_angles, "finger_angles", FINGER_ANGLES)
        return torch.linalg.solve(self.pose_components.mT, finger_angles.mT).mT

    def pose_by_rotations(
        self,
        rotations: Float[Tensor, "batch 16 3 3"],
        shape: Float[Tensor, "batch 10"],
        translation: Float[Tensor, "batch 3"] | None = None,
    ) -> PosedHand:
        """The posed hands, given the full rotation of every joint relative to its parent (mean pose included)."""
        rotations = torch.as_tensor(rotations, dtype=self.dtype, device=self.device)
        if rotations.shape[1:] != (JOINTS, 3, 3):
            raise DataError(f"rotations must have shape (batch, 16, 3, 3), not {tuple(rotations.shape)}.")
        batch = len(rotations)
        translation = torch.zeros(batch, 3) if translation is None else translation
        translation, shape = self._tensor(translation, "translation", 3), self._tensor(shape, "shape", SHAPES)
        if len(shape) != batch or len(translation) != batch:
            raise DataError(
                f"poses, shapes and translations must be equal in number, not {batch}, {len(shape)} and {len(translation)}."
            )
        shaped = self.shaped_template(shape)
        joints = self.joint_regressor @ shaped
        turns = (rotations[:, 1:] - torch.eye(3, dtype=self.dtype, device=self.device)).flatten(1)
        rest = shaped + (turns @ self.pose_directions.reshape(-1, turns.shape[-1]).mT).unflatten(-1, (VERTICES, 3))

        turned, places = joint_chain(rotations, joints)
        shifts = places - (turned @ joints[..., None])[..., 0]
        skinning = torch.cat([turned, shifts[..., None]], -1)
        per_vertex = (self.skinning_weights @ skinning.flatten(2)).unflatten(-1, (3, 4))
        vertices = (per_vertex[..., :3] @ rest[..., None])[..., 0] + per_vertex[..., 3]
        vertices, places, shifts = (points + translation[:, None] for points in (vertices, places, shifts))
        return PosedHand(
            vertices=vertices,
            keypoints=self.keypoints_of(places, vertices),
            regressed=self.keypoints_of(self.joint_regressor @ vertices, vertices),
            joint_transforms=_homogeneous(turned, places),
            skinning_transforms=_homogeneous(turned, shifts),
            rest_vertices=rest,
            rest_joints=joints,
        )

    def regress(self, vertices: Float[Tensor, "batch 778 3"]) -> Float[Tensor, "batch 21 3"]:
        """`regressed` keypoints of any vertices of this topology, STANDARD order."""
        vertices = torch.as_tensor(vertices, dtype=self.dtype, device=self.device)
        if vertices.shape[-2:] != (VERTICES, 3):
            raise DataError(f"vertices must have shape (batch, 778, 3), not {tuple(vertices.shape)}.")
        return self.keypoints_of(self.joint_regressor @ vertices, vertices)

    def seal(self, vertices: Points) -> Points:
        """Vertices (..., 778, 3), numpy or torch, with the centre of the wrist ring appended: those of `sealed_faces`."""
        if vertices.shape[-2:] != (VERTICES, 3):
            raise DataError(f"vertices must have shape (..., 778, 3), not {tuple(vertices.shape)}.")
        if isinstance(vertices, np.ndarray):
            return np.concatenate([vertices, vertices[..., self.wrist_ring, :].mean(-2, keepdims=True)], -2)
        ring = torch.from_numpy(self.wrist_ring.copy()).to(vertices.device)
        return torch.cat([vertices, vertices.index_select(-2, ring).mean(-2, keepdim=True)], -2)

    @staticmethod
    def keypoints_of(
        joints: Float[Tensor, "batch 16 3"], vertices: Float[Tensor, "batch 778 3"]
    ) -> Float[Tensor, "batch 21 3"]:
        """16 joints in MANO order and the tip vertices, together in STANDARD order."""
        return reorder(torch.cat([joints, vertices[..., TIP_VERTICES, :]], -2), JointOrder.MANO, JointOrder.STANDARD)

    def _tensor(self, values: Tensor | np.ndarray, name: str, width: int | None) -> Tensor:
        values = torch.as_tensor(values, dtype=self.dtype, device=self.device)
        if values.ndim != 2 or (width is not None and values.shape[-1] != width):
            raise DataError(f"{name} must have shape (batch, {width or 'n'}), not {tuple(values.shape)}.")
        return values


def joint_chain(
    rotations: Float[Tensor, "batch 16 3 3"], joints: Float[Tensor, "batch 16 3"]
) -> tuple[Float[Tensor, "batch 16 3 3"], Float[Tensor, "batch 16 3"]]:
    """World rotation and place of every joint, the wrist turning in place; whole levels of the tree at once."""
    order = [0, *(joint for level in LEVELS for joint in level)]
    turned, places = [rotations[:, :1]], [joints[:, :1]]
    for level in LEVELS:
        parents = [MANO_PARENTS[joint] for joint in level]
        offsets = (joints[:, level] - joints[:, parents])[..., None]
        places.append((turned[-1] @ offsets)[..., 0] + places[-1])
        turned.append(turned[-1] @ rotations[:, level])
    back = [order.index(joint) for joint in range(JOINTS)]
    return torch.cat(turned, 1)[:, back], torch.cat(places, 1)[:, back]


def _homogeneous(rotations: Tensor, shifts: Tensor) -> Tensor:
    last = rotations.new_tensor([0, 0, 0, 1]).expand(*rotations.shape[:-2], 1, 4)
    return torch.cat([torch.cat([rotations, shifts[..., None]], -1), last], -2)
