"""Converts between IntagHand's published state dict and ours.

A published file is the bare state dict, keys with or without `module.`. It does not contain the graphs that it was trained on:
they come from graph files (`graph_files`), and without the right ones the weights mean nothing.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from im2hands.hands.sides import Side
from im2hands.io.errors import CheckpointError
from im2hands.networks.intaghand import NAME, VERTICES, IntagHandNetwork, graph_tensors, load_intaghand
from im2hands.networks.published.graph_files import GraphFiles, read_graph_files
from im2hands.networks.published.layout import PublishedLayout, PublishedNetwork, in_published_order
from im2hands.networks.published.naming import (
    GRAPH_BLOCKS,
    IMAGE_ATTENTION,
    IMAGE_ENCODER,
    SELF_ATTENTION,
    Renames,
    renamed,
)

LAYOUT = PublishedLayout.named("intaghand")
"""Keys and shapes; the sizes of graphs in them are those of a stand-in (see `shapes_for`)."""

PLACES: Renames = (
    (r"^encoder\.", r"image_encoder."),
    (r"^mid_model\.convs\.", r"feature_mixer.stages."),
    (r"^decoder\.dense_coor$", r"vertex_codes"),
    (r"^decoder\.dual_gcn\.layers\.", r"levels."),
    (r"^(levels\.\d)\.position_embeddings\.", r"\1.positions."),
    (r"^(levels\.\d)\.graph_(left|right)\.", r"\1.graph.\2."),
    (r"^(levels\.\d)\.img_ex_(left|right)\.", r"\1.image_attention.\2."),
    (r"^(levels\.\d)\.attn\.", r"\1.hand_attention."),
    (r"^decoder\.gf_layer_(left|right)\.", r"global_projection.\1."),
    (r"^decoder\.unsample_layer\.", r"upsampling."),
    (r"^decoder\.coord_head\.", r"coordinates."),
    (r"^decoder\.avg_head\.", r"node_average."),
    (r"^decoder\.params_head\.", r"projection."),
)

HAND_ATTENTION: Renames = (
    (r"\.L_self_attn_layer\.", r".self_attention.left."),
    (r"\.R_self_attn_layer\.", r".self_attention.right."),
    (r"\.layer_norm1\.", r".norms.left."),
    (r"\.layer_norm2\.", r".norms.right."),
    (r"\.ff([LR])\.layer_norm\.", r".ff\1.norm."),
    (r"\.ff([LR])\.fc1\.", r".ff\1.expand."),
    (r"\.ff([LR])\.fc2\.", r".ff\1.contract."),
    (r"\.ffL\.", r".feed_forward.left."),
    (r"\.ffR\.", r".feed_forward.right."),
    *SELF_ATTENTION,
)
"""InterHandAttention."""

TABLES = {
    "image_encoder.": IMAGE_ENCODER,
    ".graph.": GRAPH_BLOCKS,
    ".image_attention.": IMAGE_ATTENTION,
    ".hand_attention.": HAND_ATTENTION,
}


def our_name(published: str) -> str:
    """Our name of a published key."""
    name = renamed(published, PLACES)
    for part, table in TABLES.items():
        if part in name:
            return renamed(name, table)
    return name


def shapes_for(nodes: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the published tensors for graphs with so many nodes on the finest used level."""
    shapes = dict(LAYOUT.shapes)
    for level in range(3):
        key = f"decoder.dual_gcn.layers.{level}.position_embeddings.weight"
        shapes[key] = (nodes // 2 ** (2 - level), shapes[key][1])
    shapes["decoder.unsample_layer.weight"] = (VERTICES, nodes)
    shapes["decoder.avg_head.weight"] = (1, nodes)
    return shapes


def from_published(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of IntagHandNetwork but for its graphs."""
    return {our_name(key): tensor for key, tensor in published.items()}


def to_published(state: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """Published state dict from that of IntagHandNetwork: same keys, same order, same bits.

    Raises CheckpointError for a network of other than the published sizes.
    """
    shapes = shapes_for(state["node_average.weight"].shape[1])
    return in_published_order(NAME, shapes, lambda key: state.get(our_name(key)))


def network_on(files: GraphFiles, weights: Mapping[str, Tensor]) -> IntagHandNetwork:
    """The network on given graphs; `weights` say whether they were trained on graphs of these sizes.

    Raises CheckpointError if they were not, or if the numbers of the vertices are neither in the weights nor in a file.
    """
    for level, nodes in enumerate(files.graphs[Side.LEFT].sizes):
        key = f"decoder.dual_gcn.layers.{level}.position_embeddings.weight"
        if key in weights and len(weights[key]) != nodes:
            raise CheckpointError(
                f"{files.folder}: its graphs have {nodes} nodes on level {level}, the weights were trained with "
                f"{len(weights[key])}; give the graph files that belong to the weights."
            )
    codes = files.vertex_codes if files.vertex_codes is not None else weights.get("decoder.dense_coor")
    if codes is None:
        raise CheckpointError(
            f"{files.folder / 'v_color.pkl'}: is missing, and the weights do not contain its numbers; add it."
        )
    upsampling = weights.get("decoder.unsample_layer.weight", files.upsampling)
    return IntagHandNetwork(files.graphs, codes, upsampling)


def published_on(folder: str | os.PathLike) -> PublishedNetwork:
    """The published network on the graph files of a folder."""
    files = read_graph_files(folder)
    graphs = {name: tensor for side in Side for name, tensor in graph_tensors(files.graphs[side], side).items()}
    return replace(
        PUBLISHED,
        build=lambda weights: network_on(files, weights),
        from_published=lambda weights: {**graphs, **from_published(weights)},
    )


def _without_graphs(_: Mapping[str, Tensor]) -> torch.nn.Module:
    raise CheckpointError(
        f"weights of {NAME} need the graph files with which they were trained; give their folder with --graphs "
        "(graph_left.pkl and graph_right.pkl)."
    )


PUBLISHED = PublishedNetwork(
    name=NAME,
    layout=LAYOUT,
    build=_without_graphs,
    load=load_intaghand,
    from_published=from_published,
    to_published=to_published,
    entry=None,
    compat={"hand_axes": "published"},
    with_graphs=published_on,
)
