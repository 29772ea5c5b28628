"""Converts between the published state dict of initial occupancy and ours, and reads its start from HALO's and IntagHand's
files.

Bone decoders are 196 small tensors per hand there, one stack of 16 per layer here; 1x1 convolutions over points are linear maps
here.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from im2hands.hands.sides import Side
from im2hands.networks.initial_occupancy import NAME, InitialOccupancyNetwork, load_initial_occupancy
from im2hands.networks.published.halo import decoder_from_published, decoder_to_published
from im2hands.networks.published.layout import (
    PublishedLayout,
    PublishedNetwork,
    in_published_order,
    with_last_axis,
)
from im2hands.networks.published.naming import (
    IMAGE_ATTENTION,
    IMAGE_ENCODER,
    OF_ENCODER,
    Renames,
    renamed,
    same_or_intaghands,
)

LAYOUT = PublishedLayout.named("initial_occupancy")

PLACES: Renames = (
    (r"^image_final_layer\.", r"image_projection."),
    (r"^(left|right)_pt_embeddings\.", r"point_encoders.\1."),
    (r"^img_ex_(left|right)\.", r"image_attention.\1."),
)
OF_DECODERS = re.compile(r"(left|right)_decoder\.(.*)")
POINTWISE = re.compile(r"(left|right)_pt_embeddings\.\d\.weight")
TAKES_FEATURES = re.compile(r"(left|right)_decoder\.lin\d+_2\.weight")


def our_name(published: str) -> str:
    """Our name of a published key outside the bone decoders."""
    name = renamed(published, PLACES)
    if name.startswith(OF_ENCODER):
        return renamed(name, IMAGE_ENCODER)
    return renamed(name, IMAGE_ATTENTION) if name.startswith("image_attention.") else name


def by_published_key(values: Mapping[str, Tensor | None]) -> OrderedDict[str, Tensor | None]:
    """Tensors that belong to parameters, say gradients, under published keys in the layout's order; shapes may be ours."""
    found = {key: values[our_name(key)] for key in LAYOUT.shapes if our_name(key) in values}
    for side in Side:
        found.update(decoder_to_published(_of_side(values, side), f"{side.value}_decoder."))
    return OrderedDict((key, found[key]) for key in LAYOUT.shapes if key in found)


def from_published(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of InitialOccupancyNetwork."""
    state = {}
    for key, tensor in published.items():
        if not OF_DECODERS.fullmatch(key):
            state[our_name(key)] = tensor.squeeze(-1) if POINTWISE.fullmatch(key) else tensor
    for side in Side:
        decoder = decoder_from_published(published, f"{side.value}_decoder.")
        state.update({f"decoders.{side.value}.{name}": tensor for name, tensor in decoder.items()})
    return state


def to_published(state: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """Published state dict from that of InitialOccupancyNetwork: same keys, same order, same bits.

    Raises CheckpointError for a network of other than the published sizes.
    """
    decoders: dict[str, Tensor] = {}
    for side in Side:
        decoders.update(decoder_to_published(_of_side(state, side), f"{side.value}_decoder."))

    def tensor_of(key: str) -> Tensor | None:
        tensor = decoders[key] if key in decoders else state.get(our_name(key))
        return with_last_axis(tensor) if POINTWISE.fullmatch(key) else tensor

    return in_published_order(NAME, LAYOUT.shapes, tensor_of)


def sources(key: str) -> tuple[str, ...]:
    """Keys of a file that may fill a published key: its own, IntagHand's image encoder, HALO's decoder for both hands."""
    decoder = OF_DECODERS.fullmatch(key)
    if decoder:
        return key, f"decoder.{decoder[2]}"
    return same_or_intaghands(key)


def fitted(key: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """HALO's second hidden layers, which have no image features, with zeros for these; everything else unchanged."""
    if TAKES_FEATURES.fullmatch(key) and tensor.ndim == 2 and tensor.shape[0] == shape[0] == tensor.shape[1]:
        return F.pad(tensor, (0, shape[1] - tensor.shape[1]))
    return tensor


def build(_: Mapping[str, Tensor]) -> InitialOccupancyNetwork:
    """The network of published sizes, options and initial values."""
    network = InitialOccupancyNetwork(depth_reference="published", penetration_frame="published")
    network.start_as_published()
    return network


def _of_side(state: Mapping[str, Tensor], side: Side) -> dict[str, Tensor]:
    prefix = f"decoders.{side.value}."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


PUBLISHED = PublishedNetwork(
    name=NAME,
    layout=LAYOUT,
    build=build,
    load=load_initial_occupancy,
    from_published=from_published,
    to_published=to_published,
    sources=sources,
    fitted=fitted,
    compat={"depth_reference": "published", "penetration_frame": "published"},
)
