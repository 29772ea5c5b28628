"""Initial occupancy as the specification writes it, from image features to occupancy; nothing shared between queries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from im2hands.hands.sides import Side
from im2hands.networks.initial_occupancy import InitialOccupancyNetwork
from im2hands.networks.two_hands import CameraBatch, HandBatch, Hands
from tests.naive.attention import naive_query_image_attention
from tests.naive.bone_decoders import naive_bone_logits


def naive_world(hand: HandBatch, points: Tensor) -> Tensor:
    """w = (0.4 P) Q + root, with x mirrored for left hands; roots are stored mirrored there."""
    sign = points.new_tensor([-1.0, 1, 1]) if hand.side is Side.LEFT else points.new_ones(3)
    stored_root = hand.palm.wrist * sign
    return ((0.4 * points) @ hand.palm.rotation + stored_root[:, None]) * sign


def naive_camera_points(network: InitialOccupancyNetwork, world: Tensor, wrist: Tensor, camera: CameraBatch) -> Tensor:
    """w R^T + T, minus the depth of the first query (published) or of the wrist (consistent)."""
    rotated = world @ camera.rotation.transpose(1, 2) + camera.translation[:, None]
    if network.depth_reference == "published":
        depth = rotated[:, 0, 2]
    else:
        depth = ((wrist[:, None] @ camera.rotation.transpose(1, 2))[:, 0] + camera.translation)[:, 2]
    shift = torch.zeros_like(rotated[:, :1])
    shift[:, 0, 2] = depth
    return rotated - shift


def naive_bone_values(
    network: InitialOccupancyNetwork, image: Tensor, hand: HandBatch, seen: Tensor, points: Tensor
) -> Tensor:
    """(batch, n, 16) logits of a hand's network at camera points `seen` and palm points `points`."""
    first, _, _, second = network.point_encoders[hand.side.value]
    e = second(F.relu(first(seen)))
    g = naive_query_image_attention(network.image_attention[hand.side.value], image, torch.cat([seen, e], dim=-1))
    return naive_bone_logits(network.decoders[hand.side.value], points, hand.bone_from_palm, hand.bone_lengths, g)


def naive_occupancy(network: InitialOccupancyNetwork, image: Tensor, hand: HandBatch, camera: CameraBatch) -> Tensor:
    """(batch, n) occupancy: the sigmoid of every bone, then the largest."""
    seen = naive_camera_points(network, naive_world(hand, hand.points), hand.palm.wrist, camera)
    return torch.sigmoid(naive_bone_values(network, image, hand, seen, hand.points)).amax(-1)


def naive_penetration(
    network: InitialOccupancyNetwork, image: Tensor, hands: Hands, camera: CameraBatch
) -> dict[Side, Tensor]:
    """Each hand's occupancy at the other's queries, in either frame."""
    results = {}
    for side, hand in hands.items():
        other = hands[side.other]
        world = naive_world(other, other.points)
        seen = naive_camera_points(network, world, hand.palm.wrist, camera)
        points = other.points
        if network.penetration_frame == "consistent":
            sign = world.new_tensor([-1.0, 1, 1]) if side is Side.LEFT else world.new_ones(3)
            points = (world * sign - (hand.palm.wrist * sign)[:, None]) @ hand.palm.rotation.transpose(1, 2) / 0.4
        results[side] = torch.sigmoid(naive_bone_values(network, image, hand, seen, points)).amax(-1)
    return results
