"""Graph convolutions over the joints or the vertices of a hand: Chebyshev polynomials of a fixed graph matrix.

A layer of order 2 sees [x, G x] of every node, one of order 3 also 2 G (G x) - x; the channels of its weight are interleaved,
input column = order * channel + power. G is any square matrix: a rescaled Laplacian of a mesh, or the plain, directed
adjacency of the joints. It is a constant of the network and not part of its state dict.

Source: IntagHand (CVPR 2022), section 3.3; Im2Hands (CVPR 2023), section 3.4 and supplement.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from im2hands.networks.attention import NORM_EPS

ORDERS = (2, 3)


class ChebyshevLinear(nn.Linear):
    """Linear map of the Chebyshev polynomials of every node's features.

    inputs, outputs: channels.  order: number of polynomials, 2 or 3.  The weight is (outputs, inputs * order), interleaved.

    The weight is applied first and the graph to its result, which has fewer channels; the sums are the same.
    """

    def __init__(self, inputs: int, outputs: int, order: int = 2) -> None:
        if order not in ORDERS:
            raise ValueError(f"the order of a graph convolution must be 2 or 3, not {order}")
        super().__init__(inputs * order, outputs)
        self.order = order

    def forward(
        self, nodes: Float[Tensor, "batch nodes inputs"], graph: Float[Tensor, "nodes nodes"]
    ) -> Float[Tensor, "batch nodes outputs"]:
        weight = self.weight.unflatten(1, (-1, self.order)).permute(2, 0, 1)
        if self.order == 3:
            weight = torch.stack([weight[0] - weight[2], weight[1], 2 * weight[2]])
        parts = F.linear(nodes, weight.flatten(0, 1)).chunk(self.order, dim=-1)
        through_graph = parts[-1]
        for part in reversed(parts[:-1]):
            through_graph = part + graph @ through_graph
        return through_graph + self.bias


class GraphBlock(nn.Module):
    """Two graph convolutions with layer norms (eps 1e-6) and a linear shortcut.

    `unused_norm` is the published blocks' first norm, whose result is thrown away: it changes nothing, gets no gradient, and is
    here because published files contain it.
    """

    def __init__(self, inputs: int, outputs: int, order: int = 2, dropout: float = 0.01) -> None:
        super().__init__()
        self.unused_norm = nn.LayerNorm(inputs, eps=NORM_EPS)
        self.first = ChebyshevLinear(inputs, outputs, order)
        self.first_norm = nn.LayerNorm(outputs, eps=NORM_EPS)
        self.second = ChebyshevLinear(outputs, outputs, order)
        self.dropout = nn.Dropout(dropout)
        self.shortcut = nn.Linear(inputs, outputs)
        self.norm = nn.LayerNorm(outputs, eps=NORM_EPS)

    def forward(
        self, nodes: Float[Tensor, "batch nodes inputs"], graph: Float[Tensor, "nodes nodes"]
    ) -> Float[Tensor, "batch nodes outputs"]:
        inner = F.relu(self.first_norm(self.first(nodes, graph)))
        return self.norm(self.dropout(self.second(inner, graph)) + self.shortcut(nodes))


class GraphLayer(nn.Module):
    """Graph blocks one after another, ReLU between them and none after the last.

    graph: the matrix G; row i says from which nodes node i receives.  inputs: channels before, outputs: after the first block
    and all others.
    """

    def __init__(
        self,
        graph: Float[Tensor, "nodes nodes"],
        inputs: int,
        outputs: int,
        blocks: int = 2,
        order: int = 2,
        dropout: float = 0.01,
    ) -> None:
        super().__init__()
        if graph.ndim != 2 or graph.shape[0] != graph.shape[1]:
            raise ValueError(f"a graph matrix must be square, not {tuple(graph.shape)}")
        self.register_buffer("graph", graph.float(), persistent=False)
        widths = [inputs, *[outputs] * (blocks - 1)]
        self.blocks = nn.ModuleList([GraphBlock(width, outputs, order, dropout) for width in widths])

    def forward(self, nodes: Float[Tensor, "batch nodes inputs"]) -> Float[Tensor, "batch nodes outputs"]:
        for place, block in enumerate(self.blocks):
            nodes = block(F.relu(nodes) if place else nodes, self.graph)
        return nodes
