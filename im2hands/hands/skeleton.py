"""The keypoints of the hand model without its surface: 16 joints and five tip vertices, as a function of pose and shape.

Both hands are right ones here: the left hand's arrays are mirrored (right-hand space, see `hands.sides`). Gives what
`HandModel.pose_by_rotations` gives as `keypoints`, from the 21 rows of its arrays that keypoints depend on; metres.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.hands.joints import TIP_VERTICES, JointOrder, reorder
from im2hands.hands.model import JOINTS, SHAPES, HandModel, joint_chain
from im2hands.hands.sides import SIDES, Side

TIPS = 5


class HandSkeleton(nn.Module):
    """The arrays of both hands, as buffers, so that a network's weights hold the skeleton that it was trained with.

    joints, tips: places in the template (2, 16, 3), (2, 5, 3), m.  joint_shapes, tip_shapes: added per unit of shape.
    tip_poses: added per unit of (R - I) of the 15 finger joints.  tip_weights: skinning weights.  Hands in the order of SIDES.
    """

    def __init__(self) -> None:
        super().__init__()
        sides = len(SIDES)
        self.register_buffer("joints", torch.zeros(sides, JOINTS, 3))
        self.register_buffer("joint_shapes", torch.zeros(sides, JOINTS, 3, SHAPES))
        self.register_buffer("tips", torch.zeros(sides, TIPS, 3))
        self.register_buffer("tip_shapes", torch.zeros(sides, TIPS, 3, SHAPES))
        self.register_buffer("tip_poses", torch.zeros(sides, TIPS, 3, 9 * (JOINTS - 1)))
        self.register_buffer("tip_weights", torch.zeros(sides, TIPS, JOINTS))

    @classmethod
    def of(cls, models: Mapping[Side, HandModel]) -> HandSkeleton:
        """The skeleton of both hand models."""
        skeleton = cls()
        right_handed = [models[side].mirrored() if side is Side.LEFT else models[side] for side in SIDES]
        for name in ("joints", "joint_shapes", "tips", "tip_shapes", "tip_poses", "tip_weights"):
            getattr(skeleton, name).copy_(torch.stack([_arrays(model)[name] for model in right_handed]))
        return skeleton

    def keypoints(
        self,
        rotations: Float[Tensor, "pairs 2 16 3 3"],
        shape: Float[Tensor, "pairs 2 10"],
        translation: Float[Tensor, "pairs 2 3"],
    ) -> Float[Tensor, "pairs 2 21 3"]:
        """Keypoints in right-hand space, STANDARD order, metres.

        rotations: of every joint relative to its parent, mean pose included, right-hand space.  translation: added last.
        """
        return self.pose(rotations, shape, translation)[0]

    def pose(
        self,
        rotations: Float[Tensor, "pairs 2 16 3 3"],
        shape: Float[Tensor, "pairs 2 10"],
        translation: Float[Tensor, "pairs 2 3"],
    ) -> tuple[Float[Tensor, "pairs 2 21 3"], Float[Tensor, "pairs 2 16 3 3"]]:
        """`keypoints`, and the rotation of every joint (MANO order) relative to the frame of the result."""
        pairs = len(rotations)
        joints = self.joints + torch.einsum("hjcs,phs->phjc", self.joint_shapes, shape)
        turns = (rotations[:, :, 1:] - torch.eye(3, dtype=rotations.dtype, device=rotations.device)).flatten(2)
        tips = self.tips + torch.einsum("htcs,phs->phtc", self.tip_shapes, shape)
        tips = tips + torch.einsum("htcr,phr->phtc", self.tip_poses, turns)
        turned, places = joint_chain(rotations.flatten(0, 1), joints.flatten(0, 1))
        turned, places = turned.unflatten(0, (pairs, -1)), places.unflatten(0, (pairs, -1))
        shifts = places - (turned @ joints[..., None])[..., 0]
        tip_turns = torch.einsum("htj,phjab->phtab", self.tip_weights, turned)
        tips = (tip_turns @ tips[..., None])[..., 0] + torch.einsum("htj,phja->phta", self.tip_weights, shifts)
        keypoints = reorder(torch.cat([places, tips], 2), JointOrder.MANO, JointOrder.STANDARD)
        return keypoints + translation[:, :, None], turned

    def rest_wrists(self, shape: Float[Tensor, "pairs 10"]) -> Float[Tensor, "pairs 2 3"]:
        """The wrists that the roots turn about: both hands of this shape, right-hand space, metres."""
        return self.joints[:, 0] + torch.einsum("hcs,ps->phc", self.joint_shapes[:, 0], shape)

    def rest_keypoints(self) -> Float[Tensor, "2 21 3"]:
        """Those of the mean shape with all joints at rest; right-hand space, metres."""
        return reorder(torch.cat([self.joints, self.tips], 1), JointOrder.MANO, JointOrder.STANDARD)


def both_sides(points: Float[Tensor, "pairs 2 *rest 3"]) -> Float[Tensor, "pairs 2 *rest 3"]:
    """Points or vectors of both hands with the left hand's mirrored: to right-hand space and back."""
    return torch.stack([side.mirror_points(points[:, side.index]) for side in SIDES], 1)


def both_sides_rotations(rotations: Float[Tensor, "pairs 2 *rest 3 3"]) -> Float[Tensor, "pairs 2 *rest 3 3"]:
    """Rotations of both hands with the left hand's mirrored: to right-hand space and back."""
    return torch.stack([side.mirror_rotations(rotations[:, side.index]) for side in SIDES], 1)


def _arrays(model: HandModel) -> dict[str, Tensor]:
    tips = list(TIP_VERTICES)
    return {
        "joints": model.joint_regressor @ model.template,
        "joint_shapes": torch.einsum("jv,vcs->jcs", model.joint_regressor, model.shape_directions),
        "tips": model.template[tips],
        "tip_shapes": model.shape_directions[tips],
        "tip_poses": model.pose_directions[tips],
        "tip_weights": model.skinning_weights[tips],
    }
