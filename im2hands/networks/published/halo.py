"""Converts between HALO's published state dict (196 small tensors) and ours (one stack of 16 per layer)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from im2hands.io.errors import CheckpointError
from im2hands.networks.bone_decoders import BONES
from im2hands.networks.halo import NAME, HaloNetwork, load_halo
from im2hands.networks.published.layout import PublishedLayout, PublishedNetwork

LAYOUT = PublishedLayout.named("halo")
PREFIX = "decoder."
LAYERS = 5


def decoder_from_published(published: Mapping[str, Tensor], prefix: str = PREFIX) -> dict[str, Tensor]:
    """State dict of BoneDecoders from the tensors of one published decoder."""

    def stacked(pattern: str, kind: str) -> Tensor:
        return torch.stack([published[f"{prefix}{pattern.format(bone)}.{kind}"] for bone in range(BONES)])

    state = {}
    for kind in ("weight", "bias"):
        state[f"translation_encoder.{kind}"] = stacked("global_proj{}", kind)
        state[f"length_encoder.0.{kind}"] = published[f"{prefix}bone_encoder.linear1.{kind}"]
        state[f"length_encoder.2.{kind}"] = published[f"{prefix}bone_encoder.linear2.{kind}"]
        for layer in range(LAYERS):
            state[f"layers.{layer}.{kind}"] = stacked(f"lin{{}}_{layer}", kind)
    return state


def decoder_to_published(state: Mapping[str, Tensor], prefix: str = PREFIX) -> OrderedDict[str, Tensor]:
    """The tensors of one published decoder, in the published order, from the state dict of BoneDecoders."""
    kinds = ("weight", "bias")
    published: OrderedDict[str, Tensor] = OrderedDict()
    for bone in range(BONES):
        for kind in kinds:
            published[f"{prefix}global_proj{bone}.{kind}"] = state[f"translation_encoder.{kind}"][bone].clone()
    for ours, theirs in ((0, "linear1"), (2, "linear2")):
        for kind in kinds:
            published[f"{prefix}bone_encoder.{theirs}.{kind}"] = state[f"length_encoder.{ours}.{kind}"].clone()
    for bone in range(BONES):
        for layer in range(LAYERS):
            for kind in kinds:
                published[f"{prefix}lin{bone}_{layer}.{kind}"] = state[f"layers.{layer}.{kind}"][bone].clone()
    return published


def from_published(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of HaloNetwork."""
    return {f"decoders.{key}": tensor for key, tensor in decoder_from_published(published).items()}


def to_published(state: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """Published state dict from that of HaloNetwork: same keys, same order, same bits."""
    return decoder_to_published({key.removeprefix("decoders."): tensor for key, tensor in state.items()})


def architecture_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of HaloNetwork read off the shapes of published tensors; the published sizes where a tensor is missing."""
    sizes = {
        "width": ("lin0_0.weight", 0),
        "length_hidden": ("bone_encoder.linear1.weight", 0),
        "translation_code": ("global_proj0.weight", 0),
    }
    found = {}
    for name, (key, axis) in sizes.items():
        tensor = weights.get(PREFIX + key)
        if tensor is None:
            continue
        if tensor.ndim != 2:
            raise CheckpointError(f"tensor {PREFIX + key} has shape {tuple(tensor.shape)}; HALO's is a matrix.")
        found[name] = tensor.shape[axis]
    return found


PUBLISHED = PublishedNetwork(
    name=NAME,
    layout=LAYOUT,
    build=lambda weights: HaloNetwork(**architecture_of(weights)),
    load=load_halo,
    from_published=from_published,
    to_published=to_published,
    compat={"angle_clamp": "published"},
)
