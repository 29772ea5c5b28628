"""Graph convolutions as the specification writes them: the polynomials of the features first, then one linear map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from im2hands.networks.graph_blocks import ChebyshevLinear, GraphBlock, GraphLayer


def naive_chebyshev(layer: ChebyshevLinear, nodes: Tensor, graph: Tensor) -> Tensor:
    """fc(C(x)), C(x) interleaved: column = order * channel + power."""
    powers = [nodes, graph @ nodes]
    if layer.order == 3:
        powers.append(2 * (graph @ powers[1]) - nodes)
    return F.linear(torch.stack(powers, dim=-1).flatten(2), layer.weight, layer.bias)


def naive_block(block: GraphBlock, nodes: Tensor, graph: Tensor) -> Tensor:
    """norm3(drop(fc2(C(relu(norm2(fc1(C(x))))))) + shortcut(x)), norms with eps 1e-6."""

    def norm(x: Tensor, layer: torch.nn.LayerNorm) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], layer.weight, layer.bias, 1e-6)

    u = F.relu(norm(naive_chebyshev(block.first, nodes, graph), block.first_norm))
    u = F.dropout(naive_chebyshev(block.second, u, graph), block.dropout.p, block.training)
    return norm(u + F.linear(nodes, block.shortcut.weight, block.shortcut.bias), block.norm)


def naive_graph_layer(layer: GraphLayer, nodes: Tensor) -> Tensor:
    for place, block in enumerate(layer.blocks):
        if place:
            nodes = F.relu(nodes)
        nodes = naive_block(block, nodes, layer.graph)
    return nodes
