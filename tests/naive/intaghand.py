"""IntagHand as the specification writes it: two hands spelt out, attention head by head, graphs as dictionaries."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from im2hands.hands.sides import Side
from im2hands.networks.image_encoder import ImageFeatures
from im2hands.networks.intaghand import IntagHandNetwork
from im2hands.networks.inter_hand_attention import InterHandAttention
from tests.naive.attention import naive_image_tokens, naive_self_attention
from tests.naive.graph_blocks import naive_graph_layer


def _norm(tokens: Tensor, layer: torch.nn.LayerNorm) -> Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:], layer.weight, layer.bias, 1e-6)


def naive_inter_hand(block: InterHandAttention, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """L <- ffL(L + fc(att(Q_L, K_R) V_R)), R <- ffR(R + fc(att(Q_R, K_L) V_L)) after self attention, from the old values."""

    def attention(own: Tensor, other: Tensor) -> Tensor:
        heads = []
        for head in range(block.heads):
            part = slice(head * block.depth, (head + 1) * block.depth)
            scores = torch.einsum("bid,bjd->bij", block.query(own)[..., part], block.key(other)[..., part])
            heads.append(torch.softmax(scores / math.sqrt(block.depth), dim=-1) @ block.value(other)[..., part])
        return block.output(torch.cat(heads, dim=-1))

    def feed_forward(tokens: Tensor, layer: torch.nn.Module) -> Tensor:
        return tokens + layer.contract(F.relu(layer.expand(_norm(tokens, layer.norm))))

    left = naive_self_attention(block.self_attention["left"], left)
    right = naive_self_attention(block.self_attention["right"], right)
    normed_left, normed_right = _norm(left, block.norms["left"]), _norm(right, block.norms["right"])
    new_left = feed_forward(left + attention(normed_left, normed_right), block.feed_forward["left"])
    new_right = feed_forward(right + attention(normed_right, normed_left), block.feed_forward["right"])
    return new_left, new_right


def naive_decode(network: IntagHandNetwork, features: ImageFeatures) -> dict[str, Tensor]:
    """`<side>_vertices`, `_vertices_2d`, `_coarse`, `_coarse_2d`, `_scale`, `_shift`; without dropout."""
    hms, dps, imgs = features.of_heat_maps, features.of_dense_maps, features.backbone
    mids = [
        network.feature_mixer.stages[0](torch.cat([hms[0], dps[0]], dim=1)),
        network.feature_mixer.stages[1](torch.cat([hms[1], dps[1], imgs[1]], dim=1)),
        network.feature_mixer.stages[2](torch.cat([hms[2], dps[2], imgs[2]], dim=1)),
    ]
    view = F.adaptive_avg_pool2d(imgs[0], 1)[..., 0, 0]
    tokens = {}
    for name in ("left", "right"):
        perm = network.get_buffer(f"{name}_vertex_of_node")
        codes = (network.vertex_codes * 2 - 1)[perm]
        codes = F.avg_pool1d(codes.T[None], 16)[0].T
        linear, norm = network.global_projection[name]
        seen = _norm(linear(view), norm)
        rows = [torch.cat([seen, code.expand(len(view), 3)], dim=1) for code in codes]
        tokens[name] = torch.stack(rows, dim=1)
    for place, level in enumerate(network.levels):
        if place:
            tokens = {name: F.interpolate(x.mT, scale_factor=2, mode="nearest").mT for name, x in tokens.items()}
        for name in ("left", "right"):
            x = naive_graph_layer(level.graph[name], tokens[name] + level.positions.weight[None])
            look = level.image_attention[name]
            grid = look.to_query(naive_image_tokens(look, mids[place]))
            count = x.shape[1]
            tokens[name] = naive_self_attention(look.attention, torch.cat([x, grid], dim=1))[:, :count]
        left, right = naive_inter_hand(level.hand_attention, tokens["left"], tokens["right"])
        tokens = {"left": left, "right": right}
    found = {}
    for name, x in tokens.items():
        coarse = network.coordinates(x)
        full = torch.einsum("vn,bnc->bvc", network.upsampling.weight, coarse)
        mean = torch.einsum("n,bnc->bc", network.node_average.weight[0], x) + network.node_average.bias
        parameters = network.projection(mean)
        scale, shift = parameters[:, 0], parameters[:, 1:]
        found |= {f"{name}_coarse": coarse, f"{name}_vertices": full, f"{name}_scale": scale, f"{name}_shift": shift}
        for kind in ("coarse", "vertices"):
            flat = [scale[i] * 256 * found[f"{name}_{kind}"][i, :, :2] + (shift[i] * 128 + 128) for i in range(len(x))]
            found[f"{name}_{kind}_2d"] = torch.stack(flat)
    return found


def spelt_out(network: IntagHandNetwork, features: ImageFeatures) -> dict[str, Tensor]:
    """The network's own output under the same names."""
    prediction = network.decode(features)
    return {f"{side.value}_{name}": value for side in Side for name, value in vars(prediction.hands[side]).items()}


def naive_matching(edges: dict[tuple[int, int], float], count: int, with_loops: bool) -> list[int]:
    """One round of heavy-edge matching from a dictionary of entries, with the published slips."""
    entries = sorted(edges)
    starts = [next(place for place, entry in enumerate(entries) if entry[0] == row) for row in range(count)]
    lengths = [sum(entry[0] == row for entry in entries) for row in range(count)]
    lengths[0] += 1
    lengths[-1] -= 1
    degree = [sum(edges[e] for e in entries if e[0] == row and (with_loops or e[1] != row)) for row in range(count)]
    cluster: dict[int, int] = {}
    number = 0
    for node in sorted(range(count), key=lambda row: degree[row]):
        if node in cluster:
            continue
        cluster[node] = number
        choice, best = None, 0.0
        for _, neighbour in entries[starts[node] : starts[node] + lengths[node]]:
            place = starts[node] + [e[1] for e in entries[starts[node] : starts[node] + lengths[node]]].index(neighbour)
            if neighbour in cluster:
                continue
            own, others = edges[entries[starts[node]]], edges[entries[starts[neighbour]]]
            score = (2 * edges[entries[place]] + own + others) / (degree[node] + degree[neighbour] + 1e-9)
            if score > best:
                choice, best = neighbour, score
        if choice is not None:
            cluster[choice] = number
        number += 1
    return [cluster[node] for node in range(count)]


def naive_coarsening(faces: np.ndarray, rounds: int = 4) -> tuple[list[dict], list[list[int]]]:
    """Entries of the graphs from fine to coarse, and the parents."""
    edges: dict[tuple[int, int], float] = {}
    for triangle in np.asarray(faces).tolist():
        for a in triangle:
            for b in triangle:
                if a != b:
                    edges[a, b] = 1.0
    levels, parents = [edges], []
    for place in range(rounds):
        count = 1 + max(row for row, _ in levels[-1])
        parents.append(naive_matching(levels[-1], count, with_loops=place > 0))
        merged: dict[tuple[int, int], float] = {}
        for (a, b), weight in levels[-1].items():
            key = parents[-1][a], parents[-1][b]
            merged[key] = merged.get(key, 0.0) + weight
        levels.append(merged)
    return levels, parents
