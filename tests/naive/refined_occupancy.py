"""Refined occupancy as the specification writes it: one call from images to occupancies, nothing kept between calls."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from im2hands.hands.sides import Side
from im2hands.networks.refined_occupancy import RefinedOccupancyNetwork
from im2hands.networks.two_hands import CameraBatch, HandBatch, Hands
from tests.naive.cross_attention import naive_cross_attention, naive_logits
from tests.naive.initial_occupancy import naive_occupancy, naive_penetration, naive_world
from tests.naive.point_transformer import naive_encoding

SIDES = (Side.LEFT, Side.RIGHT)


def naive_lookup(network: RefinedOccupancyNetwork, image: Tensor, cam: Tensor, camera: CameraBatch) -> Tensor:
    """Image features at camera points; published: of the enlarged map at (uv - 128) / 128, corner-aligned."""
    uv = (1000 * cam) @ camera.intrinsics.transpose(1, 2)
    uv = uv[..., :2] / uv[..., 2:]
    corners = network.feature_lookup == "published"
    grid = (uv - 128) / 128 if corners else (2 * uv + 1) / 256 - 1
    return F.grid_sample(image, grid[:, None], padding_mode="zeros", align_corners=corners)[:, :, 0].transpose(1, 2)


def naive_image(network: RefinedOccupancyNetwork, features) -> tuple[Tensor, Tensor]:
    """The map (256 x 256 in published mode, convolved after the enlargement) and the whole image's 256 features."""
    maps = [features.of_heat_maps[-1], features.of_dense_maps[-1]]
    if network.feature_lookup == "published":
        maps = [F.interpolate(each, size=256, mode="bilinear", align_corners=False) for each in maps]
    image = network.image_projection(torch.cat(maps, dim=1))
    first, second = (
        network.heat_map_summary(features.of_heat_maps[0]),
        network.dense_map_summary(features.of_dense_maps[0]),
    )
    return image, torch.cat([first.flatten(1), second.flatten(1)], dim=1)


def naive_refined(
    network: RefinedOccupancyNetwork,
    images: Tensor,
    anchors: dict[Side, Tensor],
    hands: Hands,
    camera: CameraBatch,
    penetration: bool = False,
) -> tuple[dict[Side, Tensor], dict[Side, Tensor]]:
    """Occupancies of each hand at its own queries, and at the other's if asked for."""
    image, summary = naive_image(network, network.image_encoder(images))
    with torch.no_grad():
        seen = network.initial.image_map(network.initial.image_encoder(images))
        initial = {side: naive_occupancy(network.initial, seen, hand, camera) for side, hand in hands.items()}
    flip = images.new_tensor([1.0, -1, -1])

    def in_camera(world: Tensor) -> Tensor:
        return world @ camera.rotation.transpose(1, 2) + camera.translation[:, None]

    cams = {side: in_camera(anchors[side]) for side in SIDES}
    both = torch.cat([cams[side] * flip for side in SIDES], dim=1)
    centre = (both.min(1, keepdim=True).values + both.max(1, keepdim=True).values) / 2
    encoded = {}
    for side in SIDES:
        label = images.new_tensor([1.0, 0] if side is Side.LEFT else [0.0, 1]).expand(*cams[side].shape[:2], 2)
        inputs = torch.cat([naive_lookup(network, image, cams[side], camera), label], dim=-1)
        encoded[side] = naive_encoding(network.anchor_encoder, cams[side] * flip - centre, inputs)

    def contextualised(codes: dict[Side, Tensor]) -> dict[Side, Tensor]:
        return {s: network.context(torch.cat([codes[s], codes[s.other], summary], dim=1)) for s in SIDES}

    def decoded(side: Side, hand: HandBatch, value: Tensor, code: Tensor) -> Tensor:
        cam = in_camera(naive_world(hand, hand.points))
        positions, features, _ = encoded[side]
        block = network.decoder.attention
        c = naive_cross_attention(block, cam * flip - centre, positions, features, code)
        return torch.sigmoid(naive_logits(network.decoder, c, naive_lookup(network, image, cam, camera), value))

    codes = contextualised({side: encoded[side][2] for side in SIDES})
    own = {side: decoded(side, hand, initial[side], codes[side]) for side, hand in hands.items()}
    if not penetration:
        return own, {}
    with torch.no_grad():
        swapped = naive_penetration(network.initial, seen, hands, camera)
    if network.penetration_context == "published":
        codes = contextualised(codes)
    return own, {side: decoded(side, hands[side.other], swapped[side], codes[side]) for side in hands}
