"""The bone decoders as the specification writes them: per bone one network on [point in bone frame, length, codes]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from im2hands.networks.bone_decoders import BoneDecoders


def naive_bone_logits(
    decoders: BoneDecoders,
    points: Tensor,
    bone_from_palm: Tensor,
    bone_lengths: Tensor,
    features: Tensor | None = None,
) -> Tensor:
    """(batch, points, 16) logits with the weights of `decoders`, one bone after another."""
    batch, count = points.shape[:2]
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)
    local = torch.einsum("bkij,bnj->bkni", bone_from_palm[:, :, :3], homogeneous)
    translations = bone_from_palm[:, :, :3, 3].reshape(batch, 48)
    length_code = decoders.length_encoder(bone_lengths)
    logits = []
    for bone in range(16):
        encoder = decoders.translation_encoder
        translation_code = F.linear(translations, encoder.weight[bone], encoder.bias[bone])
        constants = torch.cat([bone_lengths[:, bone : bone + 1], length_code, translation_code], dim=-1)
        z = torch.cat([local[:, bone], constants[:, None].expand(-1, count, -1)], dim=-1)
        linear = [lambda x, m=m: F.linear(x, m.weight[bone], m.bias[bone]) for m in decoders.layers]  # noqa: B023
        h = F.leaky_relu(linear[0](z), 0.1)
        h = F.leaky_relu(linear[1](h) + h, 0.1)
        h = F.leaky_relu(linear[2](h if features is None else torch.cat([h, features], dim=-1)) + h, 0.1)
        h = F.leaky_relu(linear[3](h) + h, 0.1)
        logits.append(linear[4](h)[..., 0])
    return torch.stack(logits, dim=-1)
