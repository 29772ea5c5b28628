"""Keypoint refinement as the specification writes it: one sequence [joint, image tokens] per joint, nothing shared."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from im2hands.hands.frames import RefinementKeypoints
from im2hands.hands.sides import Side
from im2hands.networks.attention import QueryImageAttention, SelfAttention
from im2hands.networks.keypoint_refinement import KeypointRefinementNetwork
from tests.naive.graph_blocks import naive_graph_layer


def _norm(tokens: Tensor, layer: nn.LayerNorm) -> Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:], layer.weight, layer.bias, 1e-6)


def _self_attention(block: SelfAttention, tokens: Tensor) -> Tensor:
    """y = x + fc(softmax(q k / sqrt(d)) v) of LN(x); y + fc2(relu(fc1(LN(y))))."""
    batch, count, width = tokens.shape
    heads, depth = block.heads, width // block.heads
    normed = _norm(tokens, block.norm)
    q, k, v = (
        layer(normed).reshape(batch, count, heads, depth).permute(0, 2, 1, 3)
        for layer in (block.query, block.key, block.value)
    )
    weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(depth), dim=-1)
    joined = (weights @ v).permute(0, 2, 1, 3).reshape(batch, count, heads * depth)
    y = tokens + block.output(joined)
    forward = block.feed_forward
    return y + forward.contract(F.relu(forward.expand(_norm(y, forward.norm))))


def _look_at_image(block: QueryImageAttention, image: Tensor, joints: Tensor) -> Tensor:
    encoder = block.tokens
    grid = F.relu(encoder.patches(image)).flatten(2).permute(0, 2, 1) + encoder.positions.weight
    tokens = block.to_query(_self_attention(encoder.attention, grid))
    rows = [
        _self_attention(block.attention, torch.cat([joints[:, joint : joint + 1], tokens], dim=1))[:, 0]
        for joint in range(joints.shape[1])
    ]
    return torch.stack(rows, dim=1)


def naive_refinement(
    network: KeypointRefinementNetwork, image: Tensor, keypoints: RefinementKeypoints
) -> tuple[Tensor, Tensor]:
    """Refined left and right joints (mm) from the image's map; without dropout."""
    refined = []
    for side, joints in ((Side.LEFT, keypoints.left), (Side.RIGHT, keypoints.right)):
        first, _, _, second = network.position_encoders[side.value]
        position = second(F.relu(first(joints.to(image.dtype))))
        identity = network.identities[side.value](torch.arange(21)).repeat(len(joints), 1, 1)
        f = torch.cat([identity, position], dim=-1)
        for layer in network.layers:
            g = naive_graph_layer(layer.graph[side.value], f)
            f = _look_at_image(layer.image_attention[side.value], image, torch.cat([f, g], dim=-1))
        published = network.joint_regressors == "published"
        first, _, _, second = network.heads["left" if published else side.value]
        refined.append(second(F.relu(first(f))))
    return refined[0], refined[1]
