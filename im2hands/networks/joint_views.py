"""Where the joints of a hand appear in the photograph, and what it shows around them.

Every joint has a small frame in the crop: it lies where the joint projects, one axis along the bone, the other across it
towards the thumb's side of a hand that shows its back, and its unit is a millimetre at the joint's depth. So a finger looks
alike wherever it points, whatever its size in the crop and whichever hand it belongs to. Not published: our addition. After
Zhang et al., PyMAF (ICCV 2021), in which a body model's estimate says where to look for its correction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from im2hands.geometry.feature_sampling import sample_features, to_pixels
from im2hands.hands.frames import MILLIMETRES
from im2hands.hands.joints import MIDDLE_BASE, PARENTS, WRIST
from im2hands.hands.sides import SIDES, Side

NEAREST = 0.05
"""Metres; what is nearer to the camera, or behind it, is taken to be here."""
SHORTEST = 1e-3
"""Pixels; of a bone that has a direction in the picture."""


@dataclass(frozen=True)
class JointViews:
    """Frames of joints in crops.

    places: pixels of the crop.  axes: unit vectors in the crop, along the bone (away from the wrist) and across it.
    scale: pixels per millimetre.
    """

    places: Float[Tensor, "batch 2 21 2"]
    axes: Float[Tensor, "batch 2 21 2 2"]
    scale: Float[Tensor, "batch 2 21"]

    @classmethod
    def of(cls, keypoints: Float[Tensor, "batch 2 21 3"], intrinsics: Float[Tensor, "batch 3 3"]) -> JointViews:
        """keypoints: of both hands, camera frame, m.  intrinsics: of the crops."""
        depth = keypoints[..., 2].clamp_min(NEAREST)
        visible = torch.cat([keypoints[..., :2], depth[..., None]], -1)
        places = to_pixels(visible.flatten(1, 2), intrinsics).unflatten(1, (len(SIDES), -1))
        nearer = [MIDDLE_BASE if parent < 0 else parent for parent in PARENTS]
        along = places - places[:, :, nearer]
        along[:, :, WRIST] *= -1  # the wrist looks at the middle base
        along = along / along.norm(dim=-1, keepdim=True).clamp_min(SHORTEST)
        turn = along.new_tensor([1.0 if side is Side.LEFT else -1.0 for side in SIDES])[:, None]
        across = torch.stack([-along[..., 1] * turn, along[..., 0] * turn], -1)
        focal = intrinsics[:, 0, 0, None, None]
        return cls(places, torch.stack([along, across], -2), focal / depth / MILLIMETRES)

    def seen(
        self, maps: Float[Tensor, "batch channels side side"], offsets: Float[Tensor, "n 2"]
    ) -> Float[Tensor, "batch 2 21 n channels"]:
        """Maps around every joint. maps: of whole crops.  offsets: in the joints' frames, mm."""
        shape = (*self.places.shape[:3], len(offsets), maps.shape[1])
        return sample_features(maps, self._points(offsets).flatten(1, 3)).reshape(shape)

    def seen_of_own(
        self, maps: Float[Tensor, "batch 2 21 side side"], offsets: Float[Tensor, "n 2"]
    ) -> Float[Tensor, "batch 2 21 n"]:
        """As `seen`, where every joint has a map of its own."""
        own = sample_features(maps.flatten(0, 2)[:, None], self._points(offsets).flatten(0, 2))
        return own.reshape(*self.places.shape[:3], len(offsets))

    def in_camera(self, moves: Float[Tensor, "batch 2 21 3"]) -> Float[Tensor, "batch 2 21 3"]:
        """Moves (along, across, deeper) in the camera's axes, for an object that is small against its depth."""
        flat = (moves[..., None, :2] @ self.axes.to(moves))[..., 0, :]
        return torch.cat([flat, moves[..., 2:]], -1)

    def _points(self, offsets: Float[Tensor, "n 2"]) -> Float[Tensor, "batch 2 21 n 2"]:
        """Pixels of offsets in the joints' frames."""
        return self.places[..., None, :] + (offsets.to(self.axes) @ self.axes) * self.scale[..., None, None]


def square_grid(side: int, step: float) -> Float[Tensor, "n 2"]:
    """side x side offsets about zero, `step` apart, row by row; x grows fastest."""
    along = (torch.arange(side) - (side - 1) / 2) * step
    across, first = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([first, across], -1).reshape(-1, 2)
