"""Keypoint refinement that looks where the keypoints are: what the photograph shows around every joint corrects it.

Around the place where a joint projects, the network sees a patch of the photograph, the image encoder's maps, and the heat
maps of this joint and of the other hand's. It also gets where the joints are. All joints of both hands attend to each other,
so that a finger that is seen well says where its hidden neighbours are. Every joint then moves, in part along and across its
bone in the picture and in depth, in part along the camera's axes. Before training nothing moves.

The published network (`networks.keypoint_refinement`) attends to patches whose place in the picture it is not told. Not
published: our addition; see docs/keypoint-refinement.md for what each part brings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.hands.frames import MILLIMETRES, RefinementKeypoints
from im2hands.hands.joints import JOINT_NAMES, MIDDLE_BASE
from im2hands.hands.sides import SIDES
from im2hands.networks.image_encoder import ImageEncoder, ImageFeatures
from im2hands.networks.joint_views import JointViews, square_grid

JOINTS = len(JOINT_NAMES)
PATCH, PATCH_STEP = 32, 1.5
"""Points along a side of what is seen of the photograph, and their distance in mm."""
MAP_WINDOW, MAP_STEP, MAP_CHANNELS = 5, 8.0, 24
"""The same of the encoder's maps, and to how many channels they are reduced first."""
HEAT_WINDOW, HEAT_STEP = 9, 4.0
"""The same of heat maps."""
SEEN, ENTRY, HEADS, PATCH_CHANNELS = 128, 256, 4, 16
"""Numbers that say what is seen of each kind, hidden units, attention heads, channels of the first convolution."""
STATISTICS_MOMENTUM = 0.01
"""Of the patches' statistics: a few steps on small batches must not replace those of a long training."""
GEOMETRY = 3 + 3 + 4 + 1
"""Of a joint: its place in its hand and in the pair, its axes in the picture, its scale."""
HAND_UNIT, PAIR_UNIT, STEP_UNIT = 50.0, 100.0, 5.0
"""Millimetres per unit of places in a hand, of places in the pair, and of moves."""


@dataclass(frozen=True)
class SeenCrops:
    """Crops as the joints look at them: the photographs, the encoder's maps, logarithms of where each joint may be."""

    images: Float[Tensor, "batch 3 256 256"]
    maps: Float[Tensor, "batch channels side side"]
    heat_maps: Float[Tensor, "batch 2 21 side side"]

    def repeated(self, times: int) -> SeenCrops:
        """Every crop as often, one after the other."""
        return SeenCrops(*(each.repeat_interleave(times, 0) for each in (self.images, self.maps, self.heat_maps)))


class ViewRefinementNetwork(nn.Module):
    """encoder: depth of the image encoder.  width: of a joint's token.  layers: of attention between joints."""

    def __init__(self, encoder: str, width: int = 128, layers: int = 3) -> None:
        super().__init__()
        self.architecture: dict[str, Any] = {"encoder": encoder, "width": width, "layers": layers}
        self.image_encoder = ImageEncoder(encoder)
        self.patch = _patch_encoder()
        self.map_projection = nn.Linear(2 * self.image_encoder.decoder_channels, MAP_CHANNELS)
        self.map_window = nn.Sequential(nn.Linear(MAP_CHANNELS * MAP_WINDOW**2, SEEN), nn.GELU())
        self.heat_window = nn.Sequential(nn.Linear(2 * HEAT_WINDOW**2, SEEN), nn.GELU())
        self.enter = nn.Sequential(nn.Linear(GEOMETRY + 3 * SEEN, ENTRY), nn.GELU(), nn.Linear(ENTRY, width))
        self.joints = nn.Parameter(torch.randn(len(SIDES), JOINTS, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, HEADS, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.exchange = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.moves = nn.Linear(width, 6)
        nn.init.zeros_(self.moves.weight)
        nn.init.zeros_(self.moves.bias)
        for name, side, step in (
            ("patch_grid", PATCH, PATCH_STEP),
            ("map_grid", MAP_WINDOW, MAP_STEP),
            ("heat_grid", HEAT_WINDOW, HEAT_STEP),
        ):
            self.register_buffer(name, square_grid(side, step), persistent=False)

    def forward(
        self,
        images: Float[Tensor, "batch 3 256 256"],
        keypoints: RefinementKeypoints,
        intrinsics: Float[Tensor, "batch 3 3"],
    ) -> RefinementKeypoints:
        """Refined keypoints. images: as `image_encoder.normalise` makes them.  intrinsics: of the crops."""
        return self.refine(self.seen(self.image_encoder(images), images), keypoints, intrinsics)

    def seen(self, features: ImageFeatures, images: Float[Tensor, "batch 3 256 256"]) -> SeenCrops:
        """What there is to look at, once per crop; features: of which the finest maps of both decoders are enough."""
        fine = features.of_heat_maps[-1]
        likely = self.image_encoder.heat_map_decoder.last(fine).flatten(2).log_softmax(-1)
        heat_maps = likely.unflatten(-1, fine.shape[-2:]).unflatten(1, (len(SIDES), JOINTS))
        return SeenCrops(images, torch.cat([fine, features.of_dense_maps[-1]], 1), heat_maps)

    def refine(
        self, crops: SeenCrops, keypoints: RefinementKeypoints, intrinsics: Float[Tensor, "batch 3 3"]
    ) -> RefinementKeypoints:
        """Refined keypoints; where they are is computed in their own precision, what is seen there in that of the weights."""
        given = torch.stack(keypoints.in_camera(), 1)
        views = JointViews.of(given, intrinsics.to(given))
        tokens = self.enter(torch.cat([self._geometry(given, views), *self._views(crops, views)], -1)) + self.joints
        along, free = self.moves(self.exchange(tokens.flatten(1, 2))).unflatten(1, (len(SIDES), JOINTS)).split(3, -1)
        moved = given + (views.in_camera(along) + free).to(given) * (STEP_UNIT / MILLIMETRES)
        return RefinementKeypoints.of(*moved.unbind(1))

    def _geometry(self, given: Float[Tensor, "batch 2 21 3"], views: JointViews) -> Float[Tensor, "batch 2 21 numbers"]:
        in_hand = (given - given[:, :, MIDDLE_BASE, None]) * (MILLIMETRES / HAND_UNIT)
        in_pair = (given - given.mean((1, 2), keepdim=True)) * (MILLIMETRES / PAIR_UNIT)
        numbers = torch.cat([in_hand, in_pair, views.axes.flatten(-2), views.scale[..., None]], -1)
        return numbers.to(self.joints.dtype)

    def _views(self, crops: SeenCrops, views: JointViews) -> list[Float[Tensor, "batch 2 21 seen"]]:
        """What is seen of the photograph, of the encoder's maps, and of this and the other hand's heat map."""
        batch = views.places.shape[:3]
        photograph = views.seen(crops.images, self.patch_grid).flatten(0, 2).mT.unflatten(-1, (PATCH, PATCH))
        maps = self.map_projection(views.seen(crops.maps, self.map_grid)).flatten(-2)
        heat = [views.seen_of_own(each, self.heat_grid) for each in (crops.heat_maps, crops.heat_maps.flip(1))]
        heat = self.heat_window(torch.cat(heat, -1) / 4 + 2)
        return [self.patch(photograph).unflatten(0, batch), self.map_window(maps), heat]


def _patch_encoder() -> nn.Sequential:
    """Three convolutions, each of which halves the patch, and a linear map."""
    layers: list[nn.Module] = []
    inputs = 3
    for level, kernel in enumerate((5, 3, 3)):
        outputs = PATCH_CHANNELS << level
        convolution = nn.Conv2d(inputs, outputs, kernel, 2, kernel // 2, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs, momentum=STATISTICS_MOMENTUM), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * (PATCH // 8) ** 2, SEEN), nn.GELU())
