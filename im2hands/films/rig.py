"""A shaped hand as a skeleton with a skin, the way animation programs take it.

Everything is relative to the wrist joint of the hand at rest, in metres, in the hand's own side. A joint's rest frame has its y
axis along the bone, because Blender draws bones along y; z points out of the back of the hand. The hand model's own joint
frames are parallel at rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from im2hands.hands.joints import INDEX_BASE, JOINT_NAMES, LITTLE_BASE, MANO_PARENTS, MIDDLE_BASE, PARENTS, JointOrder
from im2hands.hands.joints import TIP_VERTICES as TIPS
from im2hands.hands.model import JOINTS, HandModel
from im2hands.hands.sides import Side

MOST_WEIGHTS = 4
"""Joints that move a vertex in one set of glTF weights."""
STANDARD_OF = JointOrder.MANO.value
"""STANDARD joint of each of the 16 joints, then of the five tips."""
RIG_PARENTS = (*MANO_PARENTS, *(STANDARD_OF.index(PARENTS[tip]) for tip in STANDARD_OF[JOINTS:]))
"""Parent of each of the 16 joints and five tips."""
CHILDREN = (STANDARD_OF.index(MIDDLE_BASE), *(RIG_PARENTS.index(joint) for joint in range(1, JOINTS)))
"""The joint or tip that a joint's bone ends at; the wrist's is the first joint of the middle finger."""
RIG_NAMES = tuple(f"{name[:-1]}_tip" if name.endswith("4") else name for name in (JOINT_NAMES[k] for k in STANDARD_OF))


@dataclass(frozen=True, eq=False)
class Rig:
    """A hand at rest.

    joints: places of the 16 joints and five tips.  frames: their rest frames, axes as columns.  vertices, normals, faces: the
    closed surface, outward.  weights, joint_of_weight: at most four joints per vertex, the weights sum to 1, and unused ones
    are 0 of joint 0.
    """

    side: Side
    joints: Float[np.ndarray, "21 3"]
    frames: Float[np.ndarray, "21 3 3"]
    vertices: Float[np.ndarray, "779 3"]
    normals: Float[np.ndarray, "779 3"]
    faces: Int[np.ndarray, "1554 3"]
    weights: Float[np.ndarray, "779 4"]
    joint_of_weight: UInt8[np.ndarray, "779 4"]

    def names(self) -> list[str]:
        """Of the 16 joints and five tips, with the side."""
        return [f"{self.side.value.capitalize()}_{name}" for name in RIG_NAMES]


def rig_of(model: HandModel, shape: Float[np.ndarray, "10"]) -> Rig:
    """The flat hand of this shape, without pose correction."""
    model = model.to(dtype=torch.float64)
    shape = torch.from_numpy(np.asarray(shape, np.float64))[None]
    vertices = model.shaped_template(shape)[0].numpy()
    joints = model.rest_joints(shape)[0].numpy()
    joints = np.concatenate([joints, vertices[list(TIPS)]])
    vertices = model.seal(vertices) - joints[0]
    joints = joints - joints[0]
    weights = model.skinning_weights.numpy()
    weights = np.concatenate([weights, weights[model.wrist_ring].mean(axis=0, keepdims=True)])
    chosen, places = _strongest(weights)
    return Rig(
        model.side,
        joints,
        _rest_frames(joints, model.side),
        vertices,
        _normals(vertices, model.sealed_faces),
        model.sealed_faces,
        chosen,
        places,
    )


def _rest_frames(joints: Float[np.ndarray, "21 3"], side: Side) -> Float[np.ndarray, "21 3 3"]:
    """y towards the child, z out of the back of the hand, x completes a right-handed frame; tips have their parent's."""
    index, little = (joints[STANDARD_OF.index(base)] for base in (INDEX_BASE, LITTLE_BASE))
    back = np.cross(index, little) * (-1 if side is Side.RIGHT else 1)
    frames = np.zeros((len(joints), 3, 3))
    for joint, child in enumerate(CHILDREN):
        y = _unit(joints[child] - joints[joint])
        z = _unit(back - (back @ y) * y)
        frames[joint] = np.stack([np.cross(y, z), y, z], axis=1)
    for tip in range(JOINTS, len(joints)):
        frames[tip] = frames[RIG_PARENTS[tip]]
    return frames


def _strongest(
    weights: Float[np.ndarray, "vertices 16"],
) -> tuple[Float[np.ndarray, "vertices 4"], UInt8[np.ndarray, "vertices 4"]]:
    places = np.argsort(-weights, axis=1, kind="stable")[:, :MOST_WEIGHTS]
    chosen = np.take_along_axis(weights, places, axis=1).clip(0)
    chosen = chosen / chosen.sum(axis=1, keepdims=True)
    return chosen, np.where(chosen > 0, places, 0).astype(np.uint8)


def _normals(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "vertices 3"]:
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(total, faces[:, corner], across)
    return _unit(total)


def _unit(vectors: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
