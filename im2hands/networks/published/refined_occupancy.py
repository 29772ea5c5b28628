"""Converts between the published state dict of refined occupancy and ours; keys of its frozen network begin with
`init_occ.`."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor

from im2hands.networks.published import initial_occupancy
from im2hands.networks.published.layout import (
    PublishedLayout,
    PublishedNetwork,
    in_published_order,
    with_last_axis,
)
from im2hands.networks.published.naming import IMAGE_ENCODER, OF_ENCODER, Renames, renamed, same_or_intaghands
from im2hands.networks.refined_occupancy import NAME, OPTIONS, RefinedOccupancyNetwork, load_refined_occupancy

LAYOUT = PublishedLayout.named("refined_occupancy")
OF_INITIAL, INITIAL = "init_occ.", "initial."

PLACES: Renames = (
    (r"^image_final_layer\.", r"image_projection."),
    (r"^hms_global_layer\.", r"heat_map_summary."),
    (r"^dp_global_layer\.", r"dense_map_summary."),
    (r"^context_enc\.0\.", r"context."),
    (r"^trans_enc\.", r"anchor_encoder."),
    (r"^trans_dec\.", r"decoder."),
)
ANCHOR_ENCODER: Renames = (
    (r"\.enc_sdf\.", r".embed."),
    (r"\.transformer_begin\.", r".begin."),
    (r"\.transition_downs\.(\d)\.sa\.", r".reductions.\1."),
    (r"\.elementwise_extras\.", r".reduced_residuals."),
    (r"\.transformer_downs\.", r".reduced_blocks."),
    (r"\.elementwise\.", r".residuals."),
    (r"\.final_transformers\.", r".final_blocks."),
    (r"\.final_elementwise\.", r".final_residuals."),
    (r"\.fc_middle\.", r".to_code."),
    (r"^anchor_encoder\.fc1\.", r"anchor_encoder.widen."),
    (r"\.bn\.", r".norm."),
    (r"\.fc_delta1?\.", r".position."),
    (r"\.fc_gamma\.", r".weighting."),
    (r"\.fc_gamma1\.", r".first_weighting."),
    (r"\.fc_gamma2\.", r".second_weighting."),
)
REDUCTION: Renames = (
    (r"\.w_qs\.", r".first_query."),
    (r"\.w_ks\.", r".first_key."),
    (r"\.w_vs\.", r".first_value."),
    (r"\.w_qs2\.", r".second_query."),
    (r"\.w_ks2\.", r".second_key."),
    (r"\.w_vs2\.", r".second_value."),
    (r"\.conv1\.", r".expand."),
    (r"\.conv2\.", r".contract."),
    (r"\.bn1\.", r".expand_norm."),
    (r"\.bnorm0\.", r".first_norm."),
    (r"\.bnorm1\.", r".second_norm."),
    (r"\.bnorm2\.", r".norm."),
)
RESIDUAL: Renames = (
    (r"\.conv1\.", r".first."),
    (r"\.conv2\.", r".second."),
    (r"\.bn1\.", r".first_norm."),
    (r"\.bn2\.", r".second_norm."),
    (r"\.bn3\.", r".norm."),
)
BLOCK: Renames = ((r"\.w_qs\.", r".query."), (r"\.w_ks\.", r".key."), (r"\.w_vs\.", r".value."))
DECODER: Renames = (
    (r"\.ct1\.", r".attention."),
    (r"\.fc_delta\.", r".position."),
    (r"\.fc_gamma\.", r".weighting."),
    (r"\.w_k_global\.", r".code_key."),
    (r"\.w_v_global\.", r".code_value."),
    *BLOCK,
    (r"\.init_enc\.", r".start."),
    (r"\.fc_c\.", r".attended."),
    (r"\.fc_0\.", r".first."),
    (r"\.fc_1\.", r".second."),
    (r"\.fc_out\.", r".last."),
)
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
POINTWISE = re.compile(r"trans_enc\..*\.conv\d\.weight")


def our_name(published: str) -> str:
    """Our name of a published key outside the initial network."""
    name = renamed(published, PLACES)
    if name.startswith(OF_ENCODER):
        return renamed(name, IMAGE_ENCODER)
    if name.startswith("decoder."):
        return renamed(name, DECODER)
    if name.startswith("anchor_encoder."):
        name = renamed(name, ANCHOR_ENCODER)
        kind = name.split(".")[1]
        return renamed(name, REDUCTION if kind == "reductions" else RESIDUAL if "residuals" in kind else BLOCK)
    return name


def by_published_key(values: Mapping[str, Tensor | None]) -> OrderedDict[str, Tensor | None]:
    """Tensors that belong to parameters, say gradients, under published keys in the layout's order; shapes may be ours.

    The frozen network's parameters have none.
    """
    found: OrderedDict[str, Tensor | None] = OrderedDict()
    for key in LAYOUT.shapes:
        if key.startswith(OF_INITIAL) and not key.endswith(BUFFERS):
            found[key] = None
        elif our_name(key) in values:
            found[key] = values[our_name(key)]
    return found


def from_published(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of RefinedOccupancyNetwork."""
    state, initial = {}, {}
    for key, tensor in published.items():
        if key.startswith(OF_INITIAL):
            initial[key.removeprefix(OF_INITIAL)] = tensor
        else:
            state[our_name(key)] = tensor.squeeze(-1) if POINTWISE.fullmatch(key) else tensor
    state.update({INITIAL + name: tensor for name, tensor in initial_occupancy.from_published(initial).items()})
    return state


def to_published(state: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """Published state dict from that of RefinedOccupancyNetwork: same keys, same order, same bits.

    Raises CheckpointError for a network of other than the published sizes.
    """
    initial = _renamed_initial(initial_occupancy.to_published(_of_initial(state)))

    def tensor_of(key: str) -> Tensor | None:
        tensor = initial[key] if key in initial else state.get(our_name(key))
        return with_last_axis(tensor) if POINTWISE.fullmatch(key) else tensor

    return in_published_order(NAME, LAYOUT.shapes, tensor_of)


def sources(key: str) -> tuple[str, ...]:
    """Keys of a file that may fill a published key: its own; for the frozen network those of an initial-occupancy file.

    Such a file also starts the image encoder and its last layer, whose keys are the same there.
    """
    if key.startswith(OF_INITIAL):
        return key, key.removeprefix(OF_INITIAL)
    return same_or_intaghands(key)


def build(_: Mapping[str, Tensor]) -> RefinedOccupancyNetwork:
    """The network of published sizes, options and initial values."""
    network = RefinedOccupancyNetwork(**dict.fromkeys(OPTIONS, "published"))
    network.start_as_published()
    return network


def _of_initial(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(INITIAL): tensor for name, tensor in state.items() if name.startswith(INITIAL)}


def _renamed_initial(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {OF_INITIAL + key: tensor for key, tensor in published.items()}


PUBLISHED = PublishedNetwork(
    name=NAME,
    layout=LAYOUT,
    build=build,
    load=load_refined_occupancy,
    from_published=from_published,
    to_published=to_published,
    sources=sources,
    compat=dict.fromkeys(OPTIONS, "published"),
)
