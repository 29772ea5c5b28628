"""Golden case `intaghand_network`: IntagHand's graphs, blocks, full network and losses.

Weights by rule through the checkpoint reader; the graphs are rebuilt from the stand-in mesh of the case `mano_forward`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from im2hands.hands.sides import SIDES, Side
from im2hands.networks.attention import QueryImageAttention, SelfAttention
from im2hands.networks.graph_blocks import GraphBlock, GraphLayer
from im2hands.networks.hand_graphs import HandGraph, build_hand_graph
from im2hands.networks.intaghand import IntagHandNetwork, PredictedHand, graph_tensors
from im2hands.networks.inter_hand_attention import InterHandAttention
from im2hands.networks.published import intaghand as published
from im2hands.networks.published.naming import GRAPH_BLOCKS, IMAGE_ATTENTION, SELF_ATTENTION, Renames, renamed
from im2hands.parity.case import Case, Comparison, Golden, GoldenFolder
from im2hands.parity.cases.mano_forward import stand_in_models
from im2hands.parity.network_fields import through_a_file
from im2hands.parity.weights_rule import rule_weights
from im2hands.training.intaghand_losses import (
    HandTruth,
    TrueHands,
    TrueMaps,
    map_terms,
    mesh_terms,
    upsampling_term,
    weighted,
)

DERIVED = "decoder.dense_coor"
MEAN_CHANNELS = 32


def seed_of(golden: Golden) -> int:
    return int(golden["seed"])


def graphs_of(folder: GoldenFolder) -> dict[Side, HandGraph]:
    """Both hands' graphs, rebuilt from the stand-in's triangles."""
    models = stand_in_models(folder.find("mano_forward"))
    return {side: build_hand_graph(models[side].faces) for side in SIDES}


def published_weights(golden: Golden) -> dict[str, Tensor]:
    """The case's published state dict, written to a file as of several GPUs and read back."""
    content = _json(golden["keys_json"])
    weights = rule_weights(content["keys"], seed_of(golden))
    for name in content["derived"]:
        if name != DERIVED:
            raise KeyError(f"{golden.path}: the rule does not give {name}, and neither does a field.")
        weights[name] = torch.from_numpy(golden["dense_coor"])
    return through_a_file({f"module.{key}": tensor for key, tensor in weights.items()})


def network_of(golden: Golden, graphs: Mapping[Side, HandGraph]) -> IntagHandNetwork:
    """The full-size network with the case's weights, in eval mode."""
    weights = published_weights(golden)
    network = IntagHandNetwork(graphs, weights[DERIVED])
    state = published.from_published(weights)
    for side in SIDES:
        state |= graph_tensors(graphs[side], side)
    network.load_state_dict(state)
    return network.eval()


def image_of(golden: Golden) -> Tensor:
    """The input, without normalisation."""
    rng = np.random.default_rng(seed_of(golden) + 5)
    return torch.from_numpy(rng.standard_normal((2, 3, 256, 256)).astype(np.float32))


def run(golden: Golden, folder: GoldenFolder) -> Iterator[Comparison]:
    graphs = graphs_of(folder)
    yield golden.compare("keys_json", np.frombuffer(_layout_json(golden).encode(), np.uint8))
    yield from compare_graphs(golden, graphs)
    with torch.no_grad():
        yield from compare_blocks(golden)
        yield from compare_network(golden, network_of(golden, graphs), image_of(golden), graphs)
        yield from compare_losses(golden, folder, graphs)


def compare_graphs(golden: Golden, graphs: Mapping[Side, HandGraph]) -> Iterator[Comparison]:
    left, right = (graphs[side] for side in SIDES)
    same = all(torch.equal(a, b) for a, b in zip(left.laplacians, right.laplacians, strict=True))
    same = same and torch.equal(left.vertex_of_node, right.vertex_of_node)
    yield golden.compare("left_right_graph_same", np.array(same))
    yield golden.compare("graph_perm", left.vertex_of_node.numpy())
    places = golden["graph_perm_reverse"]
    yield golden.compare("graph_perm_reverse", _all_places(left, len(places)))
    for level, laplacian in enumerate(left.laplacians):
        yield golden.compare(f"graph_L_used_{level}", laplacian.numpy(), "laplacians")


def compare_blocks(golden: Golden) -> Iterator[Comparison]:
    """Each block alone, with weights by rule under their bare names."""
    graph = torch.from_numpy(golden["graph_L_used_0"])
    for name, order in (("gcn_resblock_k2", 2), ("gcn_resblock_k3", 3)):
        block = filled(golden, name, GraphBlock(12, 8, order), GRAPH_BLOCKS)
        yield _of_block(golden, name, block(_input(golden, name), graph))
    layer = filled(golden, "graph_layer", GraphLayer(graph, 12, 8, blocks=4), GRAPH_BLOCKS)
    yield _of_block(golden, "graph_layer", layer(_input(golden, "graph_layer")))
    for name, width, heads in (("self_attn", 12, 4), ("self_attn_h2_f19", 19, 2)):
        attention = filled(golden, name, SelfAttention(width, heads), SELF_ATTENTION)
        yield _of_block(golden, name, attention(_input(golden, name)))
    exchange = filled(golden, "inter_attn", InterHandAttention(12, 4), published.HAND_ATTENTION)
    result = exchange({side: _input(golden, "inter_attn", place) for place, side in enumerate(SIDES)})
    for place, side in enumerate(SIDES):
        yield _of_block(golden, "inter_attn", result[side], place)
    for name, sizes, together in (
        ("img_ex", (16, 6, 4, 8, 12, 4), True),
        ("img_ex_im2hands", (16, 6, 4, 8, 12, 4), False),
        ("img_ex_im2hands_19", (64, 32, 4, 32, 19, 2), False),
    ):
        look = filled(golden, name, QueryImageAttention(*sizes, together=together), IMAGE_ATTENTION)
        yield _of_block(golden, name, look(_input(golden, name), _input(golden, name, 1)))


def compare_network(
    golden: Golden, network: IntagHandNetwork, image: Tensor, graphs: Mapping[Side, HandGraph]
) -> Iterator[Comparison]:
    features = network.image_encoder(image)
    for name, tensor in (("hms", features.heat_maps), ("mask", features.masks), ("dense", features.dense_maps)):
        yield golden.compare(f"{name}_every8", tensor[:, :, ::8, ::8].numpy(), "network")
    mixed = network.feature_mixer(features, levels=4)
    kinds = {"img": features.backbone, "hms": features.of_heat_maps, "dp": features.of_dense_maps, "mid": mixed}
    for name, maps in kinds.items():
        for level, tensor in enumerate(maps):
            means = tensor.mean(dim=(2, 3))[:, :MEAN_CHANNELS]
            yield golden.compare(f"{name}_fmap{level}_mean_c", means.numpy(), "network")
    yield golden.compare("global_feature", network.global_feature(features).numpy(), "network")
    yield from compare_hands(golden, network.decode(features).hands, graphs)


def compare_hands(
    golden: Golden, hands: Mapping[Side, PredictedHand], graphs: Mapping[Side, HandGraph]
) -> Iterator[Comparison]:
    for side, hand in hands.items():
        name = side.value
        spread = graphs[side].spread(hand.coarse, 2)
        yield golden.compare(f"{name}_coarse3d", hand.coarse.numpy(), "points")
        yield golden.compare(f"{name}_coarse2d", hand.coarse_2d.numpy(), "pixels", relative_to="largest")
        yield golden.compare(f"{name}_verts3d_every7", hand.vertices[:, ::7].numpy(), "points")
        yield golden.compare(
            f"{name}_verts2d_every7", hand.vertices_2d[:, ::7].numpy(), "pixels", relative_to="largest"
        )
        yield golden.compare(f"{name}_scale", hand.scale.numpy(), "points")
        yield golden.compare(f"{name}_trans2d", hand.shift.numpy(), "points")
        yield golden.compare(f"{name}_mano_list3d_every7", spread[:, ::7].numpy(), "points")


def compare_losses(golden: Golden, folder: GoldenFolder, graphs: Mapping[Side, HandGraph]) -> Iterator[Comparison]:
    models = stand_in_models(folder.find("mano_forward"))
    constants = {side: HandTruth(models[side], graphs[side]) for side in SIDES}
    predicted, true = loss_inputs(golden)
    terms = mesh_terms(predicted, true, constants)
    shape = (len(golden["graph_perm_reverse"]) // 4, 778)[::-1]
    initial, current = (
        torch.from_numpy(np.random.default_rng(seed_of(golden) + more).standard_normal(shape) / 16).float()
        for more in (11, 12)
    )
    for epoch, trained in ((0, False), (60, True)):
        moved = upsampling_term(nn.Parameter(current, requires_grad=trained), initial)
        for name, ours in LOSS_FIELDS.items():
            value = np.asarray((terms | moved)[ours].numpy(), np.float64)
            value = value[None] if name.startswith("coarse") else value
            yield golden.compare(f"loss_e{epoch}_{name}", value, "losses")

    given = {name: torch.from_numpy(golden[f"auxsmall_in_{name}"]) for name in ("mask", "dense", "hms")}
    outputs = (torch.from_numpy(golden[f"auxsmall_in_p_{name}"]) for name in ("mask", "dense", "hms"))
    maps = map_terms(*outputs, TrueMaps(given["mask"], given["dense"], given["hms"]))
    for name, ours in (("mask", "masks"), ("dense", "dense_maps"), ("hms", "heat_maps")):
        yield golden.compare(f"auxsmall_{name}_loss", np.float64(maps[ours]), "losses")
    total = sum(weighted(maps, epoch=0).values())
    yield golden.compare("auxsmall_total_loss", np.float64(total), "losses")


LOSS_FIELDS = {
    "mano_vert2d_loss": "vertices_2d",
    "mano_vert3d_loss": "vertices",
    "mano_joint_loss": "joints",
    "mano_norm_loss": "normals",
    "mano_edge_loss": "edges",
    "mano_upsample_norm_loss": "upsampling",
    "coarse_v3d_loss": "coarse",
    "coarse_v2d_loss": "coarse_2d",
}


def loss_inputs(golden: Golden) -> tuple[dict[Side, PredictedHand], TrueHands]:
    """Made-up predictions (without a projection of their own) and truth."""

    def field(kind: str, side: Side) -> Tensor:
        return torch.from_numpy(golden[f"lossin_{kind}_{side.value[0]}"])

    predicted = {}
    for side in SIDES:
        meshes = (field(kind, side) for kind in ("p3d", "p2d", "c3d", "c2d"))
        predicted[side] = PredictedHand(*meshes, scale=torch.ones(2), shift=torch.zeros(2, 2))
    vertices, vertices_2d = ({side: field(kind, side) for side in SIDES} for kind in ("v3d", "v2d"))
    return predicted, TrueHands(vertices, vertices_2d, torch.from_numpy(golden["lossin_root_rel"]))


def filled(golden: Golden, name: str, block: nn.Module, table: Renames) -> nn.Module:
    """A block with weights by rule; all its parameters must be among the listed ones."""
    weights = rule_weights(_json(golden[f"{name}_keys"]), seed_of(golden))
    block.load_state_dict({renamed(f".{key}", table).removeprefix("."): tensor for key, tensor in weights.items()})
    return block.eval()


def _input(golden: Golden, name: str, place: int = 0) -> Tensor:
    return torch.from_numpy(golden[f"{name}_in{place}"])


def _of_block(golden: Golden, name: str, ours: Tensor, place: int = 0) -> Comparison:
    return golden.compare(f"{name}_out{place}", ours.numpy(), "blocks")


def _all_places(graph: HandGraph, count: int) -> np.ndarray:
    """graph_perm_reverse in full: after the vertices, fake nodes in their order."""
    places = graph.node_of_vertex.numpy()
    fake = np.setdiff1d(np.arange(count), places)
    return np.concatenate([places, fake])


def _layout_json(golden: Golden) -> str:
    """The file's text if its keys, shapes and derived keys are those of our layout, otherwise ours."""
    text = bytes(golden["keys_json"]).decode()
    content = json.loads(text)
    shapes = {key: list(shape) for key, shape in published.LAYOUT.shapes.items()}
    same = list(content["keys"].items()) == list(shapes.items()) and content["derived"] == [DERIVED]
    return text if same else json.dumps({"keys": shapes, "derived": [DERIVED]})


def _json(text: np.ndarray) -> dict:
    return json.loads(bytes(text).decode())


CASE = Case("intaghand_network", frozenset({"keys_json", "graph_L_used_0", "lossin_p2d_r"}), run)
