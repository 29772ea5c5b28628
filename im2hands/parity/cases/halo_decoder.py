"""Golden case `halo_decoder`: HALO's bone decoders and the variant with image features, weights by rule.

The weights go through the project's checkpoint reader, as a published file would.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from im2hands.networks.bone_decoders import BoneDecoders
from im2hands.networks.published.halo import decoder_from_published, decoder_to_published
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder
from im2hands.parity.network_fields import through_a_file
from im2hands.parity.weights_rule import rule_weights

PALM_UNIT = 0.4


def published_weights(golden: Golden, tag: str) -> dict[str, Tensor]:
    """The case's published state dict, written to a file and read back."""
    shapes = [ast.literal_eval(str(text)) for text in golden[f"{tag}_shapes"]]
    keys = [str(key) for key in golden[f"{tag}_keys"]]
    weights = rule_weights(dict(zip(keys, shapes, strict=True)), int(golden[f"{tag}_seed"]))
    return through_a_file({"model": weights})


def decoders_of(golden: Golden, tag: str) -> BoneDecoders:
    """The bone decoders of a tag with the case's weights."""
    published, prefix = published_weights(golden, tag), str(golden[f"{tag}_key_prefix"])
    state = decoder_from_published(published, prefix)
    width = state["layers.0.weight"].shape[1]
    decoders = BoneDecoders(width, features=state["layers.2.weight"].shape[2] - width)
    decoders.load_state_dict(state)
    return decoders.requires_grad_(False)


def hand_inputs(golden: Golden, tag: str) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Points (palm units), bone frames acting on them, bone lengths (m), point features or None; float32."""
    points = torch.from_numpy(golden[f"{tag}_points"])
    scale = np.diag([1 / PALM_UNIT] * 3 + [1])
    frames = torch.from_numpy(golden["inputs"] @ scale).float()
    features = torch.from_numpy(golden["im2hands_features"]) if tag == "im2hands" else None
    return points, frames, torch.from_numpy(golden["bone_lengths"]).float(), features


def run(golden: Golden, folder: GoldenFolder) -> Iterator[Comparison]:
    for tag in ("halo", "im2hands"):
        decoders, inputs = decoders_of(golden, tag), hand_inputs(golden, tag)
        exported = decoder_to_published(decoders.state_dict(), str(golden[f"{tag}_key_prefix"]))
        yield golden.compare(f"{tag}_keys", np.array(list(exported)))
        yield golden.compare(f"{tag}_shapes", np.array([str(tuple(tensor.shape)) for tensor in exported.values()]))
        yield golden.compare(f"{tag}_bone_logits", decoders(*inputs).numpy())
        yield golden.compare(f"{tag}_occupancy", torch.sigmoid(decoders.strongest(*inputs)).numpy())


CASE = Case("halo_decoder", frozenset({"halo_bone_logits", "im2hands_features"}), run)
