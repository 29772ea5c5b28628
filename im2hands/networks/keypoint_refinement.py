"""Keypoint refinement: predicts better keypoints of a hand pair from keypoints and the photograph.

Every joint has a code of its identity and its position. In a few layers it exchanges features with its neighbours in the
skeleton and attends separately to the image; a small head predicts its new position. The hands share only the image and the
origin of the positions (`hands.frames.RefinementKeypoints`: millimetres, camera axes, relative to the left middle base).

Joints are in STANDARD order. Source: Im2Hands (CVPR 2023), keypoint refinement network.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.config.choices import Behaviour
from im2hands.hands.frames import RefinementKeypoints
from im2hands.hands.joints import PARENTS
from im2hands.hands.sides import Side
from im2hands.networks.attention import QueryImageAttention, cut_into_patches
from im2hands.networks.graph_blocks import GraphLayer
from im2hands.networks.image_encoder import ImageEncoder, ImageFeatures
from im2hands.networks.model_folder import ModelCard, restored_network
from im2hands.networks.view_refinement import ViewRefinementNetwork

NAME = "keypoint_refinement"
BY_VIEWS = "joint_views"
"""The option that decides which of the two networks a model is."""
JOINTS = len(PARENTS)
IMAGE_SIZE = 64
"""Side of the feature map that the joints look at."""
GRID, HEADS = 8, 4
IDENTITY_CODE, POSITION_CODE, HIDDEN, GROWTH = 16, 32, 32, 16
"""Channels of a joint's identity, of its position, inside position encoders and heads, and of what a layer's graph adds."""
PUBLISHED_TOKEN_WIDTHS = (64, 82, 96, 112)
"""Width of the image tokens per layer; 82, where 80 would be regular, is the published size."""
PUBLISHED_IMAGE_CHANNELS = 256
UNUSED_CHANNELS = 32
PUBLISHED_BIAS = 0.01
IDENTITY_SCALE = 32.0
"""Millimetres per unit of a position code after `start_as_identity`; a power of two, so that no bit is lost."""


def joint_graph() -> Float[Tensor, "21 21"]:
    """The published graph of the joints: a joint receives the sum of its children; finger tips receive nothing."""
    graph = torch.zeros(JOINTS, JOINTS)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            graph[parent, joint] = 1
    return graph


class RefinementLayer(nn.Module):
    """Exchange along the skeleton, then a look at the image; left and right hands have their own weights.

    inputs: channels of a joint; GROWTH more come out.
    """

    def __init__(self, inputs: int, image_channels: int, token_width: int, dropout: float) -> None:
        super().__init__()
        outputs = inputs + GROWTH
        self.graph, self.image_attention = nn.ModuleDict(), nn.ModuleDict()
        for side in Side:
            self.graph[side.value] = GraphLayer(joint_graph(), inputs, GROWTH, dropout=dropout)
            self.image_attention[side.value] = QueryImageAttention(
                IMAGE_SIZE, image_channels, GRID, token_width, outputs, HEADS, dropout
            )

    def forward(
        self, joints: Float[Tensor, "batch 21 inputs"], patches: Float[Tensor, "batch tokens pixels"], side: Side
    ) -> Float[Tensor, "batch 21 outputs"]:
        """patches: patches of the image map, from `cut_into_patches`; all layers and hands share them."""
        joints = torch.cat([joints, self.graph[side.value](joints)], dim=-1)
        attention = self.image_attention[side.value]
        return attention.attend(joints, attention.encode_patches(patches))


class KeypointRefinementNetwork(nn.Module):
    """Refines the keypoints of both hands.

    encoder: depth of the image encoder.  token_widths: one layer each.  image_channels: channels of the map to which joints
    attend. joint_regressors: "published" lets the left hand's head give the joints of both hands (the right one is never used
    nor trained); "consistent" uses each hand's own.

    `unused_image_layer` has no influence; published files contain it.
    """

    def __init__(
        self,
        encoder: str = "resnet50",
        token_widths: Sequence[int] = PUBLISHED_TOKEN_WIDTHS,
        image_channels: int = PUBLISHED_IMAGE_CHANNELS,
        joint_regressors: Behaviour = "consistent",
        dropout: float = 0.01,
    ) -> None:
        super().__init__()
        if joint_regressors not in ("published", "consistent"):
            raise ValueError(f"joint_regressors must be published or consistent, not {joint_regressors!r}")
        self.architecture: dict[str, Any] = {
            "encoder": encoder,
            "token_widths": list(token_widths),
            "image_channels": image_channels,
        }
        self.joint_regressors: Behaviour = joint_regressors
        self.image_encoder = ImageEncoder(encoder)
        seen = self.image_encoder.channels[-1] + 2 * self.image_encoder.decoder_channels
        self.image_projection = nn.Conv2d(seen, image_channels, 1)
        self.unused_image_layer = nn.Conv2d(image_channels, UNUSED_CHANNELS, 1)
        width = IDENTITY_CODE + POSITION_CODE
        last = width + GROWTH * len(token_widths)
        self.identities, self.position_encoders, self.heads = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for side in Side:
            self.identities[side.value] = nn.Embedding(JOINTS, IDENTITY_CODE)
            self.position_encoders[side.value] = _two_layers(3, POSITION_CODE, dropout)
            self.heads[side.value] = _two_layers(last, 3, dropout)
        self.layers = nn.ModuleList(
            RefinementLayer(width + GROWTH * place, image_channels, tokens, dropout)
            for place, tokens in enumerate(token_widths)
        )

    def forward(
        self,
        images: Float[Tensor, "batch 3 256 256"],
        keypoints: RefinementKeypoints,
        intrinsics: Float[Tensor, "batch 3 3"] | None = None,
    ) -> RefinementKeypoints:
        """Refined keypoints in the frame of the given ones.

        images: as `image_encoder.normalise` makes them.  intrinsics: not looked at.
        """
        return self.refine(self.image_map(images), keypoints)

    def image_map(self, images: Float[Tensor, "batch 3 256 256"]) -> Float[Tensor, "batch channels 64 64"]:
        """What the joints look at; once per image, whatever the number of keypoint estimates."""
        return self.projected(self.image_encoder(images))

    def projected(self, features: ImageFeatures) -> Float[Tensor, "batch channels 64 64"]:
        """The map of an image that has been encoded already."""
        maps = [features.backbone[-1], features.of_heat_maps[-1], features.of_dense_maps[-1]]
        return self.image_projection(torch.cat(maps, dim=1))

    def refine(
        self, image: Float[Tensor, "batch channels 64 64"], keypoints: RefinementKeypoints
    ) -> RefinementKeypoints:
        """Refined keypoints from the image's map; computed in the dtype of the weights."""
        patches = cut_into_patches(image, GRID)
        hands = {Side.LEFT: keypoints.left, Side.RIGHT: keypoints.right}
        refined = {side: self._refine_hand(patches, joints.to(image.dtype), side) for side, joints in hands.items()}
        return RefinementKeypoints(refined[Side.LEFT], refined[Side.RIGHT], keypoints.origin)

    def start_as_published(self) -> None:
        """The published initialisation of all linear maps and convolutions: Xavier normal weights, biases of 0.01."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.xavier_normal_(module.weight)
                if module.bias is not None:
                    nn.init.constant_(module.bias, PUBLISHED_BIAS)

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Initial weights with which the network (without dropout) returns the keypoints that it is given, bit for bit.

        Pairs of ReLUs carry x = relu(x) - relu(-x) through position encoders and heads, and attention adds nothing at first;
        all other weights are unchanged and take effect once training changes those that are 0. Not published: a short
        training improves keypoints instead of learning coordinates first.
        """
        for side in Side:
            first, last = self.position_encoders[side.value][0], self.position_encoders[side.value][-1]
            first.weight /= IDENTITY_SCALE
            _carry(first, last, range(3), range(3), 1 / IDENTITY_SCALE, 1.0)
            first, last = self.heads[side.value][0], self.heads[side.value][-1]
            nn.init.zeros_(last.weight)
            _carry(first, last, range(IDENTITY_CODE, IDENTITY_CODE + 3), range(3), 1.0, IDENTITY_SCALE)
            for layer in self.layers:
                attention = layer.image_attention[side.value].attention
                for linear in (attention.output, attention.feed_forward.contract):
                    nn.init.zeros_(linear.weight)
                    nn.init.zeros_(linear.bias)

    def _refine_hand(
        self, patches: Float[Tensor, "batch tokens pixels"], joints: Float[Tensor, "batch 21 3"], side: Side
    ) -> Float[Tensor, "batch 21 3"]:
        identity = self.identities[side.value].weight.expand(len(joints), -1, -1)
        codes = torch.cat([identity, self.position_encoders[side.value](joints)], dim=-1)
        for layer in self.layers:
            codes = layer(codes, patches, side)
        head = Side.LEFT if self.joint_regressors == "published" else side
        return self.heads[head.value](codes)


def _two_layers(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Dropout(dropout), nn.Linear(HIDDEN, outputs))


def _carry(
    first: nn.Linear, last: nn.Linear, inputs: Sequence[int], outputs: Sequence[int], gain: float, last_gain: float
) -> None:
    """Lets two linear maps with a ReLU between them give out gain * last_gain times some inputs, and nothing else.

    Input k goes through hidden units 2k and 2k + 1, which see its positive and its negative part.
    """
    for place, (source, target) in enumerate(zip(inputs, outputs, strict=True)):
        positive, negative = 2 * place, 2 * place + 1
        for hidden, sign in ((positive, 1), (negative, -1)):
            first.weight[hidden] = 0
            first.bias[hidden] = 0
            first.weight[hidden, source] = sign * gain
        last.weight[target] = 0
        last.bias[target] = 0
        last.weight[target, positive], last.weight[target, negative] = last_gain, -last_gain


RefinementNetwork = KeypointRefinementNetwork | ViewRefinementNetwork


def load_keypoint_refinement(
    folder: str | os.PathLike, device: str | torch.device = "cpu"
) -> tuple[RefinementNetwork, ModelCard]:
    """The network of a model folder, ready to evaluate, and its card: the published one, or that of joint views.

    Raises DataError if the folder is missing, CheckpointError if it contains another network.
    """

    def build(weights: dict[str, Tensor], card: ModelCard) -> RefinementNetwork:
        if card.compat.get(BY_VIEWS) == "consistent":
            return ViewRefinementNetwork(**card.architecture)
        return KeypointRefinementNetwork(**card.architecture, joint_regressors=card.compat["joint_regressors"])

    return restored_network(folder, NAME, build, device)
